"""Gradient-boosted quantiles of a configuration's normal score, from its hyperparameters, the task and the trials so far.

Normal scores as tasks' common scale: Salinas, Shen & Perrone, "A quantile-based approach for hyperparameter transfer
learning", ICML 2020, Sec. 4. Boosted quantiles with conformal correction, Thompson sampling of quantiles: Salinas,
Golebiowski, Klein, Seeger & Archambeau, "Optimizing hyperparameters with conformal quantile regression", ICML 2023.
Correction of each quantile apart: Romano, Patterson & Candès, "Conformalized quantile regression", NeurIPS 2019, Thm. 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy import stats

from metabench.errors import MetabenchError, UsageError
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
    write_bytes,
)
from metabench.metamodels.metric_knn import agreement, location_spread, soft_neighbours
from metabench.search.base import History, MetaTrain, Prediction

LEVELS = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
_PROBITS = stats.norm.ppf(LEVELS)
_MEDIAN = 2
#: lengths of the pseudo-histories that the trees learn from
_LENGTHS = (0, 0, 1, 2, 3, 5, 8, 13, 25, 50)


@dataclass(frozen=True)
class Quantiles:
    """Predicted quantiles of normal scores, float64 [candidates, LEVELS], and a scale [candidates] for corrections."""

    values: np.ndarray
    scale: np.ndarray

    def at(self, probits: np.ndarray) -> np.ndarray:
        """Quantiles at Φ(``probits``), [candidates, k] for [k], or for [candidates, k] each its own.

        Linear between levels on the probit scale, and beyond the outer ones, so tails are Gaussian.
        """
        p = np.broadcast_to(probits, (len(self.values), np.shape(probits)[-1]))
        k = np.clip(np.searchsorted(_PROBITS, p) - 1, 0, len(LEVELS) - 2)
        low = np.take_along_axis(self.values, k, 1)
        slope = (np.take_along_axis(self.values, k + 1, 1) - low) / (_PROBITS[k + 1] - _PROBITS[k])
        return low + slope * (p - _PROBITS[k])

    def expected_improvement(self, best: float, points: int = 64) -> np.ndarray:
        """E[max(0, f − best)] = ∫ max(0, Q(u) − best) du by the midpoint rule, float64 [candidates]."""
        u = (np.arange(points) + 0.5) / points
        return np.maximum(self.at(stats.norm.ppf(u)) - best, 0.0).mean(1)


class XGBQuantile(MetaModel):
    """Rows [x, task features, statistics of the history] → quantiles .1 .25 .5 .75 .9 of the normal score.

    The rows come from pseudo-histories on the source tasks. The statistics that a row holds of the *other* tasks (mean,
    spread, and mean weighted by agreement with the history) are taken from other folds, so the trees learn how far such
    figures can be trusted on a new task. A GP on the scaled residuals at the trials, with an affine map of the target's
    scale, adapts the quantiles; each is then corrected by its error on held-out tasks (``source.valid``, or a fifth of
    the source). ``acquisition`` is ``ei`` or ``thompson``.
    """

    name = "xgb_quantile"
    twin = "gp"
    arrays = ("scores_", "location_", "spread_", "offsets_")
    facts = ("feature_names_",)

    def __init__(
        self, rounds: int = 120, depth: int = 5, learning_rate: float = 0.08, acquisition: str = "ei",
        noise: float = 0.1, histories: int = 8, fit_seed: int = 0,
    ):  # fmt: skip
        if acquisition not in ("ei", "thompson"):
            raise UsageError(f"xgb_quantile: acquisition is {acquisition!r}; known: ei, thompson")
        if rounds < 1 or depth < 1 or learning_rate <= 0 or noise <= 0 or histories < 1:
            raise UsageError("xgb_quantile: rounds, depth, learning_rate, noise and histories must be positive")
        self.rounds = rounds
        self.depth = depth
        self.learning_rate = learning_rate
        self.acquisition = acquisition
        self.noise = noise
        self.histories = histories
        self.fit_seed = fit_seed

    # ------------------------------------------------------------------ learning
    def fit(self, source: MetaTrain) -> XGBQuantile:
        check_source(source, self.name)
        rng = np.random.default_rng([self.fit_seed, 0xB005])
        targets = source.normal_scores
        self.source_ = SourceSpace.fit(source, targets, self.fit_seed)
        self.scores_ = complete(targets)
        self.feature_names_ = source.feature_names
        self.location_, self.spread_ = location_spread(source.features)
        tasks, x = len(targets), np.concatenate(self.source_.encoded, axis=1)
        order = rng.permutation(tasks)
        valid = source.valid
        if valid is not None and len(valid.tasks) and valid.configs.equals(source.configs):
            learn, calibrate = order, [(valid, t, self.scores_) for t in range(len(valid.tasks))]
        else:
            held_out = order[: max(1, tasks // 5)] if tasks > 1 else order[:0]
            learn = order[len(held_out) :]
            calibrate = [(source, t, np.delete(self.scores_, t, axis=0)) for t in held_out]
        folds = [learn[i :: min(5, len(learn))] for i in range(min(5, len(learn)))]
        rows, labels = [], []
        for fold in folds:
            others = np.delete(self.scores_, fold, axis=0)
            for t in fold:
                vector = self._task_vector(source.tasks[t].features)
                for tried in self._pseudo_histories(targets[t], rng):
                    ask = np.setdiff1d(np.flatnonzero(~np.isnan(targets[t])), tried)
                    ask = rng.permutation(ask)[:64]
                    rows.append(design(x, vector, others, tried, targets[t, tried])[ask])
                    labels.append(targets[t, ask])
        self._boost(np.concatenate(rows), np.concatenate(labels))
        self.offsets_ = np.zeros((2, len(LEVELS)))
        self.offsets_ = self._calibrate(calibrate, x, rng)
        return self

    def _task_vector(self, features) -> np.ndarray:
        return (task_features(self.feature_names_, features) - self.location_) / self.spread_

    def _pseudo_histories(self, target: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Tried configurations on a source task, int arrays: every other one prefers good ones, as a search would."""
        run = np.flatnonzero(~np.isnan(target))
        out = []
        for k in range(self.histories):
            n = min(_LENGTHS[k % len(_LENGTHS)], max(len(run) - 1, 0))
            noisy = (1.5 * target[run] if k % 2 else 0.0) + rng.gumbel(size=len(run))
            out.append(run[np.argsort(-noisy, kind="stable")[:n]])
        return out

    def _boost(self, rows: np.ndarray, labels: np.ndarray) -> None:
        import xgboost as xgb

        settings = {
            "objective": "reg:quantileerror", "quantile_alpha": LEVELS.tolist(), "tree_method": "hist", "max_bin": 64,
            "max_depth": self.depth, "eta": self.learning_rate, "min_child_weight": 20, "subsample": 0.5,
            "colsample_bytree": 0.5, "nthread": 1, "seed": self.fit_seed,
        }  # fmt: skip
        data = xgb.QuantileDMatrix(rows.astype(np.float32), labels, max_bin=64, nthread=1)
        self.booster_ = xgb.train(settings, data, num_boost_round=self.rounds)

    def _calibrate(self, tasks: list, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Corrections [before any trial, after some; LEVELS] in units of the predicted scale, from held-out tasks."""
        errors: tuple[list, list] = ([], [])
        coordinates = self.source_.kernel(list(self.source_.space)).scale(self.source_.encoded)
        for source, t, others in tasks:
            target, vector = source.normal_scores[t], self._task_vector(source.tasks[t].features)
            for tried in self._pseudo_histories(target, rng):
                quantiles = self._quantiles(
                    design(x, vector, others, tried, target[tried]), residual_gp(coordinates, self.noise), tried,
                    target[tried],
                )  # fmt: skip
                ask = np.setdiff1d(np.flatnonzero(~np.isnan(target)), tried)
                errors[len(tried) > 0].append(
                    (target[ask, None] - quantiles.values[ask]) / np.maximum(quantiles.scale[ask, None], 1e-6)
                )
        out = np.zeros((2, len(LEVELS)))
        for i, parts in enumerate(errors):
            pooled = np.concatenate(parts) if parts else np.empty((0, len(LEVELS)))
            if len(pooled):
                out[i] = [np.quantile(pooled[:, k], level) for k, level in enumerate(LEVELS)]
        return out

    # ------------------------------------------------------------------ predicting
    def _quantiles(self, rows: np.ndarray, gp: PoolGP, tried: np.ndarray, y: np.ndarray) -> Quantiles:
        """Quantiles over a pool: the trees' own, moved and narrowed by the trials, corrected."""
        raw = np.sort(self.booster_.inplace_predict(rows.astype(np.float32)).reshape(len(rows), -1), axis=1)
        raw = raw.astype(np.float64)
        scale = np.maximum((raw[:, -1] - raw[:, 0]) / (_PROBITS[-1] - _PROBITS[0]), 0.05)
        shape = (raw - raw[:, [_MEDIAN]]) / scale[:, None] + self.offsets_[int(len(tried) > 0)]
        gp.observe(tried)
        mean, variance, _, _ = gp.posterior(raw[:, _MEDIAN], y, scale)
        std = np.sqrt(variance)
        return Quantiles(np.sort(mean[:, None] + std[:, None] * shape, axis=1), std)

    def begin(self) -> None:
        super().begin()
        self.booster_.set_param({"nthread": 1})
        alignment = self.source_.align(self.problem)
        self._others = alignment.carry(self.scores_) if len(self.scores_) > 1 else np.empty((0, len(alignment.rows)))
        self._x = self.source_.pool_columns(self.problem)
        self._vector = self._task_vector(self.problem.task.features)
        self._gp = residual_gp(self.source_.pool_coordinates(self.problem), self.noise)

    def quantiles(self, history: History) -> Quantiles:
        """Quantiles of the normal score of every candidate of the pool, given the trials so far."""
        tried, y = utilities(self.problem, history)
        return self._quantiles(design(self._x, self._vector, self._others, tried, y), self._gp, tried, y)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Median and scale of the normal score on the target, float64 [candidates]."""
        q = self.quantiles(history)
        return Prediction(q.values[candidates, _MEDIAN], q.scale[candidates])

    def ask(self, history: History) -> int:
        q, untried = self.quantiles(history), history.untried(len(self.problem.candidates))
        mine = Quantiles(q.values[untried], q.scale[untried])
        if self.acquisition == "thompson":
            # a stream of its own for every trial: a proposal depends on the history alone
            level = np.random.default_rng([self.seed, len(history)]).normal(size=(len(untried), 1))
            return int(untried[np.argmax(mine.at(level)[:, 0])])
        if len(history) == 0:
            return int(untried[np.argmax(mine.values[:, _MEDIAN])])
        return int(untried[np.argmax(mine.expected_improvement(q.values[history.candidates, _MEDIAN].max()))])

    # ------------------------------------------------------------------ storage
    def save(self, folder) -> Path:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "booster.ubj", bytes(self.booster_.save_raw("ubj")))
        return super().save(folder)

    @classmethod
    def load(cls, folder) -> Self:
        import xgboost as xgb

        model, path = super().load(folder), Path(folder) / "booster.ubj"
        try:
            model.booster_ = xgb.Booster()
            model.booster_.load_model(bytearray(path.read_bytes()))
        except (OSError, xgb.core.XGBoostError) as error:
            raise MetabenchError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
        return model


def residual_gp(coordinates: np.ndarray, noise: float) -> PoolGP:
    """A unit-variance Matérn GP over a pool, for residuals in units of the predicted scale."""

    def row(i: int) -> np.ndarray:
        return matern(distances(coordinates[i : i + 1], coordinates)[0])

    return PoolGP(row, np.ones(len(coordinates)), noise)


def design(
    x: np.ndarray, task: np.ndarray, others: np.ndarray, tried: np.ndarray, y: np.ndarray, neighbours: int = 10
) -> np.ndarray:
    """Rows for every candidate of a pool, float64 [candidates, columns]: x, task features, statistics.

    ``others`` [tasks, candidates] are normal scores of reference tasks on the pool, ``y`` the utilities at ``tried``.
    Statistics: number of trials; how the history's order agrees with the references' mean; mean, spread and
    agreement-weighted mean of the references at the candidate. NaN (unknown to the trees) where there are none.
    """
    n = len(x)
    statistics = np.full((n, 5), np.nan)
    statistics[:, 0] = len(tried)
    if len(others):
        mean = others.mean(0)
        weights = soft_neighbours(agreement(others[:, tried], y, noise=0.05), neighbours)
        if len(tried) < 2:
            weights = np.full(len(others), 1.0 / len(others))
        statistics[:, 1] = shrunken_correlation(history_scores(y), mean[tried])
        statistics[:, 2:] = np.column_stack([mean, others.std(0), weights @ others])
    return np.column_stack([x, np.broadcast_to(task, (n, len(task))), statistics])


def shrunken_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation times n/(n + 2); 0 where either does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1] * len(a) / (len(a) + 2.0))
