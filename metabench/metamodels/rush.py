"""Start from the best configuration of every source task, then search without transfer.

Zappella, Salinas & Archambeau, "A resource-efficient method for repeated HPO and NAS problems", arXiv:2103.16111, 2021
(RUSH): the optima of earlier tasks come first. There they are promoted by successive halving; trials here run to the end,
so that only the start is RUSH's.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np

from metabench.baselines.gp import GP
from metabench.baselines.random import Random
from metabench.errors import UsageError
from metabench.metamodels.box import Box, best_rows
from metabench.metamodels.parts.common import MetaModel, check_source
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain

_THEN = {"gp": GP, "random": Random}


class Rush(MetaModel):
    """Tries the source tasks' optima (at most ``size`` different ones), then goes on with ``then`` (``gp`` or ``random``).

    Optima of more tasks come first, of equals that with the better mean rank. In another pool an optimum is replaced by
    the candidate that is nearest under the kernel learned from the source.
    """

    name = "rush"
    version = "1"
    twin = "gp"
    built_on = (GP, Random, Box)
    facts = ("optima_",)
    grid: ClassVar[dict[str, tuple]] = {"size": (5, 10, 50), "then": ("gp", "random")}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("size",)

    def __init__(self, size: int = 50, then: str = "gp"):
        if size < 1:
            raise UsageError(f"rush: size is {size}; at least 1 configuration is needed")
        if then not in _THEN:
            raise UsageError(f"rush: then is {then!r}; known: {', '.join(_THEN)}")
        self.size = size
        self.then = then

    def fit(self, source: MetaTrain) -> Rush:
        check_source(source, self.name)
        self.source_ = SourceSpace.fit(source, source.normal_scores)
        mean = self.source_.complete(source.normal_scores).mean(0)
        times = Counter(best_rows(source).tolist())
        #: rows of the source's table, in the order of trial
        self.optima_ = sorted(times, key=lambda c: (-times[c], -mean[c], c))[: self.size]
        return self

    def begin(self) -> None:
        super().begin()
        alignment = self.source_.align(self.problem)
        weights = alignment.carry(np.eye(len(self.source_.configs))[self.optima_])  # [optima, pool]
        self._start = list(dict.fromkeys(np.argmax(weights, axis=1).tolist()))
        self._search = _THEN[self.then]().start(self.problem, self.seed)

    def ask(self, history: History) -> int:
        tried = set(history.candidates)
        first = next((c for c in self._start if c not in tried), None)
        return self._search.ask(history) if first is None else first
