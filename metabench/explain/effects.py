"""How a score moves with one hyperparameter or two, all others averaged over the space: partial dependence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.explain.cases import forests, over_families, source_of
from metabench.explain.fanova import Forest
from metabench.metatrain import TaskInfo
from metabench.registry import suggest


def effect(
    table,
    workload: str,
    hyperparameter: str,
    other: str | None = None,
    tasks: Sequence[str] | None = None,
    target: str = "rank",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Partial dependence on one hyperparameter, or on two, over the tasks of a table.

    Numbers are evaluated in the middles of 32 equal steps of their scale. A conditional hyperparameter is shown where it is
    active.

    Args:
        table: A table.
        workload: Whose hyperparameters.
        hyperparameter: The one whose effect is asked for.
        other: A second one, for their joint effect.
        tasks: Tasks to average over; None for all.
        target: ``rank`` or ``score`` (:func:`metabench.explain.cases.targets`).
        seed: Seed of the forests and of the bootstrap.
        progress: Called with (tasks done, tasks).

    Returns:
        A row per value or pair of values. ``value`` and ``other_value`` are in native units. ``effect`` is the expected
        target minus the task's mean, averaged over families, with its 95 % interval ``low`` and ``high`` (NaN with one
        family). ``tasks`` is the number of tasks.

    Raises:
        UsageError: A workload, task, hyperparameter or target does not exist, or the two hyperparameters are never active
            together.
    """
    source = source_of(table, workload, tasks)
    names = [hyperparameter] if other is None else [hyperparameter, other]
    check(source, names)
    curves = [
        curve_of(info, forest, names) for info, forest in forests(source, target, seed, progress) if has(forest, names)
    ]
    return average(curves, names)


def check(source, names: Sequence[str]) -> None:
    """Raises UsageError for a hyperparameter that the source's space has not, one named twice, or one that no task uses."""
    known = {name for info in source.tasks for name in source.space.for_task(info.kind)}
    for name in names:
        if name not in source.space:
            raise suggest(name, list(source.space), "hyperparameter")
        if name not in known:
            raise UsageError(f"hyperparameter {name} has no effect on tasks of this kind")
    if len(set(names)) < len(names):
        raise UsageError(f"{names[0]} is named twice; an interaction is of two different hyperparameters")


def has(forest: Forest, names: Sequence[str]) -> bool:
    return all(name in forest.grid.place for name in names)


def curve_of(info: TaskInfo, forest: Forest, names: Sequence[str]) -> dict[str, Any]:
    """One task's partial dependence: values of each axis, and ``effect`` [values …] around the task's mean."""
    values = [forest.grid.axes[forest.grid.place[name]].values for name in names]
    found = forest.marginal(names, where_active=True) - forest.mean
    return {"task_id": info.task_id, "family": info.family, "values": values, "effect": found}


def average(curves: Sequence[dict[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    """Curves of several tasks → one row per value (pair of values), see :func:`effect`."""
    stacked = np.stack([curve["effect"].ravel() for curve in curves], axis=-1)  # [values, tasks]
    mean, low, high = over_families([curve["family"] for curve in curves], stacked)
    values = curves[0]["values"]
    at = np.stack(np.meshgrid(*[np.arange(len(v)) for v in values], indexing="ij"), axis=-1).reshape(-1, len(values))
    columns = {
        column: [values[k][i] for i in at[:, k]] for k, column in zip(range(len(names)), ("value", "other_value"))
    }
    return pd.DataFrame(columns | {"effect": mean, "low": low, "high": high, "tasks": len(curves)})
