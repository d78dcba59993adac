"""What baselines share: the way from a point of the space to the pool, and targets from a history."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pandas as pd

from metabench.search.base import Problem


def distances(problem: Problem, configs: pd.DataFrame) -> np.ndarray:
    """Distances [configs, candidates] between configurations and the pool.

    Euclidean on ``Space.encode`` with one-hot columns weighted by ½, so that another option is as far as the other end
    of a range; a hyperparameter that is active in one and not in the other adds its "active" column.
    """
    weights = np.sqrt([0.5 if "=" in name else 1.0 for name in problem.space.encoded_names])
    a = problem.space.encode(configs).astype(np.float64) * weights
    b = problem.encoded.astype(np.float64) * weights
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
    return np.sqrt(np.maximum(square, 0.0))


class Tried(Protocol):
    """What knows the candidates that were tried: a History, or Curves."""

    def untried(self, n: int) -> np.ndarray: ...


class Scored(Protocol):
    """What holds one raw score a trial, in order: a History, or Trials."""

    scores: list[float]


def nearest_untried(distance: np.ndarray, history: Tried) -> int:
    """The untried pool position with the least ``distance`` [candidates] (ties: the first)."""
    untried = history.untried(len(distance))
    return int(untried[np.argmin(distance[untried])])


def utilities(problem: Problem, history: Scored) -> np.ndarray:
    """Scores of the trials so far with larger better, float64 [trials].

    A diverged trial counts as the worst finite one; with nothing finite all are 0.
    """
    y = problem.sign * np.asarray(history.scores, dtype=np.float64)
    finite = np.isfinite(y)
    return np.where(finite, y, y[finite].min() if finite.any() else 0.0)


def refit_due(trials: int, last: int) -> bool:
    """Are hyperparameters of a model to be fitted anew? After ``trials`` trials, when it was last done after ``last``.

    Each time that the trials have grown by a quarter: the cost of a search stays in proportion to its last fits, and a
    Gaussian process's likelihood hardly moves in between.
    """
    return trials >= 1.25 * last
