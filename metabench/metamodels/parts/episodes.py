"""Source tasks as if they were searched: some trials are shown, in unknown units, and the rest is to be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from metabench.metamodels.parts.gp import affine_map


def warp(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    """A random increasing function of normal scores, any shape: sinh(δ asinh z + ε), ε ~ N(0, .5²), log δ ~ N(0, .3²).

    The sinh-arcsinh transformation (Jones & Pewsey, 2009, Eq. 2) changes skewness and tails: scores of a task are
    normal in rank alone.
    """
    return np.sinh(np.exp(0.3 * rng.normal()) * np.arcsinh(z) + 0.5 * rng.normal())


def on_normal_scale(y: np.ndarray, mean: np.ndarray, spread: float) -> np.ndarray:
    """(y − a)/b, float64 [n], for the affine map of y = a + b (``mean`` + ``spread`` ε) (:func:`affine_map`).

    So trials in any units become comparable with the source's mean at their configurations. It does not change when y
    is shifted or scaled; a single trial lies at the mean.
    """
    if len(y) == 0:
        return np.zeros(0)
    guess = np.std(y) / np.sqrt(mean.var() + spread**2)
    a, b = affine_map(y / spread, mean / spread, np.full(len(y), 1.0 / spread), guess)
    return (y - a) / b


@dataclass(frozen=True)
class Episodes:
    """Some tasks as if they were searched: ``x`` float32 [tasks, shown + hidden, columns]; ``seen`` float32 [tasks, shown]
    what trials show of the first ones, ``truth`` float32 [tasks, shown + hidden] what is to be known of all. Both are
    differences from the mean of the other tasks, in normal scores."""

    x: np.ndarray
    seen: np.ndarray
    truth: np.ndarray
    #: which of the tasks they are, int [tasks]
    chosen: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Episodes]) -> Episodes:
        """All of them, which show equally many trials."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Tasks:
    """Source tasks as networks see them: inputs ``x`` float32 [configs, columns], normal scores ``targets`` [tasks, configs]
    (NaN where not run), ``means`` [tasks, configs] of the other tasks, and the ``spread`` of targets around them."""

    x: np.ndarray
    targets: np.ndarray
    means: np.ndarray
    spread: float

    def draw(self, rng: np.random.Generator, tasks: int, shown: int, hidden: int = 0) -> Episodes:
        """Random tasks, and random configurations of each, all different where it has enough of them.

        In half of the tasks those that are shown are rather good ones, as in a search. What they show is warped
        (:func:`warp`) and back on the scale of normal scores (:func:`on_normal_scale`); the truth is not warped.
        """
        n = shown + hidden
        chosen = rng.permutation(len(self.targets))
        chosen = chosen[:tasks] if tasks <= len(chosen) else rng.choice(chosen, tasks)
        cells, seen = np.empty((tasks, n), dtype=int), np.empty((tasks, shown))
        for i, t in enumerate(chosen):
            ran = np.flatnonzero(~np.isnan(self.targets[t]))
            order = ran[np.argsort(-(i % 2) * self.targets[t, ran] - rng.gumbel(size=len(ran)))]
            cells[i, :shown] = np.resize(order, shown)
            rest = order[shown:] if len(order) > shown else ran
            cells[i, shown:] = np.resize(rng.permutation(rest), hidden)
            mean = self.means[t, cells[i, :shown]]
            seen[i] = on_normal_scale(warp(rng, self.targets[t, cells[i, :shown]]), mean, self.spread) - mean
        truth = np.take_along_axis(self.targets[chosen] - self.means[chosen], cells, 1)
        return Episodes(self.x[cells], seen.astype(np.float32), truth.astype(np.float32), chosen)
