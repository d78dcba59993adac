"""Boosted trees that predict quantiles of a configuration's normal score from what is known of task and trials.

Quantile regression with conformal calibration as in Salinas, Golebiowski, Klein, Seeger & Archambeau, "Optimizing
hyperparameters with conformal quantile regression", ICML 2023, carried across tasks: trained on pseudo-histories drawn
from the source tasks, calibrated on whole tasks that were held out.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.boosted import Boosted, Rows
from metabench.search.base import History, MetaTrain, Prediction

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
_GRID = (np.arange(64) + 0.5) / 64
#: share of the source's families that calibrate when there are no meta-validation tasks
_HELD = 0.25


class XgbQuantile(Boosted):
    """One ensemble of multi-quantile trees, shifted so that each quantile covers its share of held-out tasks.

    Those are the meta-validation tasks; without any, a quarter of the source's families is held out of a first ensemble
    that the shifts are measured on (with one family they are 0), then the ensemble learns from all.
    ``acquisition`` is ``ei`` (expected improvement under the piecewise-linear quantile function) or ``thompson`` (one
    draw of it per ask).
    """

    name = "xgb_quantile"
    requires = ("xgboost",)
    version = "1"
    arrays = (*Boosted.arrays, "offsets_")
    grid: ClassVar[dict[str, tuple]] = {"acquisition": ("ei", "thompson"), "depth": (3, 4, 5)}
    fit_settings: ClassVar[tuple[str, ...] | None] = (
        "trees",
        "depth",
        "rate",
        "histories",
        "candidates",
        "random_state",
    )

    def __init__(
        self,
        trees: int = 150,
        depth: int = 4,
        rate: float = 0.08,
        histories: int = 16,
        candidates: int = 48,
        acquisition: str = "thompson",
        random_state: int = 0,
    ):
        super().__init__(trees, depth, rate, histories, candidates, random_state)
        if acquisition not in ("ei", "thompson"):
            raise UsageError(f"xgb_quantile: unknown acquisition {acquisition!r}; known: ei, thompson")
        self.acquisition = acquisition

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> XgbQuantile:
        targets = self.prepare(source)
        held = source.valid if source.valid is not None and source.valid.tasks else None
        surprises = self._held_out(source, targets) if held is None else np.empty((0, 0))
        booster = self._train(self.rows(source, targets, leave_out=True, stream=0))
        self.booster_ = np.frombuffer(booster.save_raw("ubj"), dtype=np.uint8)
        if held is not None:
            rows = self.rows(held, self.source_.complete(held.normal_scores), leave_out=False, stream=1)
            surprises = rows.y[:, None] - _predict(booster, rows.x)
        # conformal quantile regression (Romano, Patterson & Candès, 2019) for one side of every quantile
        self.offsets_ = np.array([np.quantile(s, level) for s, level in zip(surprises.T, LEVELS, strict=True)])
        return self

    def _train(self, rows: Rows):
        import xgboost

        data = xgboost.QuantileDMatrix(rows.x, rows.y, max_bin=64)
        return self.boost(data, objective="reg:quantileerror", quantile_alpha=np.array(LEVELS))

    def _held_out(self, source: MetaTrain, targets: np.ndarray) -> np.ndarray:
        """Scores of held-out families minus the quantiles that the others predict, [rows, LEVELS]; zeros with one
        family."""
        family = np.unique([t.family for t in source.tasks], return_inverse=True)[1]
        n = family.max() + 1
        held = np.random.default_rng([self.random_state, 0xF01D]).permutation(n)[family] < np.ceil(_HELD * n)
        if held.all():
            return np.zeros((1, len(LEVELS)))
        held, kept = np.flatnonzero(held), np.flatnonzero(~held)
        self._summarise(targets[kept])
        booster = self._train(self.rows(source.select(kept), targets[kept], leave_out=True, stream=2))
        rows = self.rows(source.select(held), targets[held], leave_out=False, stream=3)
        self._summarise(targets)
        return rows.y[:, None] - _predict(booster, rows.x)

    # ---------------------------------------------------------------- searching
    def quantiles(self, history: History) -> np.ndarray:
        """Quantiles LEVELS of every candidate's normal score on the target, float64 [pool, LEVELS]."""
        return np.sort(_predict(self._booster, self.pool_rows(history)) + self.offsets_, axis=1)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the piecewise-linear quantile function, float64 [candidates]."""
        values = _spread(self.quantiles(history)[candidates])
        return Prediction(values.mean(1), values.std(1))

    def ask(self, history: History) -> int:
        quantiles = self.quantiles(history)
        untried = history.untried(len(quantiles))
        if self.acquisition == "thompson":
            draws = self.rng.random(len(untried))
            return int(untried[np.argmax(_drawn(draws, quantiles[untried]))])
        middle = quantiles[:, LEVELS.index(0.5)]
        if len(history) == 0:
            return int(untried[np.argmax(middle[untried])])
        best = middle[history.candidates].max()
        gain = np.maximum(_spread(quantiles[untried]) - best, 0.0).mean(1)
        return int(untried[np.lexsort((middle[untried], gain))[-1]])


def _predict(booster, x: np.ndarray) -> np.ndarray:
    """Quantiles as the trees have them, ascending, float64 [rows, LEVELS]."""
    raw = booster.inplace_predict(np.ascontiguousarray(x)).reshape(len(x), len(LEVELS))
    return np.sort(raw.astype(np.float64), axis=1)


def _drawn(shares: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The quantile function of each row [rows, LEVELS] at that row's share, flat beyond LEVELS, [rows]: what np.interp has,
    to the last bit, for all rows at once."""
    levels, rows = np.array(LEVELS), np.arange(len(quantiles))
    left = np.clip(np.searchsorted(levels, shares, side="right") - 1, 0, len(levels) - 2)
    low, high = quantiles[rows, left], quantiles[rows, left + 1]
    between = (high - low) / (levels[left + 1] - levels[left]) * (shares - levels[left]) + low
    return np.where(shares <= levels[0], quantiles[:, 0], np.where(shares >= levels[-1], quantiles[:, -1], between))


def _spread(quantiles: np.ndarray) -> np.ndarray:
    """The quantile function at 64 even levels, [rows, 64]: linear between LEVELS, and on in both tails."""
    levels = np.array(LEVELS)
    right = np.clip(np.searchsorted(levels, _GRID), 1, len(levels) - 1)
    share = (_GRID - levels[right - 1]) / (levels[right] - levels[right - 1])
    low, high = quantiles[:, right - 1], quantiles[:, right]
    return low + (high - low) * share
