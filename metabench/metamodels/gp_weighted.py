"""Weighted mean of Gaussian processes: sources count by how they order the target's trials (TST-R).

Wistuba, Schilling & Schmidt-Thieme, "Two-stage transfer surrogate model for automatic hyperparameter optimization",
ECML PKDD 2016, and "Scalable Gaussian process-based transfer surrogates for hyperparameter optimization", Machine
Learning 107, 2018: a Nadaraya–Watson mean over the tasks' processes with Epanechnikov's kernel on the share of
discordant pairs; the uncertainty is the target's.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.ensemble import Discordance, Ensemble
from metabench.search.base import History


class GPWeighted(Ensemble):
    """μ = Σ_i κ(d_i/ρ) μ_i / Σ_i κ(d_i/ρ) over source tasks and target, κ(t) = max(0, ¾ (1 − t²)).

    d_i is the share of pairs of trials that the mean of source i orders wrongly (0 for the target), ρ the
    ``bandwidth``.
    """

    name = "gp_weighted"
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"bandwidth": (0.1, 0.3, 0.5, 0.9)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("noise",)

    def __init__(self, bandwidth: float = 0.5, noise: float = 0.05):
        super().__init__(noise)
        if bandwidth <= 0:
            raise UsageError(f"gp_weighted: bandwidth is {bandwidth:g}; it must be positive")
        self.bandwidth = bandwidth

    def begin(self) -> None:
        super().begin()
        self._counted: list[int] = []

    def weights(self, history: History) -> np.ndarray:
        """Weight of every source's process and, last, of the target's, float64 [sources + 1]."""
        if not self._counted or history.candidates[: len(self._counted)] != self._counted:
            self._counted, self._discordance = [], Discordance((len(self._means),))
        for i in range(len(self._counted), len(history)):
            self._discordance.add(self._means[:, history.candidates[i]], self.problem.sign * history.scores[i])
        self._counted = list(history.candidates)
        share = np.append(self._discordance.counts, 0) / max(self._discordance.pairs, 1)
        kernel = np.maximum(0.75 * (1.0 - (share / self.bandwidth) ** 2), 0.0)
        return kernel / kernel.sum()

    def variance(self, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
        """That of the target's process, [pool]."""
        return target
