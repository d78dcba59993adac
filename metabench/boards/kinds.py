"""What a kind of board does in its own way: what its traces hold, what keys a cell, and who computes the searches.

Everything that evaluation asks of a kind is a method here. ``Board.kind`` gives the kind of a board.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from metabench import schema
from metabench.errors import UsageError
from metabench.evaluation import live
from metabench.evaluation.folded import FoldBench, keyed
from metabench.evaluation.methods import Method, resolve
from metabench.evaluation.ray_cluster import compute as on_ray
from metabench.evaluation.ray_cluster import compute_live as live_on_ray
from metabench.evaluation.run import EPOCHS_VERSION, PROTOCOL_VERSION, Outcome, compute
from metabench.evaluation.worker import Bench, Group
from metabench.search.base import Problem
from metabench.search.continuous import POOL
from metabench.search.fidelity import FidelitySearcher
from metabench.search.pools import PooledReplay, replay, searches
from metabench.search.replay import CurveReplay, fidelity_problems
from metabench.search.surrogate import SurrogateObjective

if TYPE_CHECKING:
    from metabench.boards.board import Board


@dataclass(frozen=True)
class Replayed:
    """Searches by full trainings that are looked up in a table."""

    board: Board

    traces_schema: ClassVar[pa.Schema] = schema.TRACES

    def refuse(self, method: Method) -> None:
        """Raise UsageError for a method that cannot search such a board."""
        if isinstance(method.searcher, FidelitySearcher):
            raise UsageError(
                f"method {method.name!r} trains in parts; board {self.board.name} counts full trainings alone"
            )

    def identity(self, table) -> list[Any]:
        """What all cells' keys begin with."""
        board = self.board
        sources = {part: board.tasks(table, part) for part in ("train", "valid")}
        common = [PROTOCOL_VERSION, board.digest_on(table), board.workload, board.objective, sources, board.budget]
        return [*common, *self._versions(), *([board.source_configs] if board.source_configs else [])]

    def _versions(self) -> list[Any]:
        return []

    def groups(self, methods: Sequence[Method], table) -> list[Group]:
        """All groups of cells of one workload, method by method, with the key of every cell."""
        board = self.board
        common, tail = self.identity(table), self._tail()
        starts = table.starts if "given5" in board.starts else {}
        held_out = board.tasks(table, "test")
        portfolio = resolve("portfolio")[0].fingerprint if "portfolio3" in board.starts else None
        groups = []
        for method in methods:
            for start in board.starts:
                for task_id in held_out:
                    given = {"portfolio3": portfolio, "given5": starts.get(task_id)}.get(start)
                    keys = {}
                    for seed in range(board.seeds):
                        text = json.dumps([*common, *tail, method.fingerprint, start, given, task_id, seed])
                        keys[seed] = hashlib.sha256(text.encode()).hexdigest()
                    groups.append(Group(method.name, start, task_id, keys))
        return groups

    def _tail(self) -> list[Any]:
        return []

    def bench(self, methods: Sequence[Method], table) -> Any:
        """What the searches need."""
        board, tasks = self.board, self.board.tasks(table, "test")
        objective = replay(table, board.workload, tasks)
        problems = searches(table, board.workload, objective, board.budget)
        return Bench(_searchers(methods), board.source(table), problems, objective)

    def work(self, methods: Sequence[Method], table) -> Work:
        """How the searches are computed."""
        return Work(partial(self.bench, methods, table), compute, on_ray)


@dataclass(frozen=True)
class Epochs(Replayed):
    """Searches that may train configurations in parts, looked up in learning curves; epochs are counted."""

    def refuse(self, method: Method) -> None:
        return

    def _versions(self) -> list[Any]:
        return [self.board.track, EPOCHS_VERSION]

    def bench(self, methods: Sequence[Method], table) -> Bench:
        board, tasks = self.board, self.board.tasks(table, "test")
        objective = CurveReplay.from_table(table, board.workload, tasks)
        problems: Mapping[str, Problem] = fidelity_problems(table, board.workload, objective, tasks, board.budget)
        return Bench(_searchers(methods), board.source(table), problems, objective)


