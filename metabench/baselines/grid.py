"""Grid search: full factorial designs, coarse ones first."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import qmc

from metabench.baselines.parts.common import distances, nearest_untried
from metabench.search.base import History, Searcher
from metabench.space import Choice, Space


class Grid(Searcher):
    """Trial n is the untried candidate nearest to point n of the grid (see :func:`grid_points`).

    The grid does not depend on the seed. In many dimensions it stays at two levels for longer than any budget: that is
    what grid search is (Bergstra & Bengio, JMLR 2012).
    """

    name = "grid"
    version = "1"

    def begin(self) -> None:
        points = grid_points(self.problem.space, self.problem.budget)
        self._distances = distances(self.problem, self.problem.space.from_unit(points))

    def ask(self, history: History) -> int:
        return nearest_untried(self._distances[len(history) % len(self._distances)], history)


def grid_points(space: Space, n: int) -> np.ndarray:
    """The first ``n`` points of the unit cube, float64 [n, len(space)], on grids that grow finer.

    Grid g = 1, 2, 3, … divides every range into g cells and takes their centres, and (from g = 2 on) every option of a
    choice. The points of one grid follow a Sobol sequence, rounded to the grid, so that a part of it covers the whole;
    rounding may leave out some points of a grid before it is left for the next.
    """
    points: list[tuple[float, ...]] = []
    g = 0
    while len(points) < n:
        g += 1
        levels = np.array([len(p.options) if isinstance(p, Choice) and g > 1 else g for p in space.values()])
        size = math.prod(levels.tolist())
        exponent = math.ceil(math.log2(min(size, n))) + 3
        sequence = qmc.Sobol(len(space), scramble=False).random_base2(exponent)
        cells = dict.fromkeys(map(tuple, (sequence * levels).astype(int).tolist()))
        points += [tuple((np.array(cell) + 0.5) / levels) for cell in cells]
    return np.array(points[:n])
