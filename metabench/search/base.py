"""The two protocols of the suite: a Searcher proposes, a Surrogate predicts (and is a Searcher for free).

A *problem* is what a searcher is handed: a search space, the task's features, and a pool of candidate configurations.
It never holds a score. A *history* is what has been tried so far, in raw units. Proposals are indices into the pool.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd
from scipy import special

from metabench import direction
from metabench.brief import brief
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.space import Space

#: √(2π)
_ROOT = np.sqrt(2 * np.pi)


@brief
@dataclass(frozen=True)
class Problem:
    """A search to be done: propose rows of ``candidates`` so that the best score is found soon."""

    space: Space
    task: TaskInfo
    #: configuration table of the pool; proposals are positions in it
    candidates: pd.DataFrame
    #: trials that will be made in all
    budget: int
    #: where it is set, random numbers follow from it, the search seed, the task and the method, so that no two tasks
    #: share a stream; None (before protocol 3): from the search seed alone
    stream: str | None = field(default=None, kw_only=True)

    @cached_property
    def encoded(self) -> np.ndarray:
        """The pool as float32 [candidates, space.encoded_names]."""
        return self.space.encode(self.candidates)

    @property
    def sign(self) -> float:
        """+1 where larger scores are better, −1 otherwise."""
        return direction.sign(self.task.direction)


def stream_seed(stream: str, seed: int, task_id: str, method: str) -> int:
    """A seed of a search's own.

    Args:
        stream: name of the protocol that keys streams this way.
        seed: search seed.
        task_id: the task searched.
        method: name of the method.

    Returns:
        An int in [0, 2³¹), from a hash of all four.
    """
    text = json.dumps([stream, int(seed), task_id, method])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@brief
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
        """Append a trial.

        Args:
            candidate: position in the pool.
            score: raw score; NaN if the run diverged.
        """
        self.candidates.append(int(candidate))
        self.scores.append(float(score))

    def untried(self, n: int) -> np.ndarray:
        """Positions of a pool that have not been tried.

        Args:
            n: size of the pool.

        Returns:
            int [≤ n], ascending.
        """
        mask = np.ones(n, dtype=bool)
        mask[self.candidates] = False
        return np.flatnonzero(mask)


@brief
@dataclass(frozen=True)
class Prediction:
    """Predicted utilities (larger is better, the method's own scale): mean and std, float64 [candidates]."""

    mean: np.ndarray
    std: np.ndarray


class Searcher:
    """Base of everything that proposes. Subclass it in one file, give it a ``name``, and implement :meth:`ask`.

    The constructor takes settings. The method :meth:`fit` learns from source tasks and stores fitted state in attributes
    ending in ``_``; baselines keep the default. :meth:`start` returns an independent searcher for one problem and seed.
    """

    name: ClassVar[str]
    #: raised whenever the method proposes otherwise than before with the same settings; part of the key of its results. A
    #: class says its own: one that inherits it, or has none, is identified by the text of its source
    version: ClassVar[str]
    #: methods whose versions count too, beside those that the class inherits from
    built_on: ClassVar[tuple[type[Searcher], ...]] = ()
    #: name of the method that does the same without learning from source tasks (for negative transfer), if any
    twin: ClassVar[str | None] = None
    #: packages beyond the required ones that it imports; a method that lacks one is reported, never imitated
    requires: ClassVar[tuple[str, ...]] = ()
    #: settings that :meth:`fit` depends on, where others count in searching alone: models that agree on them may share a fit.
    #: A class says its own, what it inherits does not count; None: all settings
    fit_settings: ClassVar[tuple[str, ...] | None] = None
    #: what :meth:`start` gives a copy: the search to be done, its seed, and random numbers that follow from it
    problem: Problem
    seed: int
    rng: np.random.Generator

    def fit(self, source: MetaTrain) -> Self:
        """Learn from source tasks.

        Args:
            source: tasks, configurations and scores.

        Returns:
            The searcher itself.
        """
        return self

    def start(self, problem: Problem, seed: int) -> Self:
        """A copy of this searcher for one problem; fitted state is shared, search state is its own.

        Args:
            problem: the search to be done.
            seed: search seed. Where the problem names a stream, ``self.seed`` is one of the problem's own instead
                (:func:`stream_seed`), and ``self.rng`` follows from it.

        Returns:
            The copy, ready for :meth:`ask`.
        """
        searcher = copy.copy(self)
        searcher.problem = problem
        searcher.seed = (
            seed if problem.stream is None else stream_seed(problem.stream, seed, problem.task.task_id, self.name)
        )
        searcher.rng = np.random.default_rng([searcher.seed, 0x5EA2C4])
        searcher.begin()
        return searcher

    def begin(self) -> None:
        """Prepare the search state of a fresh copy (``self.problem``, ``self.rng`` are set). Optional."""

    def ask(self, history: History) -> int:
        """The candidate to try next.

        Args:
            history: trials made so far.

        Returns:
            Its position in the pool; never one that is already in the history.
        """
        raise NotImplementedError


@runtime_checkable
class Stored(Protocol):
    """A fitted searcher that can be kept: its class's ``load`` gives what ``save`` wrote."""

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the fitted state into a folder and return that."""
        ...

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        """The searcher that :meth:`save` wrote."""
        ...


@runtime_checkable
class Extends(Protocol):
    """A started search whose pool may grow without a new start."""

    def extend(self, problem: Problem) -> None:
        """Go on with ``problem``, whose candidates are those so far and others after them."""
        ...


class Surrogate(Searcher):
    """Base of everything that predicts; asking maximises expected improvement over the untried candidates."""

    #: exploration margin of expected improvement, in the units of the prediction
    xi: float = 0.0

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Predicted utilities of candidates.

        Args:
            history: trials made so far; it may be empty.
            candidates: positions in the pool, int [n].

        Returns:
            Means and standard deviations, float64 [n] each; larger is better.
        """
        raise NotImplementedError

    def ask(self, history: History) -> int:
        """The untried candidate with the largest expected improvement; before a finite score, with the largest mean.

        Args:
            history: trials made so far.

        Returns:
            Its position in the pool.
        """
        untried = history.untried(len(self.problem.candidates))
        prediction = self.predict(history, untried)
        tried = [c for c, s in zip(history.candidates, history.scores, strict=True) if np.isfinite(s)]
        if not tried:
            return int(untried[np.argmax(prediction.mean)])
        best = self.incumbent(history, prediction)
        return int(untried[np.argmax(expected_improvement(prediction, best + self.xi))])

    def incumbent(self, history: History, prediction: Prediction) -> float:
        """The utility to improve on: the best predicted mean among the trials.

        Args:
            history: trials made so far.
            prediction: that of the untried candidates.

        Returns:
            It, in the units of the prediction.
        """
        return float(np.max(self.predict(history, np.unique(history.candidates)).mean))


def expected_improvement(prediction: Prediction, best: float) -> np.ndarray:
    """E[max(0, f − best)] under a normal prediction (Jones et al., 1998), float64 [candidates]."""
    std = np.maximum(prediction.std, 1e-12)
    z = (prediction.mean - best) / std
    # what scipy.stats.norm does, to the last bit, at a fraction of its cost
    return std * (z * special.ndtr(z) + np.exp(-(z**2) / 2.0) / _ROOT)
