"""Plain mean of Gaussian processes: every source task and the target count the same.

The ensemble with equal weights that Feurer, Letham, Hutter & Bakshy, "Practical transfer learning for Bayesian
optimization", arXiv:1802.02219, weigh by ranking (``rgpe``); it shows what weights are worth.
"""

from __future__ import annotations

import numpy as np

from metabench.metamodels.parts.ensemble import Ensemble
from metabench.search.base import History


class GPMean(Ensemble):
    """μ = (Σ_s μ_s + μ_target)/(S + 1); its variance is that of the target's process."""

    name = "gp_mean"
    version = "1"

    def weights(self, history: History) -> np.ndarray:
        """1/(S + 1) for all, float64 [sources + 1]."""
        return np.full(len(self._means) + 1, 1.0 / (len(self._means) + 1))

    def variance(self, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
        """That of the target's process, [pool]."""
        return target
