"""Losses and scores from network outputs, in float64: what every backend's checkpoints report."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp


def loss_and_score(outputs: np.ndarray, targets: np.ndarray, metric: str) -> tuple[float, float]:
    """Mean loss per row and the metric.

    ``outputs`` [rows, classes] are logits (cross-entropy; accuracy or balanced accuracy, ties go to the first class,
    NaN is wrong); for ``r2``, [rows, 1] predictions of ``targets`` [rows] (mean squared error; R² about the rows' own
    mean). float64 in and out.
    """
    if metric == "r2":
        residual = ((outputs[:, 0] - targets) ** 2).sum()
        return residual / len(targets), 1.0 - residual / ((targets - targets.mean()) ** 2).sum()
    chosen = outputs[np.arange(len(targets)), targets]
    with np.errstate(invalid="ignore", over="ignore"):
        loss = (logsumexp(outputs, axis=1) - chosen).mean()
    hit = (np.argmax(outputs, axis=1) == targets) & ~np.isnan(outputs).any(axis=1)
    if metric == "accuracy":
        return loss, hit.mean()
    return loss, np.mean([hit[targets == k].mean() for k in np.unique(targets)])
