"""Empirical Gaussian process: its mean and covariance over configurations are those of the source tasks.

Lin, Ament, Tiao, Eriksson, Balandat & Bakshy, "Empirical Gaussian processes", ICML 2026, arXiv:2602.12082: mean and
covariance functions estimated from past data sets, by expectation-maximisation where these saw different points. Here
a Matérn residual covers what S tasks cannot span, and the target's scale is profiled out by an affine map.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, utilities
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain, Prediction, Problem, expected_improvement


class EmpiricalGP(MetaModel):
    """f ~ N(m, (1 − α) FᵀF/S + α v Matérn), y = a + b (f + ε), maximising expected improvement.

    m and F are mean and deviations of the source tasks' normal scores. ``alpha`` is the share of the covariance that
    comes from the Matérn kernel (never less than 1/S: one task tells nothing of how tasks differ); ``noise`` the
    variance of ε in normal scores; ``em_steps`` bounds the expectation-maximisation where cells of the table were not run.
    """

    name = "empirical_gp"
    version = "1"
    twin = "gp"
    arrays = ("mean_", "factors_")
    facts = ("alpha_", "variance_")
    grid: ClassVar[dict[str, tuple]] = {"alpha": (0.1, 0.3, 0.5), "noise": (0.05, 0.15, 0.4)}

    def __init__(self, alpha: float = 0.3, noise: float = 0.15, em_steps: int = 20):
        if not 0 < alpha <= 1 or noise <= 0 or em_steps < 1:
            raise UsageError("empirical_gp: needs 0 < alpha <= 1, noise > 0 and em_steps >= 1")
        self.alpha = alpha
        self.noise = noise
        self.em_steps = em_steps

    def fit(self, source: MetaTrain) -> EmpiricalGP:
        check_source(source, self.name)
        z = source.normal_scores
        z = z[~np.isnan(z).all(1)]
        if len(z) == 0:
            raise UsageError("empirical_gp: no configuration of the source was run")
        self.source_ = SourceSpace.fit(source, z)
        self.alpha_ = max(self.alpha, 1.0 / len(z))
        if np.isnan(z).any():
            x = self.source_.kernel(list(source.space)).scale(self.source_.encoded)
            self.mean_, covariance = expectation_maximisation(
                z, matern(distances(x, x)), self.alpha_, self.noise, self.em_steps
            )
            self.factors_ = factorise(covariance)
        else:
            self.mean_ = z.mean(0)
            self.factors_ = (z - self.mean_) / np.sqrt(len(z))
        self.variance_ = typical_variance(float(np.mean((self.factors_**2).sum(0))), len(z))
        return self

    def begin(self) -> None:
        super().begin()
        self._mean, self._factors, self._scale, self._x = self._prior(self.problem)
        self._gp = PoolGP(self._row, (self._factors**2).sum(0) + self._scale**2, self.noise)

    def _prior(self, problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of a pool: the mean [pool], the factors [rank, pool], the residual's standard deviation [pool], and its coordinates."""
        alignment = self.source_.align(problem)
        mean = alignment.carry(self.mean_)
        factors = np.sqrt(1.0 - self.alpha_) * alignment.carry(self.factors_)
        # what the interpolation to other configurations leaves open goes to the residual, too
        scale = np.sqrt(self.variance_ * (self.alpha_ + (1.0 - self.alpha_) * alignment.gap))
        return mean, factors, scale, self.source_.pool_coordinates(problem)

    def _row(self, i: int) -> np.ndarray:
        """The prior covariance of position ``i`` with the pool, float64 [pool]."""
        factors, scale, x = self._factors, self._scale, self._x
        return factors[:, i] @ factors + scale[i] * scale * matern(distances(x[i : i + 1], x)[0])

    def extend(self, problem: Problem) -> None:
        """Go on with a pool that begins with the present one: what was computed for that stays."""
        old, tried = len(self._mean), self._gp.tried
        rest = replace(problem, candidates=problem.candidates.iloc[old:].reset_index(drop=True))
        mean, factors, scale, x = self._prior(rest)
        covariance = self._factors[:, tried].T @ factors
        covariance += self._scale[tried][:, None] * scale * matern(distances(self._x[tried], x))
        self._gp.grow(covariance, (factors**2).sum(0) + scale**2)
        self.problem = problem
        self._mean, self._scale = np.append(self._mean, mean), np.append(self._scale, scale)
        self._factors, self._x = np.hstack([self._factors, factors]), np.vstack([self._x, x])

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        mean, variance = self._posterior(history)
        return Prediction(mean[candidates], np.sqrt(variance[candidates]))

    def _posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        self._gp.observe(tried)
        mean, variance, _, _ = self._gp.posterior(self._mean, y)
        return mean, variance

    def ask(self, history: History) -> int:
        mean, variance = self._posterior(history)
        untried = history.untried(len(mean))
        if len(history) == 0:
            return int(untried[np.argmax(mean[untried])])
        prediction = Prediction(mean[untried], np.sqrt(variance[untried]))
        return int(untried[np.argmax(expected_improvement(prediction, mean[history.candidates].max()))])


