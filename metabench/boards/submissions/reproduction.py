"""Whether a submission's code, installed here, proposes what its traces say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from metabench import schema
from metabench.boards.board import Board
from metabench.boards.submissions.form import Refused
from metabench.boards.submissions.rules import Checked, cell_named

if TYPE_CHECKING:
    from metabench.table import Table


def reproduce(checked: Checked, board: Board, table: Table, workers: int = 1) -> str:
    """Run the submission's code and return the status that it earns: reproduced, or confirmed.

    The class that ``spec`` names must be installed. Raises Refused when there is none, when it is called otherwise, or
    naming the first cell where it proposes something else.
    """
    from metabench.evaluation import evaluate, resolve

    submission = checked.submission
    if not submission.spec:
        raise Refused("submission.toml: there is no spec to reproduce; name the class as my_pkg.module:Class")
    (method,) = resolve(submission.spec)
    if method.name != submission.method:
        raise Refused(f"{submission.spec} is called {method.name!r}, the submission {submission.method!r}")
    starts = tuple(s for s in board.starts if s in set(checked.traces["start"].to_pylist()))
    longer = replace(board, starts=starts, seeds=board.seeds if board.is_live else 2 * board.seeds)
    again = evaluate(submission.spec, longer, table, workers=workers)
    ours = {(r["start"], r["task_id"], r["seed"]): _steps(r) for r in again.to_pylist()}
    for row in checked.traces.to_pylist():
        mine = ours[row["start"], row["task_id"], row["seed"]]
        for trial, (a, b) in enumerate(zip_longest(mine, _steps(row)), 1):
            if a != b:
                raise Refused(f"{cell_named(row)}, trial {trial}: the code proposes {a}, the submission says {b}")
    if board.is_live:
        return "reproduced"
    return "confirmed" if _agrees(checked, again, longer, board, table) else "reproduced"


def _steps(row: Mapping[str, Any]) -> list[Any]:
    """What a trace says was done: configurations, or (configuration, epochs) where these are counted."""
    if "configs" in row:
        return row["configs"]
    if row["epochs"] is None:
        return row["config_ids"]
    return list(zip(row["config_ids"], row["epochs"], strict=True))


def _agrees(checked: Checked, again: pa.Table, longer: Board, board: Board, table: Table) -> bool:
    """Does the regret with fresh search seeds lie within the submission's interval, at every mark and start?"""
    from metabench.scores import score

    rows = [r | {"seed": r["seed"] - board.seeds} for r in again.to_pylist() if r["seed"] >= board.seeds]
    fresh = score(pa.Table.from_pylist(rows, schema.TRACES), table, replace(longer, seeds=board.seeds)).summary
    both = checked.scores.summary.merge(fresh, on=["method", "start", "mark"], suffixes=("", "_fresh"))
    inside = (both["valid_regret_fresh"] >= both["valid_low"]) & (both["valid_regret_fresh"] <= both["valid_high"])
    return bool(inside.all())
