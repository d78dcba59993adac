"""Gradient-free optimisation by Nevergrad (Rapin & Teytaud, 2018): its algorithm selection wizard NGOpt.

NGOpt chooses and chains evolution strategies, differential evolution, swarms and local searches by the dimension, the
kinds of variables and the budget (Meunier et al., IEEE TEVC 2022).
"""

from __future__ import annotations

import numpy as np

from metabench.baselines.parts.peers import Peer, coordinate, cube, option
from metabench.search.base import History
from metabench.space import Choice


class Nevergrad(Peer):
    """An optimiser of Nevergrad's registry; numbers are scalars in [0, 1], choices are deterministic ``Choice``."""

    name = "nevergrad"
    version = "1"
    requires = ("nevergrad",)

    def __init__(self, optimizer: str = "NGOpt"):
        self.optimizer = optimizer

    def open(self, given: int) -> None:
        import nevergrad as ng

        space = {
            n: ng.p.Choice(len(p.options), deterministic=True)
            if isinstance(p, Choice)
            else ng.p.Scalar(lower=0, upper=1)
            for n, p in self.problem.space.items()
        }
        parametrization = ng.p.Dict(**space)
        parametrization.random_state.seed(self.seed)
        self._cube = cube(self.problem)
        self._optimiser = ng.optimizers.registry[self.optimizer](parametrization, budget=self.problem.budget)
        self._asked = None

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        values = {
            n: option(p, u) if isinstance(p, Choice) else float(u)
            for (n, p), u in zip(self.problem.space.items(), self._cube[candidate], strict=True)
        }
        point = self._optimiser.parametrization.spawn_child(new_value=values)
        if self._asked is not None and self._waits():
            point = self._asked
        self._asked = None
        self._optimiser.tell(point, -utility)

    def _waits(self) -> bool:
        """Whether a local search of another library was chosen, which goes on when the point that it asked for has a score
        and hears of no other: it is told that of the configuration nearest to it."""
        from nevergrad.optimization.recaster import RecastOptimizer

        return isinstance(getattr(self._optimiser, "optim", self._optimiser), RecastOptimizer)

    def suggest(self, history: History) -> np.ndarray:
        self._asked = self._optimiser.ask()
        values = self._asked.value
        return np.array(
            [coordinate(p, values[n]) if isinstance(p, Choice) else values[n] for n, p in self.problem.space.items()]
        )
