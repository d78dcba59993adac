"""What successive halvings share: rungs on a grid of checkpoints, an order of the pool, and who is best on a rung."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np

from metabench.errors import UsageError
from metabench.search.fidelity import Curves, FidelitySearcher


def rungs(checkpoints: Sequence[int], eta: int) -> tuple[int, ...]:
    """The resource levels R η⁻ˢ, …, R η⁻¹, R in epochs: R is the last checkpoint, s = ⌊log_η (R / first checkpoint)⌋.

    Each becomes the checkpoint at the least ratio from it (of two, the lower); where the grid is so coarse that two
    levels meet, they are one.
    """
    first, last = checkpoints[0], checkpoints[-1]
    levels = [float(last)]
    while levels[-1] / eta >= first * (1 - 1e-9):
        levels.append(levels[-1] / eta)
    near = [min(checkpoints, key=lambda c, level=level: (round(abs(math.log(c / level)), 9), c)) for level in levels]
    return tuple(sorted(set(near)))


class Halving(FidelitySearcher):
    """Base of methods that train many random candidates a little and the best 1/``eta`` of them on."""

    def __init__(self, eta: int = 3):
        if eta < 2:
            raise UsageError(f"{self.name}: eta is {eta}; at least 2 is needed")
        self.eta = eta

    def begin(self) -> None:
        self._rungs = rungs(self.problem.checkpoints, self.eta)
        self._order = self.rng.permutation(len(self.problem.candidates)).tolist()

    def fresh(self, history: Curves, n: int) -> list[int]:
        """The next ``n`` candidates in the search's order that stand below every rung; fewer where the pool ends."""
        below = (
            c
            for c in self._order
            if c not in history or (history.epochs(c) < self._rungs[0] and not history.diverged(c))
        )
        return list(islice(below, n))

    def loss(self, history: Curves, candidate: int, rung: int) -> float:
        """Its score on a rung with smaller better; infinite where it diverged before."""
        score = history.score(candidate, rung)
        return math.inf if math.isnan(score) else -self.problem.sign * score

    def best(self, history: Curves, candidates: Sequence[int], rung: int, n: int) -> list[int]:
        """The best ``n`` by their scores on a rung; diverged ones are last, of equals the first stays first."""
        order = np.argsort([self.loss(history, c, rung) for c in candidates], kind="stable")
        return [candidates[i] for i in order[:n]]
