"""The kernel distance that generators are scored by, on numpy or torch arrays.

MMD² with the mean of three rational quadratic kernels k(x, y) = 1 / (1 + ‖x - y‖² / (2 s D)), s in SCALES, of D standardised
inputs; unbiased (Gretton et al., 2012, lemma 6). Nothing of it is fitted. Heavy tails keep a gradient of the score where
rows lie far apart (Bińkowski et al., 2018).
"""

from __future__ import annotations

from typing import Any

SCALES = (0.02, 0.1, 0.5)
#: rows of a part that are compared, at most; evenly spread
COMPARED = 512


def compared(rows):
    """At most COMPARED of the rows [n, D], evenly spread."""
    n = len(rows)
    return rows if n <= COMPARED else rows[[i * n // COMPARED for i in range(COMPARED)]]


def similarity(x, y):
    """Kernel values [..., n, m] of rows x [..., n, D] and y [..., m, D]."""
    inputs = x.shape[-1]
    products = x @ y.swapaxes(-1, -2)
    distance = ((x * x).sum(-1)[..., None] + (y * y).sum(-1)[..., None, :] - 2.0 * products).clip(0.0) / (2.0 * inputs)
    total: Any = sum(1.0 / (1.0 + distance / scale) for scale in SCALES)
    return total / len(SCALES)


def within(x):
    """Mean kernel value of two different rows of x [..., n, D]: [...]."""
    n = x.shape[-2]
    # a row and itself: every kernel is 1
    return (similarity(x, x).sum((-1, -2)) - n) / (n * (n - 1))


def between(x, y):
    """Mean kernel value of a row of x [..., n, D] and one of y [..., m, D]: [...]."""
    return similarity(x, y).mean((-1, -2))


def distance(x, y):
    """The unbiased MMD² of x [..., n, D] and y [..., m, D]: [...]; about 0, or less, where they are alike."""
    return within(x) + within(y) - 2.0 * between(x, y)
