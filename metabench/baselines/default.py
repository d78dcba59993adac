"""The practitioner who starts from the defaults: the workload's default configuration, then what lies around it."""

from __future__ import annotations

from metabench.baselines.parts.common import distances, nearest_untried
from metabench.search.base import History, Searcher


class Default(Searcher):
    """Candidates by increasing distance from ``Space.default()`` (see :func:`metabench.baselines.parts.common.distances`)."""

    name = "default"
    version = "1"

    def begin(self) -> None:
        space = self.problem.space
        self._distance = distances(self.problem, space.table([space.default()]))[0]

    def ask(self, history: History) -> int:
        return nearest_untried(self._distance, history)
