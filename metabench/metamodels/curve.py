"""Final scores from partial learning curves: which configurations to train on, and how far.

After Swersky, Snoek & Adams, "Freeze-thaw Bayesian optimization", arXiv:1406.3896: a Gaussian process over configurations
for where curves end and, given that, an independent process over time for every curve (Sec. 3). There both are priors;
here they are those of the source tasks: where curves end is the empirical Gaussian process
(:mod:`metabench.metamodels.empirical_gp`), how they get there is its like over checkpoints.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import stats
from scipy.linalg import cholesky, solve_triangular

from metabench import direction
from metabench.errors import UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.parts.common import MetaModel
from metabench.metamodels.parts.empirical import empirical_covariance
from metabench.metamodels.parts.gp import affine_map
from metabench.search.base import MetaTrain, Prediction
from metabench.search.curve_source import CurveTrain
from metabench.search.fidelity import Advance, Curves, FidelitySearcher

#: variance of a score that a curve does not explain, in normal scores
NUGGET = 0.003
#: source curves' worth of the average configuration in what is learned of one
_PRIOR = 4.0
#: where curves are looked at when the source tasks have none, as shares of full training
_SHARES = (0.02, 0.04, 0.06, 0.1, 0.16, 0.24, 0.36, 0.52, 0.72, 1.0)


class Curve(EmpiricalGP, FidelitySearcher):
    """A curve is y(t) = a + b (q + s(t) + g(t)): its end q ~ N(m, K + ``noise`` I) over configurations, its way there the
    source tasks' mean s for that configuration and a process g over log t with their covariance; a, b as in empirical_gp.

    What a curve shows so far is one noisy value of q, the generalised least-squares estimate, which extrapolates. Every
    step trains what is worth most for its cost, to any of its next checkpoints: the knowledge gradient of its end among
    those that were begun (Frazier, Powell & Dayanik, "The knowledge-gradient policy for correlated normal beliefs", 2009,
    Eq. 13 for two) over its epochs and ``charge`` full trainings, without which a look one step ahead would make the
    shortest steps alone. Whoever is expected to end best is first trained as far as any other was, since the best of
    those that were trained the longest is what counts.

    Of a source without curves (:class:`~metabench.search.curve_source.CurveTrain`) it learns where curves end alone; on
    the way there they decay as in freeze-thaw.
    """

    name = "curve"
    version = "1"
    twin = "asha"
    arrays = (*EmpiricalGP.arrays, "shares_", "way_", "spread_", "correlation_")
    grid: ClassVar[dict[str, tuple]] = {"charge": (1.0, 3.0), "noise": (0.05, 0.15)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("alpha", "noise", "em_steps")

    def __init__(self, alpha: float = 0.3, noise: float = 0.15, em_steps: int = 20, charge: float = 1.0):
        super().__init__(alpha, noise, em_steps)
        if charge < 0:
            raise UsageError("curve: charge must not be negative")
        self.charge = charge

    def fit(self, source: MetaTrain) -> Curve:
        super().fit(source)
        self.shares_ = np.array(_SHARES)
        self.way_ = np.zeros((len(source.configs), len(_SHARES)))
        self.spread_, self.correlation_ = parted(decaying(self.shares_))
        self.spread_ = np.tile(self.spread_, (len(source.configs), 1))
        if isinstance(source, CurveTrain):
            longest = max(source.checkpoints, key=len)
            shares = np.array(longest, dtype=float) / longest[-1]
            ways = ways_to_the_end(source, shares)
            if np.isfinite(ways).any():
                self.shares_ = shares
                self.way_, self.spread_, self.correlation_ = moments(ways)
        return self

    # ---------------------------------------------------------------- predicting
    def begin(self) -> None:
        MetaModel.begin(self)
        alignment = self.source_.align(self.problem)
        self._mean = alignment.carry(self.mean_)
        row, diagonal = empirical_covariance(
            self.source_, alignment, self.problem, self.factors_, self.alpha_, self.variance_
        )
        # of where curves end, the runs' own noise included
        self._row, self._rows = lambda i: row(i) + self.noise * (np.arange(len(diagonal)) == i), {}
        self._variance = diagonal + self.noise
        grid = np.array(self.problem.checkpoints, dtype=float)
        at = interpolation(np.log(self.shares_), np.log(grid / grid[-1]))
        way = alignment.carry(self.way_.T).T @ at.T
        spread = np.sqrt(np.maximum(alignment.carry(self.spread_.T**2).T, 1e-4 * self.spread_.max(0) ** 2)) @ at.T
        self._way = way
        self._covariance = covariance = spread[:, :, None] * (at @ self.correlation_ @ at.T) * spread[:, None, :]
        # of every curve, seen up to each checkpoint: the estimate's weights, and its variance [pool, checkpoints]
        self._weights, noise = zip(*[estimator(covariance[:, :k, :k]) for k in range(1, len(grid) + 1)], strict=True)
        self._noise = np.stack(noise, axis=1)

    def ends(self, history: Curves) -> Prediction:
        """Where curves end, in normal scores of the target: mean and standard deviation, float64 [candidates]."""
        mean, variance, _, _ = self._posterior(history)
        return Prediction(mean, np.sqrt(variance))

    def finals(self, history: Curves) -> np.ndarray:
        """The raw scores that full training is expected to give, float64 [candidates]; needs a curve to know the scale.

        Raises ValueError without any.
        """
        if not history.scores:
            raise ValueError("no curve was begun: the scale of scores is not known")
        mean, _, a, b = self._posterior(history)
        return self.problem.sign * (a + b * mean)

    def _posterior(self, history: Curves) -> tuple[np.ndarray, np.ndarray, float, float]:
        if not history.scores:
            return self._mean.copy(), self._variance.copy(), 0.0, 1.0
        begun = list(history.scores)
        y, shift, spread = self._observed(history, begun)
        for c in begun:
            if c not in self._rows:
                self._rows[c] = self._row(c)
        rows = np.stack([self._rows[c] for c in begun])
        factor = cholesky(rows[:, begun] + np.diag(spread), lower=True)
        prior = self._mean[begun] + shift
        guess = np.std(y) / np.sqrt(prior.var() + np.mean(self._variance[begun] + spread))
        columns = np.column_stack([y, prior, np.ones(len(y)), rows])
        white = solve_triangular(factor, columns, lower=True, check_finite=False)
        (u, v, w), rest = white[:, :3].T, white[:, 3:]
        a, b = affine_map(u, v, w, guess)
        mean = self._mean + ((u - a * w) / b - v) @ rest
        return mean, np.maximum(self._variance - (rest**2).sum(0), 1e-9), a, b

    def _observed(self, history: Curves, begun: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each curve begun: the estimate of its end in utilities, what the way adds to it, and its variance in normal
        scores. One that diverged ends just below the worst; scores far below the median count as less far."""
        curves = [self.problem.sign * np.array(history.scores[c]) for c in begun]
        finite = [curve[np.isfinite(curve)] for curve in curves]
        last = np.array([curve[-1] for curve in finite if len(curve)])
        y, shift, noise = np.zeros(len(begun)), np.zeros(len(begun)), self._noise[begun, -1]
        if not len(last):
            return y, shift, noise
        median, best = np.median(last), last.max()
        low = median - 3.0 * (best - median) if best > median else -np.inf
        y[:] = np.maximum(last, low).min() - 0.5 * np.maximum(last, low).std()
        for i, c in enumerate(begun):
            if not history.diverged(c):
                k = len(curves[i]) - 1
                weights = self._weights[k][c]
                y[i], shift[i] = weights @ np.maximum(curves[i], low), weights @ self._way[c, : k + 1]
                noise[i] = self._noise[c, k]
        return y, shift, noise

    # ---------------------------------------------------------------- searching
    def ask(self, history: Curves) -> Advance:
        grid = np.array(self.problem.checkpoints)
        mean, variance, _, _ = self._posterior(history)
        reached = np.zeros(len(mean), dtype=int)
        for c, curve in history.scores.items():
            reached[c] = len(curve)
        going = [c for c in history.scores if not history.diverged(c)]
        if not going:
            untried = history.untried(len(mean))
            return Advance(int(untried[np.argmax(mean[untried])]), int(grid[0]))
        best, top = max(going, key=lambda c: mean[c]), reached[going].max()
        if reached[best] < top:
            return Advance(best, int(grid[top - 1]))
        others = mean[[c for c in going if c != best]].max(initial=-np.inf)
        margin = np.abs(mean - np.where(np.arange(len(mean)) == best, others, mean[best]))
        known = np.column_stack([np.zeros(len(mean)), 1.0 / self._noise])
        gained = known[:, 1:] - np.take_along_axis(known, reached[:, None], 1)  # [pool, checkpoints]
        step = np.sqrt(np.maximum(variance[:, None] - 1.0 / (1.0 / variance[:, None] + np.maximum(gained, 0.0)), 0.0))
        epochs = np.maximum(grid - np.append(0, grid)[reached][:, None], 1)
        worth = gradient(margin[:, None], step) / (epochs + self.charge * grid[-1])
        open_ = np.arange(len(grid)) >= reached[:, None]
        open_[[c for c in history.scores if history.finished(c)]] = False
        c, k = np.unravel_index(np.argmax(np.where(open_, worth, -1.0)), worth.shape)
        return Advance(int(c), int(grid[k]))


