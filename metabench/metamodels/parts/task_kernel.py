"""A kernel over tasks, learned from what is known of them before a trial: which tasks' scores go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

#: bounds of log relevances, of the logit of the common share, and of the log noise
_BOUNDS = (-15.0, 4.0), (-6.0, 6.0), (-5.0, 3.0)
#: features are standardised over the source and clipped there
_CLIP = 3.0


@dataclass(frozen=True)
class Standardiser:
    """Task features with mean 0 and standard deviation 1 over the source; what is unknown or constant lies at 0."""

    centre: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, raw: np.ndarray) -> Standardiser:
        """From features [tasks, features], NaN (or infinite) where unknown."""
        known = np.isfinite(raw)
        count = np.maximum(known.sum(0), 1)
        centre = np.where(known, raw, 0.0).sum(0) / count
        with np.errstate(invalid="ignore"):
            spread = np.sqrt((np.where(known, raw - centre, 0.0) ** 2).sum(0) / count)
        return cls(centre, np.where(spread > 1e-9 * (1.0 + np.abs(centre)), spread, np.inf))

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Features [..., features] → float64 of the same shape, within ±3."""
        known = np.isfinite(raw)
        return np.clip(np.where(known, np.where(known, raw, 0.0) - self.centre, 0.0) / self.spread, -_CLIP, _CLIP)


@dataclass(frozen=True)
class TaskKernel:
    """k(s, t) = c + (1 − c) exp(−√Σ r_j (x_sj − x_tj)²) over standardised task features x, and noise on the diagonal.

    The noise ν is what features cannot tell of a task. ``x`` float64 [tasks, features] are the source's, ``relevance``
    [features] are the r_j.
    """

    x: np.ndarray
    relevance: np.ndarray
    common: float
    noise: float

    @classmethod
    def fit(cls, x: np.ndarray, targets: np.ndarray, sparsity: float = 5.0) -> TaskKernel:
        """Parameters that maximise the likelihood of targets [tasks, configs], tasks being draws of one process.

        Configurations are columns with the same covariance up to a variance, which is profiled out (the intrinsic
        coregionalisation model: Bonilla, Agakov & Williams, "Kernel multi-task learning using task-specific
        features", AISTATS 2007, Eq. 1). They resemble each other, so all together count as one. The r_j have
        exponential priors with rate ``sparsity``, under which most vanish: automatic relevance determination
        (Rasmussen & Williams, 2006, Sec. 5.1).
        """
        tasks, features = x.shape
        gram = targets @ targets.T / max(targets.shape[1], 1)
        start = np.concatenate([np.full(features, -4.0), [0.0, -0.5]])
        if tasks < 3 or np.trace(gram) <= 0:
            return cls(x, np.exp(start[:-2]), 0.5, float(np.exp(start[-1])))
        squared = (x.T[:, :, None] - x.T[:, None]) ** 2
        bounds = [_BOUNDS[0]] * features + [*_BOUNDS[1:]]
        found = minimize(
            negative_likelihood,
            start,
            (squared, gram, sparsity),
            "L-BFGS-B",
            True,
            bounds=bounds,
            options={"maxiter": 100},
        )
        best = found.x
        return cls(x, np.exp(best[:-2]), float(1.0 / (1.0 + np.exp(-best[-2]))), float(np.exp(best[-1])))

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """k without noise between tasks [n, features] and [m, features], float64 [n, m]."""
        squared = ((a[:, None] - b[None]) ** 2) @ self.relevance
        return self.common + (1.0 - self.common) * np.exp(-np.sqrt(squared))

    def _covariance(self) -> np.ndarray:
        return self(self.x, self.x) + self.noise * np.eye(len(self.x))

    def weights(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        """Of a new task with features x [features]: the weights [tasks] of the source tasks' scores in its predicted ones,
        and the variance of what is left (Rasmussen & Williams, 2006, Eq. 2.25–2.26, noise included)."""
        near = self(self.x, x[None])[:, 0]
        weights = cho_solve(cho_factor(self._covariance(), lower=True), near)
        return weights, float(max(1.0 - weights @ near, 0.0) + self.noise)

    def left_out(self, targets: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the tasks of each group differ from their prediction by all other groups, [tasks, configs], and its
        predicted variances [tasks]: leave-one-out (Rasmussen & Williams, 2006, Eq. 5.12) in blocks, ``groups``
        int [tasks]."""
        precision = cho_solve(cho_factor(self._covariance(), lower=True), np.eye(len(self.x)))
        solved = precision @ targets
        rest, variance = np.empty_like(targets), np.empty(len(targets))
        for group in np.unique(groups):
            mine = np.flatnonzero(groups == group)
            covariance = np.linalg.inv(precision[np.ix_(mine, mine)])
            rest[mine] = covariance @ solved[mine]
            variance[mine] = np.diag(covariance)
        return rest, variance


def negative_likelihood(
    theta: np.ndarray, squared: np.ndarray, gram: np.ndarray, sparsity: float
) -> tuple[float, np.ndarray]:
    """−log likelihood of :meth:`TaskKernel.fit`, up to a constant, and its gradient.

    ``theta`` are log relevances, the logit of the common share and the log noise; ``squared`` [features, tasks, tasks]
    the squared differences of features; ``gram`` [tasks, tasks] = ZZᵀ/configs of the targets Z.
    """
    tasks = len(gram)
    relevance, common, noise = np.exp(theta[:-2]), 1.0 / (1.0 + np.exp(-theta[-2])), np.exp(theta[-1])
    distance = np.sqrt(np.tensordot(relevance, squared, 1) + 1e-12)
    near = np.exp(-distance)
    factor = cho_factor(common + (1.0 - common) * near + noise * np.eye(tasks), lower=True)
    precision = cho_solve(factor, np.eye(tasks))
    solved = precision @ gram
    variance = np.trace(solved) / tasks
    value = np.log(np.diag(factor[0])).sum() + 0.5 * tasks * np.log(variance) + sparsity * relevance.sum()
    # Rasmussen & Williams (2006), Eq. 5.9, with the variance profiled out
    slope = 0.5 * (precision - solved @ precision / variance)
    inner = -0.5 * (1.0 - common) * slope * near / distance
    np.fill_diagonal(inner, 0.0)
    return value, np.concatenate(
        [
            (np.tensordot(squared, inner, 2) + sparsity) * relevance,
            [(slope * (1.0 - near)).sum() * common * (1.0 - common), np.trace(slope) * noise],
        ]
    )
