"""Losses and scores from network outputs, in float64: what every backend's checkpoints report."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy.special import logsumexp


def loss_and_score(outputs: np.ndarray, targets: np.ndarray, metric: str) -> tuple[float, float]:
    """Mean loss per target and the metric; float64 in and out.

    ``outputs`` [rows, classes] are logits of ``targets`` [rows], or [rows, classes, T] of T targets a row: cross-entropy;
    accuracy or balanced accuracy (ties go to the first class, NaN is wrong), or ``bits`` a target. For ``r2`` and
    ``rmse`` they are predictions [rows, H] of [rows] or [rows, H] numbers: mean squared error; R² about the rows' own
    means, or its root.
    """
    if metric in ("r2", "rmse"):
        targets = targets.reshape(outputs.shape)
        residual = ((outputs - targets) ** 2).sum()
        loss = residual / targets.size
        return loss, np.sqrt(loss) if metric == "rmse" else 1.0 - residual / ((targets - targets.mean(0)) ** 2).sum()
    with np.errstate(invalid="ignore", over="ignore"):
        chosen = np.take_along_axis(outputs, np.expand_dims(targets, 1), 1)
        loss = (logsumexp(outputs, axis=1, keepdims=True) - chosen).mean()
    if metric == "bits":
        return loss, loss / np.log(2.0)
    hit = (np.argmax(outputs, axis=1) == targets) & ~np.isnan(outputs).any(axis=1)
    if metric == "accuracy":
        return loss, hit.mean()
    return loss, cast(float, np.mean([hit[targets == k].mean() for k in np.unique(targets)]))
