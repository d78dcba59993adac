"""One fit for all settings that it does not depend on: which ones it depends on a method declares."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from metabench.search.base import Searcher


@contextlib.contextmanager
def shared_fits(cls: type[Searcher]) -> Iterator[None]:
    """Within it, models of this class share what :meth:`~Searcher.fit` makes, on one and the same source.

    A fit is deterministic: one whose ``fit_settings`` are those of another takes the same course, whatever the others are
    (those that count in a search alone). A class that does not say its own shares a fit where all attributes that the
    constructor set are equal. Processes that are started meanwhile fit by themselves.
    """
    fits: list[tuple[dict[str, Any], dict[str, Any]]] = []
    alone, own = cls.fit, "fit" in vars(cls)
    declared = vars(cls).get("fit_settings")

    def fit(self: Searcher, source) -> Searcher:
        settings = dict(vars(self))
        needed = {n: v for n, v in settings.items() if n in declared} if declared is not None else settings
        for known, made in fits:
            if known.keys() == needed.keys() and all(_same(needed[name], value) for name, value in known.items()):
                vars(self).update(copy.deepcopy(made))
                return self
        alone(self, source)
        made = {n: v for n, v in vars(self).items() if n not in settings or v is not settings[n]}
        fits.append((needed, copy.deepcopy(made)))
        return self

    cls.fit = fit
    try:
        yield
    finally:
        if own:
            cls.fit = alone
        else:
            del cls.fit


def _same(a: Any, b: Any) -> bool:
    """Plain values that are equal; of others nothing is known."""
    return type(a) is type(b) and isinstance(a, str | int | float | None) and a == b
