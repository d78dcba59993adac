"""Nearest source tasks under a learned metric: a network says where a task lies, from its features and its trials.

The trials are a set, read as in Zaheer et al., "Deep sets", NeurIPS 2017, Theorem 2. The metric is learned by the
contrastive loss of a Siamese network (Hadsell, Chopra & LeCun, "Dimensionality reduction by learning an invariant
mapping", CVPR 2006, Eq. 4) or by triplets with semi-hard negatives (Schroff, Kalenichenko & Philbin, "FaceNet", CVPR
2015, Eq. 4). `metric_knn` does the same with raw features and the likelihood of the trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import task_features, utilities
from metabench.metamodels.parts.empirical import empirical_covariance
from metabench.metamodels.parts.episodes import Tasks
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances
from metabench.metamodels.parts.neural import Neural, perceptron
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: most trials of a query, and configurations of a support set
QUERY, SUPPORT = 30, 64
#: tasks are alike whose scores correlate more than this share of all pairs
ALIKE = 0.75
#: margins of the two losses: between distances, and between squared ones
_APART, _MARGIN = 1.0, 0.2
LOSSES = ("siamese", "triplet")


@dataclass(frozen=True)
class Described(Tasks):
    """Tasks with their standardised ``features`` float32 [tasks, features], and which are ``alike``, bool [tasks, tasks]."""

    features: np.ndarray
    alike: np.ndarray


class MetricLearned(Neural):
    """A Gaussian process whose mean is the weighted normal scores of the ``k`` source tasks that lie nearest.

    A query, which is the target's features and trials, and the support sets, which are the source tasks' features and
    scores, go through one encoder onto a unit sphere of ``embedding`` dimensions. log w_s = −d_s²/(2h²), h the median
    distance of the ``k``. What neighbours leave open has the covariance of what they leave open of the source tasks (1 − α)
    and of a Matérn process (α = ``alpha``; 1: that alone); searching maximises expected improvement.
    """

    name = "metric_learned"
    requires = ("torch",)
    version = "1"
    tasks = 24
    arrays = (*Neural.arrays, "targets_", "factors_", "embeddings_", "feature_centre_", "feature_scale_")
    facts = (*Neural.facts, "names_", "variance_", "alpha_")
    grid: ClassVar[dict[str, tuple]] = {"loss": LOSSES, "k": (3, 5, 10)}
    fit_settings: ClassVar[tuple[str, ...] | None] = (
        "loss",
        "k",
        "embedding",
        "width",
        "alpha",
        "epochs",
        "rate",
        "random_state",
        "device",
    )

    def __init__(
        self,
        loss: str = "siamese",
        k: int = 5,
        embedding: int = 16,
        width: int = 32,
        alpha: float = 0.3,
        noise: float = 0.15,
        epochs: int = 300,
        rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(epochs, rate, random_state, device)
        if loss not in LOSSES:
            raise UsageError(f"metric_learned: unknown loss {loss!r}; known: {', '.join(LOSSES)}")
        if min(k, embedding, width) < 1 or noise <= 0 or not 0 < alpha <= 1:
            raise UsageError("metric_learned: k, embedding, width and noise must be positive, and 0 < alpha <= 1")
        self.loss = loss
        self.k = k
        self.embedding = embedding
        self.width = width
        self.alpha = alpha
        self.noise = noise

    def network(self, columns: int) -> torch.nn.Module:
        import torch

        network = torch.nn.Module()
        network.trial = perceptron([columns + 1, self.width, self.width])
        network.task = perceptron([len(self.names_) + self.width + 1, self.width, self.width, self.embedding])
        return network

    def encode(self, network: Any, features: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Places of tasks on the unit sphere [tasks, embedding], from their ``features`` [tasks, features] and the trials
        ``y`` [tasks, n] at ``x`` [tasks, n, columns], which are a set and may be empty."""
        import torch
        from torch.nn.functional import normalize

        n = y.shape[1]
        read = network.trial(torch.cat([x, y[..., None]], dim=-1)).sum(1) / max(n, 1)
        # no larger than in training, where a support set may have fewer than in use
        known = torch.full_like(read[:, :1], np.log1p(min(n, SUPPORT)))
        return normalize(network.task(torch.cat([features, read, known], dim=-1)), dim=-1)

    # ---------------------------------------------------------------- learning
    def prepare(self, source: MetaTrain) -> tuple[Described, Described | None]:
        tasks, held = super().prepare(source)
        self.targets_ = self.source_.complete(tasks.targets)
        self.names_ = list(source.feature_names)
        raw = self._features(source)
        known = np.isfinite(raw)
        count = np.maximum(known.sum(0), 1)
        self.feature_centre_ = np.where(known, raw, 0.0).sum(0) / count
        spread = np.sqrt((np.where(known, raw - self.feature_centre_, 0.0) ** 2).sum(0) / count)
        self.feature_scale_ = np.where(spread > 1e-9, spread, 1.0)
        close = np.quantile(agreement(tasks.targets)[np.triu_indices(len(raw), 1)], ALIKE) if len(raw) > 1 else 1.0
        described = [
            Described(t.x, t.targets, t.means, t.spread, self.standardised(self._features(s)), alike(t.targets, close))
            for t, s in ((tasks, source), (held, source.valid))
            if t is not None and s is not None
        ]
        return described[0], described[1] if held is not None else None

    def _features(self, source: MetaTrain) -> np.ndarray:
        """Raw features [tasks, features] of tasks on which something was run, NaN where unknown."""
        ran = np.flatnonzero(source.seen.any(axis=1))
        return np.array([task_features(self.names_, source.tasks[t]) for t in ran.tolist()]).reshape(
            len(ran), len(self.names_)
        )

    def standardised(self, raw: np.ndarray) -> np.ndarray:
        """Features with mean 0 and variance 1 over the source, clipped to ±3; unknown ones at the mean; float32."""
        found = np.nan_to_num((raw - self.feature_centre_) / self.feature_scale_)
        return np.clip(found, -3.0, 3.0).astype(np.float32)

    def fit(self, source: MetaTrain) -> MetricLearned:
        tasks, held = self.prepare(source)
        measure = {"siamese": siamese, "triplet": triplet}[self.loss]

        def loss(network: Any, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            assert isinstance(tasks, Described)
            shown = int(rng.integers(min(QUERY, len(tasks.x) - 1) + 1))
            episodes = tasks.draw(rng, self.tasks, shown, min(SUPPORT, len(tasks.x)))
            x, seen, truth = (self.tensor(a) for a in (episodes.x, episodes.seen, episodes.truth))
            features = self.tensor(tasks.features[episodes.chosen])
            # a target may have no features: queries do without them every other time, if there are trials
            told = self.tensor((rng.random((self.tasks, 1)) < (0.5 if shown else 1.0)).astype(np.float32))
            query = self.encode(network, features * told, x[:, :shown], seen)
            support = self.encode(network, features, x[:, shown:], truth[:, shown:])
            pairs = tasks.alike[np.ix_(episodes.chosen, episodes.chosen)]
            return measure(query, support, self.tensor(pairs))

        self.learn(tasks, held, loss)
        self.embeddings_ = self._supports(tasks)
        self.factors_ = self._left_open()
        alone = len(self.targets_) == 1
        self.variance_ = 1.0 if alone else max(0.1, float(np.mean((self.factors_**2).sum(0))))
        self.alpha_ = 1.0 if alone else self.alpha
        return self

    def _supports(self, tasks: Described) -> np.ndarray:
        """Places of the source tasks, from all that was run on them: float32 [tasks, embedding]."""
        import torch

        network = self.fitted_network()
        places = []
        for features, z, mean in zip(tasks.features, tasks.targets, tasks.means, strict=True):
            ran = ~np.isnan(z)
            y = (z - mean)[ran].astype(np.float32)
            with torch.no_grad():
                places.append(self.encode(network, *(torch.as_tensor(a)[None] for a in (features, tasks.x[ran], y))))
        return torch.cat(places).numpy()

    def _left_open(self) -> np.ndarray:
        """What the neighbours leave open of each source task, over √tasks: float64 [tasks, configs]; 0 of one without any."""
        if len(self.targets_) == 1:
            return np.zeros_like(self.targets_)
        squared = distances(*[self.embeddings_.astype(float)] * 2) ** 2
        np.fill_diagonal(squared, np.inf)
        found = np.stack([self.near(row) for row in squared]) @ self.targets_
        return (self.targets_ - found) / np.sqrt(len(found))

    def near(self, squared: np.ndarray) -> np.ndarray:
        """Weights [sources] of the k nearest, summing to 1, from squared distances (infinite: not to be used)."""
        k = min(self.k, int(np.isfinite(squared).sum()))
        nearest = np.argsort(squared, kind="stable")[:k]
        w = np.zeros(len(squared))
        w[nearest] = np.exp(-(squared[nearest] - squared[nearest[0]]) / (2.0 * max(np.median(squared[nearest]), 1e-12)))
        return w / w.sum()

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._network = self.fitted_network()
        self._targets = self._alignment.carry(self.targets_)
        self._mine = self.standardised(task_features(self.names_, self.problem.task))
        row, diagonal = empirical_covariance(
            self.source_, self._alignment, self.problem, self.factors_, self.alpha_, self.variance_
        )
        self._gp = PoolGP(row, diagonal, self.noise)

    def weights(self, history: History) -> np.ndarray:
        """Weight of every source task given the trials so far, float64 [sources]."""
        import torch

        tried, seen = self.seen(history)
        asked = self._mine, self._x[tried], seen.astype(np.float32)
        with torch.no_grad():
            place = self.encode(self._network, *(torch.as_tensor(a)[None] for a in asked)).numpy()
        return self.near(((self.embeddings_ - place).astype(float) ** 2).sum(1))

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        tried, y = utilities(self.problem, history)
        self._gp.observe(tried.tolist())
        mean, variance, _, _ = self._gp.posterior(self.weights(history) @ self._targets, y)
        return mean, variance


def agreement(targets: np.ndarray) -> np.ndarray:
    """Correlation of normal scores [tasks, configs] on the configurations that two tasks have in common, [tasks, tasks];
    0 where there are none."""
    seen = ~np.isnan(targets)
    z = np.where(seen, targets, 0.0)
    squares = (z**2) @ seen.T
    length = np.sqrt(squares * squares.T)
    return np.divide(z @ z.T, length, out=np.zeros_like(length), where=length > 0)


def alike(targets: np.ndarray, close: float) -> np.ndarray:
    """Which tasks agree more than ``close``, bool [tasks, tasks]; all do with themselves."""
    return (agreement(targets) > close) | np.eye(len(targets), dtype=bool)


def siamese(query: torch.Tensor, support: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """d² of pairs that are ``alike`` [n, m], max(0, 1 − d)² of the others; the mean of the two means."""
    import torch

    squared = _squared(query, support)
    apart = (_APART - torch.sqrt(squared + 1e-12)).clamp_min(0.0) ** 2
    parts = [values[which].mean() for values, which in ((squared, alike), (apart, ~alike)) if which.any()]
    return torch.stack(parts).mean()


def triplet(query: torch.Tensor, support: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """max(0, d₊² − d₋² + .2) of every pair that is ``alike`` [n, m], and the query's semi-hard negative: the nearest that is
    further than the positive, or the furthest where none is. Without negatives, d₊²."""
    import torch

    squared = _squared(query, support)
    positive = squared[alike]
    rows = torch.nonzero(alike)[:, 0]
    negatives = squared[rows].masked_fill(alike[rows], torch.inf)  # [pairs, m]
    known = torch.isfinite(negatives).any(1)
    if not known.any():
        return positive.mean()
    positive, negatives = positive[known], negatives[known]
    further = negatives.masked_fill(negatives <= positive[:, None], torch.inf).amin(1)
    furthest = negatives.masked_fill(torch.isinf(negatives), -torch.inf).amax(1)
    negative = torch.where(torch.isinf(further), furthest, further)
    return (positive - negative + _MARGIN).clamp_min(0.0).mean()


def _squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Squared distances [n, m] of points on the unit sphere."""
    return (2.0 - 2.0 * a @ b.T).clamp_min(0.0)
