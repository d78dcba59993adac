"""A table's tasks as the regression problems that an explanation is about: configurations in, one number each out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from metabench.errors import UsageError
from metabench.explain.fanova import Forest
from metabench.explain.grid import Grid
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.registry import suggest
from metabench.scores.aggregate import Hierarchy

#: what is explained → in words
TARGETS = {
    "rank": "normal scores of the ranks within a task",
    "score": "validation scores, poor ones pulled up",
}


def source_of(table, workload: str, tasks: Sequence[str] | None = None) -> MetaTrain:
    """The tasks of a workload (all, or those named) with all that was observed on them.

    Raises UsageError for a workload or task that the table does not hold, or when there is none.
    """
    table.space(workload)  # an unknown workload is told first
    known = table.tasks.loc[table.tasks["workload"] == workload, "task_id"].tolist()
    for task_id in tasks or ():
        if task_id not in known:
            raise suggest(task_id, known, f"task of {workload} in table {table.name}")
    chosen = list(dict.fromkeys(known if tasks is None else tasks))
    if not chosen:
        raise UsageError(f"table {table.name} has no task of {workload}")
    return table.meta_train(workload, chosen)


def targets(source: MetaTrain, target: str = "rank") -> np.ndarray:
    """What is explained, float64 [tasks, configs], larger is better, NaN where a configuration was not run.

    ``rank``: standard-normal scores of the ranks within the task; a diverged run ranks last. ``score``: the metric's own
    units (negated where smaller is better); those further below the median than three times the best is above it, and
    diverged runs, are pulled up to there, or a few failures would be all that there is to explain.
    Raises UsageError for another target.
    """
    if target not in TARGETS:
        raise suggest(target, list(TARGETS), "target")
    if target == "rank":
        return source.normal_scores
    out = np.where(source.seen, -np.inf, np.nan)
    np.copyto(out, source.utility, where=~np.isnan(source.utility))
    for row in out:
        finite = np.isfinite(row)
        if not finite.any():
            row[~np.isnan(row)] = 0.0
            continue
        median, best = np.median(row[finite]), row[finite].max()
        row[~np.isnan(row)] = np.maximum(row[~np.isnan(row)], median - 3.0 * max(best - median, 1e-12))
    return out


def forests(
    source: MetaTrain, target: str = "rank", seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[TaskInfo, Forest]]:
    """Each task with a forest fitted to it. Hyperparameters that the workload ignores on its kind of task are left out.

    ``progress`` is told (tasks done, tasks).
    """
    y = targets(source, target)
    grids: dict[str, tuple[Grid, np.ndarray]] = {}
    for done, (info, row) in enumerate(zip(source.tasks, y, strict=True)):
        if progress is not None:
            progress(done, len(y))
        if info.kind not in grids:
            grid = Grid.of(source.space.for_task(info.kind))
            grids[info.kind] = grid, grid.codes(source.configs)
        grid, codes = grids[info.kind]
        seen = ~np.isnan(row)
        try:
            yield info, Forest(grid, codes[seen], row[seen], seed)
        except UsageError as error:
            raise UsageError(f"task {info.task_id}: {error}") from None


def over_families(families: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over families of data sets and its 95 % bootstrap interval, each [...], of values [..., tasks].

    With one family there is no interval: NaN.
    """
    hierarchy = Hierarchy.build(families, seeds=1, cut=0.0)
    cells = np.asarray(values, dtype=float)[..., None]
    return hierarchy.estimate(cells), *hierarchy.interval(cells)
