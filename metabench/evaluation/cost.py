"""What an evaluation will cost, said before it starts: cells that are missing, seconds, bytes; nothing is run.

How long a method thinks is taken from traces that are stored already: what it thought up to the budget, the mean over a
board's searches with the same first trials (any, where none has these), of the board that says least. Learning from the
source tasks, once a process, is not in it (``metabench speed --methods`` measures that), nor is what the protocol itself
takes. Under protocol 3 a method learns once a fold and fit seed; traces say how long, and it is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench.evaluation.methods import Method

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.evaluation.worker import Group

#: bytes of a stored cell and of each of its trials (as the boards search, few-shot and live take on disk)
BYTES, LIVE_BYTES = (45, 5.4), (64, 75.0)


@dataclass(frozen=True)
class Cost:
    """What a method's part of an evaluation takes."""

    method: str
    cells: int
    missing: int
    #: seconds on one core that the method will think in the missing cells; None where no trace says
    thought: float | None
    #: seconds on one core that training will take where trials are made to order, as those of the table took
    training: float
    bytes: int
    #: fits that the missing cells need under protocol 3, and seconds on one core that they take; None where no trace says
    fits: int = 0
    learned: float | None = 0.0


def costs(
    methods: Sequence[Method],
    groups: Iterable[Group],
    board: Board,
    table,
    known: Set[str],
    records: Sequence[pa.Table],
) -> list[Cost]:
    """The cost of those of each method's ``groups`` of cells (:func:`metabench.evaluation.plan`) that are not ``known``.

    ``records`` are traces to learn from how long methods think.
    """
    groups = list(groups)
    train = _training(table, board) if board.objective == "live" else {}
    head, trial = LIVE_BYTES if board.is_live else BYTES
    out = []
    for method in methods:
        missing = [(g, sum(k not in known for k in g.keys.values())) for g in groups if g.method == method.name]
        once = {
            start: thinking(records, method.name, start, board.budget) for start in {g.start for g, n in missing if n}
        }
        thought = [(n, once[g.start]) for g, n in missing if n]
        total = sum(n for _, n in missing)
        seconds = None if any(t is None for _, t in thought) else float(sum(n * (t or 0.0) for n, t in thought))
        fits = {g.fit for g, n in missing if n and g.fold}
        fit = learning(records, method.name) if fits else 0.0
        out.append(
            Cost(
                method=method.name,
                cells=sum(len(g.keys) for g in groups if g.method == method.name),
                missing=total,
                thought=seconds,
                training=float(sum(n * train.get(g.task_id, 0.0) for g, n in missing)),
                bytes=round(total * (head + trial * board.budget)),
                fits=len(fits),
                learned=None if fit is None else len(fits) * fit,
            )
        )
    return out


def thinking(records: Sequence[pa.Table], method: str, start: str, trials: int) -> float | None:
    """Mean seconds that a method thought in its first ``trials`` trials: the least that one of the ``records`` with so long
    searches of it says, since a busy machine only adds; of those with this start if any has it. None where none has such."""
    for exact in (True, False):
        means = []
        for record in records:
            mine = record.filter(pc.equal(record["method"], method))
            if exact:
                mine = mine.filter(pc.equal(mine["start"], start))
            long = mine.filter(pc.greater_equal(pc.list_value_length(mine["overhead"]), trials))
            if long.num_rows:
                means.append(float(np.mean([np.sum(row[:trials]) for row in long["overhead"].to_pylist()])))
        if means:
            return min(means)
    return None


def learning(records: Sequence[pa.Table], method: str) -> float | None:
    """Mean seconds that a fit of a method took on the board of protocol 3 that says least; None where none says."""
    said = [r.filter(pc.equal(r["method"], method)) for r in records if "fit_seconds" in r.schema.names]
    return min((float(pc.mean(r["fit_seconds"]).as_py()) for r in said if r.num_rows), default=None)


def _training(table, board: Board) -> dict[str, float]:
    """Task → seconds of one search's training: the mean stored run, ``budget`` times."""
    task_ids = board.tasks(table, "test")
    return dict(zip(task_ids, (board.budget * np.nanmean(table.seconds(board.workload, task_ids), axis=1)).tolist()))
