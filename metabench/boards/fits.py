"""One fit for all settings that it does not depend on: which ones it reads is observed while it runs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

from metabench.search.base import Searcher


@contextlib.contextmanager
def shared_fits(cls: type[Searcher]) -> Iterator[None]:
    """Within it, models of this class share what :meth:`~Searcher.fit` makes, on one and the same source.

    A fit is deterministic: one whose settings are those that another fit read before would take the same course, whatever
    the others are (those that count in a search alone). Attributes that the constructor sets count as settings.
    Processes that are started meanwhile fit by themselves.
    """
    fits: list[tuple[dict[str, Any], dict[str, Any]]] = []
    plain, watched, read = cls.fit, 0, set()
    own = {name: vars(cls)[name] for name in ("fit", "__getattribute__") if name in vars(cls)}
    look = cls.__getattribute__

    def getattribute(self: Searcher, name: str) -> Any:
        if watched == id(self):
            read.add(name)
        return look(self, name)

    def fit(self: Searcher, source) -> Searcher:
        nonlocal watched
        settings = dict(vars(self))
        for needed, made in fits:
            if all(name in settings and _same(settings[name], value) for name, value in needed.items()):
                vars(self).update(copy.deepcopy(made))
                return self
        read.clear()
        watched = id(self)
        try:
            plain(self, source)
        finally:
            watched = 0
        # who reads all attributes at once reads every setting
        needed = {n: v for n, v in settings.items() if n != "name" and (n in read or "__dict__" in read)}
        made = {n: v for n, v in vars(self).items() if n not in settings or v is not settings[n]}
        fits.append((needed, copy.deepcopy(made)))
        return self

    cls.fit, cls.__getattribute__ = fit, getattribute
    try:
        yield
    finally:
        for name in ("fit", "__getattribute__"):
            delattr(cls, name)
        for name, value in own.items():
            setattr(cls, name, value)


def _same(a: Any, b: Any) -> bool:
    """Plain values that are equal; of others nothing is known."""
    return type(a) is type(b) and isinstance(a, str | int | float | None) and a == b
