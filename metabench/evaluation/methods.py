"""What a method is: a searcher with a name and settings, and the versions of the code that determines its proposals."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.source_text import class_digest
from metabench.search.base import Searcher
from metabench.untrusted import printable

#: raised when what all methods share (spaces and their encoding, meta-training data, the base classes) makes them propose
#: otherwise than before
SHARED_VERSION = "1"
_OURS = "metabench"


@dataclass(frozen=True)
class Method:
    """A searcher to be evaluated; ``fingerprint`` is the sha256 of its settings and versions."""

    name: str
    searcher: Searcher
    fingerprint: str

    @property
    def lacks(self) -> str | None:
        """Why the method cannot run here, None when it can (:func:`metabench.registry.lacks`)."""
        return registry.lacks(self.searcher)


def resolve(specs: Iterable[str | Searcher | type] | str | Searcher | type) -> list[Method]:
    """Methods from names of baselines or meta-models, ``package.module:Class``, searchers or their classes.

    Raises UsageError (with the nearest known name) for an unknown name, for something that is no searcher, and when
    two methods share a name.
    """
    specs = [specs] if isinstance(specs, str | type | Searcher) else list(specs)
    methods = [_method(spec) for spec in specs]
    names = [m.name for m in methods]
    for name, count in Counter(names).items():
        if count > 1:
            raise UsageError(f"two methods are called {name!r}; set the name of one of them")
    return methods


def _method(spec: str | Searcher | type) -> Method:
    searcher = spec
    if isinstance(spec, str):
        searcher = registry.from_spec(spec) if ":" in spec else _registered(spec)
    if isinstance(searcher, type) and issubclass(searcher, Searcher):
        searcher = searcher()
    if not isinstance(searcher, Searcher):
        raise UsageError(f"{searcher!r} is no method; expected a name or a metabench.search.base.Searcher")
    name = getattr(searcher, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        what = "is not made of letters, digits and _.- (at most 64)"
        raise UsageError(f"{type(searcher).__qualname__}: name {printable(repr(name))} {what}")
    settings = {k: _plain(v) for k, v in sorted(vars(searcher).items()) if not k.endswith("_")}
    text = json.dumps([SHARED_VERSION, name, settings, code_identity(type(searcher))])
    return Method(name, searcher, hashlib.sha256(text.encode()).hexdigest())


def _registered(name: str) -> Searcher:
    for kind in ("baselines", "metamodels"):
        if name in registry.names(kind):
            return registry.create(kind, name)
    raise registry.suggest(name, [*registry.names("baselines"), *registry.names("metamodels")], "method")


def _plain(value: Any) -> Any:
    """A setting as JSON; arrays by their bytes, anything else by its repr."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


# ---------------------------------------------------------------- code
def code_identity(cls: type[Searcher]) -> list[Any]:
    """What stands for the code of a method: its package, and the versions of the methods that it is made of.

    Neither docstrings, nor names inside the code, nor the place of a module count, and the version of Python does not. A
    class from outside the package that declares no ``version`` is identified by its source text besides
    (:mod:`metabench.evaluation.source_text`), so that an edit of it is never taken for what was evaluated before.

    Raises MetabenchError for a class of the package that declares no version.
    """
    package = cls.__module__.split(".")[0]
    if "version" in vars(cls):
        return [package, sorted(versions(cls).items())]
    if package == _OURS:
        raise MetabenchError(f"{cls.__module__}.{cls.__qualname__} declares no version of its own")
    digest, used = class_digest(cls, _OURS)
    found = versions(cls)
    for kind in ("baselines", "metamodels"):
        for name in registry.builtin(kind):
            if f"{registry.KINDS[kind]}.{name}" in used:
                found |= versions(registry.load(kind, name))
    return [package, sorted(found.items()), digest]


def versions(cls: type[Searcher]) -> dict[str, str]:
    """Name → version of a method's class, of those that it inherits from, and of those that it is built on."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        if "version" in vars(base):
            found.setdefault(str(vars(base).get("name", base.__name__)), str(vars(base)["version"]))
        for other in vars(base).get("built_on", ()):
            found |= versions(other) | found
    return found
