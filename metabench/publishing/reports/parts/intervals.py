"""Intervals of rank correlations and of shares: the bootstrap over families of :mod:`metabench.scores.aggregate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from metabench.scores.aggregate import Hierarchy, expanded_tail


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """As the columns of a frame: ``name``, ``name_low``, ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def rank_correlation(x: np.ndarray, y: np.ndarray, families: Sequence[str], resamples: int = 1000) -> Interval:
    """Spearman's correlation of x and y [tasks], NaN pairs left out, families drawn whole.

    NaN with fewer than four tasks or where one of the two is constant.
    """
    kept = np.isfinite(x) & np.isfinite(y)
    x, y, names = x[kept], y[kept], np.asarray(families)[kept]
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Interval(np.nan, np.nan, np.nan)
    return _bootstrap(lambda rows: _spearman(x[rows], y[rows]), names, resamples)


def mean_over_families(values: np.ndarray, families: Sequence[str], resamples: int = 1000) -> Interval:
    """The mean over families of the means of [tasks] in each, tasks with NaN left out."""
    kept = np.isfinite(values)
    if not kept.any():
        return Interval(np.nan, np.nan, np.nan)
    hierarchy = Hierarchy.build([f for f, k in zip(families, kept, strict=True) if k], 1, resamples, cut=0.0)
    cells = values[kept][:, None]
    return Interval(float(hierarchy.estimate(cells)), *map(float, hierarchy.interval(cells)))


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    x, y = stats.rankdata(x), stats.rankdata(y)
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt(max((x @ x) * (y @ y), 1e-300)))


def _bootstrap(statistic: Callable[[np.ndarray], float], families: np.ndarray, resamples: int) -> Interval:
    """Percentiles over resamples of the families, all rows of a drawn one with it; Hesterberg's expanded tails."""
    names = list(dict.fromkeys(families.tolist()))
    rows = [np.flatnonzero(families == name) for name in names]
    value = statistic(np.arange(len(families)))
    if len(names) < 2:
        return Interval(value, np.nan, np.nan)
    draws = Hierarchy.build(names, 1, resamples).draws
    found = [statistic(np.concatenate([rows[f] for f in draw])) for draw in draws]
    tail = 100 * expanded_tail(len(names))
    low, high = np.percentile(found, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
