"""The public contract of plug-ins: what every searcher, meta-model and workload must stand, checked on small problems.

``metabench check my_pkg:MyModel`` runs it; the project's own tests run it on every built-in.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.search.base import Searcher
from metabench.tasks.sample import sample
from metabench.testing.contract.metamodel import check_metamodel
from metabench.testing.contract.requirement import ContractError
from metabench.testing.contract.searcher import check_searcher
from metabench.testing.contract.workload import check_workload
from metabench.workloads.base import Workload


def check(plugin: Any) -> None:
    """Check a plug-in of any kind: a class or an instance of it, a built-in's name, or ``my_pkg:MyModel``.

    Workloads are tried on a made-up task of their view. Raises UsageError for an unknown name, MetabenchError for a
    plug-in that lacks a package, ContractError with one line at the first violation, which an exception in the plug-in's
    code is too.
    """
    thing = _named(plugin) if isinstance(plugin, str) else plugin
    cls = thing if isinstance(thing, type) else type(thing)
    name = getattr(thing, "name", cls.__name__)
    if lacking := registry.lacks(thing):
        raise MetabenchError(f"{name} {lacking}")
    try:
        if issubclass(cls, Searcher):
            learns = cls.fit is not Searcher.fit
            (check_metamodel if learns else check_searcher)(thing)
        elif issubclass(cls, Workload):
            check_workload(thing, sample(cls.view))
        else:
            raise UsageError(f"{plugin!r} is neither a Searcher nor a Workload")
    except MetabenchError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(at.filename).name}, line {at.lineno}"
        raise ContractError(f"{name}: raised {type(error).__name__}: {error} ({place})") from error


def _named(spec: str) -> Any:
    if ":" in spec:
        return registry.from_spec(spec)
    kinds = ("baselines", "metamodels", "workloads")
    for kind in kinds:
        if spec in registry.names(kind):
            return registry.load(kind, spec)
    raise registry.suggest(spec, [name for kind in kinds for name in registry.names(kind)], "plug-in")
