"""Heteroscedastic evolutionary Bayesian optimisation by HEBO (Cowen-Rivers et al., JAIR 2022).

A Gaussian process on warped inputs and power-transformed targets; what is tried is drawn from the Pareto front of three
acquisition functions (MACE).
"""

from __future__ import annotations

from typing import ClassVar
from unittest import mock

import numpy as np
import pandas as pd

from metabench.baselines.parts.peers import Peer, cube, option
from metabench.search.base import History
from metabench.space import Choice


class HEBO(Peer):
    """The package's defaults, but that MACE's Pareto front is that of the untried candidates, which is exact, instead of
    the one that NSGA-II finds in the space.

    It begins with a Sobol sequence, one point more than there are hyperparameters; trials of a given start count
    towards it.
    """

    name = "hebo"
    version = "1"
    requires = ("hebo", "pymoo", "disjoint_set")
    torch: ClassVar[bool] = True

    def open(self, given: int) -> None:
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO as Optimiser

        space, u = self.problem.space, cube(self.problem)
        kinds, columns = [], {}
        for i, (name, p) in enumerate(space.items()):
            if isinstance(p, Choice):
                kinds.append({"name": name, "type": "cat", "categories": list(p.options)})
                columns[name] = [p.options[option(p, v)] for v in u[:, i]]
            else:
                kinds.append({"name": name, "type": "num", "lb": 0.0, "ub": 1.0})
                columns[name] = u[:, i]
        self._pool = pd.DataFrame(columns)
        self._optimiser = Optimiser(DesignSpace().parse(kinds), scramble_seed=self.seed)

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        self._optimiser.observe(self._pool.iloc[[candidate]], np.array([[-utility]]))

    def suggest(self, history: History) -> np.ndarray:
        front = _front(self._pool.iloc[history.untried(len(self._pool))])
        with mock.patch("hebo.optimizers.hebo.EvolutionOpt", front):
            row = self._optimiser.suggest(1).iloc[0]
        return np.array(
            [p.to_unit([row[n]])[0] if isinstance(p, Choice) else row[n] for n, p in self.problem.space.items()]
        )


def _front(pool: pd.DataFrame):
    """HEBO's interface to optimisers of acquisition functions, over a pool."""

    class Front:
        def __init__(self, space, acquisition, **settings):
            self.space, self.acquisition = space, acquisition

        def optimize(self, **settings) -> pd.DataFrame:
            """The candidates that no other one dominates."""
            values = self.acquisition(*self.space.transform(pool)).numpy()
            beaten = (values[:, None] >= values).all(2) & (values[:, None] > values).any(2)  # [candidate, by another]
            return pool[~beaten.any(1)]

    return Front
