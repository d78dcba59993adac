"""What adapters to other packages share: the cube that they search, the way from it to the pool, what they are told."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import warnings
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from metabench.baselines.parts.common import Tried, distances, nearest_untried, utilities
from metabench.search.base import History, Problem, Searcher
from metabench.space import Choice


class Peer(Searcher):
    """A package that suggests points and is told scores. Subclasses implement :meth:`open`, :meth:`observe` and
    :meth:`suggest`; while these run, the global random generators are the search's own.

    The package searches the unit cube, a coordinate per hyperparameter on its declared scale (``Space.to_unit``). The
    untried candidate nearest to what it suggests is tried, and it is told that candidate's own coordinates with the
    score. Trials of a given start are told, too. A diverged trial is told as the worst finite one so far; until one is
    finite nothing is told, for there is nothing to compare with.
    """

    #: does the package draw from torch's global generator?
    torch: ClassVar[bool] = False

    def begin(self) -> None:
        self._told: int | None = None
        self._generators = Generators(self.seed, self.torch)

    def open(self, given: int) -> None:
        """Make the package's optimiser; ``given`` trials were made before its first suggestion."""
        raise NotImplementedError

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        """Tell the optimiser of one trial; larger utilities are better."""
        raise NotImplementedError

    def suggest(self, history: History) -> np.ndarray | int:
        """The next point, float64 [hyperparameters] in the unit cube, or an untried position of the pool."""
        raise NotImplementedError

    def ask(self, history: History) -> int:
        with self._generators.own(), silence():
            if self._told is None:
                self.open(len(history))
                self._told = 0
            for trial in self._news(history):
                self.observe(*trial)
            point = self.suggest(history)
        point = np.asarray(point)
        return int(point) if point.ndim == 0 else nearest(self.problem, point, history)

    def _news(self, history: History) -> list[tuple[int, float, bool]]:
        """Trials that the optimiser was not told: pool position, utility, whether it diverged."""
        diverged = ~np.isfinite(np.asarray(history.scores, dtype=float))
        if diverged.all():
            return []
        first, self._told = self._told, len(history)
        trials = zip(history.candidates, utilities(self.problem, history).tolist(), diverged.tolist(), strict=True)
        return list(trials)[first:]


def nearest(problem: Problem, point: np.ndarray, history: Tried) -> int:
    """The untried pool position nearest to a ``point`` [hyperparameters] of the unit cube (see ``distances``)."""
    return nearest_untried(distances(problem, problem.space.from_unit(point[None]))[0], history)


def cube(problem: Problem) -> np.ndarray:
    """The pool in the unit cube, float64 [candidates, hyperparameters].

    For packages without conditions: an inactive hyperparameter has its default, the middle where it has none.
    """
    unit = problem.space.to_unit(problem.candidates)
    filled = [0.5 if p.default is None else p.to_unit([p.default])[0] for p in problem.space.values()]
    return np.where(np.isnan(unit), filled, unit)


def option(p: Choice, u: float) -> int:
    """The number of a choice's option from its coordinate in the cube."""
    return min(int(u * len(p.options)), len(p.options) - 1)


def coordinate(p: Choice, number: int) -> float:
    """The coordinate of a choice's option in the cube."""
    return (number + 0.5) / len(p.options)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is warned of, logged or printed inside: advice to users of a package, deprecations inside it."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class Generators:
    """The global random generators as one search sees them: numpy's and the standard library's, and torch's if asked."""

    def __init__(self, seed: int, torch: bool = False):
        self._torch = torch
        numpys = np.random.RandomState(seed).get_state()
        self._states = [random.Random(seed).getstate(), numpys]
        if torch:
            from torch import Generator

            self._states.append(Generator().manual_seed(seed).get_state())

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Inside, the global generators go on where this search left them; outside nothing changes."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        ours = self._states
        self._states = [random.getstate(), np.random.get_state()]  # noqa: NPY002
        random.setstate(ours[0])
        np.random.set_state(ours[1])  # noqa: NPY002
        if self._torch:
            from torch.random import get_rng_state, set_rng_state

            self._states.append(get_rng_state())
            set_rng_state(ours[2])
