"""Gain over the default configuration in the metric's own units: what people read first.

Accuracies gain points (hundredths), errors fall by per cent of the default's error; of R², the share of variance that is
left unexplained falls, and its root is an error: the gain is per cent of RMSE. Other metrics gain in their own unit.
"""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError

#: unit in which the gain of a metric is reported
POINTS, ERROR = "accuracy points", "% of RMSE"
UNITS = {"accuracy": POINTS, "balanced_accuracy": POINTS, "exact_match": POINTS, "r2": ERROR, "rmse": ERROR}


def unit(metric: str) -> str:
    """Unit in which :func:`gain` reports a metric: points, % of RMSE, or the metric itself."""
    return UNITS.get(metric, metric)


def gain(metric: str, direction: str, chosen: np.ndarray, default: np.ndarray) -> np.ndarray:
    """How much better a configuration is than the default.

    Args:
        metric: name of the metric.
        direction: ``max`` or ``min``: which way it improves.
        chosen: raw scores of the chosen configurations, any shape.
        default: raw scores of the default configuration on the same runs, broadcast with ``chosen``.

    Returns:
        float64, larger is better, in the unit that :func:`unit` names. NaN where the default's error is 0.

    Raises:
        UsageError: for a direction that is neither.
    """
    if direction not in ("max", "min"):
        raise UsageError(f"direction is {direction!r}, expected max or min")
    chosen, default = np.broadcast_arrays(np.asarray(chosen, dtype=float), np.asarray(default, dtype=float))
    if unit(metric) == ERROR:
        before, after = (np.sqrt(np.maximum(1.0 - s, 0.0)) if metric == "r2" else s for s in (default, chosen))
        return 100.0 * np.divide(before - after, before, out=np.full(before.shape, np.nan), where=before > 0)
    difference = chosen - default if direction == "max" else default - chosen
    return 100.0 * difference if unit(metric) == POINTS else difference
