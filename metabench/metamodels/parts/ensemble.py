"""One Gaussian process per source task and one on the target: what ensembles of them share."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, utilities
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain, Prediction, expected_improvement


class Ensemble(MetaModel):
    """A weighted sum of Gaussian processes, one on each source task's normal scores and one on the target's trials.

    All have the Matérn kernel whose length scales were learned from the source tasks together, and noise of variance
    ``noise``. So the source processes share one posterior covariance, and their means are one matrix product. A subclass
    says what the :meth:`weights` are.
    """

    twin = "gp"
    arrays = ("means_", "covariance_")

    def __init__(self, noise: float = 0.05):
        if noise <= 0:
            raise UsageError(f"{self.name}: noise is {noise:g}; it must be positive")
        self.noise = noise

    def fit(self, source: MetaTrain) -> Ensemble:
        """Condition a process on every source task, at all its configurations."""
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        targets = self.source_.complete(source.normal_scores)
        x = self.source_.kernel(list(source.space)).scale(self.source_.encoded)
        prior = matern(distances(x, x))
        # Rasmussen & Williams (2006), Eq. 2.23–2.24, for all tasks at once
        gain = cho_solve(cho_factor(prior + self.noise * np.eye(len(x)), lower=True), prior)
        self.means_ = targets @ gain
        self.covariance_ = prior - prior @ gain
        return self

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        a = self._alignment = self.source_.align(self.problem)
        self._means = a.carry(self.means_)  # [sources, pool]
        self._carried = a.carry(self.covariance_)  # [source rows, pool]
        pool = np.arange(len(a.rows))
        own = self._carried[a.rows, pool] if a.weights is None else (a.weights.T * self._carried).sum(0)
        # what the interpolation to other configurations leaves open is uncertain, too
        self._variance = np.maximum(own, 0.0) + a.gap  # [pool]
        self._x = self.source_.pool_coordinates(self.problem)
        self._gp = self.process()

    def process(self) -> PoolGP:
        """The target's process before any trial."""
        x = self._x
        return PoolGP(lambda i: matern(distances(x[i : i + 1], x)[0]), np.ones(len(x)), self.noise)

    def source_covariance(self, i: int) -> np.ndarray:
        """Posterior covariance of a source's process between pool position ``i`` and the pool, float64 [pool]."""
        a = self._alignment
        row = self._carried[a.rows[i]].copy() if a.weights is None else a.weights[i] @ self._carried
        row[i] += a.gap[i]
        return row

    def weights(self, history: History) -> np.ndarray:
        """Weight of every source's process and, last, of the target's, float64 [sources + 1], summing to 1."""
        raise NotImplementedError

    def variance(self, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Variance of the ensemble over the pool [pool] from its weights and the target process's variance [pool]."""
        raise NotImplementedError

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        prediction = self._posterior(history)
        return Prediction(prediction.mean[candidates], prediction.std[candidates])

    def target(self, history: History) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The target's process: the trials on its scale [trials], posterior mean and variance [pool]."""
        tried, y = utilities(self.problem, history)
        self._gp.observe(tried)
        mean, variance, a, b = self._gp.posterior(np.zeros(self._means.shape[1]), y)
        return (y - a) / b, mean, variance

    def _posterior(self, history: History) -> Prediction:
        w = self.weights(history)
        _, mean, variance = self.target(history)
        return Prediction(w[:-1] @ self._means + w[-1] * mean, np.sqrt(self.variance(w, variance)))

    def ask(self, history: History) -> int:
        prediction = self._posterior(history)
        untried = history.untried(len(prediction.mean))
        if len(history) == 0:
            return int(untried[np.argmax(prediction.mean[untried])])
        best = prediction.mean[history.candidates].max()
        left = Prediction(prediction.mean[untried], prediction.std[untried])
        return int(untried[np.argmax(expected_improvement(left, best))])


class Discordance:
    """Counts, trial by trial, the pairs of trials that functions order otherwise than the target does.

    Pairs whose scores are equal count for neither side. ``counts`` has the shape of the functions' values at a trial.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.counts = np.zeros(shape, dtype=np.int64)
        #: pairs with different scores so far
        self.pairs = 0
        self._values = np.empty((16, *shape), dtype=np.float32)
        self._y: list[float] = []

    def add(self, values: np.ndarray, y: float) -> None:
        """A trial: the functions' values there, and its score (larger is better, not finite is worst)."""
        n, y = len(self._y), y if np.isfinite(y) else -np.inf
        self._values = room(self._values, n)
        before = np.array(self._y)
        worse, better = before < y, before > y
        self._values[n] = values
        above = (self._values[:n] > self._values[n]).reshape(n, self.counts.size).astype(np.float32)
        # above a trial is wrong for those that did worse, not above it for those that did better
        wrong = (worse.astype(np.float32) - better) @ above + better.sum()
        self.counts += np.rint(wrong).astype(np.int64).reshape(self.counts.shape)
        self.pairs += int(worse.sum() + better.sum())
        self._y.append(y)


def room(array: np.ndarray, n: int) -> np.ndarray:
    """The array itself, or twice as long a copy when it has no row ``n``."""
    return array if n < len(array) else np.concatenate([array, np.empty_like(array)])