def typical_variance(empirical: float, tasks: int) -> float:
    """Between-task variance of a configuration's normal score: ``empirical`` (a mean over S tasks), unbiased, with one
    task's worth of unit variance added."""
    return (empirical * tasks + 1.0) / tasks


def expectation_maximisation(
    z: np.ndarray, residual: np.ndarray, alpha: float, noise: float, steps: int, tolerance: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [configs] and covariance [configs, configs] of normal scores [tasks, configs] with unobserved cells (NaN).

    Each task is a draw of N(m, K) seen with noise, K = (1 − α) C + α v ``residual``. E-step: the conditional mean and
    covariance of each task's whole row. M-step: m is their mean, C the mean of outer products plus conditional
    covariances (Dempster, Laird & Rubin, 1977; arXiv:2602.12082 gives the same closed form). Stops when m moves less than
    ``tolerance`` (root mean square).
    """
    tasks, configs = z.shape
    seen = ~np.isnan(z)
    count = seen.sum(0)
    # a start that shrinks rarely seen configurations to the mean of normal scores, which is 0
    mean = np.where(seen, z, 0.0).sum(0) / (count + 1.0)
    deviation = np.where(seen, z - mean, 0.0)
    variance = (np.sum(deviation**2) + 1.0) / max(seen.sum(), 1)
    covariance = variance * residual
    for _ in range(steps):
        kernel = (1.0 - alpha) * covariance + alpha * np.mean(np.diag(covariance)) * residual
        rows, total = np.empty_like(z), np.zeros((configs, configs))
        gains: dict[
            bytes, tuple[np.ndarray, np.ndarray]
        ] = {}  # tasks on which the same configurations were run share theirs
        for t in range(tasks):
            o, pattern = np.flatnonzero(seen[t]), seen[t].tobytes()
            if pattern not in gains:
                factor = cho_factor(kernel[np.ix_(o, o)] + noise * np.eye(len(o)), lower=True)
                gain = cho_solve(factor, kernel[o]).T
                gains[pattern] = gain, kernel - gain @ kernel[o]
            gain, left = gains[pattern]
            rows[t] = mean + gain @ (z[t, o] - mean[o])
            total += left
        moved = np.sqrt(np.mean((rows.mean(0) - mean) ** 2))
        mean = rows.mean(0)
        centred = rows - mean
        covariance = (centred.T @ centred + total) / tasks
        if moved < tolerance:
            break
    return mean, 0.5 * (covariance + covariance.T)


def factorise(covariance: np.ndarray, keep: float = 0.999) -> np.ndarray:
    """G [rank, configs] with GᵀG ≈ ``covariance``, keeping that share of its trace."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    rank = int(np.searchsorted(np.cumsum(values), keep * values.sum())) + 1
    return np.sqrt(values[:rank])[:, None] * vectors[:, :rank].T
