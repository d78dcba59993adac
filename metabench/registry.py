"""Finds plug-ins. Built-ins are the modules of a folder, outsiders come through entry points; nothing is imported
before it is asked for by name.

A plug-in module holds one public class whose ``name`` equals the module's name; that is all the wiring there is.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import pkgutil
import re
import warnings
from collections.abc import Collection
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, requires

from metabench.errors import MetabenchError, UsageError

#: kind of plug-in → the package that holds the built-ins (and the entry-point group of the same name)
KINDS = {
    "workloads": "metabench.workloads",
    "metamodels": "metabench.metamodels",
    "baselines": "metabench.baselines",
    "sources": "metabench.sources",
    "formats": "metabench.interop.formats",
    "reports": "metabench.publishing.reports",
}
#: modules of those packages that are not plug-ins
_SUPPORT = {"base", "parts"}


def suggest(name: str, known: Collection[str], what: str) -> UsageError:
    """A UsageError for an unknown name, with the nearest known one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}" if known else "there is none"
    return UsageError(f"unknown {what} {name!r}; {hint}")


@cache
def _builtin(kind: str) -> dict[str, str]:
    package = importlib.import_module(KINDS[kind])
    return {
        m.name: f"{KINDS[kind]}.{m.name}"
        for m in pkgutil.iter_modules(package.__path__)
        if not m.name.startswith("_") and m.name not in _SUPPORT
    }


def _outside(kind: str) -> dict[str, list]:
    """Name → its entry points: one, unless packages contradict each other. Names of built-ins are theirs alone."""
    found: dict[str, list] = {}
    for point in entry_points(group=f"metabench.{kind}"):
        if point.name in _builtin(kind):
            _ignored(kind, point.name, point.value)
        else:
            found.setdefault(point.name, []).append(point)
    return found


@cache
def _ignored(kind: str, name: str, value: str) -> None:
    """Say once that a plug-in has a built-in's name."""
    warnings.warn(f"{value} is ignored: {name!r} is the name of one of metabench's own {kind}", stacklevel=2)


def builtin(kind: str) -> list[str]:
    """Names of the plug-ins of a kind that are part of metabench, sorted."""
    return sorted(_builtin(kind))


def names(kind: str) -> list[str]:
    """Names of all plug-ins of a kind, sorted, without importing any of them."""
    return sorted({*_builtin(kind), *_outside(kind)})


def load(kind: str, name: str) -> type:
    """The plug-in class called ``name``.

    Raises UsageError (with the nearest known name) when there is none, MetabenchError when it cannot be imported.
    """
    singular = kind.removesuffix("s")
    if name in _builtin(kind):
        return plugin_class(importlib.import_module(_builtin(kind)[name]), name)
    outside = _outside(kind)
    if name not in outside:
        raise suggest(name, names(kind), singular)
    first, *others = outside[name]
    if others:
        raise MetabenchError(f"two {kind} are called {name!r}; the second comes from {others[0].value}")
    try:
        return first.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing a stranger's module may raise anything, SystemExit too
        raise MetabenchError(f"{singular} {name!r} cannot be loaded: {str(error) or type(error).__name__}") from error


def plugin_class(module, name: str) -> type:
    """The one public class of ``module`` whose ``name`` attribute is ``name``."""
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ == module.__name__ and vars(cls).get("name") == name:
            return cls
    raise MetabenchError(f"module {module.__name__} defines no class with name = {name!r}")


def from_spec(spec: str) -> object:
    """What ``package.module:Name`` names. Raises UsageError when there is no such module or name, MetabenchError when the
    module raises."""
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{spec!r} cannot be loaded: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of a stranger's module
        raise MetabenchError(f"{spec!r} cannot be loaded: {type(error).__name__}: {error}") from error


def create(kind: str, name: str, **settings):
    """An instance of a plug-in. Raises UsageError when a setting is not one of its constructor's."""
    cls = load(kind, name)
    try:
        inspect.signature(cls).bind(**settings)
    except TypeError as error:
        raise UsageError(f"{kind.removesuffix('s')} {name!r}: {error}") from None
    if name in _builtin(kind):
        return cls(**settings)
    try:
        return cls(**settings)
    except (MetabenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # so may making one
        what = f"{type(error).__name__}: {error}"
        raise MetabenchError(f"{kind.removesuffix('s')} {name!r} cannot be created: {what}") from error


# ---------------------------------------------------------------------------------------------- what it needs
def missing(plugin: object) -> list[str]:
    """Packages that a plug-in (a class or an instance) ``requires`` and that are not installed."""
    return [package for package in getattr(plugin, "requires", ()) if importlib.util.find_spec(package) is None]


def lacks(plugin: object) -> str | None:
    """Why a plug-in cannot run here, and what would help where an extra of metabench does; None when it can."""
    if not (packages := missing(plugin)):
        return None
    extras = sorted({extra for p in packages if (extra := _extra(p)) is not None})
    install = f" (pip install 'metabench[{','.join(extras)}]')" if extras else ""
    return f"needs {' and '.join(packages)}, which {'is' if len(packages) == 1 else 'are'} not installed{install}"


def _extra(package: str) -> str | None:
    """The extra of metabench that brings a module, if one does."""
    try:
        wanted = requires("metabench") or []
    except PackageNotFoundError:  # run from its source
        return None
    for line in wanted:
        found = re.match(r"([\w.-]+)[^;]*; *extra *== *[\"']([\w-]+)[\"']", line)
        if found and found[2] != "test" and re.sub(r"[-.]+", "_", found[1]).lower() == package:
            return found[2]
    return None
