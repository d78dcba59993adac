"""The replay objective: a trial's score is looked up in a table's stored rows, nothing is trained.

A search with seed s sees the runs of one table seed (s modulo their number), so its observations are those of a user
who trains every configuration once.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Sequence

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.search.base import Problem
from metabench.search.fidelity import FidelityProblem


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

    def configs(self, task_id: str, candidates: Sequence[int]) -> list[int]:
        """The configurations that candidates of a task are."""
        return list(candidates)

    def first(self, task_id: str, seed: int) -> list[int]:
        """The first trials that the table prescribes for a search. Raises MetabenchError where it prescribes none."""
        raise MetabenchError(f"the table prescribes no first trials for task {task_id}")

    def lookup(self, tasks, candidates, seeds) -> np.ndarray:
        """Raw scores of many trials: positions of tasks and candidates and search seeds, broadcast together."""
        return self.scores[np.asarray(tasks), np.asarray(candidates), np.asarray(seeds) % self.n_seeds]


class CurveReplay(Replay):
    """Stored learning curves: what training a configuration in part shows, and what it costs.

    ``curves`` is float64 [tasks, candidates, seeds, checkpoints], raw scores, NaN from where a run diverged on;
    ``seconds`` [tasks, candidates, seeds] is the time of one epoch of a run: its stored seconds, evenly over the epochs
    up to the checkpoint at which it ended. ``checkpoints`` are each task's, in epochs; where a task has fewer than
    another, its curves end with NaN that nobody asks for.
    """

    def __init__(self, task_ids, curves: np.ndarray, checkpoints: Sequence[Sequence[int]], seconds: np.ndarray):
        self.curves = np.asarray(curves, dtype=np.float64)
        self._checkpoints = [tuple(map(int, some)) for some in checkpoints]
        self.seconds = np.asarray(seconds, dtype=np.float64)
        last = [len(some) - 1 for some in self._checkpoints]
        super().__init__(task_ids, np.stack([curve[..., end] for curve, end in zip(self.curves, last, strict=True)]))

    @classmethod
    def from_table(cls, table, workload: str, task_ids: Sequence[str], series: str = "valid_score") -> CurveReplay:
        """Read the rows of a table once.

        Raises MetabenchError as :meth:`Replay.from_table` does, and when runs of a task have different checkpoints.
        """
        final = Replay.from_table(table, workload, task_ids, series)
        curves = table.curves(workload, list(task_ids), series).astype(np.float64)
        columns = ["task_id", "config_id", "seed", "epochs", "seconds"]
        rows = table.runs(workload, columns, list(task_ids)).to_pandas()
        checkpoints: list[tuple[int, ...]] = []
        for task_id, epochs in ((t, rows.loc[rows["task_id"] == t, "epochs"]) for t in task_ids):
            longest = tuple(max(epochs, key=len))
            if any(tuple(some) != longest[: len(some)] for some in epochs):
                raise MetabenchError(f"table {table.name}: runs of task {task_id} have different checkpoints")
            checkpoints.append(longest)
        seconds = np.zeros(final.scores.shape)
        places = rows["task_id"].map(final._at).astype(int), rows["config_id"], rows["seed"]
        seconds[tuple(np.asarray(place) for place in places)] = rows["seconds"].fillna(0.0)
        for t, grid in enumerate(checkpoints):
            curve = curves[t, ..., : len(grid)]
            curve[..., -1] = final.scores[t]  # a run that is not ok has no final score
            lost = np.isnan(curve)
            curve[np.logical_or.accumulate(lost, axis=-1)] = np.nan
            seconds[t] /= np.asarray(grid)[np.where(lost.any(axis=-1), lost.argmax(axis=-1), len(grid) - 1)]
        return cls(task_ids, curves, checkpoints, seconds)

    def checkpoints(self, task_id: str) -> tuple[int, ...]:
        """Epochs at which runs of a task were scored, ascending."""
        return self._checkpoints[self._at[task_id]]

    def train(self, task_id: str, candidate: int, begin: int, end: int, seed: int) -> list[float]:
        """Raw scores at the checkpoints after ``begin`` up to ``end`` epochs, to the first that is NaN: divergence."""
        grid = self.checkpoints(task_id)
        first, last = bisect(grid, begin), bisect(grid, end)
        scores = self.curves[self._at[task_id], candidate, seed % self.n_seeds, first:last].tolist()
        diverged = next((i for i, score in enumerate(scores) if score != score), len(scores))
        return scores[: diverged + 1]

    def epoch_seconds(self, task_id: str, candidate: int, seed: int) -> float:
        """What an epoch of a run takes."""
        return self.seconds.item(self._at[task_id], candidate, seed % self.n_seeds)


def problems(table, workload: str, task_ids: Sequence[str], budget: int) -> dict[str, Problem]:
    """The searches on some tasks of a table by task id; they share one pool, the workload's configuration table.

    Raises UsageError when the budget exceeds the pool.
    """
    space, pool = table.space(workload), table.configs(workload)
    if budget > len(pool):
        raise UsageError(f"budget {budget} exceeds the {len(pool)} configurations of workload {workload}")
    return {task_id: Problem(space, table.task_info(task_id), pool, budget) for task_id in task_ids}


def fidelity_problems(
    table, workload: str, replay: CurveReplay, task_ids: Sequence[str], budget: int
) -> dict[str, FidelityProblem]:
    """The same where epochs are counted, ``budget`` full trainings of them, and scores are seen at checkpoints."""
    return {
        task_id: FidelityProblem(p.space, p.task, p.candidates, p.budget, replay.checkpoints(task_id))
        for task_id, p in problems(table, workload, task_ids, budget).items()
    }
