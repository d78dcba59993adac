"""Search over partly trained configurations: a FidelitySearcher says which one to train on, and how far.

A trial of a :class:`~metabench.search.base.Searcher` is a full training. A fidelity searcher asks for *advances*: train
this candidate on until it has seen so many epochs. Training resumes where it was paused, so an advance costs the
difference; scores arrive at every checkpoint on the way, raw. What is counted are epochs, in units of full trainings.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metabench.brief import brief
from metabench.errors import MetabenchError
from metabench.search.base import History, Problem, Searcher


@brief
@dataclass(frozen=True)
class FidelityProblem(Problem):
    """A search that is counted in epochs. ``budget`` is the number of full trainings that these suffice for."""

    #: epochs at which a score is seen, ascending; the last is full training
    checkpoints: tuple[int, ...]

    @property
    def epochs(self) -> int:
        """Epochs that may be trained in all, over all candidates."""
        return self.budget * self.checkpoints[-1]


class Advance(NamedTuple):
    """Train pool position ``candidate`` on until it has seen ``epochs`` epochs in all, one of the checkpoints."""

    candidate: int
    epochs: int


class Curves:
    """Everything that a search has seen: a learning curve of raw scores for every candidate that was trained at all.

    A curve is as long as the checkpoints that its candidate has reached. It ends with NaN where training diverged; such
    a candidate cannot be trained on.
    """

    def __init__(self, checkpoints: Sequence[int]):
        self.checkpoints = tuple(checkpoints)
        #: candidate → raw scores at ``checkpoints[:len]``; candidates in the order of their first advance
        self.scores: dict[int, list[float]] = {}
        #: what was done, in order; epochs are those reached, which divergence or the end of the budget may cut short
        self.advances: list[Advance] = []
        #: epochs trained so far, over all candidates
        self.spent = 0

    def __len__(self) -> int:
        return len(self.advances)

    def __contains__(self, candidate: int) -> bool:
        return candidate in self.scores

    def add(self, candidate: int, scores: Sequence[float]) -> None:
        """One advance of a candidate: the scores at the checkpoints that it reached by it, at least one."""
        before = self.epochs(candidate)
        self.scores.setdefault(candidate, []).extend(map(float, scores))
        self.advances.append(Advance(candidate, self.epochs(candidate)))
        self.spent += self.epochs(candidate) - before

    def copy(self) -> Curves:
        """What is done to the copy does not reach the original."""
        new = Curves(self.checkpoints)
        new.scores = {candidate: list(curve) for candidate, curve in self.scores.items()}
        new.advances, new.spent = list(self.advances), self.spent
        return new

    def epochs(self, candidate: int) -> int:
        """How far a candidate is trained, in epochs; 0 where it is not."""
        reached = len(self.scores.get(candidate, ()))
        return self.checkpoints[reached - 1] if reached else 0

    def score(self, candidate: int, epochs: int | None = None) -> float:
        """Its raw score after so many epochs, a checkpoint; by default the last one seen. NaN from divergence on.

        Raises KeyError for a candidate that was not trained so far.
        """
        curve = self.scores[candidate]
        if epochs is None or (self.diverged(candidate) and epochs > self.epochs(candidate)):
            return curve[-1]
        at = self.checkpoints.index(epochs)
        if at >= len(curve):
            raise KeyError(f"candidate {candidate} was trained for {self.epochs(candidate)} epochs, not {epochs}")
        return curve[at]

    def diverged(self, candidate: int) -> bool:
        return candidate in self.scores and math.isnan(self.scores[candidate][-1])

    def finished(self, candidate: int) -> bool:
        """Is there nothing left to train: was it trained in full, or has it diverged?"""
        return len(self.scores.get(candidate, ())) == len(self.checkpoints) or self.diverged(candidate)

    def untried(self, n: int) -> np.ndarray:
        """Positions of a pool of ``n`` that were not trained at all, ascending."""
        mask = np.ones(n, dtype=bool)
        mask[list(self.scores)] = False
        return np.flatnonzero(mask)

    def unfinished(self, n: int) -> np.ndarray:
        """Positions of a pool of ``n`` that can be trained on, ascending."""
        mask = np.ones(n, dtype=bool)
        mask[[c for c in self.scores if self.finished(c)]] = False
        return np.flatnonzero(mask)


class FidelitySearcher(Searcher):
    """Base of everything that trains configurations in parts. ``self.problem`` is a :class:`FidelityProblem`.

    The search ends when an advance cannot reach the next checkpoint with the epochs that are left, or when the whole
    pool is finished. An advance that they suffice for in part is made as far as they do, and is the last unless it
    diverges on the way.
    """

    problem: FidelityProblem

    def ask(self, history: Curves) -> tuple[int, int]:
        """What to train next: a candidate that is not finished, and a checkpoint beyond where it stands."""
        raise NotImplementedError


class FullTraining(FidelitySearcher):
    """A searcher of full trainings among those of partial ones: each of its proposals is trained to the end."""

    def __init__(self, searcher: Searcher):
        self.searcher = searcher
        self.__dict__["name"] = searcher.name  # of this object alone, over the class's

    def begin(self) -> None:
        self._search = self.searcher.start(self.problem, self.seed)

    def ask(self, history: Curves) -> tuple[int, int]:
        trials = History(list(history.scores), [history.score(candidate) for candidate in history.scores])
        return self._search.ask(trials), self.problem.checkpoints[-1]


def checked(proposal: object, history: Curves, n_candidates: int) -> Advance:
    """A proposal as an Advance. Raises MetabenchError when it is none, or asks for what cannot be trained."""
    step = f"advance {len(history) + 1}"
    try:
        candidate, epochs = map(operator.index, proposal)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise MetabenchError(f"{step}: proposed {proposal!r}, which is no (candidate, epochs)") from None
    if not 0 <= candidate < n_candidates:
        raise MetabenchError(f"{step}: proposed {candidate}, outside the pool 0 … {n_candidates - 1}")
    if epochs not in history.checkpoints:
        known = ", ".join(map(str, history.checkpoints))
        raise MetabenchError(f"{step}: {epochs} epochs are no checkpoint; known: {known}")
    if history.diverged(candidate):
        raise MetabenchError(f"{step}: proposed {candidate} again, which has diverged")
    if epochs <= (stands := history.epochs(candidate)):
        raise MetabenchError(f"{step}: {candidate} is trained for {stands} epochs already; proposed {epochs}")
    return Advance(candidate, epochs)


def affordable(advance: Advance, history: Curves, epochs: int) -> Advance | None:
    """The advance as far as a budget of ``epochs`` in all allows; None where the next checkpoint is out of reach."""
    stands = history.epochs(advance.candidate)
    most = min(advance.epochs, stands + epochs - history.spent)
    reachable = [c for c in history.checkpoints if stands < c <= most]
    return Advance(advance.candidate, reachable[-1]) if reachable else None
