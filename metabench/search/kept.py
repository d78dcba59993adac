"""Which trials of a long search a Gaussian process is conditioned on: its cost grows with their third power."""

from __future__ import annotations

import numpy as np


def kept(utilities: np.ndarray, most: int) -> list[int]:
    """The trials that count, in order, by their ``utilities`` (larger is better; NaN counts as the worst).

    Up to ``most`` trials all of them count. Of more, the newest count, between a quarter and a half of ``most``, and of those
    before them the best half of ``most``. Which trials are the older ones changes after every quarter of ``most`` trials, so that
    factorisations last until then.
    """
    n, block = len(utilities), most // 4
    if n <= most:
        return list(range(n))
    old = (n // block - 1) * block
    worth = np.where(np.isfinite(utilities[:old]), utilities[:old], -np.inf)
    best = np.sort(np.argsort(-worth, kind="stable")[: most - 2 * block])
    return [*best.tolist(), *range(old, n)]
