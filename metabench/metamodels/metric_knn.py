"""Nearest source tasks in a learned metric on task features, then by agreement on the trials, then a GP on what is left.

Neighbours by task features: Feurer, Springenberg & Hutter, "Initializing Bayesian hyperparameter optimization via
meta-learning", AAAI 2015. As there, the distance may be learned by regressing how differently configurations rank on two
tasks on how their features differ; here with non-negative weights, so that it stays a metric.
Neighbours by agreement of rankings on the trials: Wistuba, Schilling & Schmidt-Thieme, "Scalable Gaussian process-based
transfer surrogates for hyperparameter optimization", Machine Learning 107, 2018 (TST-R).
"""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels._gp import PoolGP
from metabench.metamodels._matern import distances, matern
from metabench.metamodels.common import (
    MetaModel,
    SourceSpace,
    check_source,
    complete,
    history_scores,
    task_features,
    utilities,
)
from metabench.search.base import History, MetaTrain, Prediction, expected_improvement

#: squared difference of two independent standardised features, on average: what a missing one counts
_UNKNOWN = 2.0
#: bandwidths tried, relative to the typical distance between source tasks
_BANDWIDTHS = np.geomspace(0.02, 5.0, 12)


class MetricKNN(MetaModel):
    """The target behaves like its ``neighbours`` nearest source tasks; a GP learns how it does not.

    Before any trial nearness is exp(−d²/h), d² a weighted sum of squared differences of standardised task features.
    The weights are regressed on 1 − correlation of source tasks' normal scores (``learn``; all equal otherwise), h is
    chosen leaving source tasks out. Trials multiply it by (1 − ρ²)^(−n/2), the profile likelihood of n observations
    that correlate by ρ > 0 with the source task's scores. The first ``cover`` trials go to a greedy cover of the weighted
    neighbours, later ones maximise expected improvement under neighbours' mean + Matérn residual.
    """

    name = "metric_knn"
    twin = "gp"
    arrays = ("scores_", "loss_", "features_", "location_", "spread_", "weights_")
    facts = ("feature_names_", "bandwidth_", "variance_")

    def __init__(self, neighbours: int = 10, cover: int = 3, learn: bool = True, noise: float = 0.05):
        if neighbours < 1 or cover < 0 or noise <= 0:
            raise UsageError("metric_knn: needs neighbours >= 1, cover >= 0 and noise > 0")
        self.neighbours = neighbours
        self.cover = cover
        self.learn = learn
        self.noise = noise

    # ------------------------------------------------------------------ learning
    def fit(self, source: MetaTrain) -> MetricKNN:
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        self.scores_ = complete(source.normal_scores)
        self.loss_ = 0.5 - 0.5 * np.tanh(self.scores_)
        self.feature_names_ = source.feature_names
        raw = np.array([task_features(self.feature_names_, t.features) for t in source.tasks])
        raw = raw.reshape(len(source.tasks), len(self.feature_names_))
        self.location_, self.spread_ = location_spread(raw)
        self.features_ = self._standardise(raw)
        difference = correlation_distance(self.scores_)
        squares = squared_differences(self.features_, self.features_)
        self.weights_ = learned_weights(squares, difference) if self.learn else uniform_weights(squares, difference)
        self.bandwidth_, self.variance_ = self._calibrate(squares @ self.weights_)
        return self

    def _standardise(self, raw: np.ndarray) -> np.ndarray:
        return np.clip((raw - self.location_) / self.spread_, -4.0, 4.0)

    def _calibrate(self, squared: np.ndarray) -> tuple[float, float]:
        """Bandwidth with the least leave-one-task-out error of the neighbours' mean, and that error (mean square)."""
        tasks = len(squared)
        if tasks < 2:
            return 1.0, 1.0
        apart = squared[~np.eye(tasks, dtype=bool)]
        typical = float(apart.mean()) or 1.0
        best = (np.inf, 1.0)
        for h in _BANDWIDTHS * typical:
            logits = -squared / h
            np.fill_diagonal(logits, -np.inf)
            weights = np.stack([soft_neighbours(row, self.neighbours) for row in logits])
            error = float(np.mean((weights @ self.scores_ - self.scores_) ** 2))
            best = min(best, (error, float(h)))
        # one task's worth of unit variance keeps a handful of equal tasks from being trusted blindly
        return best[1], (best[0] * tasks + 1.0) / (tasks + 1.0)

    # ------------------------------------------------------------------ searching
    def begin(self) -> None:
        super().begin()
        alignment = self.source_.align(self.problem)
        self._scores = alignment.carry(self.scores_)
        self._loss = 0.5 + alignment.carry(self.loss_ - 0.5)
        target = self._standardise(task_features(self.feature_names_, self.problem.task.features)[None])
        self._prior = -(squared_differences(target, self.features_) @ self.weights_)[0] / self.bandwidth_
        x = self.source_.pool_coordinates(self.problem)
        scale = np.sqrt(self.variance_ + (1.0 - min(self.variance_, 1.0)) * alignment.gap)

        def row(i: int) -> np.ndarray:
            return scale[i] * scale * matern(distances(x[i : i + 1], x)[0])

        self._gp = PoolGP(row, scale**2, self.noise)

    def neighbourhood(self, history: History) -> np.ndarray:
        """Weights of the source tasks given the trials so far, float64 [tasks], summing to 1."""
        tried, y = utilities(self.problem, history)
        return soft_neighbours(self._prior + agreement(self._scores[:, tried], y, self.noise), self.neighbours)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        mean, variance = self._posterior(history, self.neighbourhood(history))
        return Prediction(mean[candidates], np.sqrt(variance[candidates]))

    def _posterior(self, history: History, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        self._gp.observe(tried)
        mean, variance, _, _ = self._gp.posterior(weights @ self._scores, y)
        return mean, variance

    def ask(self, history: History) -> int:
        untried = history.untried(len(self.problem.candidates))
        weights = self.neighbourhood(history)
        if len(history) < self.cover:
            least = self._loss[:, history.candidates].min(axis=1, initial=1.0)
            covered = weights @ np.minimum(self._loss[:, untried], least[:, None])
            return int(untried[np.argmin(covered)])
        mean, variance = self._posterior(history, weights)
        prediction = Prediction(mean[untried], np.sqrt(variance[untried]))
        best = mean[history.candidates].max() if len(history) else mean.max()
        return int(untried[np.argmax(expected_improvement(prediction, best))])


def location_spread(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of [tasks, features] without its NaN; 0 and 1 where there is no telling."""
    seen = ~np.isnan(raw)
    count = np.maximum(seen.sum(0), 1)
    mean = np.where(seen, raw, 0.0).sum(0) / count
    spread = np.sqrt((np.where(seen, raw - mean, 0.0) ** 2).sum(0) / count)
    return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 1.0)


def squared_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[len(a), len(b), features]; a missing feature counts as much as a random pair would."""
    d = (a[:, None, :] - b[None, :, :]) ** 2
    return np.where(np.isnan(d), _UNKNOWN, d)


def correlation_distance(scores: np.ndarray) -> np.ndarray:
    """1 − Pearson correlation of normal scores between tasks, [tasks, tasks]; 1 where a task's scores are all equal."""
    centred = scores - scores.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return 1.0 - unit @ unit.T


def uniform_weights(squares: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Equal feature weights that give squared distances the mean of ``difference``, [features]."""
    features = squares.shape[2]
    pairs = np.triu_indices(len(squares), 1)
    typical = difference[pairs].mean() if len(pairs[0]) else 1.0
    return np.full(features, typical / (_UNKNOWN * max(features, 1)))


def learned_weights(squares: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Non-negative feature weights [features] with Σ w (difference of the feature)² + c ≈ performance distance.

    Least squares over pairs of source tasks, with a ridge towards equal weights that is worth ten pairs a task: few tasks
    make many pairs but hold little evidence.
    """
    from scipy.optimize import nnls

    tasks, _, features = squares.shape
    equal = uniform_weights(squares, difference)
    if tasks < 4 or features == 0:
        return equal
    i, j = np.triu_indices(tasks, 1)
    ridge = np.sqrt(10.0 * tasks)
    design = np.vstack([np.column_stack([squares[i, j], np.ones(len(i))]), ridge * np.eye(features, features + 1)])
    weights, _ = nnls(design, np.concatenate([difference[i, j], ridge * equal]))
    return weights[:-1]


def agreement(scores: np.ndarray, y: np.ndarray, noise: float) -> np.ndarray:
    """Log profile likelihood of the trials under each source task, [tasks], 0 where it tells nothing.

    Trials are compared by their normal scores within the history, so only their order counts: −(n/2) log(1 − ρ²) for a
    correlation ρ > 0 with ``scores`` [tasks, n], ρ² shrunk by n/(n + 2) and bounded by 1 − ``noise``.
    """
    n = len(y)
    if n < 2 or np.ptp(y) == 0:
        return np.zeros(len(scores))
    target = history_scores(y)
    target = target - target.mean()
    centred = scores - scores.mean(1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1) * np.linalg.norm(target)
    rho = np.divide(centred @ target, norm, out=np.zeros(len(scores)), where=norm > 0)
    squared = np.minimum(np.maximum(rho, 0.0) ** 2 * n / (n + 2.0), 1.0 - noise)
    return -0.5 * n * np.log1p(-squared)


def soft_neighbours(logits: np.ndarray, k: int) -> np.ndarray:
    """Softmax over the k largest logits, 0 elsewhere, [tasks]."""
    nearest = np.argsort(-logits, kind="stable")[:k]
    weights = np.zeros(len(logits))
    weights[nearest] = np.exp(logits[nearest] - logits[nearest[0]])
    return weights / weights.sum()
