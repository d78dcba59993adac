"""Bayesian optimisation with a Gaussian process: Matérn-5/2, expected improvement over the untried candidates.

Snoek, Larochelle & Adams, "Practical Bayesian optimization of machine learning algorithms", NeurIPS 2012, on
scikit-learn's regressor.
"""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from metabench.baselines.parts.common import refit_due, utilities
from metabench.search.base import History, Prediction, Surrogate
from metabench.search.kept import kept

#: trials that the process is conditioned on, at most
MOST = 256


class GP(Surrogate):
    """σ² Matérn-5/2 + noise on ``Space.encode``, a length scale per column, targets from :func:`targets`.

    The first ``design`` trials are random unless the search was given a start. The marginal likelihood is maximised
    anew on a schedule (:func:`~metabench.baselines.parts.common.refit_due`); in between only the factorisation is renewed.
    At most MOST trials count (:func:`~metabench.search.kept.kept`).
    """

    name = "gp"
    version = "1"

    def __init__(self, design: int = 5):
        self.design = design

    def begin(self) -> None:
        self._given: int | None = None
        self._kernel, self._fitted_at = None, 0
        self._model: Any = None
        self._model_at: tuple[int, ...] = ()

    def ask(self, history: History) -> int:
        if self._given is None:
            self._given = len(history)
        if len(history) < (self.design if self._given == 0 else 2):
            return int(self.rng.choice(history.untried(len(self.problem.candidates))))
        return super().ask(history)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the standardised target, float64 [candidates]."""
        if len(history) == 0:
            return Prediction(np.zeros(len(candidates)), np.ones(len(candidates)))
        if self._model_at != tuple(history.candidates):
            self._fit(history)
        mean, std = self._model.predict(self.problem.encoded[candidates], return_std=True)
        return Prediction(mean, std)

    def _fit(self, history: History) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        x = self.problem.encoded.astype(np.float64)
        if self._kernel is None:
            scales = Matern(cast(Any, np.ones(x.shape[1])), (0.1, 10.0), nu=2.5)
            self._kernel = ConstantKernel(1.0, (0.1, 10.0)) * scales + WhiteKernel(0.05, (1e-4, 1.0))
        refit = refit_due(len(history), self._fitted_at)
        chosen = kept(utilities(self.problem, history), MOST)
        some = History([history.candidates[i] for i in chosen], [history.scores[i] for i in chosen])
        tried, y = x[some.candidates], targets(utilities(self.problem, some))

        def maximise(_, theta: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
            """L-BFGS-B from the last optimum; some 30 steps are plenty there."""
            squared = (tried.T[:, :, None] - tried.T[:, None]) ** 2
            start = {"jac": True, "bounds": bounds, "args": (squared, y), "options": {"maxiter": 30}}
            result = minimize(negative_likelihood, theta, method="L-BFGS-B", **start)
            return result.x, result.fun

        self._model = GaussianProcessRegressor(self._kernel, optimizer=cast(Any, maximise if refit else None))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a length scale at its bound is a fine answer
            self._model.fit(tried, y)
        if refit:
            self._kernel, self._fitted_at = self._model.kernel_, len(history)
        self._model_at = tuple(history.candidates)


def targets(y: np.ndarray) -> np.ndarray:
    """Utilities [n] to mean 0 and variance 1, their low end cut: a trial that lies further under the median than the
    best lies above it counts as just that far under. How bad a bad trial is says nothing about the good ones, and a few
    at chance level would otherwise set the scale.
    """
    median = np.median(y)
    y = np.maximum(y, median - (y.max() - median))
    return (y - y.mean()) / (y.std() or 1.0)


def negative_likelihood(theta: np.ndarray, squared: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """−log marginal likelihood of y [n] and its gradient (Rasmussen & Williams, 2006, Eq. 5.8–5.9).

    ``theta`` are the logarithms of variance, length scales and noise, ``squared`` [columns, n, n] the squared
    differences in each column. scikit-learn's own is the same, up to rounding, at several times the cost.
    """
    variance, inverse, noise = np.exp(theta[0]), np.exp(-2.0 * theta[1:-1]), np.exp(theta[-1])
    r5 = np.sqrt(5.0 * np.tensordot(inverse, squared, 1))
    decay = np.exp(-r5)
    matern = (1.0 + r5 + r5 * r5 / 3.0) * decay
    factor = cho_factor(variance * matern + noise * np.eye(len(y)), lower=True, check_finite=False)
    a = cho_solve(factor, y, check_finite=False)
    value = 0.5 * y @ a + np.log(np.diag(factor[0])).sum() + 0.5 * len(y) * np.log(2.0 * np.pi)
    w = 0.5 * (cho_solve(factor, np.eye(len(y)), check_finite=False) - np.outer(a, a))
    # dk/d(r²) = −5/6 (1 + √5 r) exp(−√5 r) and dr²/dlog ℓ = −2 d²/ℓ²
    inner = np.tensordot(squared, w * (5.0 / 3.0) * variance * (1.0 + r5) * decay, 2)
    return float(value), np.concatenate([[variance * (w * matern).sum()], inner * inverse, [noise * np.trace(w)]])