def gradient(margin: np.ndarray, step: np.ndarray) -> np.ndarray:
    """E[max(0, step Z − margin)], Z standard normal: what is gained by a mean's moving by ``step`` past a ``margin`` ≥ 0."""
    z = np.divide(margin, step, out=np.full(np.broadcast(margin, step).shape, np.inf), where=step > 1e-12)
    finite = np.where(np.isfinite(z), z, 0.0)
    return np.where(np.isfinite(z), step * (stats.norm.pdf(finite) - finite * stats.norm.sf(finite)), 0.0)


def estimator(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [n, k] and variances [n] of generalised least-squares estimates of n constants, each from k values with errors
    of ``covariance`` [n, k, k]: Σ⁻¹1 / 1ᵀΣ⁻¹1 and 1 / 1ᵀΣ⁻¹1 (Rasmussen & Williams, 2006, Eq. 2.42)."""
    k = covariance.shape[-1]
    solved = np.linalg.solve(covariance + NUGGET * np.eye(k), np.ones((len(covariance), k, 1)))[..., 0]
    total = solved.sum(1)
    return solved / total[:, None], 1.0 / total


def decaying(shares: np.ndarray) -> np.ndarray:
    """Covariance of what curves differ from their ends at ``shares`` of full training, under the kernel
    k(t, t') = 1/(t + t' + 1) of decaying exponentials (arXiv:1406.3896, Eq. 6, α = β = 1)."""

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return 1.0 / (a[:, None] + b[None, :] + 1.0)

    end = np.ones(1)
    return k(shares, shares) - k(shares, end) - k(end, shares) + k(end, end)


def ways_to_the_end(source: CurveTrain, shares: np.ndarray) -> np.ndarray:
    """What source curves differ from their ends, [tasks, configs, seeds, shares], on the scale where a task's final scores
    have mean 0 and variance 1; NaN where a run diverged or was not made."""
    out = np.full((*source.curves.shape[:3], len(shares)), np.nan)
    for t, (task, grid) in enumerate(zip(source.tasks, source.checkpoints, strict=True)):
        y = direction.sign(task.direction) * source.curves[t, ..., : len(grid)]
        y = np.where(np.isnan(y[..., -1:]), np.nan, y)
        ends = y[..., -1][np.isfinite(y[..., -1])]
        if not len(ends):
            continue
        median, best = np.median(ends), ends.max()
        low = median - 3.0 * (best - median) if best > median else -np.inf
        y, ends = np.maximum(y, low), np.maximum(ends, low)
        if (spread := ends.std()) > 0:
            at = interpolation(np.log(np.array(grid) / grid[-1]), np.log(shares))
            out[t] = ((y - y[..., -1:]) / spread) @ at.T
    return out


def moments(ways: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation of each configuration's way [configs, shares], both shrunk to that of all, and the
    correlation over time [shares, shares], of ``ways`` [tasks, configs, seeds, shares]."""
    seen = np.isfinite(ways).all(-1)
    count = seen.sum((0, 2))[:, None]

    def shrunk(values: np.ndarray) -> np.ndarray:
        total = np.where(np.asarray(seen)[..., None], values, 0.0).sum((0, 2))
        return (total + _PRIOR * total.sum(0) / count.sum()) / (count + _PRIOR)

    way = shrunk(ways)
    rest = ways - way[None, :, None]
    spread = np.sqrt(shrunk(rest**2))
    relative = (rest / np.maximum(spread, 1e-9)[None, :, None])[seen]
    return way, spread, parted(relative.T @ relative / len(relative))[1]


def parted(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A covariance as standard deviations [k] and correlations [k, k]; those with what does not vary are 0."""
    spread = np.sqrt(np.diag(covariance))
    length = np.outer(spread, spread)
    return spread, np.divide(covariance, length, out=np.eye(len(spread)), where=length > 1e-12)


def interpolation(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Matrix [wanted, known] that interpolates linearly between values at ``known``, ascending, and goes on level."""
    return np.stack([np.interp(wanted, known, unit) for unit in np.eye(len(known))], axis=1)
