"""The two protocols of the suite: a Searcher proposes, a Surrogate predicts (and is a Searcher for free).

A *problem* is what a searcher is handed: a search space, the task's features, and a pool of candidate configurations.
It never holds a score. A *history* is what has been tried so far, in raw units. Proposals are indices into the pool.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from scipy import stats

from metabench.space import Space


@dataclass(frozen=True)
class TaskInfo:
    """What may be known of a task before anything is trained on it."""

    task_id: str
    family: str
    modality: str
    workload: str
    kind: str
    metric: str
    direction: str
    features: Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """A search to be done: propose rows of ``candidates`` so that the best score is found soon."""

    space: Space
    task: TaskInfo
    #: configuration table of the pool; proposals are positions in it
    candidates: pd.DataFrame
    #: trials that will be made in all
    budget: int

    @cached_property
    def encoded(self) -> np.ndarray:
        """The pool as float32 [candidates, space.encoded_names]."""
        return self.space.encode(self.candidates)

    @property
    def sign(self) -> float:
        """+1 where larger scores are better, −1 otherwise."""
        return 1.0 if self.task.direction == "max" else -1.0


@dataclass
class History:
    """Trials made so far on one problem: pool positions and raw scores (NaN where a run diverged), in order."""

    candidates: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.candidates)

    def __contains__(self, candidate: int) -> bool:
        return candidate in self._tried

    @property
    def _tried(self) -> set[int]:
        return set(self.candidates)

    def add(self, candidate: int, score: float) -> None:
        self.candidates.append(int(candidate))
        self.scores.append(float(score))

    def untried(self, n: int) -> np.ndarray:
        """Positions of a pool of ``n`` that have not been tried, ascending."""
        mask = np.ones(n, dtype=bool)
        mask[self.candidates] = False
        return np.flatnonzero(mask)


@dataclass(frozen=True)
class MetaTrain:
    """Source tasks with everything that was observed on them: what a meta-model learns from.

    ``scores`` is float64 [tasks, configs, seeds], raw validation scores at the last checkpoint; NaN where a run
    diverged or is absent. All source tasks share the configuration table. ``valid`` holds the meta-validation tasks
    (for early stopping, calibration and choosing settings), None when there are none.

    A configuration that diverged is bad; one that was never run is unknown. ``observed`` tells them apart: bool
    [tasks, configs], False where no run is stored; None says that every cell was run.
    """

    space: Space
    configs: pd.DataFrame
    tasks: Sequence[TaskInfo]
    scores: np.ndarray
    valid: MetaTrain | None = None
    #: mean training seconds, float64 [tasks, configs]
    seconds: np.ndarray | None = None
    #: was the cell run at all, bool [tasks, configs]; None: all were
    observed: np.ndarray | None = None

    @cached_property
    def encoded(self) -> np.ndarray:
        """Configurations as float32 [configs, space.encoded_names]."""
        return self.space.encode(self.configs)

    @cached_property
    def feature_names(self) -> list[str]:
        return sorted({name for t in self.tasks for name in t.features})

    @cached_property
    def features(self) -> np.ndarray:
        """Task features float64 [tasks, feature_names], NaN where missing."""
        return np.array([[t.features.get(n, np.nan) for n in self.feature_names] for t in self.tasks], dtype=float)

    @cached_property
    def utility(self) -> np.ndarray:
        """Mean over seeds, larger is better, float64 [tasks, configs].

        A configuration that diverged with every seed is NaN; one that diverged with some gets the task's worst score
        for those seeds.
        """
        sign = np.array([1.0 if t.direction == "max" else -1.0 for t in self.tasks])[:, None, None]
        signed = self.scores * sign
        absent = np.isnan(signed)
        with np.errstate(all="ignore"):
            worst = np.nanmin(np.where(absent, np.inf, signed), axis=(1, 2), keepdims=True)
        filled = np.where(absent, np.where(np.isfinite(worst), worst, 0.0), signed)
        return np.where(absent.all(axis=2), np.nan, filled.mean(axis=2))

    @cached_property
    def ranks(self) -> np.ndarray:
        """Ranks within each task, 1 is best, ties averaged, float64 [tasks, configs]; diverged ones share the last.

        Cells that were not run (``observed``) are NaN, and the others rank among themselves.
        """
        low = np.where(np.isnan(self.utility), -np.inf, self.utility)
        if self.observed is None:
            return stats.rankdata(-low, axis=1)
        ranks = np.full(low.shape, np.nan)
        for row, run, out in zip(low, self.observed, ranks, strict=True):
            out[run] = stats.rankdata(-row[run])
        return ranks

    @cached_property
    def normal_scores(self) -> np.ndarray:
        """Φ⁻¹((n − rank + .5)/n): standard-normal targets within each task, larger is better, [tasks, configs]."""
        n = np.sum(~np.isnan(self.ranks), axis=1, keepdims=True)
        return stats.norm.ppf((n - self.ranks + 0.5) / np.maximum(n, 1))

    def select(self, tasks: Sequence[int]) -> MetaTrain:
        """The same source with only some of its tasks (positions)."""
        rows = list(tasks)
        chosen = [self.tasks[i] for i in rows]
        seconds = None if self.seconds is None else self.seconds[rows]
        observed = None if self.observed is None else self.observed[rows]
        return MetaTrain(self.space, self.configs, chosen, self.scores[rows], self.valid, seconds, observed)


@dataclass(frozen=True)
class Prediction:
    """Predicted utilities (larger is better, the method's own scale): mean and std, float64 [candidates]."""

    mean: np.ndarray
    std: np.ndarray


class Searcher:
    """Base of everything that proposes. Subclass it in one file, give it a ``name``, and implement :meth:`ask`.

    The constructor takes settings; :meth:`fit` learns from source tasks (baselines keep the default) and stores fitted
    state in attributes ending in ``_``; :meth:`start` gives an independent searcher for one problem and seed.
    """

    name: ClassVar[str]
    #: name of the method that does the same without learning from source tasks (for negative transfer), if any
    twin: ClassVar[str | None] = None
    #: packages beyond the required ones that it imports; a method that lacks one is reported, never imitated
    requires: ClassVar[tuple[str, ...]] = ()

    def fit(self, source: MetaTrain) -> Self:
        """Learn from source tasks. Returns self."""
        return self

    def start(self, problem: Problem, seed: int) -> Self:
        """A copy of this searcher for one problem; fitted state is shared, search state is its own."""
        searcher = copy.copy(self)
        searcher.problem = problem
        searcher.seed = seed
        searcher.rng = np.random.default_rng([seed, 0x5EA2C4])
        searcher.begin()
        return searcher

    def begin(self) -> None:
        """Prepare the search state of a fresh copy (``self.problem``, ``self.rng`` are set). Optional."""

    def ask(self, history: History) -> int:
        """The pool position to try next; never one that is already in the history."""
        raise NotImplementedError


class Surrogate(Searcher):
    """Base of everything that predicts; asking maximises expected improvement over the untried candidates."""

    #: exploration margin of expected improvement, in the units of the prediction
    xi: float = 0.0

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Predicted utility of pool positions ``candidates`` given the history; works with an empty history."""
        raise NotImplementedError

    def ask(self, history: History) -> int:
        untried = history.untried(len(self.problem.candidates))
        prediction = self.predict(history, untried)
        tried = [c for c, s in zip(history.candidates, history.scores, strict=True) if np.isfinite(s)]
        if not tried:
            return int(untried[np.argmax(prediction.mean)])
        best = self.incumbent(history, prediction)
        return int(untried[np.argmax(expected_improvement(prediction, best + self.xi))])

    def incumbent(self, history: History, prediction: Prediction) -> float:
        """The utility to improve on, in the units of the prediction: the best predicted mean among the trials."""
        return float(np.max(self.predict(history, np.unique(history.candidates)).mean))


def expected_improvement(prediction: Prediction, best: float) -> np.ndarray:
    """E[max(0, f − best)] under a normal prediction (Jones et al., 1998), float64 [candidates]."""
    std = np.maximum(prediction.std, 1e-12)
    z = (prediction.mean - best) / std
    return std * (z * stats.norm.cdf(z) + stats.norm.pdf(z))
