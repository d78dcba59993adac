"""Random search (Bergstra & Bengio, JMLR 2012): the pool in random order, without replacement."""

from __future__ import annotations

from metabench.search.base import History, Searcher


class Random(Searcher):
    """Every untried candidate is equally likely."""

    name = "random"
    version = "1"

    def begin(self) -> None:
        self._order = self.rng.permutation(len(self.problem.candidates)).tolist()

    def ask(self, history: History) -> int:
        tried = set(history.candidates)
        return next(c for c in self._order if c not in tried)
