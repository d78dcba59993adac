"""A quadratic response surface whose coefficients are drawn towards the source tasks', climbed by projected gradients.

Box & Wilson, "On the experimental attainment of optimum conditions", J. Royal Statistical Society B 13, 1951 (response
surfaces); the coefficients' prior is the hierarchical linear model of Lindley & Smith, "Bayes estimates for the linear
model", J. Royal Statistical Society B 34, 1972, estimated from the source tasks.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, utilities
from metabench.metamodels.parts.gp import affine_map
from metabench.metamodels.parts.source_space import SourceSpace, blocks, shared_hyperparameters
from metabench.metamodels.parts.surface import Frame
from metabench.search.base import History, MetaTrain, Prediction

#: prior variances of product coefficients, relative to the others, and noise variances that the evidence chooses among
_SHARES, _NOISES = (1.0, 0.3, 0.1, 0.03, 0.01), (0.03, 0.1, 0.3, 1.0)
#: rows of the source that the evidence is computed on, at most
_ROWS = 384
#: trials up to which sums are those of published searches, to the last bit; beyond, a factor grows with the trials
_FEW = 128


class Quadratic(MetaModel):
    """f(x) = φ(x)ᵀβ with φ = [1, x, x², x_i x_j], β ~ N(β₀, D), and y = a + b (f + ε): ridge regression towards β₀.

    β₀ fits the source tasks' mean normal scores; the prior variances D and the variance of ε are those under which the
    tasks' deviations from the mean are likeliest. After every trial the posterior mean of β, or a draw of it
    (``thompson``), is climbed by projected gradients from the ``starts`` best candidates until they rest. Every
    maximum is rounded to the nearest untried candidate under the learned length scales; the one of these with the
    largest f is the next trial.
    """

    name = "quadratic"
    version = "1"
    twin = "gp"
    arrays = ("mean_", "prior_")
    facts = ("noise_",)
    grid: ClassVar[dict[str, tuple]] = {"starts": (4, 16), "thompson": (False, True)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self, starts: int = 16, thompson: bool = True):
        if starts < 1:
            raise UsageError(f"quadratic: starts is {starts}; at least 1 is needed")
        self.starts = starts
        self.thompson = thompson

    def fit(self, source: MetaTrain) -> Quadratic:
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        targets = self.source_.complete(source.normal_scores)
        frame = Frame(source.space)
        phi = frame.features(frame.points(self.source_.encoded))
        mean = targets.mean(0)
        # one task tells nothing of how tasks differ
        self.prior_, self.noise_ = largest_evidence(phi, frame.order, targets - mean if len(targets) > 1 else targets)
        kernel = (phi * self.prior_) @ phi.T + self.noise_ * np.eye(len(phi))
        self.mean_ = self.prior_ * (phi.T @ cho_solve(cho_factor(kernel, lower=True), mean))
        return self

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self.source_.align(self.problem)  # refuses or tells of a space that is not the source's
        self._frame = Frame(self.source_.space)
        names = list(self.source_.space)
        pool = self.problem.candidates[shared_hyperparameters(self.source_.space, self.problem)]
        self._points = self._frame.points(blocks(self.source_.space, pool, names))
        widths = [s.stop - s.start for s in self._frame.slices.values()]
        self._metric = np.repeat(self.source_.length_scales, widths) ** -1.0
        self._scaled = self._points * self._metric
        self._phi = self._frame.features(self._points)
        self._mean = self._phi @ self.mean_
        self._variance = self._phi**2 @ self.prior_
        #: trials whose covariance is factored, and the lower triangle in the corner of a larger matrix
        self._known: tuple[list[int], np.ndarray] | None = None

    def coefficients(self, history: History, draw: bool = False) -> np.ndarray:
        """Posterior mean of β given the trials, or with ``draw`` a draw of it, float64 [coefficients]."""
        rng = np.random.default_rng([self.seed, len(history), 0x9AD])
        prior = self.mean_ + draw * np.sqrt(self.prior_) * rng.normal(size=len(self.prior_))
        tried, y = utilities(self.problem, history)
        if len(tried) == 0:
            return prior
        phi, mean = self._phi[tried], self._mean[tried]
        factor = self._grown(tried) if len(tried) > _FEW else self._factor(phi)
        spread = np.sqrt(mean.var() + self._variance[tried].mean() + self.noise_)
        u, v, w = solve_triangular(factor, np.column_stack([y, mean, np.ones(len(y))]), lower=True).T
        a, b = affine_map(u, v, w, guess=np.std(y) / spread)
        # a draw given the trials is the prior's draw, moved by what they differ from it (Matheron's rule)
        noise = draw * np.sqrt(self.noise_) * rng.normal(size=len(tried))
        return prior + self.prior_ * (phi.T @ cho_solve((factor, True), (y - a) / b - phi @ prior - noise))

    def _factor(self, phi: np.ndarray) -> np.ndarray:
        """The lower Cholesky factor of the covariance of trials with features ``phi`` [trials, coefficients]."""
        return np.linalg.cholesky((phi * self.prior_) @ phi.T + self.noise_ * np.eye(len(phi)))

    def _grown(self, tried: np.ndarray) -> np.ndarray:
        """:meth:`_factor` of more than _FEW trials, a row a trial: the same numbers however the search came here."""
        n, known = len(tried), self._known
        if known is None or known[0] != tried[: len(known[0])].tolist():
            lower = np.zeros((2 * n, 2 * n))
            lower[:_FEW, :_FEW] = self._factor(self._phi[tried[:_FEW]])
            known = tried[:_FEW].tolist(), lower
        done, lower = len(known[0]), known[1]
        if n > len(lower):
            lower = np.zeros((2 * n, 2 * n))
            lower[:done, :done] = known[1][:done, :done]
        for i in range(done, n):
            row = self._phi[tried[: i + 1]] @ (self._phi[tried[i]] * self.prior_)
            lower[i, :i] = solve_triangular(lower[:i, :i], row[:i], lower=True, check_finite=False)
            left = row[i] + self.noise_ - lower[i, :i] @ lower[i, :i]
            lower[i, i] = np.sqrt(max(left, 1e-12 * self.noise_))
        self._known = tried.tolist(), lower
        return lower[:n, :n]

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the surface, float64 [candidates]."""
        phi, seen = self._phi[candidates], self._phi[history.candidates]
        cross = solve_triangular(self._factor(seen), (seen * self.prior_) @ phi.T, lower=True)
        variance = self._variance[candidates] - (cross**2).sum(0)
        return Prediction(phi @ self.coefficients(history), np.sqrt(np.maximum(variance, 0.0)))

    def maxima(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [starts, columns of :class:`Frame`] where the climbs from the best candidates rest, and their values,
        best first."""
        best = np.argsort(-(self._phi @ coefficients), kind="stable")[: self.starts]
        return self._frame.climb(coefficients, self._points[best])

    def ask(self, history: History) -> int:
        coefficients = self.coefficients(history, draw=self.thompson and len(history) > 0)
        points, _ = self.maxima(coefficients)
        untried = history.untried(len(self._points))
        left = self._scaled[untried]
        near = np.unique([untried[np.argmin(((left - p) ** 2).sum(1))] for p in points * self._metric])
        return int(near[np.argmax(self._phi[near] @ coefficients)])


def largest_evidence(phi: np.ndarray, order: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
    """Prior variances [coefficients] and noise variance under which the targets [tasks, configs] are likeliest.

    z ~ N(0, v (φ diag(d) φᵀ/k + s I)) with k the mean diagonal, d 1 except for products, v profiled out (MacKay,
    "Bayesian interpolation", Neural Computation 4, 1992).
    """
    rows = np.random.default_rng(0x9AD).permutation(len(phi))[:_ROWS]
    phi, z = phi[rows], targets[:, rows]
    best: tuple[Any, np.ndarray, Any] = (-np.inf, np.empty(0), 0.0)
    for share in _SHARES:
        d = np.where(order == 2, share, 1.0)
        d /= (phi**2 @ d).mean()
        values, vectors = np.linalg.eigh((phi * d) @ phi.T)
        power = ((z @ vectors) ** 2).mean(0)
        for noise in _NOISES:
            spectrum = np.maximum(values, 0.0) + noise
            v = max((power / spectrum).mean(), 1e-12)
            evidence = -0.5 * (np.log(spectrum).mean() + np.log(v))
            if evidence > best[0]:
                best = evidence, d * v, noise * v
    return best[1], float(best[2])
