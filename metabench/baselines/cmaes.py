"""Evolution strategy on mixed spaces: CatCMA with margin (Hamano et al., GECCO 2025) by the cmaes package.

Covariance matrix adaptation (Hansen & Ostermeier, Evolutionary Computation 2001) for numbers, a margin that keeps
integers from freezing, and a natural-gradient distribution over the options of choices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.baselines.parts.peers import Peer, coordinate, cube, option
from metabench.search.base import History
from metabench.space import Choice, Int, Ordinal, Parameter

#: whole numbers with more values than this are continuous to the strategy
_LEVELS = 16


class CMAES(Peer):
    """The package's defaults: population 4 + ⌊3 ln d⌋, started in the middle of the cube with a sixth of its width.

    The distribution moves after each full population; trials of a given start belong to the first.
    """

    name = "cmaes"
    version = "1"
    requires = ("cmaes",)

    def open(self, given: int) -> None:
        from cmaes import CatCMAwM

        self._cube = cube(self.problem)
        kinds = [_kind(p) for p in self.problem.space.values()]
        self._at = {kind: [i for i, k in enumerate(kinds) if k == kind] for kind in "xzc"}
        ps = list(self.problem.space.values())
        self._choices = [p for p in ps if isinstance(p, Choice)]  # in the order of self._at["c"]
        self._optimiser: Any = CatCMAwM(
            x_space=[[0.0, 1.0] for _ in self._at["x"]] or None,
            z_space=[_levels(ps[i]).tolist() for i in self._at["z"]] or None,
            c_space=[len(p.options) for p in self._choices] or None,
            seed=self.seed,
        )
        self._generation: list[tuple] = []

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        self._generation.append((self._solution(self._cube[candidate]), -utility))
        if len(self._generation) == self._optimiser.population_size:
            self._optimiser.tell(self._generation)
            self._generation = []

    def suggest(self, history: History) -> np.ndarray:
        solution = self._optimiser.ask()
        point = np.empty(len(self.problem.space))
        for kind, values in (("x", solution.x), ("z", solution.z)):
            if self._at[kind]:
                point[self._at[kind]] = values
        chosen = () if solution.c is None else solution.c
        for i, p, row in zip(self._at["c"], self._choices, chosen):
            point[i] = coordinate(p, int(np.argmax(row)))
        return point

    def _solution(self, u: np.ndarray):
        """A candidate as the package's own kind of point."""
        chosen = np.zeros((len(self._choices), max([len(p.options) for p in self._choices], default=0)), dtype=bool)
        for row, (p, i) in enumerate(zip(self._choices, self._at["c"], strict=True)):
            chosen[row, option(p, u[i])] = True
        x, z = u[self._at["x"]], u[self._at["z"]]
        return self._optimiser.Solution(x, z, chosen, np.concatenate([x, z]))


def _kind(p) -> str:
    """x for continuous, z for a number of few values, c for a choice."""
    if isinstance(p, Choice):
        return "c"
    few = isinstance(p, Ordinal) or (isinstance(p, Int) and p.high - p.low < _LEVELS)
    return "z" if few else "x"


def _levels(p: Parameter) -> np.ndarray:
    """The coordinates of all values of a number that has few."""
    assert isinstance(p, Int | Ordinal)
    return p.to_unit(p.options if isinstance(p, Ordinal) else np.arange(int(p.low), int(p.high) + 1))
