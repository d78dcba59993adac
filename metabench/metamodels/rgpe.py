"""Ranking-weighted Gaussian process ensemble.

Feurer, Letham & Bakshy, "Scalable meta-learning for Bayesian optimization using ranking-weighted Gaussian process
ensembles", AutoML workshop at ICML 2018; with Hutter as "Practical transfer learning for Bayesian optimization",
arXiv:1802.02219. A model's weight is the probability that it, of all, orders the target's trials best.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from metabench.errors import UsageError
from metabench.metamodels.parts.ensemble import Discordance, Ensemble, room
from metabench.metamodels.parts.neural import milestone
from metabench.search.base import History

#: trials that weights are computed from at most; published searches have fewer
MOST_WEIGHED = 128


class RGPE(Ensemble):
    """μ = Σ_i w_i μ_i and σ² = Σ_i w_i² σ_i² over source tasks and target.

    w_i is the share of ``draws`` from the posteriors in which model i misorders the fewest pairs of trials (ties are
    shared). Draws of the target's process are leave-one-out: x_j under the process without it, against all other
    trials. A source whose median loss exceeds the ``quantile`` of the target's is dropped (their prevention of weight
    dilution). Draws are kept from trial to trial, so that a trial costs O(sources × draws × trials).
    """

    name = "rgpe"
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"quantile": (0.95, 1.0), "noise": (0.02, 0.05, 0.15)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("noise",)

    def __init__(self, draws: int = 256, quantile: float = 0.95, noise: float = 0.05):
        super().__init__(noise)
        if draws < 1 or not 0 < quantile <= 1:
            raise UsageError("rgpe: needs draws >= 1 and 0 < quantile <= 1")
        self.draws = draws
        self.quantile = quantile

    def begin(self) -> None:
        super().begin()
        self._counted: list[int] = []
        #: of a long search: the trials up to the last milestone, and the weights that they gave
        self._weighed: tuple[list[int], np.ndarray] = [], np.empty(0)

    def _reset(self) -> None:
        self._counted = []
        shape = len(self._means), self.draws
        self._discordance = Discordance(shape)
        self._factor = np.zeros((16, 16))
        self._normals = np.empty((16, *shape), dtype=np.float32)
        self._stream = np.random.default_rng([self.seed, 0x96E])

    def _count(self, position: int, score: float) -> None:
        """Draw every source's process at one more trial, given its draws at the earlier ones, and count the pairs."""
        n = len(self._counted)
        if n == len(self._factor):
            self._factor = np.pad(self._factor, (0, n))
        self._normals = room(self._normals, n)
        covariance = self.source_covariance(position)
        row = solve_triangular(self._factor[:n, :n], covariance[self._counted], lower=True, check_finite=False)
        self._factor[n, :n] = row
        self._factor[n, n] = np.sqrt(max(self._variance[position] - row @ row, 1e-10))
        self._normals[n] = self._stream.standard_normal(self._normals.shape[1:], dtype=np.float32)
        deviation = np.tensordot(self._factor[n, : n + 1].astype(np.float32), self._normals[: n + 1], 1)
        self._discordance.add(self._means[:, position, None] + deviation, score)
        self._counted.append(position)

    def _target_losses(self, z: np.ndarray) -> np.ndarray:
        """Misordered pairs of leave-one-out draws of the target's process, both ways round, int64 [draws]; ``z`` [trials]
        are the trials on its scale.

        In closed form (Rasmussen & Williams, 2006, Eq. 5.12): μ_j = z_j − α_j/c_j, σ_j² = 1/c_j with α = C⁻¹z and c the
        diagonal of C⁻¹; the noise is taken off σ_j².
        """
        root = self._gp.whiten(np.eye(len(z)))
        precision, alpha = (root**2).sum(0), root.T @ (root @ z)
        mean, std = z - alpha / precision, np.sqrt(np.maximum(1.0 / precision - self.noise, 1e-10))
        drawn = mean + std * np.random.default_rng([self.seed, len(z), 0x7A9]).normal(size=(self.draws, len(mean)))
        ordered = np.sort(z)
        at_most = np.searchsorted(ordered, drawn.ravel(), "right").reshape(drawn.shape)
        over = at_most - np.searchsorted(ordered, z, "right")
        under = np.searchsorted(ordered, z, "left") - at_most
        return (np.maximum(over, 0) + np.maximum(under, 0)).sum(1)

    def weights(self, history: History) -> np.ndarray:
        """Weight of every source's process and, last, of the target's, float64 [sources + 1].

        Of more than MOST_WEIGHED trials as many of those up to the last milestone are weighed by, evenly spaced.
        """
        if len(history) <= MOST_WEIGHED:
            return self._weights(history)
        first = history.candidates[: milestone(len(history))]
        if self._weighed[0] != first:
            chosen = np.unique(np.linspace(0, len(first) - 1, MOST_WEIGHED).astype(int))
            some = History([first[i] for i in chosen], [history.scores[i] for i in chosen])
            whole, self._gp = self._gp, self.process()
            self._weighed = list(first), self._weights(some)
            self._gp = whole
        return self._weighed[1]

    def _weights(self, history: History) -> np.ndarray:
        if not self._counted or history.candidates[: len(self._counted)] != self._counted:
            self._reset()
        for i in range(len(self._counted), len(history)):
            self._count(history.candidates[i], self.problem.sign * history.scores[i])
        if len(history) < 2:
            return np.append(np.full(len(self._means), 1.0 / len(self._means)), 0.0)
        losses = np.vstack(
            [2 * self._discordance.counts, self._target_losses(self.target(history)[0])]
        )  # [sources + 1, draws]
        dropped = np.median(losses[:-1], axis=1) > np.quantile(losses[-1], self.quantile)
        losses[:-1][dropped] = np.iinfo(np.int64).max
        best = losses == losses.min(0)
        return (best / best.sum(0)).mean(1)

    def variance(self, weights: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Σ_i w_i² σ_i², [pool]."""
        return (weights[:-1] ** 2).sum() * self._variance + weights[-1] ** 2 * target
