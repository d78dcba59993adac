"""Searches that reports make themselves, under the boards' protocol, and those that a board has published."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench import direction
from metabench.boards.plan import published_traces
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import resolve
from metabench.evaluation.store import completed
from metabench.evaluation.worker import one_thread
from metabench.metatrain import MetaTrain
from metabench.scores.paths import Cells, gather
from metabench.scores.regret import Reference
from metabench.search import loop
from metabench.search.base import Problem, Searcher
from metabench.search.replay import Replay, problems

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.publishing.reports.base import ReportContext
    from metabench.table import Table


def unfitted(name: str) -> Searcher:
    """A method by name with its default settings. Raises UsageError for one that is unknown or cannot run here."""
    (method,) = resolve(name)
    if method.lacks:
        raise UsageError(f"method {name!r} {method.lacks}")
    return method.searcher


def twin_of(name: str) -> str:
    """The method that does the same without transfer. Raises UsageError for a method that has none."""
    twin = unfitted(name).twin
    if twin is None:
        raise UsageError(f"method {name!r} has no twin without transfer")
    return twin


def fitted(name: str, source: MetaTrain) -> Searcher:
    """A method by name that has learned from source tasks, with one thread as on the boards."""
    with one_thread():
        return copy.deepcopy(unfitted(name)).fit(source)


def _score(objective: Replay, task_id: str, seed: int, candidate: int) -> float:
    return objective.score(task_id, candidate, seed)


def search(
    searcher: Searcher,
    held: Mapping[str, Problem],
    objective: Replay,
    task_ids: Sequence[str],
    seeds: Sequence[int],
    trials: int,
) -> np.ndarray:
    """Configurations that a fitted searcher tries, int [tasks, seeds, trials]; ``held`` has the problem of every task."""
    out = np.empty((len(task_ids), len(seeds), trials), dtype=np.int64)
    with one_thread():
        for t, task_id in enumerate(task_ids):
            for s, seed in enumerate(seeds):
                score = partial(_score, objective, task_id, seed)
                out[t, s] = loop.search(searcher, held[task_id], seed, score, trials=trials).tried
    return out


def reference(table: Table, workload: str, task_ids: Sequence[str]) -> Reference:
    """What regret on some tasks is measured against; larger is better."""
    sign = np.array([direction.sign(table.task_info(t).direction) for t in task_ids])[:, None, None]
    return Reference(*(sign * table.final(workload, list(task_ids), s) for s in ("valid_score", "test_score")))


@dataclass(frozen=True)
class Ground:
    """Everything that searches on some tasks of a table need, read once."""

    task_ids: list[str]
    families: list[str]
    problems: Mapping[str, Problem]
    objective: Replay
    reference: Reference

    @classmethod
    def of(cls, table: Table, workload: str, task_ids: Sequence[str], budget: int) -> Ground:
        ids = list(task_ids)
        families = [table.task_info(t).family for t in ids]
        held, objective = problems(table, workload, ids, budget), Replay.from_table(table, workload, ids)
        return cls(ids, families, held, objective, reference(table, workload, ids))

    def only(self, rows: np.ndarray) -> Ground:
        """The ground of some of the tasks (positions)."""
        ids, seen = [self.task_ids[i] for i in rows], self.reference
        part = Reference(seen.valid[rows], seen.test[rows], None if seen.pool is None else seen.pool[rows])
        return Ground(ids, [self.families[i] for i in rows], self.problems, self.objective, part)

    def regrets(self, searcher: Searcher, seeds: Sequence[int], trials: int) -> np.ndarray:
        """Valid regret of a fitted searcher's incumbents, float64 [tasks, seeds, trials]."""
        configs = search(searcher, self.problems, self.objective, self.task_ids, seeds, trials)
        return self.reference.regrets(configs[None], np.asarray(seeds)).valid[0]


def one_workload(board: Board, table: Table) -> str:
    """The board's workload. Raises UsageError where it has several, or is not about full trainings looked up in a table."""
    board.require_split("reports")
    if board.workload not in table.workloads or board.by_epochs or board.is_live or board.track != "search":
        raise UsageError(f"board {board.name}: this report needs searches of one workload by stored full trainings")
    return board.workload


@dataclass(frozen=True)
class Published:
    """A board's published searches from their own first trials."""

    cells: Cells
    families: list[str]
    reference: Reference
    start: str

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.cells.groups]

    def regrets(self) -> np.ndarray:
        """Valid regret, float64 [methods, tasks, seeds, trials]."""
        return self.reference.regrets(self.cells.configs, self.cells.seeds).valid


def traces_of(board: Board) -> pa.Table:
    """A board's published traces from each method's own first trials (or the board's first start). Raises MetabenchError
    where there are none."""
    traces = published_traces(board) if board.path is not None else pa.table({})
    if not traces.num_rows:
        raise MetabenchError(f"board {board.name} has no published traces on this table; this report needs them")
    return traces.filter(pc.equal(traces["start"], _start(board)))


def _start(board: Board) -> str:
    return "own" if "own" in board.starts else board.starts[0]


def published(given: ReportContext) -> Published:
    """What the board of a report has published. Raises MetabenchError where it has nothing."""
    board, table = given.rules, given.table
    workload = one_workload(board, table)
    mine = completed(traces_of(board))
    ids = board.tasks(table, "test")
    seen = reference(table, workload, ids)
    families = [table.task_info(t).family for t in ids]
    return Published(gather(mine, ids, board, n_configs=seen.valid.shape[1]), families, seen, _start(board))
