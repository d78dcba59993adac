"""Boosted trees that predict quantiles of a configuration's normal score from what is known of task and trials.

Quantile regression with conformal calibration as in Salinas, Golebiowski, Klein, Seeger & Archambeau, "Optimizing
hyperparameters with conformal quantile regression", ICML 2023, carried across tasks: trained on pseudo-histories drawn
from the source tasks, calibrated on whole tasks that were held out.
"""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels._matern import distances, matern
from metabench.metamodels.common import (
    MetaModel,
    SourceSpace,
    blocks,
    check_source,
    history_scores,
    shared_hyperparameters,
    task_features,
    utilities,
)
from metabench.search.base import History, MetaTrain, Prediction

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
#: lengths of the pseudo-histories that training draws from
LENGTHS = (0, 0, 1, 2, 3, 5, 8, 12, 20, 35)
_GRID = (np.arange(64) + 0.5) / 64


class XgbQuantile(MetaModel):
    """One ensemble of multi-quantile trees over rows [x, task features, what the trials say of x].

    What the trials say: their number; the source tasks' mean score of x; the trials' surprise against that mean,
    smoothed to x by a Matérn kernel; the kernel's largest value between x and a trial; the trials' mean surprise. Quantiles are
    shifted so that each covers its share of held-out tasks. ``acquisition`` is ``ei`` (expected improvement under the
    piecewise-linear quantile function) or ``thompson`` (one draw of it per ask).
    """

    name = "xgb_quantile"
    twin = "gp"
    arrays = ("booster_", "offsets_", "mean_")
    facts = ("names_", "residual_")

    def __init__(
        self, trees: int = 150, depth: int = 5, rate: float = 0.08, histories: int = 16, candidates: int = 48,
        acquisition: str = "ei", seed: int = 0,
    ):  # fmt: skip
        if min(trees, depth, histories, candidates) < 1 or rate <= 0:
            raise UsageError("xgb_quantile: trees, depth, histories, candidates and rate must be positive")
        if acquisition not in ("ei", "thompson"):
            raise UsageError(f"xgb_quantile: unknown acquisition {acquisition!r}; known: ei, thompson")
        self.trees = trees
        self.depth = depth
        self.rate = rate
        self.histories = histories
        self.candidates = candidates
        self.acquisition = acquisition
        self.seed = seed

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> XgbQuantile:
        import xgboost

        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        targets = self.source_.complete(source.normal_scores)
        self.names_ = list(source.feature_names)
        self.mean_ = targets.mean(0)
        self.residual_ = float(np.sqrt(max(np.mean((targets - self.mean_) ** 2), 0.05)))
        x, y = self._rows(source, targets, leave_out=True, stream=0)
        parameters = {
            "objective": "reg:quantileerror", "quantile_alpha": np.array(LEVELS), "tree_method": "hist", "nthread": 1,
            "max_depth": self.depth, "eta": self.rate, "subsample": 0.8, "colsample_bynode": 0.7, "max_bin": 64,
            "min_child_weight": 8, "seed": self.seed, "verbosity": 0,
        }  # fmt: skip
        booster = xgboost.train(parameters, xgboost.QuantileDMatrix(x, y, max_bin=64), self.trees)
        self.booster_ = np.frombuffer(booster.save_raw("ubj"), dtype=np.uint8)
        self.offsets_ = np.zeros(len(LEVELS))
        if source.valid is not None and len(source.valid.tasks):
            held = source.valid
            x, y = self._rows(held, self.source_.complete(held.normal_scores), leave_out=False, stream=1)
            surprise = y[:, None] - self._quantiles(booster, x)
            self.offsets_ = np.array([np.quantile(surprise[:, i], level) for i, level in enumerate(LEVELS)])
        return self

    def _rows(self, source: MetaTrain, targets: np.ndarray, leave_out: bool, stream: int):
        """Training rows and targets: for every task, histories of LENGTHS trials and random candidates after them.

        ``leave_out`` removes the task itself from the source mean that its rows see.
        """
        rng = np.random.default_rng([self.seed, stream, 0x9B005])
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
        return np.concatenate(xs), np.concatenate(ys).astype(np.float32)

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
        smooth = (similarity * surprise[:, None]).sum(0) / (similarity.sum(0) + 0.5)
        return np.column_stack(
            [np.full(len(chosen), n), base, smooth, similarity.max(0), np.full(len(chosen), surprise.mean())]
        )

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        import xgboost

        super().begin()
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(bytearray(self.booster_.tobytes()))
        alignment = self.source_.align(self.problem)
        self._mean = alignment.carry(self.mean_)
        names = set(shared_hyperparameters(self.source_.space, self.problem))
        parts = []
        for name, theirs in zip(self.source_.space, self.source_.encoded, strict=True):
            known = name in names
            pool = blocks(self.source_.space, self.problem.candidates, [name])[0] if known else None
            parts.append(pool if known else np.full((len(self._mean), theirs.shape[1]), np.nan))
        features = task_features(self.names_, self.problem.task)
        self._fixed = np.column_stack([*parts, np.tile(features, (len(self._mean), 1))]).astype(np.float32)
        x = self.source_.pool_coordinates(self.problem)
        self._similarity = lambda tried: matern(distances(x[tried], x))
        self._known = np.empty((0, len(self._mean)))

    def _quantiles(self, booster, x: np.ndarray) -> np.ndarray:
        """Calibrated quantiles, ascending, float64 [rows, LEVELS]."""
        raw = booster.inplace_predict(np.ascontiguousarray(x, dtype=np.float32)).reshape(len(x), len(LEVELS))
        return np.sort(raw.astype(np.float64) + self.offsets_, axis=1)

    def quantiles(self, history: History) -> np.ndarray:
        """Quantiles LEVELS of every candidate's normal score on the target, float64 [pool, LEVELS]."""
        tried, y = utilities(self.problem, history)
        if len(self._known) > len(tried):
            self._known = self._known[:0]
        fresh = tried[len(self._known) :]
        if len(fresh):
            self._known = np.concatenate([self._known, self._similarity(fresh)])
        pool = np.arange(len(self._mean))
        state = self._state(y, self._mean, tried, self._known, pool)
        return self._quantiles(self._booster, np.column_stack([self._fixed, state]))

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the piecewise-linear quantile function, float64 [candidates]."""
        values = _spread(self.quantiles(history)[candidates])
        return Prediction(values.mean(1), values.std(1))

    def ask(self, history: History) -> int:
        quantiles = self.quantiles(history)
        untried = history.untried(len(quantiles))
        if self.acquisition == "thompson":
            draws = self.rng.random(len(untried))
            sampled = [np.interp(u, LEVELS, q) for u, q in zip(draws, quantiles[untried], strict=True)]
            return int(untried[np.argmax(sampled)])
        middle = quantiles[:, LEVELS.index(0.5)]
        if len(history) == 0:
            return int(untried[np.argmax(middle[untried])])
        best = middle[history.candidates].max()
        gain = np.maximum(_spread(quantiles[untried]) - best, 0.0).mean(1)
        return int(untried[np.lexsort((middle[untried], gain))[-1]])


def _spread(quantiles: np.ndarray) -> np.ndarray:
    """The quantile function at 64 even levels, [rows, 64]: linear between LEVELS, and on in both tails."""
    levels = np.array(LEVELS)
    right = np.clip(np.searchsorted(levels, _GRID), 1, len(levels) - 1)
    share = (_GRID - levels[right - 1]) / (levels[right] - levels[right - 1])
    low, high = quantiles[:, right - 1], quantiles[:, right]
    return low + (high - low) * share
