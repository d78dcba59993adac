"""What a submission must keep: the board's rules, checked cell by cell, and scores computed here."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from metabench import registry
from metabench.boards.board import Board
from metabench.boards.retrain import retrain, retrain_some
from metabench.boards.submissions.columns import longest, read_traces
from metabench.boards.submissions.folder import Packet, read
from metabench.boards.submissions.form import Refused, Submission
from metabench.errors import MetabenchError
from metabench.evaluation.store import read_traces as read_own
from metabench.registry import suggest
from metabench.table.splits import members
from metabench.untrusted import printable

if TYPE_CHECKING:
    from metabench.scores import Scores
    from metabench.table import Table

#: seconds that a method may say it thought before a step
THOUGHT = 1e7
#: claims are compared with what is recomputed to this many units
CLAIM_TOLERANCE = 5e-4
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ELSEWHERE = re.compile(r"elsewhere:[A-Za-z0-9][\w ./-]{0,199}")


@dataclass(frozen=True)
class Checked:
    """A submission that keeps the rules: its traces (schema TRACES), their scores, and the submission.toml it came with."""

    submission: Submission
    traces: pa.Table
    scores: Scores
    toml: bytes = b""


def check(folder: str | os.PathLike, board: Board, table: Table) -> Checked:
    """A submission's folder, checked against the board's rules and scored from the table.

    Raises Refused at the first rule that is broken, MetabenchError when the table is not the board's.
    """
    return check_packet(read(folder), board, table)


def check_packet(packet: Packet, board: Board, table: Table, *, is_kept: bool = False) -> Checked:
    """What :func:`check` does, of bytes that are at hand.

    Args:
        packet: What :func:`metabench.boards.submissions.read` returned.
        board: The board to check it against.
        table: The board's table.
        is_kept: Whether it was accepted already: the trials of a live board are then not trained again, but for a sample.

    Returns:
        The submission, its traces in canonical order, and their scores.

    Raises:
        Refused: A rule is broken.
        MetabenchError: The table is not the board's.
        UsageError: The board is of protocol 3, which takes no submissions.
    """
    board.require_split("submissions")
    from metabench.scores import score

    board.check(table)
    submission = packet.submission
    if submission.board != board.name:
        raise Refused(f"submission.toml: board is {submission.board!r}, this is board {board.name!r}")
    if submission.digest != board.digest:
        raise Refused(
            f"submission.toml: digest {submission.digest[:12]}… is of another table; the board's is {board.digest[:12]}…"
        )
    _check_name(submission, board)
    check_sources(submission, board, table)
    task_ids = board.tasks(table, "test")
    cells = len(board.starts) * len(task_ids) * board.seeds
    traces, claimed = read_traces(packet.traces, submission, cells, longest(board), board.traces_schema)
    if traces.num_rows == 0:
        raise Refused("traces.parquet holds no cell")
    if strange := sorted(set(traces["start"].to_pylist()) - set(board.starts)):
        raise Refused(f"traces.parquet: {suggest(printable(strange[0]), list(board.starts), 'start')}")
    overhead = traces["overhead"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not (np.isfinite(overhead) & (overhead >= 0) & (overhead <= THOUGHT)).all():
        raise Refused("traces.parquet: overhead holds something that is no time in seconds")
    try:
        scores = score(traces, table, board)
        if board.is_live and is_kept:
            retrain_some(traces, board, table)
        elif board.is_live:
            traces = retrain(traces, board, table)
            scores = score(traces, table, board)
    except MetabenchError as error:
        raise Refused(f"traces.parquet: {error}") from None
    if claimed is not None:
        _check_claimed(traces, claimed, board, table, task_ids)
    if not board.is_live:  # there methods choose alone
        _check_starts(traces, board, table)
    _check_claims(submission, scores)
    return Checked(submission, _with_cells(traces, board), scores, packet.toml)


def _check_name(submission: Submission, board: Board) -> None:
    taken = [*registry.builtin("baselines"), *registry.builtin("metamodels")]
    if submission.method.lower() in (name.lower() for name in taken):
        raise Refused(f"method {submission.method!r} is a built-in's name; choose another")
    if submission.method.lower() in (name.lower() for name in own_methods(board)):
        raise Refused(f"method {submission.method!r} is among the board's own traces; choose another name")
    if board.path and (board.path / "submissions").is_dir():
        for other in (board.path / "submissions").iterdir():
            if other.name != submission.method and other.name.lower() == submission.method.lower():
                raise Refused(f"method {submission.method!r} differs from {other.name!r} by case alone")


def own_methods(board: Board) -> set[str]:
    """Methods of the traces that lie in the board's folder, which are the suite's own."""
    path = board.path / "traces.parquet" if board.path else None
    if path is None or not path.exists():
        return set()
    return set(read_own(path, board.traces_schema)["method"].to_pylist())


def check_sources(submission: Submission, board: Board, table: Table) -> None:
    """What a method learned from or was tuned on has no part in meta-test, by task, by family or by split digest.

    Raises Refused naming the first entry that has, or that is neither a task, a digest nor ``elsewhere:…``.
    """
    tasks = table.tasks.set_index("task_id")
    held_out = frozenset().union(*map(members, board.split["test"]))
    digests = {
        f"sha256:{d}": task
        for task, listed in (tasks["split_hashes"].items() if "split_hashes" in tasks else ())
        for d in listed
    }
    rows: Any = tasks.loc
    for key in ("trained_on", "tuned_on"):
        for entry in getattr(submission, key):
            task = digests.get(entry, entry)
            if task in tasks.index:
                if members(family := rows[task, "family"]) & held_out:
                    raise Refused(f"submission.toml: {key} has {entry}, of family {family!r}, which is held out")
                if board.shift and (value := rows[task, board.shift.column]) in board.shift.test:
                    raise Refused(
                        f"submission.toml: {key} has {entry}, of {board.shift.column} {value!r}, which is held out"
                    )
            elif not (_DIGEST.fullmatch(entry) or _ELSEWHERE.fullmatch(entry)):
                raise Refused(
                    f"submission.toml: {key} has {entry!r}; expected a task of table {board.dataset}, "
                    "sha256:<digest of a split> or elsewhere:<what it is>"
                )


def _check_claimed(traces: pa.Table, claimed: list, board: Board, table: Table, task_ids: list[str]) -> None:
    stored = _stored(board, table, task_ids)
    for row, told in zip(traces.to_pylist(), claimed, strict=True):
        if told is None or len(told) != len(row["config_ids"]):
            raise Refused(f"traces.parquet: scores of {cell_named(row)} are not one a trial")
        for trial, (value, true) in enumerate(zip(told, stored(row), strict=True), 1):
            if not np.isclose(np.nan if value is None else value, true, rtol=1e-6, atol=1e-6, equal_nan=True):
                raise Refused(
                    f"traces.parquet: {cell_named(row)}, trial {trial}: claims {value}, the table says {true:.6g}"
                )


def _stored(board: Board, table: Table, task_ids: list[str]) -> Callable[[Mapping[str, Any]], list[float]]:
    """The function that looks up the score of every step of a trace."""
    from metabench.search.replay import CurveReplay, Replay

    if board.by_epochs:
        curves = CurveReplay.from_table(table, board.workload, task_ids)
        return lambda row: [
            curves.train(row["task_id"], config, epochs - 1, epochs, row["seed"])[-1]
            for config, epochs in zip(row["config_ids"], row["epochs"], strict=True)
        ]
    replay = Replay.from_table(table, board.workload, task_ids)
    return lambda row: [replay.score(row["task_id"], config, row["seed"]) for config in row["config_ids"]]


def _check_starts(traces: pa.Table, board: Board, table: Table) -> None:
    """The first trials of a start that gives some are those that it gives."""
    given = given_trials(board, table)
    for row in traces.select(["start", "task_id", "seed", "config_ids"]).to_pylist():
        expected = given(row["start"], row["task_id"], row["seed"])
        found = row["config_ids"][: len(expected)]
        if found != expected:
            raise Refused(f"traces.parquet: {cell_named(row)} begins with {found}; this start gives {expected}")


def given_trials(board: Board, table: Table) -> Callable[[str, str, int], list[int]]:
    """The function (start, task_id, seed) → the trials that the start gives."""
    from metabench.evaluation.run import bench_of
    from metabench.evaluation.worker import Group

    bench = bench_of([], board, table)
    return lambda start, task_id, seed: bench._start(Group("", start, task_id, {}), seed)


def _check_claims(submission: Submission, scores: Scores) -> None:
    start = scores.summary["start"].iloc[0]
    found = scores.summary[scores.summary["start"] == start].set_index("mark")["valid_regret"]
    for name, told in (submission.claims or {}).items():
        mark = int(name.removeprefix("regret@"))
        if mark not in found.index:
            raise Refused(f"submission.toml: claims.{name}: the board has no mark {mark}")
        if abs(found[mark] - told) > CLAIM_TOLERANCE:
            raise Refused(
                f"submission.toml: claims {name} = {told:.4f} from start {start}; recomputed: {found[mark]:.4f}"
            )


def cell_named(row: Mapping[str, Any]) -> str:
    return f"start {row['start']}, task {row['task_id']}, seed {row['seed']}"


def _with_cells(traces: pa.Table, board: Board) -> pa.Table:
    """The traces in canonical order, each with the hash of what it says as its key."""
    rows = sorted(traces.to_pylist(), key=lambda r: (board.starts.index(r["start"]), r["task_id"], r["seed"]))
    for row in rows:
        tried = row["configs" if board.is_live else "config_ids"]
        said = [board.digest, *(row[k] for k in ("method", "start", "task_id", "seed")), tried]
        if board.by_epochs:
            said += [row["epochs"]]
        row["cell"] = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    return pa.Table.from_pylist(rows, board.traces_schema)
