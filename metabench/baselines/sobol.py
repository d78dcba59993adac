"""Quasi-random search: a scrambled Sobol sequence over the space (Sobol', 1967; scrambling after Owen, 1995)."""

from __future__ import annotations

from typing import Any

from metabench.baselines.parts.common import distances, nearest_untried
from metabench.search.base import History, Searcher
from metabench.search.continuous import Trials, row


class Sobol(Searcher):
    """Trial n is the untried candidate nearest to point n of the sequence, or that point itself where trials are made to
    order; the seed scrambles it."""

    name = "sobol"
    version = "1"

    def begin(self) -> None:
        self._points = self.problem.space.sample(self.problem.budget, self.seed)
        self._distances = distances(self.problem, self._points)

    def ask(self, history: History) -> int:
        return nearest_untried(self._distances[len(history) % len(self._distances)], history)

    def suggest_config(self, trials: Trials) -> dict[str, Any]:
        return row(self.problem.space, self._points, len(trials))
