"""Gaussian-process regression on a finite pool, one trial at a time, up to an affine map of the target's scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import solve_triangular

#: trials that are appended at once, where so many are new
_BLOCK = 64
#: trials from which on triangular systems are solved without copying the factor
_LARGE = 256


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

    def observe(self, positions: Sequence[int] | np.ndarray) -> None:
        """Make ``positions`` the tried ones; those already tried in this order are not computed again."""
        positions = list(positions)
        if positions[: len(self._tried)] != self._tried:
            same = (a == b for a, b in zip(positions, self._tried, strict=False))
            self._forget(next((i for i, equal in enumerate(same) if not equal), len(positions)))
        new = [int(p) for p in positions[len(self._tried) :]]
        while len(new) >= _BLOCK and self._append_block(new[:_BLOCK]):
            new = new[_BLOCK:]
        for p in new:
            self._append(p)

    def _forget(self, kept: int) -> None:
        """Keep the first ``kept`` trials, to the last bit as if the others had not been made one by one."""
        self._factor[kept : len(self._tried)] = 0.0
        del self._tried[kept:]
        self._variance = self._diagonal.copy()
        for row in self._rows[: len(self._tried)]:
            self._variance -= row**2

    def grow(self, columns: np.ndarray, diagonal: np.ndarray) -> None:
        """Append positions to the pool: K[tried, new] as ``columns`` [tried, new], and K's ``diagonal`` [new] there.

        From now on ``row`` has to give rows of the whole pool.
        """
        n = len(self._tried)
        new = self.whiten(columns) if n else columns
        rows = np.zeros((len(self._rows), len(self._diagonal) + len(diagonal)))
        rows[:n, : len(self._diagonal)], rows[:n, len(self._diagonal) :] = self._rows[:n], new
        self._rows = rows
        self._diagonal = np.append(self._diagonal, diagonal)
        self._variance = np.append(self._variance, diagonal - (new**2).sum(0))

    @property
    def tried(self) -> list[int]:
        """The positions that were observed, in order."""
        return list(self._tried)

    def _room(self, more: int) -> None:
        n = len(self._tried)
        if n + more > len(self._factor):
            capacity = max(16, 2 * n, n + more)
            rows, factor = np.zeros((capacity, len(self._diagonal))), np.zeros((capacity, capacity))
            rows[:n], factor[:n, :n] = self._rows[:n], self._factor[:n, :n]
            self._rows, self._factor = rows, factor

    def _append_block(self, positions: list[int]) -> bool:
        """Append many trials at once, as a search that is resumed does: the same up to rounding. False: it cannot be done."""
        n, end = len(self._tried), len(self._tried) + len(positions)
        self._room(len(positions))
        above = self._rows[:n, positions].T.copy()
        rest = np.stack([self._row(p) for p in positions]) - above @ self._rows[:n]
        try:
            factor = np.linalg.cholesky(rest[:, positions] + self._noise * np.eye(len(positions)))
        except np.linalg.LinAlgError:
            return False
        self._factor[n:end, :n], self._factor[n:end, n:end] = above, factor
        self._rows[n:end] = solve_triangular(factor, rest, lower=True, check_finite=False)
        self._variance -= (self._rows[n:end] ** 2).sum(0)
        self._tried += positions
        return True

    def _append(self, p: int) -> None:
        n = len(self._tried)
        self._room(1)
        above = self._rows[:n, p].copy()
        rest = self._row(p) - above @ self._rows[:n]
        pivot = np.sqrt(max(rest[p] + self._noise, 1e-10))
        self._factor[n, :n], self._factor[n, n] = above, pivot
        self._rows[n] = rest / pivot
        self._variance -= self._rows[n] ** 2
        self._tried.append(p)

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """L⁻¹ values, for values [tried] or [tried, k]."""
        n, padded = len(self._tried), len(self._factor)
        if n < _LARGE:
            return solve_triangular(self._factor[:n, :n], values, lower=True, check_finite=False)
        # a slice would be copied at every call; the factor goes on as an identity matrix instead
        unused = np.arange(n, padded)
        self._factor[unused, unused] = 1.0
        filled = np.zeros((padded, *values.shape[1:]))
        filled[:n] = values
        return solve_triangular(self._factor, filled, lower=True, check_finite=False)[:n]

    def fit(self, mean: np.ndarray, y: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float, float]:
        """L⁻¹[y, mean, 1] at the tried positions, float64 [3, tried], and the affine map (a, b); arguments as in
        :meth:`posterior`."""
        m, s = mean[self._tried], scale[self._tried]
        spread = np.sqrt(m.var() + np.mean(s**2 * (self._diagonal[self._tried] + self._noise)))
        whitened = self.whiten(np.column_stack([y, m, np.ones(len(m))]) / s[:, None]).T
        return whitened, *affine_map(*whitened, guess=np.std(y) / spread)

    def evidence(self, mean: np.ndarray, y: np.ndarray) -> float:
        """log p(y) of the tried positions at the affine map of the posterior (Rasmussen & Williams, 2006, Eq. 2.30), up to a
        constant that depends on their number alone."""
        _, a, b = self.fit(mean, y, np.ones(len(mean)))
        n = len(y)
        white = self.whiten((y - a) / b - mean[self._tried])
        return float(-np.log(self._factor.diagonal()[:n]).sum() - n * np.log(b) - 0.5 * white @ white)

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
        (u, v, w), a, b = self.fit(mean, y, scale)
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
