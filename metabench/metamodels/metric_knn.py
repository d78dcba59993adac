"""Nearest source tasks under a metric: task features at first, agreement on the observed trials as they come in.

Neighbours as in Feurer, Springenberg & Hutter, "Initializing Bayesian hyperparameter optimization via meta-learning",
AAAI 2015 (distance of task features); the weight of a source by how well its scores explain the target's as in
Wistuba, Schilling & Schmidt-Thieme, "Two-stage transfer surrogate model", ECML 2016, with a likelihood in place of the
share of discordant pairs.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, history_scores, task_features, utilities
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain, Prediction, expected_improvement


class MetricKnn(MetaModel):
    """A Gaussian process whose mean is the neighbours' weighted normal scores; its residual is a Matérn process.

    log w_s = −d_s²/(2h²) − (n − 1)/2 · log(1 + ε − ρ_s²): d_s is the distance of standardised task features, h its
    median over the ``k`` nearest, ρ_s the correlation (if positive) of the target's n trials with source s on the same
    configurations; the second term is the profile likelihood of an affine map from s to the target. The ``k`` heaviest
    sources count. The first ``cover`` trials cover the neighbours' best configurations greedily, the rest maximise
    expected improvement.
    """

    name = "metric_knn"
    version = "1"
    twin = "gp"
    arrays = ("targets_", "features_", "centre_", "spread_")
    facts = ("names_", "variance_")
    grid: ClassVar[dict[str, tuple]] = {"k": (3, 5, 10), "cover": (1, 3), "noise": (0.05, 0.15)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("k",)

    def __init__(self, k: int = 3, cover: int = 1, epsilon: float = 0.2, noise: float = 0.15):
        if k < 1 or cover < 0 or epsilon <= 0 or noise <= 0:
            raise UsageError("metric_knn: needs k >= 1, cover >= 0, epsilon > 0 and noise > 0")
        self.k = k
        self.cover = cover
        self.epsilon = epsilon
        self.noise = noise

    def fit(self, source: MetaTrain) -> MetricKnn:
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        self.targets_ = self.source_.complete(source.normal_scores)
        self.names_ = list(source.feature_names)
        raw = np.where(np.isfinite(source.features), source.features, np.nan).reshape(len(source.tasks), -1)
        known = ~np.isnan(raw)
        count = np.maximum(known.sum(0), 1)
        self.centre_ = np.where(known, raw, 0.0).sum(0) / count
        spread = np.sqrt((np.where(known, raw - self.centre_, 0.0) ** 2).sum(0) / count)
        self.spread_ = np.where(spread > 0, spread, 1.0)
        self.features_ = self._standardise(raw)
        self.variance_ = self._residual_variance()
        return self

    def _standardise(self, raw: np.ndarray) -> np.ndarray:
        """Features with mean 0 and standard deviation 1 over the source, clipped to ±3; unknown ones at the mean."""
        return np.clip(np.nan_to_num((raw - self.centre_) / self.spread_), -3.0, 3.0)

    def _residual_variance(self) -> float:
        """What the feature neighbours leave open, leave-one-task-out, at least a tenth of a normal score's variance."""
        if len(self.targets_) == 1:
            return 1.0
        left = []
        for s in range(len(self.targets_)):
            squared = ((self.features_ - self.features_[s]) ** 2).sum(1)
            squared[s] = np.inf
            left.append(self.targets_[s] - self._weights(squared, np.zeros(len(squared))) @ self.targets_)
        return max(0.1, float(np.mean(np.square(left))))

    def _weights(self, squared: np.ndarray, evidence: np.ndarray) -> np.ndarray:
        """Weights [sources] of the k heaviest, summing to 1, from squared feature distances and log evidence."""
        k = min(self.k, int(np.isfinite(squared).sum()))
        width = max(float(np.median(np.sort(squared)[:k])), 1e-12)
        log = evidence - squared / (2.0 * width)
        log[np.argsort(-log, kind="stable")[k:]] = -np.inf
        w = np.exp(log - log.max())
        return w / w.sum()

    def begin(self) -> None:
        super().begin()
        alignment = self.source_.align(self.problem)
        self._targets = alignment.carry(self.targets_)
        mine = self._standardise(task_features(self.names_, self.problem.task))
        self._squared = ((self.features_ - mine) ** 2).sum(1)
        x = self.source_.pool_coordinates(self.problem)
        scale = np.sqrt(self.variance_ + alignment.gap)

        def row(i: int) -> np.ndarray:
            return scale[i] * scale * matern(distances(x[i : i + 1], x)[0])

        self._gp = PoolGP(row, scale**2, self.noise)

    def weights(self, history: History) -> np.ndarray:
        """Weight of every source task given the trials so far, float64 [sources]."""
        tried, y = utilities(self.problem, history)
        n = len(tried)
        evidence = np.zeros(len(self._targets))
        if n >= 2 and np.ptp(y) > 0:
            z = history_scores(y)
            theirs = self._targets[:, tried]
            centred = theirs - theirs.mean(1, keepdims=True)
            length = np.sqrt((centred**2).sum(1) * (z @ z))
            rho = np.clip(np.divide(centred @ z, length, out=np.zeros(len(theirs)), where=length > 0), 0.0, 1.0)
            evidence = -0.5 * (n - 1) * np.log(1.0 + self.epsilon - rho**2)
        return self._weights(self._squared.copy(), evidence)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        mean, variance = self._posterior(history)
        return Prediction(mean[candidates], np.sqrt(variance[candidates]))

    def _posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        self._gp.observe(tried)
        mean, variance, _, _ = self._gp.posterior(self.weights(history) @ self._targets, y)
        return mean, variance

    def ask(self, history: History) -> int:
        untried = history.untried(self._targets.shape[1])
        if len(history) < self.cover:
            weights = self.weights(history)
            near = self._targets[weights > 0]
            reached = near[:, history.candidates].max(1, initial=-np.inf, keepdims=True)
            gain = weights[weights > 0] @ np.maximum(near[:, untried], reached)
            return int(untried[np.argmax(gain)])
        mean, variance = self._posterior(history)
        prediction = Prediction(mean[untried], np.sqrt(variance[untried]))
        best = mean[history.candidates].max() if len(history) else mean.max()
        return int(untried[np.argmax(expected_improvement(prediction, best))])
