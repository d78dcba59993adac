"""Which metric a task is scored by, and what the best constant prediction reaches."""

from __future__ import annotations

import numpy as np

from metabench.tasks import kernels

#: a largest class this many times the smallest makes accuracy misleading
IMBALANCE = 5.0


#: kind of task → metric, where it does not depend on the targets
METRICS = {
    "regression": "r2",
    "forecasting": "rmse",
    "reconstruction": "rmse",
    "language": "bits",
    "pairs": "exact_match",
    "control": "return",
    "episodes": "accuracy",
}
#: metrics that fall as a network gets better
FALLING = ("rmse", "bits", "nats", "mmd")
#: least variance of a standardised input in a Gaussian likelihood: an input that hardly varies has no density else
FLOOR = 0.01


def choose_metric(kind: str, y: np.ndarray | None) -> str:
    """The metric of a kind of task; of classification ``balanced_accuracy`` where the largest class is over five times
    the smallest, else ``accuracy``. ``y`` are all targets of the data set."""
    if kind in METRICS:
        return METRICS[kind]
    counts = np.unique(np.asarray(y), return_counts=True)[1]
    return "balanced_accuracy" if counts.max() > IMBALANCE * counts.min() else "accuracy"


def direction(metric: str) -> str:
    """``max`` or ``min``: which way the metric improves."""
    return "min" if metric in FALLING else "max"


def chance(metric: str, y_train: np.ndarray, y_test: np.ndarray) -> float:
    """Score on the test rows of the best constant prediction on the training rows: of ``bits``, the distribution of the
    training rows' tokens (one more of each counted); of ``nats``, the negative log-density per input of independent
    Gaussians; of ``mmd``, the mean row over and over."""
    if metric == "exact_match":
        return 0.0
    if metric == "return":  # the targets are what random actions earn
        return float(y_test.mean())
    if metric == "bits":
        counts = np.bincount(y_train.ravel(), minlength=int(max(y_train.max(), y_test.max())) + 1) + 1.0
        return float(-np.log2(counts / counts.sum())[y_test].mean())
    if metric == "nats":
        variance = np.maximum(y_train.var(0, dtype=np.float64), FLOOR)
        return float(0.5 * ((y_test - y_train.mean(0)) ** 2 / variance + np.log(2.0 * np.pi * variance)).mean())
    if metric == "mmd":
        return float(1.0 + kernels.within(y_test) - 2.0 * kernels.between(y_train.mean(0, keepdims=True), y_test))
    if metric == "rmse":
        return float(np.sqrt(((y_test - y_train.mean(0)) ** 2).mean()))
    if metric == "r2":
        spread = ((y_test - y_test.mean()) ** 2).sum()
        return float(1.0 - ((y_test - y_train.mean()) ** 2).sum() / spread)
    values, counts = np.unique(y_train, return_counts=True)
    if metric == "accuracy":
        return float((y_test == values[counts.argmax()]).mean())
    return 1.0 / len(np.unique(y_test))


def score(metric: str, predicted: np.ndarray, y: np.ndarray) -> float:
    """The metric of predicted classes or numbers [n] (not of outputs: see :mod:`metabench.training.evaluation`)."""
    if metric == "accuracy":
        return float((predicted == y).mean())
    if metric == "balanced_accuracy":
        return float(np.mean([(predicted[y == k] == k).mean() for k in np.unique(y)]))
    error = ((predicted.reshape(y.shape) - y) ** 2).mean()
    return float(np.sqrt(error)) if metric == "rmse" else float(1.0 - error / y.var())
