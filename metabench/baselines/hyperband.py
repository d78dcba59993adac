"""Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar, JMLR 18(185), 2018, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Generator
from itertools import cycle

from metabench.baselines.parts.halving import Halving
from metabench.search.fidelity import Advance, Curves


def bracket(s: int, s_max: int, eta: int) -> list[int]:
    """Candidates n_i on each of the s + 1 rungs of bracket s: n_0 = ⌈(s_max + 1)/(s + 1) · ηˢ⌉, n_i = ⌊n_0 η⁻ⁱ⌋."""
    n = -(-(s_max + 1) * eta**s // (s + 1))
    return [n // eta**i for i in range(s + 1)]


class Hyperband(Halving):
    """Successive halving in brackets s = s_max, …, 0: bracket s starts candidates at R η⁻ˢ epochs, the fewer the longer.

    Candidates of a bracket are random and new; a promoted one resumes its training. After bracket 0 the brackets begin
    anew. When the pool has no new candidate, unfinished ones take part again.
    """

    name = "hyperband"
    version = "1"

    def begin(self) -> None:
        super().begin()
        self._moves = self._run()
        next(self._moves)

    def ask(self, history: Curves) -> Advance:
        advance = self._moves.send(history)
        assert advance is not None  # only the first `next` gets none
        return advance

    def _run(self) -> Generator[Advance | None, Curves, None]:
        history = yield None
        top = len(self._rungs) - 1
        for s in cycle(range(top, -1, -1)):
            sizes = bracket(s, top, self.eta)
            members = self.fresh(history, sizes[0])
            if not members:
                left = set(history.unfinished(len(self._order)).tolist())
                members = [c for c in self._order if c in left][: sizes[0]]
            for i, rung in enumerate(self._rungs[top - s :]):
                if i:
                    members = self.best(history, members, self._rungs[top - s + i - 1], sizes[i])
                for candidate in members:
                    if history.epochs(candidate) < rung and not history.diverged(candidate):
                        history = yield Advance(candidate, rung)
