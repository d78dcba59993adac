"""From cells to one number with an interval: seeds → task → family, interquartile mean over families.

The interval is a seeded bootstrap over families, the level at which the protocol generalises: what lies below a drawn
family, its tasks and their seeds, stays with it, as Davison & Hinkley (1997, § 3.8) advise for nested data (drawing
there too counts that variance twice). With few families percentiles of a bootstrap are too narrow, so the tails are
those of Hesterberg (2015, "What Teachers Should Know About the Bootstrap", § 4.1): a normal tail probability is replaced
by that of √(n/(n−1)) times Student's quantile. All methods share the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


def iqm(values: np.ndarray, share: float = 0.25) -> np.ndarray:
    """Interquartile mean over the last axis: a ``share`` of the values (rounded down) is cut at each end, 0 is the mean.

    The robust aggregate of Agarwal et al., NeurIPS 2021; equals ``scipy.stats.trim_mean(values, 0.25)``. NaN if any is.
    """
    cut = int(share * values.shape[-1])
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


@dataclass(frozen=True)
class Hierarchy:
    """How cells nest: seeds within tasks within families.

    ``weights`` is float64 [families, tasks × seeds], the share of each cell in its family's mean; ``draws`` is int
    [resamples, families], the families that a resample holds. ``cut`` is the share of families that the estimate leaves
    out at each end: a quarter (interquartile mean), or none (mean).
    """

    weights: np.ndarray
    draws: np.ndarray
    cut: float = 0.25

    @classmethod
    def build(
        cls, families: Sequence[str], seeds: int, resamples: int = 1000, seed: int = 0, cut: float = 0.25
    ) -> Hierarchy:
        """``families`` names the family of each task; every task has ``seeds`` cells."""
        names = list(dict.fromkeys(families))
        weights = np.zeros((len(names), len(families), seeds))
        for f, name in enumerate(names):
            tasks = np.flatnonzero([family == name for family in families])
            weights[f, tasks] = 1.0 / (len(tasks) * seeds)
        rng = np.random.default_rng([seed, 0xB0075])
        return cls(weights.reshape(len(names), -1), rng.integers(len(names), size=(resamples, len(names))), cut)

    def families(self, cells: np.ndarray) -> np.ndarray:
        """Cells [..., tasks, seeds] → means of families [..., families]."""
        return cells.reshape(*cells.shape[:-2], -1) @ self.weights.T

    def estimate(self, cells: np.ndarray) -> np.ndarray:
        """The interquartile mean (or mean) over families, [..., tasks, seeds] → [...]."""
        return iqm(self.families(cells), self.cut)

    def interval(self, cells: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Bootstrap interval of :meth:`estimate`: low and high, each [...]; with a single family both are NaN."""
        shape = cells.shape[:-2]
        means = self.families(cells).reshape(-1, self.draws.shape[1])
        out = np.full((2, len(means)), np.nan)
        if self.draws.shape[1] > 1:
            tail = 100 * expanded_tail(self.draws.shape[1], level)
            for at in range(0, len(means), 64):  # bounds the memory of resampled means
                resampled = iqm(means[at : at + 64, self.draws], self.cut)
                out[:, at : at + 64] = np.percentile(resampled, [tail, 100 - tail], axis=1)
        return out[0].reshape(shape), out[1].reshape(shape)


def expanded_tail(n: int, level: float = 0.95) -> float:
    """Tail probability of a bootstrap's percentiles for an interval of this level from ``n`` > 1 independent units.

    Φ(−√(n/(n−1)) · t), with t the quantile of Student's distribution with n − 1 degrees of freedom (Hesterberg, 2015).
    """
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)))
