"""Gradient-free optimisation by Nevergrad (Rapin & Teytaud, 2018): its algorithm selection wizard NGOpt.

NGOpt chooses and chains evolution strategies, differential evolution, swarms and local searches by the dimension, the
kinds of variables and the budget (Meunier et al., IEEE TEVC 2022).
"""

from __future__ import annotations

import numpy as np

from metabench.baselines._peers import Peer, coordinate, cube, option
from metabench.search.base import History
from metabench.space import Choice


class Nevergrad(Peer):
    """An optimiser of Nevergrad's registry; numbers are scalars in [0, 1], choices are deterministic ``Choice``."""

    name = "nevergrad"
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

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        values = {
            n: option(p, u) if isinstance(p, Choice) else float(u)
            for (n, p), u in zip(self.problem.space.items(), self._cube[candidate], strict=True)
        }
        self._optimiser.tell(self._optimiser.parametrization.spawn_child(new_value=values), -utility)

    def suggest(self, history: History) -> np.ndarray:
        values = self._optimiser.ask().value
        return np.array(
            [coordinate(p, values[n]) if isinstance(p, Choice) else values[n] for n, p in self.problem.space.items()]
        )
