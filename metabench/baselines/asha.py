"""Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020,
Algorithm 2), with one worker."""

from __future__ import annotations

from bisect import insort

from metabench.baselines.parts.halving import Halving
from metabench.search.fidelity import Advance, Curves


class ASHA(Halving):
    """Trains on whoever is among the best 1/``eta`` of a rung and was not promoted yet, from the highest rung that has
    one; else starts a new random candidate on the lowest rung.

    A candidate that diverged on its way to a rung is the worst there. When the pool has no new candidate, the best of
    those that were not promoted goes on, from the highest rung that has one.
    """

    name = "asha"
    version = "1"

    def begin(self) -> None:
        super().begin()
        #: who got to each rung: (loss, number of arrival, candidate), best first
        self._standing: list[list[tuple[float, int, int]]] = [[] for _ in self._rungs]
        self._arrived: list[set[int]] = [set() for _ in self._rungs]
        self._read = 0

    def ask(self, history: Curves) -> Advance:
        for candidate, _ in history.advances[self._read :]:
            self._arrive(history, candidate)
        self._read = len(history)
        if (promotion := self._promotion(history, self.eta)) is not None:
            return promotion
        if new := self.fresh(history, 1):
            return Advance(new[0], self._rungs[0])
        promotion = self._promotion(history, 1)
        assert promotion is not None, "a search goes on only while some candidate is unfinished"
        return promotion

    def _arrive(self, history: Curves, candidate: int) -> None:
        below = 0
        for rung, standing, arrived in zip(self._rungs, self._standing, self._arrived, strict=True):
            epochs = history.epochs(candidate)
            here = epochs >= rung or (history.diverged(candidate) and epochs > below)
            if here and candidate not in arrived:
                insort(standing, (self.loss(history, candidate, rung), len(arrived), candidate))
                arrived.add(candidate)
            below = rung

    def _promotion(self, history: Curves, share: int) -> Advance | None:
        """The best of the first 1/``share`` of the highest rung where one of them was not promoted."""
        for i in range(len(self._rungs) - 2, -1, -1):
            standing = self._standing[i]
            for _, _, candidate in standing[: len(standing) // share]:
                if candidate not in self._arrived[i + 1] and not history.diverged(candidate):
                    return Advance(candidate, self._rungs[i + 1])
        return None
