"""Learning-rate schedules as functions of the step: plain numbers, shared by every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

#: ratio of the peak to the initial learning rate, and of the initial to the final one, in one_cycle
ONE_CYCLE_START, ONE_CYCLE_END, ONE_CYCLE_RISE = 25.0, 1e4, 0.3


def _cosine_between(start: float, end: float, p: np.ndarray) -> np.ndarray:
    return end + (start - end) * 0.5 * (1.0 + np.cos(np.pi * p))


def _one_cycle(p: np.ndarray) -> np.ndarray:
    """Cosine up to the peak in the first 30 %, cosine down after it (Smith & Topin, 2018; shape of ``OneCycleLR``)."""
    low, final = 1.0 / ONE_CYCLE_START, 1.0 / (ONE_CYCLE_START * ONE_CYCLE_END)
    rise = _cosine_between(low, 1.0, p / ONE_CYCLE_RISE)
    fall = _cosine_between(1.0, final, (p - ONE_CYCLE_RISE) / (1.0 - ONE_CYCLE_RISE))
    return np.where(p < ONE_CYCLE_RISE, rise, fall)


#: schedule → factor of the learning rate at progress p in [0, 1) after the warm-up
FACTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": np.ones_like,
    "step": lambda p: 0.1 ** np.floor(3.0 * p),
    "exponential": lambda p: 0.01**p,
    "cosine": lambda p: 0.5 * (1.0 + np.cos(np.pi * p)),
    "one_cycle": _one_cycle,
}


def factors(schedule: str, warmup: float, total_steps: int) -> np.ndarray:
    """Factor of the learning rate at each of ``total_steps`` steps, float64 [T].

    The first ``floor(warmup * T)`` steps rise linearly towards 1; the schedule spreads over the rest.
    """
    warm = int(np.floor(warmup * total_steps))
    after = np.arange(total_steps - warm, dtype=np.float64) / max(1, total_steps - warm)
    return np.concatenate([np.arange(1, warm + 1) / (warm + 1.0), FACTORS[schedule](after)])


def learning_rates(configs: Mapping[str, Any] | pd.DataFrame, total_steps: int) -> np.ndarray:
    """Learning rate at each step: float64 [T] for one configuration, [R, T] for a table of R configurations.

    Reads ``learning_rate``, ``schedule`` and ``warmup``.
    """
    if isinstance(configs, pd.DataFrame):
        rows = zip(configs["learning_rate"], configs["schedule"], configs["warmup"], strict=True)
        out = np.empty((len(configs), total_steps))
        for i, (rate, schedule, warmup) in enumerate(rows):
            out[i] = rate * factors(schedule, warmup, total_steps)
        return out
    return float(configs["learning_rate"]) * factors(configs["schedule"], configs["warmup"], total_steps)
