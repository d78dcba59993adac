"""Gaussian-process regression on a finite pool, one trial at a time, up to an affine map of the target's scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import solve_triangular


class PoolGP:
    """The posterior of f ~ N(mean, K) over a pool, given noisy y = a + b (f + ε) at some positions.

    Only the rows of K that are needed are computed. Keeps V = L⁻¹ K[tried, :] with K[tried, tried] + noise I = L Lᵀ
    (Rasmussen & Williams, 2006, Alg. 2.1) and appends a row per trial, so that a trial costs O(tried × pool).
    """

    def __init__(self, row: Callable[[int], np.ndarray], diagonal: np.ndarray, noise: float):
        self._row, self._diagonal, self._noise = row, diagonal, noise
        self._reset()

    def _reset(self) -> None:
        self._tried: list[int] = []
        self._rows = np.empty((0, len(self._diagonal)))
        self._factor = np.empty((0, 0))
        self._variance = self._diagonal.copy()

    def observe(self, positions: Sequence[int]) -> None:
        """Make ``positions`` the tried ones; those already tried in this order are not computed again."""
        positions = list(positions)
        if positions[: len(self._tried)] != self._tried:
            self._reset()
        for p in positions[len(self._tried) :]:
            self._append(int(p))

    def _append(self, p: int) -> None:
        n = len(self._tried)
        if n == len(self._factor):
            capacity = max(16, 2 * n)
            rows, factor = np.zeros((capacity, len(self._diagonal))), np.zeros((capacity, capacity))
            rows[:n], factor[:n, :n] = self._rows[:n], self._factor[:n, :n]
            self._rows, self._factor = rows, factor
        above = self._rows[:n, p].copy()
        rest = self._row(p) - above @ self._rows[:n]
        pivot = np.sqrt(max(rest[p] + self._noise, 1e-10))
        self._factor[n, :n], self._factor[n, n] = above, pivot
        self._rows[n] = rest / pivot
        self._variance -= self._rows[n] ** 2
        self._tried.append(p)

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """L⁻¹ values, for values [tried] or [tried, k]."""
        n = len(self._tried)
        return solve_triangular(self._factor[:n, :n], values, lower=True, check_finite=False)

    def posterior(
        self, mean: np.ndarray, y: np.ndarray, scale: np.ndarray | float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Posterior mean and variance of f over the pool [pool], and the affine map (a, b), given y at the tried ones.

        ``scale`` [pool] multiplies the standard deviation of f − mean, and that of the noise with it; it and ``mean`` may
        differ from trial to trial at no cost. With nothing tried the prior comes back, a = 0, b = 1.
        """
        n, scale = len(self._tried), np.broadcast_to(scale, mean.shape)
        if n == 0:
            return mean.copy(), scale**2 * self._diagonal, 0.0, 1.0
        m, s = mean[self._tried], scale[self._tried]
        spread = np.sqrt(m.var() + np.mean(s**2 * (self._diagonal[self._tried] + self._noise)))
        u, v, w = self.whiten(np.column_stack([y, m, np.ones(n)]) / s[:, None]).T
        a, b = affine_map(u, v, w, guess=np.std(y) / spread)
        shift = ((u - a * w) / b - v) @ self._rows[:n]
        return mean + scale * shift, scale**2 * np.maximum(self._variance, 1e-12), a, b


def affine_map(u: np.ndarray, v: np.ndarray, w: np.ndarray, guess: float, strength: float = 2.0) -> tuple[float, float]:
    """Location a and scale b > 0 in y = a + b z, z ~ N(m, C), from whitened y, m and 1 (u, v, w = L⁻¹[y, m, 1]).

    The location is integrated out under a flat prior (Rasmussen & Williams, 2006, Eq. 2.42), which projects w off u and
    v. Then b maximises −(n − 1) log b − ‖u' − b v'‖²/(2b²), a quadratic in b. With few points that is a poor guess:
    b² has an inverse-gamma prior worth ``strength`` points at ``guess``, the ratio of standard deviations.
    """
    length = w @ w
    u_, v_ = u - w * (w @ u) / length, v - w * (w @ v) / length
    uu, uv, n = u_ @ u_ + strength * guess**2, u_ @ v_, len(u) - 1 + strength
    # all targets equal, up to rounding: a + b z fits with any scale
    flat = uu <= 1e-24 * (u @ u)
    b = 1.0 if flat else (np.sqrt(uv * uv + 4.0 * n * uu) - uv) / (2.0 * n)
    b = b if b > 0 else 1.0
    return float(w @ (u - b * v) / length), float(b)
