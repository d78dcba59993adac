"""The source's space as a fitted meta-model keeps it: encoding, a kernel on its configurations, and the way to a pool."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.metamodels.parts.matern import Interpolator, Matern
from metabench.metatrain import row_keys
from metabench.search.base import MetaTrain, Problem
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space


def unit(p: Float | Ordinal, values: np.ndarray) -> np.ndarray:
    """Native numbers on the scale where ``p`` spans [0, 1], float64; on beyond its ends, but no further than [−1, 2].

    On a logarithmic scale numbers that have no logarithm lie at −1.
    """
    x = np.asarray(values, dtype=float)
    if isinstance(p, Ordinal):
        steps, places = np.asarray(p.options, dtype=float), p.to_unit(p.options)
        if steps[0] > 0:
            steps, x = np.log(steps), np.log(np.maximum(x, 1e-300))
        rate = (places[-1] - places[0]) / (steps[-1] - steps[0])
        beyond = np.minimum(x - steps[0], 0.0) + np.maximum(x - steps[-1], 0.0)
        return np.clip(np.interp(x, steps, places) + rate * beyond, -1.0, 2.0)
    half = 0.5 if isinstance(p, Int) else 0.0
    low, high = p.low - half, p.high + half
    if p.log:
        low, high, x = np.log(low), np.log(high), np.log(np.maximum(x, 1e-300))
    elif p.reverse:
        low, high, x = -np.log1p(-low), -np.log1p(-high), -np.log1p(-np.minimum(x, 1.0 - 1e-12))
    return np.clip((x - low) / (high - low), -1.0, 2.0)


def blocks(source: Mapping[str, Parameter], configs: pd.DataFrame, names: list[str]) -> list[np.ndarray]:
    """Configurations in the coordinates of the source space: a float64 block [n, columns] per hyperparameter.

    Unlike :meth:`Space.encode` it forgives: numbers outside the source's range lie outside [0, 1] (:func:`unit`), an
    option that the source does not know has no coordinate (it is equally far from all). Inactive values lie in the
    middle, and the last column of a block says whether the hyperparameter is active; one without a column in the table
    is inactive everywhere. The table alone tells what is active, so a hyperparameter may stand here without the parent
    of its condition.
    """
    out = []
    for name in names:
        p = source[name]
        u = np.zeros((len(configs), len(p.options))) if isinstance(p, Choice) else np.full((len(configs), 1), 0.5)
        present = configs[name].notna().to_numpy() if name in configs else np.zeros(len(configs), dtype=bool)
        if present.any():
            values = configs[name].to_numpy()[present]
            if isinstance(p, Choice):
                u[present] = np.array([[v == option for option in p.options] for v in values])
            else:
                u[present, 0] = unit(p, values)
        out.append(np.column_stack([u, present]))
    return out


def shared_hyperparameters(source: Space, problem: Problem) -> list[str]:
    """Hyperparameters of the source that the pool's table has too, in the same kind of type."""

    def same_kind(name: str) -> bool:
        a, b = source[name], problem.space.get(name, source[name])
        return isinstance(a, Choice) == isinstance(b, Choice) and (
            isinstance(a, Choice) or pd.api.types.is_numeric_dtype(problem.candidates[name])
        )

    return [n for n in source if n in problem.candidates.columns and same_kind(n)]


def differences(source: Space, problem: Problem) -> list[str]:
    """What has changed between the source's space and that of the pool, in words; nothing when it has not."""
    shared = shared_hyperparameters(source, problem)
    lost, new = [n for n in source if n not in shared], [n for n in problem.space if n not in shared]
    found = [f"it lacks {', '.join(lost)}"] * bool(lost) + [f"it adds {', '.join(new)}"] * bool(new)
    for name in (n for n in shared if n in problem.space):
        theirs, ours = _values(source[name]), _values(problem.space[name])
        if theirs != ours:
            found.append(f"{name} is {ours} and was {theirs}")
    return found


