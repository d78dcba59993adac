"""Means over families of data sets with a bootstrap over families: intervals, p-values, simultaneous bounds.

Families are what the protocol generalises to; tasks of a family and their searches stay together, as Davison & Hinkley
(1997, § 3.8) advise for nested data. All statistics share the draws, so that differences are paired.

Intervals are symmetric bootstrap-t intervals (Hall, Journal of the Royal Statistical Society B, 1988): the estimate ± a
quantile of |mean* − mean| / error*, the deviation of a resample's mean in standard errors of that resample. Percentiles,
even with tails expanded for few families, cover too little where a few families decide a mean
(``benchmarks/protocol.py intervals``). A p-value is the level at which the interval just touches 0, so tests and intervals
agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metabench.errors import UsageError

RESAMPLES = 5000
#: least standard error of a resample, in those of the estimate; what counts as no difference
LEAST_ERROR, TINY = 0.05, 1e-12


@dataclass(frozen=True)
class FamilyBootstrap:
    """Resamples of families.

    ``weights`` is float64 [families, tasks], the share of each task in its family's mean; ``counts`` is float64
    [resamples, families], how often each resample holds a family, divided by the number of families.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    counts: np.ndarray

    @classmethod
    def build(cls, families: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> FamilyBootstrap:
        """Draw the resamples.

        Args:
            families: name of the family of each task.
            resamples: number of resamples.
            seed: seed of the draws.

        Raises:
            UsageError: for fewer than two families, which tell nothing of the variance between them.
        """
        names = tuple(sorted(set(families)))
        if len(names) < 2:
            raise UsageError(f"intervals over families need at least 2 of them, there is {len(names)}")
        member = np.array([[family == name for family in families] for name in names], dtype=float)
        rng = np.random.default_rng([seed, 0xFA3B])
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples) / len(names)
        return cls(names, member / member.sum(axis=1, keepdims=True), counts)

    @property
    def n(self) -> int:
        """Number of families."""
        return len(self.names)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means of families, float64 [..., tasks] → [..., families]."""
        return values @ self.weights.T

    def resampled(self, means: np.ndarray) -> np.ndarray:
        """Means over the families of every resample, float64 [..., families] → [resamples, ...]."""
        return np.moveaxis(means @ self.counts.T, -1, 0)

    def error(self, means: np.ndarray) -> np.ndarray:
        """Standard error of the mean over families, float64 [..., families] → [...]."""
        return means.std(axis=-1, ddof=1) / np.sqrt(self.n)

    def deviations(self, means: np.ndarray) -> np.ndarray:
        """Absolute deviations of the resamples' means from the mean, in standard errors of each resample.

        Args:
            means: family means, float64 [statistics, families].

        Returns:
            float64 [statistics, resamples]; 0 for a statistic that is the same in every family. The error of a resample
            counts as at least a twentieth of the estimate's, which matters only where it holds hardly more than one family.
        """
        centred = means - means.mean(axis=1, keepdims=True)
        error = self.error(means)[:, None]
        drawn = centred @ self.counts.T
        square = np.maximum(centred**2 @ self.counts.T - drawn**2, 0.0)
        own = np.maximum(np.sqrt(square / (self.n - 1)), LEAST_ERROR * error)
        return np.divide(np.abs(drawn), own, out=np.zeros_like(drawn), where=error > TINY)

    def interval(self, means: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Interval of the mean over families.

        Args:
            means: family means, float64 [..., families].
            level: probability that the interval holds the mean over all families there could be.

        Returns:
            low and high, each [...].
        """
        flat = means.reshape(-1, self.n)
        width = np.array([np.quantile(self.deviations(one[None])[0], level) for one in flat]).reshape(means.shape[:-1])
        half = width * self.error(means)
        return means.mean(axis=-1) - half, means.mean(axis=-1) + half

    def p_value(self, means: np.ndarray) -> np.ndarray:
        """Two-sided p-value of the hypothesis that the mean over families is 0.

        Args:
            means: family means, float64 [..., families].

        Returns:
            float64 [...]; 1 where all families have 0, else at least 1 / (resamples + 1).
        """
        flat = means.reshape(-1, self.n)
        out = []
        for one, error in zip(flat, self.error(flat), strict=True):
            seen = abs(one.mean()) / max(error, TINY) if abs(one.mean()) > TINY else 0.0
            out.append((1 + (self.deviations(one[None])[0] >= seen).sum()) / (len(self.counts) + 1))
        return np.array(out).reshape(means.shape[:-1])

    def simultaneous(self, means: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Intervals that all hold at once with this probability, of equal width in standard errors.

        Args:
            means: family means of several statistics, float64 [statistics, families].
            level: probability that all intervals hold.

        Returns:
            low and high, each [statistics].

        The width is the quantile of the largest deviation among the statistics in each resample (max-t). With under twenty
        families it is wider than it need be; Bonferroni's with Student's distribution would be narrower, but holds less often
        where one family decides a mean.
        """
        centre, error = means.mean(axis=-1), self.error(means)
        largest = np.zeros(len(self.counts))
        for at in range(0, len(means), 64):  # bounds the memory of resamples
            largest = np.maximum(largest, self.deviations(means[at : at + 64]).max(axis=0))
        width = float(np.quantile(largest, level))
        return centre - width * error, centre + width * error
