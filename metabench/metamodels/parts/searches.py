"""Source tasks searched again, all in lockstep: what a policy sees of a search, and what a proposal is worth.

Every source task is searched as if it were new: its scores are predicted by tasks of other families alone
(:meth:`TaskKernel.left_out`), trials correct that, as :class:`TaskGP` does on a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from metabench import direction
from metabench.metamodels.parts.common import task_features
from metabench.metamodels.parts.gp import affine_map
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.task_kernel import Standardiser, TaskKernel
from metabench.search.base import MetaTrain

if TYPE_CHECKING:
    from metabench.metamodels.task_gp import TaskGP

#: regrets below count as this one in the reward
EPSILON = 0.02
#: the first feature of a candidate that was tried
TRIED = -50.0
#: what :func:`describe` says of a candidate
FEATURES = ("log_improvement", "standing", "mean", "std", "share", "gap", "spent")


def log_improvement(z: np.ndarray) -> np.ndarray:
    """log(z Φ(z) + φ(z)), the logarithm of expected improvement over the standard deviation, for any z.

    For z far below 0 by the expansion of Φ (Ament et al., "Unexpected improvements to expected improvement for Bayesian
    optimization", NeurIPS 2023, Eq. 9).
    """
    z = np.asarray(z, dtype=float)
    density = -0.5 * z * z - 0.5 * np.log(2.0 * np.pi)
    low = np.minimum(z, -1.0)
    # Φ(z)/φ(z) by the scaled complementary error function; 1 + z Φ/φ loses digits where it is about 1/z²
    ratio = np.sqrt(np.pi / 2.0) * special.erfcx(-low / np.sqrt(2.0))
    tail = np.where(low < -1e3, -2.0 * np.log(-low), np.log(np.maximum(1.0 + low * ratio, 1e-300)))
    high = np.maximum(z, -1.0)
    return np.where(
        z < -1.0, density + tail, np.log(high * special.ndtr(high) + np.exp(-0.5 * high**2) / np.sqrt(2 * np.pi))
    )


def describe(
    mean: np.ndarray, std: np.ndarray, tried: np.ndarray, best: np.ndarray, trials: int, horizon: int
) -> np.ndarray:
    """Features of candidates, float64 [..., pool, FEATURES], from the surrogate's mean and std [..., pool].

    ``tried`` bool [..., pool] are the trials so far, of which there are ``trials``; ``best`` [...] the highest mean among
    them (of all where there is none). ``log_improvement`` is log EI relative to its highest (``TRIED`` where tried),
    ``standing`` the standardised distance to ``best``, ``share`` the mean's rank from 0 to 1 (highest), ``gap`` the
    highest mean of an untried candidate minus ``best``, ``spent`` the share of the horizon.
    """
    z = (mean - best[..., None]) / std
    gain = np.log(std) + log_improvement(z) if trials else mean - mean.max(-1, keepdims=True)
    gain = np.where(tried, -np.inf, gain)
    gain = np.where(tried, TRIED, np.maximum(gain - gain.max(-1, keepdims=True), -10.0))
    share = np.argsort(np.argsort(mean, axis=-1), axis=-1) / max(mean.shape[-1] - 1, 1)
    gap = np.where(tried, mean.min(-1, keepdims=True), mean).max(-1) - best
    wide = np.broadcast_to
    return np.stack(
        [
            gain,
            np.clip(z, -5.0, 5.0),
            mean,
            std,
            share,
            wide(gap[..., None], mean.shape),
            np.full(mean.shape, min(trials / horizon, 1.0)),
        ],
        axis=-1,
    )


@dataclass(frozen=True)
class Course:
    """Tasks to be searched, with what is known of them beforehand; all float64, and [tasks, pool] but for ``variance``.

    ``mean`` and ``variance`` [tasks] are the prediction by other families' tasks, ``own`` the tasks' part in the empirical
    covariance, ``targets`` their normal scores. ``y`` [tasks, seeds, pool] are the utilities that a search sees,
    ``regret`` those of configurations, clipped at 1. ``covariance`` [pool, pool] is that of unit variance.
    """

    mean: np.ndarray
    variance: np.ndarray
    own: np.ndarray
    targets: np.ndarray
    y: np.ndarray
    regret: np.ndarray
    covariance: np.ndarray
    noise: float

    @classmethod
    def of(cls, model: TaskGP, source: MetaTrain, held: bool = False) -> Course:
        """Of the tasks that ``model`` was fitted on, in its order; or of others (``held``), on the same configurations."""
        x = model.source_.kernel(list(model.source_.space)).scale(model.source_.encoded)
        empirical, rest = np.sqrt(1.0 - model.alpha_) * model.factors_, model.alpha_ * model.variance_
        covariance = empirical.T @ empirical + rest * matern(distances(x, x))
        ran = np.flatnonzero(source.seen.any(axis=1))
        kernel = TaskKernel(model.features_, model.relevance_, model.common_, model.idiosyncrasy_)
        if held:
            standard = Standardiser(model.centre_, model.spread_)
            targets = model.source_.complete(source.normal_scores[ran])
            said = [kernel.weights(standard(task_features(model.names_, source.tasks[t]))) for t in ran.tolist()]
            mean, variance = np.stack([w @ model.targets_ for w, _ in said]), np.array([v for _, v in said])
            own = np.zeros_like(targets)
        else:
            families = np.unique([source.tasks[t].family for t in ran.tolist()], return_inverse=True)[1]
            targets = model.targets_
            left, variance = kernel.left_out(targets, families)
            mean, own = targets - left, empirical
        y, regret = _shown(source, ran, targets)
        return cls(mean, variance, own, targets, y, regret, covariance, model.noise)

    def search(self, tasks: np.ndarray, seeds: np.ndarray, horizon: int) -> Lockstep:
        """Begin searches of ``tasks`` int [n] under ``seeds`` int [n], ``horizon`` trials long at most."""
        return Lockstep(self, np.asarray(tasks), np.asarray(seeds) % self.y.shape[1], horizon)


def _shown(source: MetaTrain, ran: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Utilities [tasks, seeds, pool] as a search sees them (:func:`~metabench.metamodels.parts.common.utilities`), and
    regrets. Where nothing was run the normal scores stand in, on their own scale."""
    sign = np.array([direction.sign(source.tasks[t].direction) for t in ran])[:, None, None]
    u = sign * np.moveaxis(source.scores[ran], 2, 1)
    known = np.moveaxis(source.ran[ran], 2, 1)
    y, regret = np.empty(u.shape), np.empty(u.shape)
    for t, z in enumerate(targets):
        for k in range(u.shape[1]):
            row, finite = u[t, k], np.isfinite(u[t, k])
            if not finite.any() or np.ptp(row[finite]) == 0:
                row, finite = z, np.ones(len(z), dtype=bool)
            median, best = np.median(row[finite]), row[finite].max()
            span = best - median if best > median else max(best - row[finite].min(), 1e-12)
            bottom = median - 3.0 * span
            low = max(bottom, row[finite].min()) - 0.5 * row[finite].std()
            # a run that was never made takes the value of its normal score among those that were
            levels = np.sort(np.maximum(row[finite], bottom))
            guess = np.interp(
                np.argsort(np.argsort(z)) / max(len(z) - 1, 1), np.linspace(0.0, 1.0, len(levels)), levels
            )
            y[t, k] = np.where(finite, np.maximum(row, bottom), np.where(known[t, k], low, guess))
            regret[t, k] = np.clip((best - y[t, k]) / span, 0.0, 1.0)
    return y, regret


def every(course: Course) -> tuple[np.ndarray, np.ndarray]:
    """Every task with every seed, int [searches] each."""
    tasks, seeds = np.meshgrid(*(np.arange(n) for n in course.y.shape[:2]), indexing="ij")
    return tasks.ravel(), seeds.ravel()


class Lockstep:
    """Searches that advance together: the posterior of :class:`PoolGP` for each, a trial at a time for all."""

    def __init__(self, course: Course, tasks: np.ndarray, seeds: np.ndarray, horizon: int):
        n, pool = len(tasks), course.mean.shape[1]
        self.course, self.tasks, self.horizon, self.trials = course, tasks, min(horizon, pool), 0
        self._every = np.arange(n)
        self._mean, self._own = course.mean[tasks], course.own[tasks]
        self._scale = course.variance[tasks]
        self._y = course.y[tasks, seeds]
        self._regret = course.regret[tasks, seeds]
        self._variance = self._scale[:, None] * (np.diag(course.covariance) - self._own**2)
        self._prior = self._variance.copy()
        self._rows = np.empty((n, self.horizon, pool))
        # L⁻¹ [y, mean, 1] of the trials
        self._white = np.empty((n, self.horizon, 3))
        self._at = np.empty((n, self.horizon), dtype=int)
        self.tried = np.zeros((n, pool), dtype=bool)
        #: regret of the incumbents, float64 [searches]; 1 before the first trial
        self.regret = np.ones(n)
        #: trials since the incumbents last changed, int [searches]
        self.stalled = np.zeros(n, dtype=int)

    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the normal scores, float64 [searches, pool]."""
        std = np.sqrt(np.maximum(self._variance, 1e-12))
        t = self.trials
        if t == 0:
            return self._mean, std
        at = self._at[:, :t]
        y, mean = np.take_along_axis(self._y, at, 1), np.take_along_axis(self._mean, at, 1)
        spread = np.sqrt(mean.var(1) + (np.take_along_axis(self._prior, at, 1) + self.course.noise).mean(1))
        shift = np.empty((len(at), t))
        for i, white in enumerate(self._white[:, :t]):
            u, v, w = white.T
            a, b = affine_map(u, v, w, guess=np.std(y[i]) / spread[i])
            shift[i] = (u - a * w) / b - v
        return self._mean + np.einsum("st,stp->sp", shift, self._rows[:, :t]), std

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """What is known of the candidates (:func:`describe`), [searches, pool, FEATURES], and the posterior mean."""
        mean, std = self.posterior()
        best = np.where(self.tried, mean, -np.inf).max(1) if self.trials else mean.max(1)
        return describe(mean, std, self.tried, best, self.trials, self.horizon), mean

    def step(self, candidates: np.ndarray) -> np.ndarray:
        """Try a candidate in each search, int [searches]; rewards float64 [searches]: the drop in log regret."""
        t, p, every = self.trials, candidates, self._every
        above = self._rows[every, :t, p]
        prior = self._scale[:, None] * (self.course.covariance[p] - self._own[every, p][:, None] * self._own)
        rest = prior - np.einsum("st,stp->sp", above, self._rows[:, :t])
        pivot = np.sqrt(np.maximum(rest[every, p] + self.course.noise, 1e-10))
        self._rows[:, t] = rest / pivot[:, None]
        self._variance = self._variance - self._rows[:, t] ** 2
        values = np.stack([self._y[every, p], self._mean[every, p], np.ones(len(p))], axis=1)
        self._white[:, t] = (values - np.einsum("st,stk->sk", above, self._white[:, :t])) / pivot[:, None]
        self._at[:, t] = p
        self.tried[every, p] = True
        self.trials += 1
        before = self.regret
        self.regret = np.minimum(before, self._regret[every, p])
        self.stalled = np.where(self.regret < before, 0, self.stalled + 1)
        return np.log(np.maximum(before, EPSILON) / np.maximum(self.regret, EPSILON))
