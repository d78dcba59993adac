"""What a method is: a searcher with a name, its settings, and a digest of the code that determines its proposals."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import json
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from metabench import registry
from metabench.errors import UsageError
from metabench.search.base import Searcher
from metabench.untrusted import printable

#: parts of the package whose code can change what a method proposes
_ROWS = ("metabench.space", "metabench.metatrain", "metabench.search", "metabench.baselines", "metabench.metamodels")


@dataclass(frozen=True)
class Method:
    """A searcher to be evaluated; ``fingerprint`` is the sha256 of its settings and of its code."""

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
    text = json.dumps([name, type(searcher).__qualname__, settings, code_digest(type(searcher))])
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
def code_digest(cls: type) -> str:
    """sha256 of the code behind a class: its bases' modules and what they import from the same package or from the
    parts of metabench that shape proposals. Comments, docstrings and layout do not count."""
    packages = {base.__module__.split(".")[0] for base in cls.__mro__} - {"builtins", "abc", "typing", "metabench"}
    queue = [base.__module__ for base in cls.__mro__ if _counts(base.__module__, packages)]
    sources: dict[str, str] = {}
    while queue:
        name = queue.pop()
        if name in sources:
            continue
        sources[name] = _source(name, cls)
        queue += [n for n in _imports(name, sources[name]) if _counts(n, packages) and _is_module(n)]
    text = "\n".join(f"{name}\n{_canonical(source)}" for name, source in sorted(sources.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _counts(name: str, packages: set[str]) -> bool:
    if name.split(".")[0] == "metabench":
        return any(name == row or name.startswith(row + ".") for row in _ROWS)
    return name.split(".")[0] in packages


def _source(name: str, cls: type) -> str:
    """Source of a module; where there is no file (a notebook) that of the class, or a digest of its functions."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None) if module else getattr(importlib.util.find_spec(name), "origin", None)
    if path and path.endswith(".py"):
        return Path(path).read_text(encoding="utf-8")
    if cls.__module__ != name:
        return ""
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        code = [f.__code__ for f in vars(cls).values() if inspect.isfunction(f)]
        text = repr([(c.co_name, c.co_code, c.co_names, c.co_consts) for c in code])
        return f"functions = {hashlib.sha256(text.encode()).hexdigest()!r}"


def _imports(name: str, source: str) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it; those of ``from a import b`` may be modules or not."""
    module = sys.modules.get(name)
    package = module.__package__ if module else getattr(importlib.util.find_spec(name), "parent", None)
    for base, members in _import_statements(source):
        base = importlib.util.resolve_name(base, package or None)
        yield from (base, *(f"{base}.{member}" for member in members))


@cache
def _import_statements(source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(module as it is written, names imported from it) of every import statement."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(("." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)))
    return tuple(found)


def _is_module(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False


@cache
def _canonical(source: str) -> str:
    """Source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0].value
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
