"""Which metric a task is scored by, and what the best constant prediction reaches."""

from __future__ import annotations

import numpy as np

#: a largest class this many times the smallest makes accuracy misleading
IMBALANCE = 5.0


def choose_metric(kind: str, y: np.ndarray) -> str:
    """``r2`` for regression; ``balanced_accuracy`` where the largest class is over five times the smallest, else
    ``accuracy``. ``y`` are all targets of the data set."""
    if kind == "regression":
        return "r2"
    counts = np.unique(y, return_counts=True)[1]
    return "balanced_accuracy" if counts.max() > IMBALANCE * counts.min() else "accuracy"


def chance(metric: str, y_train: np.ndarray, y_test: np.ndarray) -> float:
    """Score on the test rows of the best constant prediction on the training rows."""
    if metric == "r2":
        spread = ((y_test - y_test.mean()) ** 2).sum()
        return float(1.0 - ((y_test - y_train.mean()) ** 2).sum() / spread)
    values, counts = np.unique(y_train, return_counts=True)
    if metric == "accuracy":
        return float((y_test == values[counts.argmax()]).mean())
    return 1.0 / len(np.unique(y_test))