def _values(p: Parameter) -> str:
    """What a hyperparameter may be, in words; its default and condition do not count."""
    if isinstance(p, Choice | Ordinal):
        return f"one of {', '.join(map(str, sorted(p.options)))}"
    return f"in [{p.low:g}, {p.high:g}]" + " (log)" * p.log + " (reverse)" * p.reverse


@dataclass(frozen=True)
class Alignment:
    """How values on the source's configurations are carried to a pool of candidates.

    ``rows`` [candidates] is the source row of each candidate, −1 where there is none; ``weights`` [candidates, source
    rows] interpolates instead (None when every candidate has its row); ``gap`` [candidates] is the share of variance
    the source leaves unexplained: 0 on a matching row, towards 1 far from all.
    """

    rows: np.ndarray
    weights: np.ndarray | None
    gap: np.ndarray

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Values [..., source rows] → [..., candidates]."""
        return values[..., self.rows] if self.weights is None else values @ self.weights.T


@dataclass(frozen=True)
class SourceSpace:
    """What a fitted model keeps of its source's space: the hyperparameters, the configurations and a kernel on them.

    The kernel has one length scale per hyperparameter, learned from the source tasks (:meth:`Matern.fit`).
    """

    space: Space
    configs: pd.DataFrame
    length_scales: np.ndarray

    @classmethod
    def fit(cls, source: MetaTrain, targets: np.ndarray, seed: int = 0) -> SourceSpace:
        """Keep the space of a source and learn the kernel from within-task targets [tasks, configs] (may hold NaN)."""
        names = list(source.space)
        kernel = Matern.fit(blocks(source.space, source.configs, names), targets, seed=seed)
        configs = source.configs[names].reset_index(drop=True)
        return cls(source.space, configs, kernel.length_scales)

    @cached_property
    def encoded(self) -> list[np.ndarray]:
        """The source's configurations (:func:`blocks`), a block per hyperparameter."""
        return blocks(self.space, self.configs, list(self.space))

    @cached_property
    def _rows(self) -> dict[tuple, int]:
        """Configuration → its row, the first where several are equal."""
        return {key: i for i, key in reversed(list(enumerate(row_keys(self.configs, list(self.space)))))}

    @cached_property
    def _interpolators(self) -> dict[tuple[str, ...], Interpolator]:
        """Hyperparameters → regression from the source's configurations by these."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # factors are large and quickly made again
        return {n: v for n, v in self.__dict__.items() if n not in ("_rows", "_interpolators")}

    def kernel(self, names: list[str]) -> Matern:
        position = {n: i for i, n in enumerate(self.space)}
        return Matern(self.length_scales[[position[n] for n in names]])

    @cached_property
    def partial(self) -> set[str]:
        """Hyperparameters that some of the source's workloads do not have (:meth:`MetaTrain.union`): they are missing
        in rows where no condition makes them inactive. So are those that hang on them."""
        out: set[str] = set()
        for name, active in zip(self.space, self.space.active(self.configs).T, strict=True):
            when = self.space[name].when
            if (active & self.configs[name].isna().to_numpy()).any() or (when is not None and when.parent in out):
                out.add(name)
        return out

    def complete(self, targets: np.ndarray) -> np.ndarray:
        """Targets [tasks, configs] without NaN: missing cells by regression on the task's own cells.

        The mean of a configuration over the tasks that ran it, shrunk by one task at 0 (the mean of normal scores),
        plus the Gaussian-process interpolation of what the task's cells differ from it (:meth:`Matern.interpolate`).
        """
        seen = ~np.isnan(targets)
        mean = np.where(seen, targets, 0.0).sum(0) / (seen.sum(0) + 1.0)
        out = np.where(seen, targets, mean)
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        kernel = self.kernel(list(self.space))
        for pattern, tasks in ((p, np.flatnonzero(which.ravel() == i)) for i, p in enumerate(patterns)):
            if pattern.all() or not pattern.any():
                continue
            known, gone = [b[pattern] for b in self.encoded], [b[~pattern] for b in self.encoded]
            weights, _ = kernel.interpolate(known, gone)
            out[np.ix_(tasks, ~pattern)] += (targets[np.ix_(tasks, pattern)] - mean[pattern]) @ weights.T
        return out

    def align(self, problem: Problem) -> Alignment:
        """The way from the source's configurations to the problem's pool.

        A candidate that equals a source row takes its values; a hyperparameter that the pool lacks must be missing in
        that row, too. Others interpolate by Gaussian-process regression on the hyperparameters that both have
        (Rasmussen & Williams, 2006, Eq. 2.25–2.26: the weights are the rows of K(X*, X)(K + σ²I)⁻¹, the gap is the
        predictive variance). Warns in one line when the spaces differ, unless the source spans several workloads
        and the pool only lacks what some of them lack. Raises UsageError when they have nothing in common.
        """
        names = shared_hyperparameters(self.space, problem)
        if not names:
            raise UsageError(
                "the pool shares no hyperparameter with the source tasks; fit on a table of the same space"
            )
        lost = [n for n in self.space if n not in names]
        changed = differences(self.space, problem)
        if changed and not (self.partial and not set(problem.space) - set(names) and set(lost) <= self.partial):
            text = (
                f"the pool's space is not that of the source: {'; '.join(changed)}; transferring over what they share"
            )
            warnings.warn(text, stacklevel=2)
        pool = problem.candidates.assign(**dict.fromkeys(lost))
        rows = np.array([self._rows.get(key, -1) for key in row_keys(pool, list(self.space))], dtype=int)
        missing = rows < 0
        gap = np.zeros(len(rows))
        if not missing.any():
            return Alignment(rows, None, gap)
        weights = np.zeros((len(rows), len(self.configs)))
        weights[np.flatnonzero(~missing), rows[~missing]] = 1.0
        # what a workload does not have is inactive there; of what else the pool lacks nothing is known
        used = tuple(n for n in self.space if n in names or n in self.partial)
        if used not in self._interpolators:
            theirs = [b for n, b in zip(self.space, self.encoded, strict=True) if n in used]
            self._interpolators[used] = Interpolator.at(self.kernel(list(used)), theirs)
        interpolate = self._interpolators[used]
        weights[missing], gap[missing] = interpolate(blocks(self.space, pool[missing], list(used)))
        return Alignment(rows, weights, gap)

    def pool_columns(self, problem: Problem) -> np.ndarray:
        """The pool in the source's coordinates (:func:`blocks`), float64 [candidates, columns]; NaN where it lacks them."""
        shared = shared_hyperparameters(self.space, problem)
        known = dict(zip(shared, blocks(self.space, problem.candidates, shared), strict=True))
        empty = {n: np.full((len(problem.candidates), b.shape[1]), np.nan) for n, b in zip(self.space, self.encoded)}
        return np.concatenate([known.get(n, empty[n]) for n in self.space], axis=1)

    def pool_coordinates(self, problem: Problem) -> np.ndarray:
        """The pool in coordinates where the kernel has unit length scale, float64 [candidates, columns].

        Options that the source does not know have coordinates of their own here. Hyperparameters that the source lacks
        get the geometric mean of the known length scales.
        """
        names = shared_hyperparameters(self.space, problem)
        shared: dict[str, Parameter] = {}
        for n in names:
            theirs, ours = self.space[n], problem.space.get(n)
            if isinstance(theirs, Choice) and isinstance(ours, Choice):
                shared[n] = Choice(*dict.fromkeys([*theirs.options, *ours.options]))
            else:
                shared[n] = theirs
        new = [n for n in problem.space if n not in names and n in problem.candidates.columns]
        typical = np.full(len(new), np.exp(np.log(self.length_scales).mean()))
        kernel = Matern(np.append(self.kernel(names).length_scales, typical))
        known = blocks(shared, problem.candidates, names)
        return kernel.scale([*known, *blocks(problem.space, problem.candidates, new)])
