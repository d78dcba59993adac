"""Classes of few rows in a person's own data: their rows are repeated in training, and smoothed.

With a few dozen rows of a class a network learns them by heart. Noise on every training row is the same, to second order,
as a penalty on the slope of its outputs (Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural
Computation 7(1), 1995); for a linear model it is ridge regression. The noise is that of the rarest class on all rows: noise
on one class alone would itself tell the classes apart.
"""

from __future__ import annotations

import numpy as np

#: noise that one row of the rarest class gets, in standard deviations of an input; it falls with their square root
NOISE, MOST_NOISE, LEAST_NOISE = 7.0, 2.0, 0.25
#: rows of the rarest class below which a task has several splits: 30 validation rows
FEW = 150


def counts_of(y: np.ndarray) -> np.ndarray:
    """How many rows each class is to have: as many as the largest, or as many as double all rows together."""
    counts = np.bincount(y)
    low, high = int(counts.min()), int(counts.max())
    while low < high:  # the largest level that at most doubles the rows
        middle = (low + high + 1) // 2
        if np.where(counts > 0, np.maximum(counts, middle), 0).sum() <= 2 * len(y):
            low = middle
        else:
            high = middle - 1
    return np.where(counts > 0, np.maximum(counts, low), 0)


def few(y: np.ndarray) -> bool:
    """Whether the rarest of classes y has so few rows that one split tells little: the task has several, however long."""
    counts = np.bincount(y)
    return int(counts[counts > 0].min()) < FEW


def noise(y: np.ndarray) -> float:
    """Standard deviation of the noise on standardised inputs; 0 where the rarest class has rows enough."""
    counts = np.bincount(y)
    sigma = min(MOST_NOISE, NOISE / float(np.sqrt(counts[counts > 0].min())))
    return sigma if sigma >= LEAST_NOISE else 0.0


def evened(x: np.ndarray, y: np.ndarray, split: int, *, smooth: bool) -> tuple[np.ndarray, np.ndarray]:
    """Training rows of which those of rare classes are repeated.

    Args:
        x: Inputs [n, ...].
        y: Classes [n].
        split: Of which split they are the training rows; it seeds the noise.
        smooth: Whether inputs are standardised numbers, to which noise is added.

    Returns:
        Inputs and classes, the n rows first.
    """
    wanted, rows = counts_of(y), [np.arange(len(y))]
    for label, count in enumerate(wanted):
        mine = np.flatnonzero(y == label)
        if count > len(mine):
            rows.append(np.resize(mine, count - len(mine)))
    chosen = np.concatenate(rows)
    x, sigma = x[chosen], noise(y) if smooth else 0.0
    if sigma:
        rng = np.random.default_rng([0x7A7E, split])
        x = (x + sigma * rng.standard_normal(x.shape)).astype(np.float32)
    return x, y[chosen]


def told(y: np.ndarray, rows: int, smooth: bool) -> str:
    """What :func:`evened` does to n rows of classes y, in a line."""
    smallest = int(np.bincount(y)[np.unique(y)].min())
    line = (
        f"rare classes ({smallest} training rows of the rarest): their rows are repeated, {rows:,} rows are trained on"
    )
    sigma = noise(y) if smooth else 0.0
    line += f", with noise of {sigma:.2g} standard deviations on all inputs" if sigma else ""
    return f"{line}; the metric is balanced accuracy, the mean of the classes' accuracies"


__all__ = ["counts_of", "evened", "few", "noise", "told"]
