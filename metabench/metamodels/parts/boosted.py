"""Boosted trees over rows of [x, task features, what the trials say of x], learned from histories of the source tasks.

A table of finished tasks holds no searches; training rows are pseudo-histories: a few trials drawn from a task, and
other configurations of it to be judged after them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source, history_scores, task_features, utilities
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain

#: lengths of the pseudo-histories that training draws from
LENGTHS = (0, 0, 1, 2, 3, 5, 8, 12, 20, 35)


@dataclass(frozen=True)
class Rows:
    """Training rows: ``x`` float32 [rows, columns], targets ``y`` float32 [rows], ``history`` int [rows] counts the
    pseudo-histories, in ascending order."""

    x: np.ndarray
    y: np.ndarray
    history: np.ndarray


#: trials up to which sums are those of published searches, to the last bit
_FEW = 64


class Boosted(MetaModel):
    """Base of the meta-models on XGBoost (Chen & Guestrin, KDD 2016).

    What the trials say of a candidate: their number; the source tasks' mean score of it; the trials' surprise against
    that mean, smoothed to it by a Matérn kernel; the kernel's largest value between it and a trial; the trials' mean
    surprise. ``histories`` pseudo-histories are drawn for every source task, ``candidates`` rows after each.
    """

    twin = "gp"
    arrays: tuple[str, ...] = ("booster_", "mean_")
    facts: tuple[str, ...] = ("names_", "residual_")

    def __init__(self, trees: int, depth: int, rate: float, histories: int, candidates: int, random_state: int):
        if min(trees, depth, histories, candidates) < 1 or rate <= 0:
            raise UsageError(f"{self.name}: trees, depth, histories, candidates and rate must be positive")
        self.trees = trees
        self.depth = depth
        self.rate = rate
        self.histories = histories
        self.candidates = candidates
        # not ``seed``: that is the search's
        self.random_state = random_state

    # ---------------------------------------------------------------- learning
    def prepare(self, source: MetaTrain) -> np.ndarray:
        """Keep what rows are made of; targets float64 [tasks, configs] without NaN."""
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        self.names_ = list(source.feature_names)
        targets = self.source_.complete(source.normal_scores)
        self._summarise(targets)
        return targets

    def _summarise(self, targets: np.ndarray) -> None:
        self.mean_ = targets.mean(0)
        self.residual_ = float(np.sqrt(max(np.mean((targets - self.mean_) ** 2), 0.05)))

    #: the trained trees in XGBoost's binary JSON, uint8; a subclass sets it in `fit`
    booster_: np.ndarray

    def rows(self, source: MetaTrain, targets: np.ndarray, leave_out: bool, stream: int) -> Rows:
        """Training rows: for every task, histories of LENGTHS trials and random candidates after them.

        ``leave_out`` removes the task itself from the source mean that its rows see.
        """
        rng = np.random.default_rng([self.random_state, stream, 0x9B005])
        encoded = np.concatenate(self.source_.encoded, axis=1)
        scaled = self.source_.kernel(list(self.source_.space)).scale(self.source_.encoded)
        kernel = matern(distances(scaled, scaled))
        tasks, n = targets.shape
        xs, ys = [], []
        for t, info in enumerate(source.tasks):
            mean = (self.mean_ * tasks - targets[t]) / (tasks - 1) if leave_out and tasks > 1 else self.mean_
            features = task_features(self.names_, info)
            for h in range(self.histories):
                length = min(LENGTHS[h % len(LENGTHS)], n - 1)
                # half of the histories look like a search's: good configurations come up more often
                weight = np.exp(targets[t] + rng.gumbel(size=n)) if h % 2 else rng.random(n)
                tried = np.argsort(-weight)[:length]
                chosen = rng.choice(n, min(self.candidates, n), replace=False)
                state = self._state(targets[t, tried], mean, tried, kernel[np.ix_(tried, chosen)], chosen)
                rows = np.column_stack([encoded[chosen], np.tile(features, (len(chosen), 1)), state])
                xs.append(rows.astype(np.float32))
                ys.append(targets[t, chosen])
        history = np.repeat(np.arange(len(ys)), [len(y) for y in ys])
        return Rows(np.concatenate(xs), np.concatenate(ys).astype(np.float32), history)

    def boost(self, data, **objective):
        """An ensemble of trees for an XGBoost objective on an xgboost.DMatrix; one thread, so that it repeats."""
        import xgboost

        parameters = {
            "tree_method": "hist",
            "nthread": 1,
            "max_depth": self.depth,
            "eta": self.rate,
            "subsample": 0.8,
            "colsample_bynode": 0.7,
            "max_bin": 64,
            "min_child_weight": 8,
            "seed": self.random_state,
            "verbosity": 0,
        }
        return xgboost.train(parameters | objective, data, self.trees)

    def _state(self, y, mean, tried, similarity, chosen) -> np.ndarray:
        """What the trials say of candidates, [chosen, 5]; ``y`` are utilities of the trials on any scale, larger is
        better."""
        n = len(tried)
        base = mean[chosen]
        if n == 0:
            zero = np.zeros(len(chosen))
            return np.column_stack([zero, base, zero, zero, zero])
        typical = np.sqrt(mean[tried].var() + self.residual_**2)
        surprise = mean[tried].mean() + typical * history_scores(y) - mean[tried]
        # a product of matrices makes no copy of the similarities, which are many in a long search
        explained = (similarity * surprise[:, None]).sum(0) if n <= _FEW else surprise @ similarity
        smooth = explained / (similarity.sum(0) + 0.5)
        return np.column_stack(
            [np.full(len(chosen), n), base, smooth, similarity.max(0), np.full(len(chosen), surprise.mean())]
        )

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        import xgboost

        super().begin()
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(bytearray(self.booster_.tobytes()))
        self._mean = self.source_.align(self.problem).carry(self.mean_)
        features = task_features(self.names_, self.problem.task)
        pool = self.source_.pool_columns(self.problem)
        self._fixed = np.column_stack([pool, np.tile(features, (len(pool), 1))]).astype(np.float32)
        self._x = self.source_.pool_coordinates(self.problem)
        self._tried: list[int] = []
        self._known = np.empty((0, len(pool)))

    def pool_rows(self, history: History) -> np.ndarray:
        """The pool's rows given the trials, float32 [pool, columns]."""
        tried, y = utilities(self.problem, history)
        if self._tried != tried[: len(self._tried)].tolist():
            self._tried = []
        fresh, n = tried[len(self._tried) :], len(tried)
        if len(fresh):
            if n > len(self._known):
                self._known = np.concatenate([self._known, np.empty((n, len(self._mean)))])
            self._known[len(self._tried) : n] = matern(distances(self._x[fresh], self._x))
        self._tried = tried.tolist()
        state = self._state(y, self._mean, tried, self._known[:n], np.arange(len(self._mean)))
        return np.column_stack([self._fixed, state]).astype(np.float32)
