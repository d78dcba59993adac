"""A search space as a finite grid: numbers are cut into equal steps of their declared scale."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.space import Choice, Float, Int, Ordinal, Space

#: equal steps that a number's scale is cut into
STEPS = 32
#: the code of an inactive hyperparameter; all others are 0, 1, 2 …
INACTIVE = -1


@brief
@dataclass(frozen=True)
class Axis:
    """One hyperparameter as a finite list of ``values`` (native units) with their ``weights`` (which sum to 1)."""

    name: str
    values: tuple[Any, ...]
    weights: np.ndarray
    #: does the order of the values mean anything?
    ordered: bool
    #: the axis that it hangs on, and for which of that one's values it is active
    parent: str | None = None
    activating: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@brief
@dataclass(frozen=True)
class Grid:
    """A space as axes of finitely many values: what a forest is fitted on and integrated over."""

    space: Space
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, space: Space, steps: int = STEPS) -> Grid:
        """Options and few integers as they are, other numbers in ``steps`` equal steps of their scale.

        Conditions on the task do not count here; take ``space.for_task`` first.
        """
        axes: list[Axis] = []
        for name, p in space.items():
            when = None if p.when is None or p.when.on_task else p.when
            active = ()
            if when is not None:
                parent = next(a for a in axes if a.name == when.parent)
                active = tuple(value in when.values for value in parent.values)
            axes.append(Axis(name, *_values(p, steps), isinstance(p, Float | Ordinal), when and when.parent, active))
        return cls(space, tuple(axes))

    @cached_property
    def place(self) -> dict[str, int]:
        return {axis.name: i for i, axis in enumerate(self.axes)}

    @cached_property
    def children(self) -> dict[str | None, list[int]]:
        """Axes by the name of their parent; None has those that are always active."""
        out: dict[str | None, list[int]] = {}
        for i, axis in enumerate(self.axes):
            out.setdefault(axis.parent, []).append(i)
        return out

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations(range(len(self.axes)), 2))

    def codes(self, configs: pd.DataFrame) -> np.ndarray:
        """Configuration table → int16 [n, axes]: the place of each value, INACTIVE where there is none.

        Raises UsageError when a value is missing where no condition makes the hyperparameter inactive.
        """
        unit = self.space.to_unit(configs)
        gone = np.isnan(unit) & self.space.active(configs)
        if gone.any():
            row, column = np.argwhere(gone)[0]
            raise UsageError(
                f"configuration {configs.index[row]}: hyperparameter {self.axes[column].name} has no value"
            )
        out = np.full(unit.shape, INACTIVE, dtype=np.int16)
        for i, (axis, p) in enumerate(zip(self.axes, self.space.values(), strict=True)):
            on = ~np.isnan(unit[:, i])
            if isinstance(p, Int) and len(axis) == p.high - p.low + 1:
                out[on, i] = configs[axis.name].to_numpy()[on].astype(int) - int(p.low)
            else:  # options lie in the middle of equal shares of the scale
                out[on, i] = np.minimum((unit[on, i] * len(axis) + 1e-9).astype(int), len(axis) - 1)
        return out

    def decode(self, codes: np.ndarray) -> pd.DataFrame:
        """Codes [n, axes] → configuration table, numbers in the middle of their step."""
        columns = {}
        for axis, column, p in zip(self.axes, np.asarray(codes).T, self.space.values(), strict=True):
            values = [None if c == INACTIVE else axis.values[c] for c in column]
            columns[axis.name] = pd.Series(values, dtype=p.dtype)
        return pd.DataFrame(columns)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """``n`` points of the space as codes int16 [n, axes], every coordinate drawn, also where it is inactive."""
        from scipy.stats import qmc

        u = qmc.Sobol(len(self.axes), rng=np.random.default_rng([seed, 0xFA0A])).random(n)
        cuts = [np.cumsum(axis.weights)[:-1] for axis in self.axes]
        return np.stack([np.searchsorted(c, column, side="right") for c, column in zip(cuts, u.T)], axis=1).astype(
            np.int16
        )

    def deactivate(self, codes: np.ndarray) -> np.ndarray:
        """The same points with INACTIVE where a parent's value says so."""
        out = codes.copy()
        for i, axis in enumerate(self.axes):
            if axis.parent is not None:
                parent = out[:, self.place[axis.parent]]
                out[~(np.append(axis.activating, False)[parent]), i] = INACTIVE
        return out


def _values(p, steps: int) -> tuple[tuple[Any, ...], np.ndarray]:
    """The values of a hyperparameter's axis and their shares of its scale."""
    if isinstance(p, Choice | Ordinal):
        return p.options, np.full(len(p.options), 1 / len(p.options))
    if isinstance(p, Int) and p.high - p.low < steps:
        whole = np.arange(int(p.low), int(p.high) + 1)
        edges = np.append(whole - 0.5, whole[-1] + 0.5)
        sizes = np.diff(np.log(edges) if p.log else edges)
        return tuple(whole.tolist()), sizes / sizes.sum()
    middles = (np.arange(steps) + 0.5) / steps
    return tuple(p.from_unit(middles).tolist()), np.full(steps, 1 / steps)
