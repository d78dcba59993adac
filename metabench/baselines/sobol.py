"""Quasi-random search: a scrambled Sobol sequence over the space (Sobol', 1967; scrambling after Owen, 1995)."""

from __future__ import annotations

from metabench.baselines.common import distances, nearest_untried
from metabench.search.base import History, Searcher


class Sobol(Searcher):
    """Trial n is the untried candidate nearest to point n of the sequence; the seed scrambles it."""

    name = "sobol"

    def begin(self) -> None:
        points = self.problem.space.sample(self.problem.budget, self.seed)
        self._distances = distances(self.problem, points)

    def ask(self, history: History) -> int:
        return nearest_untried(self._distances[len(history) % len(self._distances)], history)
