"""Which hyperparameters matter: functional ANOVA on each task of a table, and over its tasks with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.explain.cases import forests, over_families, source_of
from metabench.explain.effects import average, curve_of
from metabench.explain.fanova import Forest
from metabench.metatrain import TaskInfo

#: columns of :func:`importance`
COLUMNS = ["task_id", "family", "hyperparameter", "interacts_with", "share", "total", "r2"]


def importance(
    table, workload: str, tasks: Sequence[str] | None = None, target: str = "rank", seed: int = 0
) -> pd.DataFrame:
    """Importance of hyperparameters by functional ANOVA (:mod:`metabench.explain.fanova`).

    A hyperparameter that the workload ignores on a kind of task has no row there.

    Args:
        table: A table.
        workload: Whose hyperparameters.
        tasks: Tasks to use; None for all.
        target: ``rank`` or ``score`` (:func:`metabench.explain.cases.targets`).
        seed: Seed of the forests.

    Returns:
        A row per task and hyperparameter, and per task and pair (``interacts_with``, "" for a single one). ``share`` is the
        share of the variance over the space that it explains alone; for a pair, beyond both alone. ``total`` includes all
        its interactions (NaN for pairs). ``r2`` is the variance that the forest explains on configurations it did not see;
        shares refer to the forest's variance.

    Raises:
        UsageError: A workload, task or target does not exist, or a task has fewer than eight configurations.
    """
    return survey(table, workload, tasks, target, seed)[0]


def survey(
    table,
    workload: str,
    tasks: Sequence[str] | None = None,
    target: str = "rank",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """:func:`importance`, and from the same forests the effect of every hyperparameter.

    Args:
        table: the table of runs.
        workload: the network that was trained.
        tasks: tasks to look at; None: all of the workload.
        target: ``rank`` or ``score``.
        seed: seed of the forests and of the bootstrap.
        progress: called with (tasks done, tasks).

    Returns:
        The frame of :func:`importance`, and for each hyperparameter the frame of :func:`metabench.explain.effect`.

    Raises:
        UsageError: As :func:`importance`.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[dict[str, Any]]] = {}
    for info, forest in forests(source_of(table, workload, tasks), target, seed, progress):
        rows += shares_of(info, forest)
        for name in forest.grid.place:
            curves.setdefault(name, []).append(curve_of(info, forest, [name]))
    return pd.DataFrame(rows, columns=COLUMNS), {name: average(found, [name]) for name, found in curves.items()}


def shares_of(info: TaskInfo, forest: Forest) -> list[dict[str, Any]]:
    """One task's rows of :func:`importance`."""
    shares, names = forest.decompose(), [axis.name for axis in forest.grid.axes]
    head = {"task_id": info.task_id, "family": info.family}
    rows = [
        {**head, "hyperparameter": n, "interacts_with": "", "share": s, "total": t, "r2": shares.r2}
        for n, s, t in zip(names, shares.main, shares.total, strict=True)
    ]
    return rows + [
        {**head, "hyperparameter": names[i], "interacts_with": names[j], "share": s, "total": np.nan, "r2": shares.r2}
        for (i, j), s in zip(forest.grid.pairs, shares.pairs, strict=True)
    ]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Over the tasks of :func:`importance`: means over families with 95 % bootstrap intervals, largest share first.

    Args:
        frame: what :func:`importance` returned.

    Returns:
        A frame with columns hyperparameter, interacts_with, share, low, high, total, total_low, total_high, tasks, families;
        the interval is NaN with a single family.
    """
    rows = []
    for (name, other), part in frame.groupby(["hyperparameter", "interacts_with"], sort=False):
        share, low, high = over_families(part["family"].tolist(), part["share"].to_numpy())
        total, total_low, total_high = over_families(part["family"].tolist(), part["total"].to_numpy())
        rows.append(
            {
                "hyperparameter": name,
                "interacts_with": other,
                "share": share,
                "low": low,
                "high": high,
                "total": total,
                "total_low": total_low,
                "total_high": total_high,
                "tasks": len(part),
                "families": part["family"].nunique(),
            }
        )
    out = pd.DataFrame(rows).sort_values("share", ascending=False, kind="stable", ignore_index=True)
    numbers = ["share", "low", "high", "total", "total_low", "total_high"]
    return out.astype(dict.fromkeys(numbers, float))
