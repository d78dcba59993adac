"""From cells to one number with an interval: seeds → task → family, interquartile mean over families.

The interval is a seeded hierarchical bootstrap: families are drawn with replacement, tasks within each drawn family,
seeds within each drawn task. All methods share the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def iqm(values: np.ndarray) -> np.ndarray:
    """Interquartile mean over the last axis: a quarter of the values (rounded down) is cut at each end.

    The robust aggregate of Agarwal et al., NeurIPS 2021; equals ``scipy.stats.trim_mean(values, 0.25)``. NaN if any is.
    """
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


@dataclass(frozen=True)
class Hierarchy:
    """How cells nest: ``families`` names the family of each task, every task has ``seeds`` cells.

    ``draws`` is float64 [resamples, families, tasks × seeds]: row f of a resample averages the cells of the f-th drawn
    family.
    """

    weights: np.ndarray
    draws: np.ndarray

    @classmethod
    def build(cls, families: Sequence[str], seeds: int, resamples: int = 1000, seed: int = 0) -> Hierarchy:
        names = list(dict.fromkeys(families))
        members = [np.flatnonzero([f == name for f in families]) for name in names]
        weights = np.zeros((len(names), len(families), seeds))
        for f, tasks in enumerate(members):
            weights[f, tasks] = 1.0 / (len(tasks) * seeds)
        rng = np.random.default_rng([seed, 0xB0075])
        draws = np.zeros((resamples, len(names), len(families), seeds))
        for b in range(resamples):
            for slot, f in enumerate(rng.integers(len(names), size=len(names))):
                tasks = rng.choice(members[f], size=len(members[f]))
                drawn = rng.integers(seeds, size=(len(tasks), seeds))
                np.add.at(draws[b, slot], (tasks[:, None], drawn), 1.0 / (len(tasks) * seeds))
        return cls(weights.reshape(len(names), -1), draws.reshape(resamples, len(names), -1))

    def families(self, cells: np.ndarray) -> np.ndarray:
        """Cells [..., tasks, seeds] → means of families [..., families]."""
        return cells.reshape(*cells.shape[:-2], -1) @ self.weights.T

    def estimate(self, cells: np.ndarray) -> np.ndarray:
        """The interquartile mean over families, [..., tasks, seeds] → [...]."""
        return iqm(self.families(cells))

    def interval(self, cells: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Percentile bootstrap interval of :meth:`estimate`: low and high, each [...]."""
        shape = cells.shape[:-2]
        flat = cells.reshape(-1, cells.shape[-2] * cells.shape[-1])
        stacked = self.draws.reshape(-1, flat.shape[1])
        resamples, families = self.draws.shape[:2]
        tail = 50 * (1 - level)
        out = np.empty((2, len(flat)))
        for at in range(0, len(flat), 64):  # bounds the memory of resampled means
            means = (flat[at : at + 64] @ stacked.T).reshape(-1, resamples, families)
            out[:, at : at + 64] = np.percentile(iqm(means), [tail, 100 - tail], axis=1)
        return out[0].reshape(shape), out[1].reshape(shape)
