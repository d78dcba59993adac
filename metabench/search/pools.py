"""Pools of single tasks, for imported tables on whose tasks not every configuration was run.

A task's pool is what was run on it, with any seed, in the order of the configuration table; a configuration that has
fewer seeds than others answers with those that it has, in turn. In tables of our own an absent run is a fault, and
:class:`~metabench.search.replay.Replay` refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

import numpy as np

from metabench.errors import MetabenchError
from metabench.metatrain import MetaTrain
from metabench.search.base import Problem
from metabench.search.replay import Replay, problems


@dataclass(frozen=True)
class Pools:
    """What was run on some tasks: bool [tasks, configs, seeds]."""

    ran: np.ndarray

    @classmethod
    def of(cls, table, workload: str, task_ids: Sequence[str]) -> Pools | None:
        """The pools of an imported table's tasks; None where all share one, the whole configuration table."""
        if not imported(table, task_ids):
            return None
        ran = table.ran(workload, task_ids)
        return None if ran.all() else cls(ran)

    @property
    def tried(self) -> np.ndarray:
        """Can the configuration be tried on the task? bool [tasks, configs]."""
        return np.asarray(self.ran.any(axis=2))

    def configs(self, task: int) -> np.ndarray:
        """The configurations of one task's pool, ascending."""
        return np.flatnonzero(self.tried[task])

    def answers(self, scores: np.ndarray) -> np.ndarray:
        """Scores [tasks, configs, seeds] in which a seed that was not run is answered by one that was."""
        order = np.argsort(~self.ran, axis=2, kind="stable")
        count = np.maximum(self.ran.sum(axis=2, keepdims=True), 1)
        seeds = np.take_along_axis(order, np.arange(scores.shape[2]) % count, axis=2)
        return np.take_along_axis(scores, seeds, axis=2)


def imported(table, task_ids: Sequence[str]) -> bool:
    """Do all of these tasks come from a peer's files?"""
    mine = table.tasks[table.tasks["task_id"].isin(list(task_ids))]
    return "source" in mine and bool(mine["source"].str.startswith("import:").all())


class PooledReplay(Replay):
    """A replay whose candidates are positions in the pool of their task.

    ``pools`` gives each task's configurations; ``given`` the first trials that the table prescribes for a task's
    searches, as positions in its pool.
    """

    def __init__(
        self, task_ids: Sequence[str], scores: np.ndarray, pools: Sequence[np.ndarray], given: Mapping[str, list]
    ):
        super().__init__(task_ids, scores)
        self.pools = {task_id: np.asarray(pool) for task_id, pool in zip(self.task_ids, pools, strict=True)}
        self.given = dict(given)

    @classmethod
    def from_table(cls, table, workload: str, task_ids: Sequence[str], series: str = "valid_score") -> PooledReplay:
        """Read the rows of a table once. Raises MetabenchError when a task has no finite score with some seed."""
        found = Pools.of(table, workload, task_ids)
        scores = table.final(workload, list(task_ids), series)
        scores = scores if found is None else found.answers(scores)
        empty = ~np.isfinite(scores).any(axis=1)
        if empty.any():
            task, seed = np.argwhere(empty)[0]
            raise MetabenchError(f"table {table.name}: task {task_ids[task]} has no finite {series} with seed {seed}")
        whole = np.arange(scores.shape[1])
        pools = [whole if found is None else found.configs(t) for t in range(len(task_ids))]
        return cls(task_ids, scores, pools, given(table, dict(zip(task_ids, pools, strict=True))))

    def score(self, task_id: str, candidate: int, seed: int) -> float:
        """The raw score of one trial: of a position in the task's pool."""
        return super().score(task_id, self.pools[task_id][candidate], seed)

    def configs(self, task_id: str, candidates: Sequence[int]) -> list[int]:
        return self.pools[task_id][np.asarray(candidates, dtype=int)].tolist()

    def first(self, task_id: str, seed: int) -> list[int]:
        searches = self.given.get(task_id)
        return list(searches[seed % len(searches)]) if searches else super().first(task_id, seed)


def given(table, pools: Mapping[str, np.ndarray]) -> dict[str, list[list[int]]]:
    """Task → for each search the positions in the task's pool of the first trials that the table prescribes.

    Raises MetabenchError when one of them is not in the pool.
    """
    out: dict[str, list[list[int]]] = {}
    for task_id, pool in pools.items():
        for name, ids in table.starts.get(task_id, {}).items():
            at = np.searchsorted(pool, ids)
            if (at >= len(pool)).any() or (pool[at] != ids).any():
                raise MetabenchError(f"table {table.name}: {task_id}, search {name} begins outside of the task's pool")
            out.setdefault(task_id, []).append(at.tolist())
    return out


def replay(table, workload: str, task_ids: Sequence[str]) -> Replay:
    """The stored scores of some tasks, with pools of their own where the table has such."""
    kind = PooledReplay if imported(table, task_ids) else Replay
    return kind.from_table(table, workload, task_ids)


def searches(table, workload: str, objective: Replay, budget: int) -> dict[str, Problem]:
    """The searches on an objective's tasks by task id; one whose pool is smaller than the budget ends with its pool.

    Raises UsageError when all tasks share a pool and the budget exceeds it.
    """
    if not isinstance(objective, PooledReplay):
        return problems(table, workload, objective.task_ids, budget)
    space, configs = table.space(workload), table.configs(workload)
    return {
        task_id: Problem(
            space, table.task_info(task_id), configs.iloc[pool].reset_index(drop=True), min(budget, len(pool))
        )
        for task_id, pool in objective.pools.items()
    }


def thinned(source: MetaTrain, most: int) -> MetaTrain:
    """A source with at most ``most`` configurations: of every task equally many of those run on it, drawn at random.

    The draw depends on the sizes alone; meta-validation tasks have their share. A source that is small enough stays.
    """
    if len(source.configs) <= most:
        return source
    seen = source.seen if source.valid is None else np.concatenate([source.seen, source.valid.seen])
    rng = np.random.default_rng([most, *seen.shape])
    # one configuration of each task in turn, until there are enough
    orders = [rng.permutation(np.flatnonzero(row)) for row in seen]
    longest = max(map(len, orders))
    turns = [order[i] for i in range(longest) for order in orders if i < len(order)]
    kept = np.sort(list(dict.fromkeys(turns))[:most])
    return _columns(source, kept)


def _columns(source: MetaTrain, kept: np.ndarray) -> MetaTrain:
    # of every source that has them, those that kept learning curves, too
    cells = {name: getattr(source, name, None) for name in ("scores", "seconds", "observed", "curves")}
    return changed(
        source,
        configs=source.configs.iloc[kept].reset_index(drop=True),
        valid=None if source.valid is None else _columns(source.valid, kept),
        **{name: values[:, kept] for name, values in cells.items() if values is not None},
    )
