"""The replay objective: a trial's score is looked up in a table's stored rows, nothing is trained.

A search with seed s sees the runs of one table seed (s modulo their number), so its observations are those of a user
who trains every configuration once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.search.base import Problem


class Replay:
    """Stored validation scores of some tasks of one workload, raw; NaN where a run diverged or failed.

    ``scores`` is float64 [tasks, candidates, seeds]; candidates are the rows of the workload's configuration table.
    """

    def __init__(self, task_ids: Sequence[str], scores: np.ndarray):
        self.task_ids = list(task_ids)
        self.scores = np.ascontiguousarray(scores, dtype=np.float64)
        self.n_seeds = self.scores.shape[2]
        self._at = {task_id: i for i, task_id in enumerate(self.task_ids)}

    @classmethod
    def from_table(cls, table, workload: str, task_ids: Sequence[str], series: str = "valid_score") -> Replay:
        """Read the rows of a table once.

        Raises MetabenchError for a task that lacks runs (an absent run is not a diverged one), or has no finite score
        with some seed.
        """
        scores = table.final(workload, list(task_ids), series)
        counts = Counter(table.runs(workload, ["task_id"], list(task_ids))["task_id"].to_pylist())
        for task_id in task_ids:
            if counts[task_id] < (expected := scores.shape[1] * scores.shape[2]):
                raise MetabenchError(f"table {table.name}: task {task_id} has {counts[task_id]} of {expected} runs")
        empty = ~np.isfinite(scores).any(axis=1)
        if empty.any():
            task, seed = np.argwhere(empty)[0]
            raise MetabenchError(f"table {table.name}: task {task_ids[task]} has no finite {series} with seed {seed}")
        return cls(task_ids, scores)

    def score(self, task_id: str, candidate: int, seed: int) -> float:
        """The raw score of one trial of the search with this seed."""
        return self.scores.item(self._at[task_id], candidate, seed % self.n_seeds)

    def lookup(self, tasks, candidates, seeds) -> np.ndarray:
        """Raw scores of many trials: positions of tasks and candidates and search seeds, broadcast together."""
        return self.scores[np.asarray(tasks), np.asarray(candidates), np.asarray(seeds) % self.n_seeds]


def problems(table, workload: str, task_ids: Sequence[str], budget: int) -> dict[str, Problem]:
    """The searches on some tasks of a table by task id; they share one pool, the workload's configuration table.

    Raises UsageError when the budget exceeds the pool.
    """
    space, pool = table.space(workload), table.configs(workload)
    if budget > len(pool):
        raise UsageError(f"budget {budget} exceeds the {len(pool)} configurations of workload {workload}")
    return {task_id: Problem(space, table.task_info(task_id), pool, budget) for task_id in task_ids}
