"""A search box around the source tasks' optima, searched without further transfer.

Perrone, Shen, Seeger, Archambeau & Jenatton, "Learning search spaces for Bayesian optimization: another view of
hyperparameter transfer learning", NeurIPS 2019: the smallest box that holds the best configuration of every source task,
with slack for outliers; then any search that learns nothing from other tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, cast

import numpy as np
from scipy.optimize import brentq

from metabench.baselines.gp import GP
from metabench.baselines.random import Random
from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source
from metabench.metamodels.parts.source_space import SourceSpace, shared_hyperparameters, unit
from metabench.search.base import History, MetaTrain, Problem
from metabench.space import Choice

_INSIDE = {"gp": GP, "random": Random}


class Box(MetaModel):
    """Searches the candidates inside the box with ``inside`` (``gp`` or ``random``), then those nearest to it.

    A number's side is [l, u] with λ/2 (u − l)² + 1/2T Σ_t (l − x_t)₊² + (x_t − u)₊² minimal over the optima x_t of the T
    source tasks in which it is active, in unit coordinates; λ is the ``slack``, at 0 the side is [min x_t, max x_t]. A
    choice keeps the options of the optima. What is active in no optimum is not restricted.
    """

    name = "box"
    version = "1"
    twin = "gp"
    built_on = (GP, Random)
    facts = ("sides_",)
    grid: ClassVar[dict[str, tuple]] = {"inside": ("gp", "random"), "slack": (0.0, 0.005, 0.1)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("slack",)

    def __init__(self, inside: str = "gp", slack: float = 0.0):
        if inside not in _INSIDE:
            raise UsageError(f"box: inside is {inside!r}; known: {', '.join(_INSIDE)}")
        if slack < 0:
            raise UsageError(f"box: slack is {slack:g}; it must not be negative")
        self.inside = inside
        self.slack = slack

    def fit(self, source: MetaTrain) -> Box:
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        optima = source.configs.iloc[best_rows(source)]
        #: hyperparameter → [low, high] in unit coordinates, or its options
        self.sides_ = {}
        for name, p in source.space.items():
            values = optima[name].dropna().to_numpy()
            if len(values) == 0:
                continue
            if isinstance(p, Choice):
                self.sides_[name] = sorted(set(values))
            else:
                self.sides_[name] = list(side(unit(p, values), self.slack))
        return self

    def excess(self, problem: Problem) -> np.ndarray:
        """How far candidates lie outside the box, summed over hyperparameters in unit coordinates (1 for another
        option), float64 [candidates]; 0 inside. Where a hyperparameter is inactive it cannot be outside."""
        out = np.zeros(len(problem.candidates))
        for name in shared_hyperparameters(self.source_.space, problem):
            if name not in self.sides_:
                continue
            column = problem.candidates[name]
            present = column.notna().to_numpy()
            values = column.to_numpy()[present]
            if isinstance(p := self.source_.space[name], Choice):
                out[present] += ~np.isin(values.astype(str), self.sides_[name])
            else:
                low, high = self.sides_[name]
                u = unit(p, values)
                out[present] += np.maximum(low - u, 0.0) + np.maximum(u - high, 0.0)
        return np.where(out < 1e-9, 0.0, out)

    def begin(self) -> None:
        super().begin()
        self.source_.align(self.problem)  # refuses or tells of a space that is not the source's
        self._excess = self.excess(self.problem)
        self._members = np.flatnonzero(self._excess == 0.0)
        self._place = {int(c): i for i, c in enumerate(self._members)}
        candidates = self.problem.candidates.iloc[self._members].reset_index(drop=True)
        self._search = _INSIDE[self.inside]().start(replace(self.problem, candidates=candidates), self.seed)

    def ask(self, history: History) -> int:
        inside = [
            (self._place[c], s) for c, s in zip(history.candidates, history.scores, strict=True) if c in self._place
        ]
        if len(inside) < len(self._members):
            return int(self._members[self._search.ask(History([i for i, _ in inside], [s for _, s in inside]))])
        untried = history.untried(len(self._excess))
        return int(untried[np.argmin(self._excess[untried])])


def best_rows(source: MetaTrain) -> np.ndarray:
    """The best configuration of every source task that has a finite score, int64 [≤ tasks]. Raises UsageError when no
    task has one."""
    utility = source.utility[np.isfinite(source.utility).any(1)]
    if len(utility) == 0:
        raise UsageError("no configuration of the source has a finite score; nothing to start from")
    return np.nanargmax(utility, axis=1)


def side(x: np.ndarray, slack: float) -> tuple[float, float]:
    """The ends (l, u) that minimise slack/2 (u − l)² + mean((l − x)₊² + (x − u)₊²)/2.

    Both one-sided means of (l − x)₊ and (x − u)₊ equal slack (u − l) there; slack 0 gives the least and greatest x.
    """
    if slack == 0 or x.min() == x.max():
        return float(x.min()), float(x.max())

    def at(level: float, values: np.ndarray) -> float:
        """The point whose mean distance to the smaller values is ``level``."""
        if level <= 0:
            return float(values.min())
        return _root(lambda end: np.maximum(end - values, 0.0).mean() - level, values.min(), values.max() + level)

    def surplus(level: float) -> float:
        return level - slack * (-at(level, -x) - at(level, x))

    level = _root(surplus, 0.0, float(np.ptp(x)))
    return at(level, x), -at(level, -x)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    return cast(float, brentq(f, low, high))