@dataclass(frozen=True)
class Live(Replayed):
    """Searches over the continuous space, whose trials are trained, or answered by a surrogate in a rehearsal."""

    traces_schema: ClassVar[pa.Schema] = schema.LIVE

    def _tail(self) -> list[Any]:
        return [live.LIVE_VERSION, POOL, schema.NUMERICS_VERSION]

    def bench(self, methods: Sequence[Method], table) -> live.LiveBench:
        return live.LiveBench.of(_searchers(methods), self.board, table)

    def work(self, methods: Sequence[Method], table) -> Work:
        board, rehearsal = self.board, None
        if board.objective == "surrogate":
            rehearsal = SurrogateObjective.from_table(table, board.workload, board.tasks(table, "test"))
        errors = (
            None
            if rehearsal is None
            else [{str(k): v for k, v in row.items()} for row in rehearsal.errors.to_dict("records")]
        )
        made = partial(live.LiveBench.of, _searchers(methods), board, table, rehearsal)
        return Work(made, live.compute, live_on_ray, errors)


@dataclass(frozen=True)
class Folded(Replayed):
    """Searches of protocol 3: every task is held out in turn, and a search sees one replicate."""

    traces_schema: ClassVar[pa.Schema] = schema.FOLDED

    def identity(self, table) -> list[Any]:
        raise UsageError(f"board {self.board.name} of protocol 3 keys its cells by what each search sees")

    def groups(self, methods: Sequence[Method], table) -> list[Group]:
        from metabench.boards.judge import dealt

        board, design, bench = self.board, self.board.design, self._bench(table)
        assert design is not None
        parts = dealt(board, table)
        held = {fold.name: narrow.tasks(table, "test") for fold, narrow in parts}
        cells: dict[str, dict[int, int]] = {}
        for fold, _ in parts:
            found = {s: design.cell(s, board.seeds) for s in range(board.seeds)}
            cells[fold.name] = {s: c.fit_seed for s, c in found.items() if c.partition == fold.partition}
        return keyed(methods, bench, held, cells)

    def bench(self, methods: Sequence[Method], table) -> FoldBench:
        made = copy.copy(self._bench(table))
        made.searchers = _searchers(methods)
        return made

    def _bench(self, table) -> FoldBench:
        """The bench without methods; the last one is kept, since groups and searches both need it."""
        global _last
        if _last is None or _last[0] is not table or _last[1] != self.board:
            _last = table, self.board, self._made(table)
        return _last[2]

    def _made(self, table) -> FoldBench:
        from metabench.boards import folds
        from metabench.boards.judge import dealt, objective_of
        from metabench.direction import sign
        from metabench.scores import references

        board = self.board
        assert board.design is not None
        known = references.read(board.path)
        ids = [t for t in table.tasks["task_id"].tolist() if t in known]
        sides, _ = objective_of(table, board.workload, ids, known, board.design.sees)
        configs, space = table.configs(board.workload), table.space(board.workload)
        signs = [sign(table.task_info(t).direction) for t in ids]
        everything = np.ones((len(ids), len(configs)), dtype=bool)
        pools = [np.flatnonzero(there) for there in (everything if sides.pool is None else sides.pool)]
        objective = PooledReplay(ids, sides.seen * np.array(signs)[:, None, None], pools, {})
        problems = {
            task_id: Problem(
                space,
                table.task_info(task_id),
                configs.iloc[pool].reset_index(drop=True),
                min(board.budget, len(pool)),
                stream="3",
            )
            for task_id, pool in objective.pools.items()
        }
        frame = table.tasks[table.tasks["workload"] == board.workload]
        sources = {fold.name: folds.sources(fold, frame) for fold, _ in dealt(board, table, known)}
        every = list(dict.fromkeys(t for ids in sources.values() for t in ids))
        at = {t: i for i, t in enumerate(every)}
        learned = table.meta_train(board.workload, every)
        return FoldBench({}, learned, {f: [at[t] for t in ids] for f, ids in sources.items()}, problems, objective)


#: the last bench of protocol 3, with its table and board
_last: tuple[Any, Board, FoldBench] | None = None


@dataclass(frozen=True)
class Work:
    """How the missing searches of an evaluation are computed."""

    #: makes what the searches need
    bench: Callable[[], Any]
    #: computes groups here, with so many workers, or on a Ray cluster
    here: Callable[[list[Group], dict[str, str], Callable[[], Any], int], Iterator[Outcome]]
    on_ray: Callable[[list[Group], dict[str, str], Callable[[], Any]], Iterator[Outcome]]
    #: the error of the surrogate that answers, if one does
    surrogate: Sequence[Mapping[str, Any]] | None = None


def kind_of(board: Board) -> Replayed:
    """The kind of a board, by its rules."""
    if board.design is not None:
        return Folded(board)
    if board.is_live:
        return Live(board)
    return (Epochs if board.by_epochs else Replayed)(board)


def _searchers(methods: Sequence[Method]) -> dict[str, Any]:
    return {m.name: m.searcher for m in methods}
