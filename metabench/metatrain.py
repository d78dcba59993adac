"""What a meta-model learns from: source tasks, what may be known of them, and everything observed on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from metabench.space import Space


@dataclass(frozen=True)
class TaskInfo:
    """What may be known of a task before anything is trained on it."""

    task_id: str
    family: str
    modality: str
    workload: str
    kind: str
    metric: str
    direction: str
    features: Mapping[str, float]


@dataclass(frozen=True)
class MetaTrain:
    """Source tasks with everything that was observed on them: what a meta-model learns from.

    ``scores`` is float64 [tasks, configs, seeds], raw validation scores at the last checkpoint; NaN where a run
    diverged or is absent. All source tasks share the configuration table. ``valid`` holds the meta-validation tasks
    (for early stopping, calibration and choosing settings), None when there are none.

    A configuration that diverged is bad; one that was never run is unknown. ``observed`` tells them apart: bool
    [tasks, configs], False where no run is stored; None says that every cell was run.
    """

    space: Space
    configs: pd.DataFrame
    tasks: Sequence[TaskInfo]
    scores: np.ndarray
    valid: MetaTrain | None = None
    #: mean training seconds, float64 [tasks, configs]
    seconds: np.ndarray | None = None
    #: was the cell run at all, bool [tasks, configs]; None: all were
    observed: np.ndarray | None = None

    @cached_property
    def encoded(self) -> np.ndarray:
        """Configurations as float32 [configs, space.encoded_names]."""
        return self.space.encode(self.configs)

    @cached_property
    def feature_names(self) -> list[str]:
        return sorted({name for t in self.tasks for name in t.features})

    @cached_property
    def features(self) -> np.ndarray:
        """Task features float64 [tasks, feature_names], NaN where missing."""
        return np.array([[t.features.get(n, np.nan) for n in self.feature_names] for t in self.tasks], dtype=float)

    @cached_property
    def utility(self) -> np.ndarray:
        """Mean over seeds, larger is better, float64 [tasks, configs].

        A configuration that diverged with every seed is NaN; one that diverged with some gets the task's worst score
        for those seeds.
        """
        sign = np.array([1.0 if t.direction == "max" else -1.0 for t in self.tasks])[:, None, None]
        signed = self.scores * sign
        absent = np.isnan(signed)
        with np.errstate(all="ignore"):
            worst = np.nanmin(np.where(absent, np.inf, signed), axis=(1, 2), keepdims=True)
        filled = np.where(absent, np.where(np.isfinite(worst), worst, 0.0), signed)
        return np.where(absent.all(axis=2), np.nan, filled.mean(axis=2))

    @cached_property
    def ranks(self) -> np.ndarray:
        """Ranks within each task, 1 is best, ties averaged, float64 [tasks, configs]; diverged ones share the last.

        Cells that were not run (``observed``) are NaN, and the others rank among themselves.
        """
        low = np.where(np.isnan(self.utility), -np.inf, self.utility)
        if self.observed is None:
            return stats.rankdata(-low, axis=1)
        ranks = np.full(low.shape, np.nan)
        for row, run, out in zip(low, self.observed, ranks, strict=True):
            out[run] = stats.rankdata(-row[run])
        return ranks

    @cached_property
    def normal_scores(self) -> np.ndarray:
        """Φ⁻¹((n − rank + .5)/n): standard-normal targets within each task, larger is better, [tasks, configs]."""
        n = np.sum(~np.isnan(self.ranks), axis=1, keepdims=True)
        return stats.norm.ppf((n - self.ranks + 0.5) / np.maximum(n, 1))

    def select(self, tasks: Sequence[int]) -> MetaTrain:
        """The same source with only some of its tasks (positions)."""
        rows = list(tasks)
        chosen = [self.tasks[i] for i in rows]
        seconds = None if self.seconds is None else self.seconds[rows]
        observed = None if self.observed is None else self.observed[rows]
        return MetaTrain(self.space, self.configs, chosen, self.scores[rows], self.valid, seconds, observed)
