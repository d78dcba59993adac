"""The covariance of an empirical Gaussian process over a pool, for models that have a mean of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.source_space import Alignment, SourceSpace
from metabench.search.base import Problem


def empirical_covariance(
    source: SourceSpace, alignment: Alignment, problem: Problem, factors: np.ndarray, alpha: float, variance: float
) -> tuple[Callable[[int], np.ndarray], np.ndarray]:
    """Rows and diagonal of (1 − α) FᵀF + α v Matérn over the pool (:mod:`metabench.metamodels.empirical_gp`), from
    ``factors`` F [tasks, source configurations].

    What interpolation to configurations of the pool leaves open of F goes to the Matérn process, too.
    """
    carried = np.sqrt(1.0 - alpha) * alignment.carry(factors)
    scale = np.sqrt(variance * (alpha + (1.0 - alpha) * alignment.gap))
    x = source.pool_coordinates(problem)

    def row(i: int) -> np.ndarray:
        return carried[:, i] @ carried + scale[i] * scale * matern(distances(x[i : i + 1], x)[0])

    return row, (carried**2).sum(0) + scale**2
