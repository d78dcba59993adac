"""From ranks to scores: what a rank among the configurations is worth on a task, told from its features.

Meta-models predict how a configuration ranks. What score that is depends on the task: here a ridge regression from what
quick learners reach on it (its landmarkers) to the scores that the source tasks had at given ranks. Its error on
families of data sets that it did not see gives the interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: shares of configurations that are beaten: the ranks at which scores are predicted
LEVELS = (0.25, 0.5, 0.75, 0.9, 0.97, 0.995)
LANDMARKS = ("landmark_1nn", "landmark_5nn", "landmark_stump", "landmark_bayes", "landmark_linear", "landmark_tree")
INPUTS = (*LANDMARKS, "log_rows", "log_classes", "class_entropy", "log_rows_per_input")
RIDGE = 10.0
#: metrics whose scores a landmarker's are compared with: both say 1 of a perfect network
LIKE_LANDMARKS = ("accuracy", "balanced_accuracy", "r2")
#: metric → least and largest value
RANGES = {
    "accuracy": (0.0, 1.0),
    "balanced_accuracy": (0.0, 1.0),
    "exact_match": (0.0, 1.0),
    "r2": (-np.inf, 1.0),
    "rmse": (0.0, np.inf),
    "bits": (0.0, np.inf),
}
#: quartile ranges beyond the quartiles that a task's score may lie (Tukey, 1977: "far out")
FAR = 3.0
#: fewer source tasks than this tell nothing of a metric
FEWEST = 8


@dataclass(frozen=True)
class Scale:
    """Scores at LEVELS of tasks with one metric, as a linear function of their features.

    ``centre``, ``spread`` [1 + INPUTS] standardise the best landmarker and the inputs; ``weights`` [levels, 1 + INPUTS] and
    ``constant`` [levels] give the score's distance from the best landmarker; ``low``, ``high`` [levels] are the 5 % and
    95 % quantiles of the error on held-out families.
    """

    metric: str
    centre: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    constant: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def fit(cls, metric: str, features: Sequence[Mapping[str, float]], levels: np.ndarray, families) -> Scale:
        """Fit to source tasks of one metric, whose scores at LEVELS are ``levels`` [tasks, LEVELS]; errors are those of
        leaving one family out. A metric may have no worst value: scores further than FAR quartile ranges from the quartiles
        of all tasks count as that far, or one task would decide."""
        x, base = _inputs(features, metric)
        lower, upper = np.quantile(levels, [0.25, 0.75], axis=0)
        levels = np.clip(levels, lower - FAR * (upper - lower), upper + FAR * (upper - lower))
        families = np.asarray(families)
        errors = np.concatenate(
            [
                levels[families == f] - _predicted(_ridge(x, base, levels, families != f), x, base, families == f)
                for f in np.unique(families)
            ]
        )
        low, high = np.quantile(errors, [0.05, 0.95], axis=0)
        return cls(metric, *_ridge(x, base, levels, np.ones(len(x), dtype=bool)), low, high)

    def scores(self, features: Mapping[str, float]) -> np.ndarray:
        """Predicted scores at LEVELS, ascending in merit, with their 90 % interval: float64 [3, levels] (score, low,
        high)."""
        x, base = _inputs([features], self.metric)
        fitted = (self.centre, self.spread, self.weights, self.constant)
        score = _predicted(fitted, x, base, slice(None))[0]
        return np.stack([score, score + self.low, score + self.high])

    def to_json(self) -> dict[str, Any]:
        names = ("centre", "spread", "weights", "constant", "low", "high")
        return {name: getattr(self, name).round(6).tolist() for name in names}

    @classmethod
    def from_json(cls, metric: str, found: Mapping[str, Any]) -> Scale:
        return cls(metric, **{name: np.asarray(values, dtype=float) for name, values in found.items()})


def _inputs(features: Sequence[Mapping[str, float]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """[tasks, 1 + INPUTS], NaN where unknown, and what scores are measured from [tasks]: the best landmarker."""
    x = np.array([[float(f.get(name, np.nan)) for name in INPUTS] for f in features])
    marks = np.where(np.isfinite(x[:, : len(LANDMARKS)]), x[:, : len(LANDMARKS)], -np.inf).max(axis=1)
    known = np.isfinite(marks) & (metric in LIKE_LANDMARKS)
    return np.column_stack([np.where(known, marks, np.nan), x]), np.where(known, marks, 0.0)


def _ridge(x, base, levels, rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    known = np.isfinite(x[rows])
    count = np.maximum(known.sum(0), 1)
    centre = np.where(known, x[rows], 0.0).sum(0) / count
    spread = np.sqrt((np.where(known, x[rows] - centre, 0.0) ** 2).sum(0) / count)
    spread = np.where(spread > 1e-9, spread, 1.0)
    z, y = _standard(x[rows], centre, spread), levels[rows] - base[rows, None]
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean(0))).T
    return centre, spread, weights, y.mean(0)


def _standard(x, centre, spread) -> np.ndarray:
    """What is not known lies at the mean; what lies further out than all else is no further than 3."""
    return np.clip(np.nan_to_num((x - centre) / spread), -3.0, 3.0)


def _predicted(fitted, x, base, rows) -> np.ndarray:
    centre, spread, weights, constant = fitted
    return base[rows, None] + constant + _standard(x[rows], centre, spread) @ weights.T
