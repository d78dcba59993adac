"""Quadratic surfaces over a mixed and conditional space: coordinates, features, and the climb to a maximum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from metabench.space import Choice, Space


@dataclass(frozen=True)
class Frame:
    """Coordinates of a space in which a quadratic is taken: numbers in [−1, 1], choices one-hot, 0 where inactive.

    The feasible set is relaxed: an option may have any share in [0, 1], the shares of a choice sum to 1, and what is
    inactive may move. Rounding to a real configuration is the caller's.
    """

    space: Space

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The columns of every hyperparameter."""
        out, at = {}, 0
        for name, p in self.space.items():
            width = len(p.options) if isinstance(p, Choice) else 1
            out[name] = slice(at, at + width)
            at += width
        return out

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns i ≤ j of the products in :meth:`features`: squares of numbers, products between hyperparameters."""
        owner = np.concatenate([np.full(s.stop - s.start, k) for k, s in enumerate(self.slices.values())])
        number = np.array([not isinstance(p, Choice) for p in self.space.values()])[owner]
        i, j = np.triu_indices(len(owner))
        keep = (owner[i] != owner[j]) | ((i == j) & number[i])
        return i[keep], j[keep]

    def points(self, blocks: list[np.ndarray]) -> np.ndarray:
        """Blocks of :func:`~metabench.metamodels.parts.source_space.blocks` → coordinates float64 [n, columns]."""
        out = []
        for p, b in zip(self.space.values(), blocks, strict=True):
            out.append(b[:, :-1] if isinstance(p, Choice) else (2.0 * b[:, :-1] - 1.0) * b[:, -1:])
        return np.concatenate(out, axis=1)

    def features(self, points: np.ndarray) -> np.ndarray:
        """[1, x, x_i x_j], float64 [n, coefficients]."""
        i, j = self.pairs
        return np.column_stack([np.ones(len(points)), points, points[:, i] * points[:, j]])

    @property
    def order(self) -> np.ndarray:
        """What a coefficient multiplies: 0 nothing, 1 a coordinate or its square, 2 a product, int [coefficients]."""
        i, j = self.pairs
        return np.concatenate([[0], np.ones(self._width, dtype=int), np.where(i == j, 1, 2)])

    @cached_property
    def _width(self) -> int:
        return list(self.slices.values())[-1].stop

    def split(self, coefficients: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Coefficients as c, b [columns], A [columns, columns] with f = c + bᵀx + ½ xᵀAx and A symmetric."""
        i, j = self.pairs
        matrix = np.zeros((self._width, self._width))
        matrix[i, j] = coefficients[1 + self._width :]
        return float(coefficients[0]), coefficients[1 : 1 + self._width], matrix + matrix.T

    @cached_property
    def _choices(self) -> np.ndarray:
        """Columns of every choice's options, int [choices, options], padded with ``_width``."""
        slices = [self.slices[n] for n, p in self.space.items() if isinstance(p, Choice)]
        columns = np.full((len(slices), max((s.stop - s.start for s in slices), default=0)), self._width)
        for row, s in zip(columns, slices, strict=True):
            row[: s.stop - s.start] = np.arange(s.start, s.stop)
        return columns

    def project(self, points: np.ndarray) -> np.ndarray:
        """The nearest points [n, columns] with numbers in [−1, 1] and choices' shares on their simplices."""
        out = np.clip(points, -1.0, 1.0)
        if self._choices.size:
            real = self._choices < self._width
            # padding lies far below any share, so that it gets none
            shares = np.column_stack([points, np.full(len(points), -1e9)])[:, self._choices]
            out[:, self._choices[real]] = simplex(shares)[:, real]
        return out

    def climb(
        self, coefficients: np.ndarray, starts: np.ndarray, steps: int = 1000, tolerance: float = 1e-4
    ) -> tuple[np.ndarray, np.ndarray]:
        """Local maxima of the quadratic from ``starts`` [n, columns]: points [n, columns] and values [n], best first.

        Projected gradients with step 1/‖A‖, under which no step lowers f (Nesterov, "Introductory lectures on convex
        optimization", 2004, Thm 2.2.7), with momentum that is dropped when it points down (O'Donoghue & Candès,
        "Adaptive restart for accelerated gradient schemes", 2015), until no step without momentum is longer than
        ``tolerance``.
        """
        constant, linear, matrix = self.split(coefficients)
        step = 1.0 / max(np.linalg.norm(matrix, 2), 1e-9 * np.abs(linear).max(initial=1.0), 1e-12)
        x = self.project(starts)
        velocity, age, moving = np.zeros_like(x), np.zeros((len(x), 1)), np.arange(len(x))
        for _ in range(steps):
            here = x[moving] + velocity[moving]
            new = self.project(here + step * (linear + here @ matrix))
            moved = new - x[moving]
            down = ((new - here) * moved).sum(1, keepdims=True) < 0
            rests = (np.abs(moved).max(1) <= tolerance) & ~velocity[moving].any(1)
            age[moving] = np.where(down, 0.0, age[moving] + 1.0)
            slow = np.abs(moved).max(1, keepdims=True) <= tolerance
            velocity[moving] = np.where(down | slow, 0.0, age[moving] / (age[moving] + 3.0) * moved)
            x[moving] = new
            moving = moving[~rests]
            if len(moving) == 0:
                break
        values = constant + x @ linear + 0.5 * np.einsum("ni,ij,nj->n", x, matrix, x)
        order = np.argsort(-values, kind="stable")
        return x[order], values[order]


def simplex(points: np.ndarray) -> np.ndarray:
    """The nearest points [..., k] with coordinates ≥ 0 that sum to 1 (Held, Wolfe & Crowder, 1974)."""
    descending = -np.sort(-points, axis=-1)
    excess = (np.cumsum(descending, axis=-1) - 1.0) / np.arange(1, points.shape[-1] + 1)
    used = (descending > excess).sum(-1, keepdims=True)
    return np.maximum(points - np.take_along_axis(excess, used - 1, -1), 0.0)
