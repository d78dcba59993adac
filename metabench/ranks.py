"""Ranks, without scipy.stats: importing that takes a second, which is more than most commands do."""

from __future__ import annotations

import numpy as np


def rankdata(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties averaged, as :func:`scipy.stats.rankdata` gives them.

    Args:
        values: Numbers [n] without NaN.

    Returns:
        Ranks, float64 [n].
    """
    values = np.asarray(values)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    group = np.empty(len(values), dtype=int)
    group[order] = np.cumsum(np.r_[True, ordered[1:] != ordered[:-1]][: len(values)]) - 1
    ends = np.r_[np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(values)]), len(values)]
    return 0.5 * (ends[group] + 1 + ends[group + 1])


__all__ = ["rankdata"]
