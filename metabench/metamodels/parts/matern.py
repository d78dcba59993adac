"""A Matérn-5/2 kernel with one length scale per hyperparameter, learned from many tasks at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: rows and tasks that the length scales are learned from, at most
_ROWS, _TASKS = 192, 48
#: groups of tasks with the same missing rows that a likelihood is summed over, at most
_PATTERNS = 4
#: noise variance, relative to the signal, when interpolating between source configurations
_NUGGET = 0.05


def matern(r: np.ndarray) -> np.ndarray:
    """(1 + √5 r + 5r²/3) exp(−√5 r) (Rasmussen & Williams, 2006, Eq. 4.17), of any shape."""
    s = np.sqrt(5.0) * r
    return (1.0 + s + s * s / 3.0) * np.exp(-s)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances float64 [len(a), len(b)]."""
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T)
    return np.sqrt(np.maximum(squared, 0.0))


@dataclass(frozen=True)
class Matern:
    """k(x, x') = Matérn-5/2 of the distance in which hyperparameter g is divided by ``length_scales[g]``.

    Its inputs are lists of blocks, one [n, columns] array per hyperparameter (one-hot options and the "active" column
    of a hyperparameter share its length scale).
    """

    length_scales: np.ndarray

    def scale(self, x: list[np.ndarray]) -> np.ndarray:
        """Blocks → one matrix [n, all columns] in which the kernel has unit length scale."""
        return np.concatenate([b / ell for b, ell in zip(x, self.length_scales, strict=True)], axis=1)

    def interpolate(self, x: list[np.ndarray], new: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Regression weights [new, rows] from values at ``x`` to ``new``, and predictive variances [new] in [0, 1]."""
        return Interpolator.at(self, x)(new)

    @classmethod
    def fit(cls, x: list[np.ndarray], targets: np.ndarray, seed: int = 0) -> Matern:
        """Length scales (and a noise, not kept) that maximise the likelihood of the targets [tasks, rows].

        Every task is a draw from one zero-mean Gaussian process whose variance is profiled out. Log length scales have
        a normal prior, N(√2 + log √G, 3) for G hyperparameters (Hvarfner et al., 2024, "Vanilla Bayesian optimization
        performs great in high dimensions", Sec. 5). Rows and tasks beyond some two hundred and fifty are subsampled.
        Rows that a task did not run (NaN) are left out of its likelihood; where hardly two tasks ran the same ones they
        count as 0, the mean of normal scores.
        """
        from scipy.linalg import cho_factor, cho_solve
        from scipy.optimize import minimize

        groups = len(x)
        location, spread = np.sqrt(2.0) + 0.5 * np.log(groups), np.sqrt(3.0)
        rng = np.random.default_rng([seed, 0x4D6174])
        rows, tasks = targets.shape[1], targets.shape[0]
        keep = np.sort(rng.permutation(rows)[:_ROWS])
        chosen = np.sort(rng.permutation(tasks)[:_TASKS])
        z = targets[np.ix_(chosen, keep)]
        patterns, which = np.unique(~np.isnan(z), axis=0, return_inverse=True)
        if len(patterns) > _PATTERNS:
            z, patterns, which = np.nan_to_num(z), np.ones((1, len(keep)), dtype=bool), np.zeros(len(z), dtype=int)
        parts = [(np.flatnonzero(p), z[which.ravel() == i][:, p].T) for i, p in enumerate(patterns) if p.any()]
        n = sum(values.size for _, values in parts)
        if len(keep) < 3 or n == 0 or all(values.std() == 0 for _, values in parts):
            return cls(np.full(groups, np.exp(location)))
        squared = np.stack([distances(b[keep], b[keep]) ** 2 for b in x])

        def loss(theta):
            inverse = np.exp(-2.0 * theta[:-1])
            noise = np.exp(theta[-1])
            r5 = np.sqrt(5.0 * np.tensordot(inverse, squared, 1))
            decay = np.exp(-r5)
            kernel = (1.0 + r5 + r5 * r5 / 3.0) * decay
            solved, v, value = [], 0.0, 0.0
            for rows, y in parts:
                factor = cho_factor(kernel[np.ix_(rows, rows)] + (noise + 1e-8) * np.eye(len(rows)), lower=True)
                a = cho_solve(factor, y)
                solved.append((rows, a, cho_solve(factor, np.eye(len(rows)))))
                v += (y * a).sum() / n
                value += np.log(np.diag(factor[0])).sum() * y.shape[1] / n
            w = np.zeros_like(kernel)
            for rows, a, precision in solved:
                w[np.ix_(rows, rows)] += (precision * a.shape[1] - a @ a.T / v) / n
            # dk/d(r²) = −5/6 (1 + √5 r) exp(−√5 r) and dr²/dlog ℓ = −2 d²/ℓ²
            inner = np.tensordot(squared, w * (5.0 / 6.0) * (1.0 + r5) * decay, 2)
            gradient = np.append(inner * inverse, 0.5 * noise * np.trace(w))
            deviation = theta[:-1] - location
            value += 0.5 * np.log(v) + 0.5 * (deviation / spread) @ (deviation / spread) / n
            gradient[:-1] += deviation / spread**2 / n
            return value, gradient

        start = np.append(np.full(groups, 0.5 * np.log(groups)), np.log(0.1))
        bounds = [(-3.0, 6.0)] * groups + [(np.log(1e-3), np.log(3.0))]
        best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
        return cls(np.exp(best.x[:-1]))


@dataclass(frozen=True)
class Interpolator:
    """Gaussian-process regression from fixed points, whose covariance is factorised once."""

    kernel: Matern
    #: the points, where the kernel has unit length scale, float64 [rows, columns]
    points: np.ndarray
    #: what :func:`scipy.linalg.cho_factor` made of their covariance
    factor: tuple[np.ndarray, bool]

    @classmethod
    def at(cls, kernel: Matern, x: list[np.ndarray]) -> Interpolator:
        """Regression from the points ``x``, a block [rows, columns] for each hyperparameter."""
        from scipy.linalg import cho_factor

        a = kernel.scale(x)
        return cls(kernel, a, cho_factor(matern(distances(a, a)) + _NUGGET * np.eye(len(a)), lower=True))

    def __call__(self, new: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Regression weights [new, rows] to the points ``new``, and predictive variances [new] in [0, 1]."""
        from scipy.linalg import cho_solve

        cross = matern(distances(self.kernel.scale(new), self.points))
        weights = cho_solve(self.factor, cross.T).T
        return weights, np.clip(1.0 - (weights * cross).sum(1), 0.0, 1.0)
