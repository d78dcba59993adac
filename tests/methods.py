"""Every method that is registered, made for a test: quick settings where a fit or a proposal takes long."""

import pytest

from metabench import registry
from metabench.metamodels.parts.neural import Neural
from metabench.search.base import Searcher
from metabench.search.fidelity import FidelitySearcher
from metabench.testing.quick import quick as made_quick


def _named(kind: str, partial: bool) -> list[str]:
    return [n for n in registry.names(kind) if issubclass(registry.load(kind, n), FidelitySearcher) == partial]


BASELINES, METAMODELS = _named("baselines", partial=False), _named("metamodels", partial=False)
#: methods that train configurations in parts
PARTIAL = [*_named("baselines", partial=True), *_named("metamodels", partial=True)]
#: meta-models that are networks
NEURAL = [name for name in METAMODELS if issubclass(registry.load("metamodels", name), Neural)]
#: meta-models whose learning takes long
SLOW = [*NEURAL, "policy_gradient", "q_learning"]


def method(name: str, quick: bool = True) -> Searcher:
    """The baseline or meta-model of that name; the test is skipped, and says so, where it lacks a package."""
    cls = _class(name)
    if lacking := registry.lacks(cls):
        pytest.skip(f"{name} {lacking}")
    return made_quick(name) if quick else cls()


def learns(name: str) -> bool:
    """Does it learn from source tasks? Some peers' baselines do."""
    return _class(name).fit is not Searcher.fit


def _class(name: str) -> type[Searcher]:
    return registry.load("baselines" if name in registry.names("baselines") else "metamodels", name)
