"""Every method that is registered, made for a test: quick settings where a fit or a proposal takes long."""

import importlib
from unittest import mock

import pytest

from metabench import registry
from metabench.metamodels.parts.neural import Neural
from metabench.search.base import Searcher
from metabench.search.fidelity import FidelitySearcher


def _named(kind: str, partial: bool) -> list[str]:
    return [n for n in registry.names(kind) if issubclass(registry.load(kind, n), FidelitySearcher) == partial]


BASELINES, METAMODELS = _named("baselines", partial=False), _named("metamodels", partial=False)
#: methods that train configurations in parts
PARTIAL = [*_named("baselines", partial=True), *_named("metamodels", partial=True)]
#: meta-models that are networks
NEURAL = [name for name in METAMODELS if issubclass(registry.load("metamodels", name), Neural)]
#: meta-models whose learning takes long
SLOW = [*NEURAL, "policy_gradient", "q_learning"]
#: settings that make a method quick; how it is wired stays the same
QUICK = {
    "deep_kernel": {"epochs": 4, "rate": 3e-3, "adapt": 2},
    "frozen_transfer": {"epochs": 4, "rate": 3e-3},
    "maml": {"epochs": 4, "width": 16},
    "metric_learned": {"epochs": 30, "rate": 3e-3},
    "np_attentive": {"epochs": 4, "width": 16, "latent": 4},
    "np_transformer": {"epochs": 4, "layers": 1, "width": 16},
    "pfn": {"epochs": 4, "layers": 1, "width": 16, "bars": 20},
    "policy_gradient": {"iterations": 2, "width": 8},
    "q_learning": {"rounds": 2},
    "reptile": {"epochs": 4, "width": 16},
    "rgpe": {"draws": 32},
    "synetune_box": {"inside": "RandomSearch"},
    "xgb_quantile": {"trees": 10, "histories": 4},
    "xgb_rank": {"trees": 10, "histories": 4},
}


def method(name: str, quick: bool = True) -> Searcher:
    """The baseline or meta-model of that name; the test is skipped, and says so, where it lacks a package."""
    cls = _class(name)
    if lacking := registry.lacks(cls):
        pytest.skip(f"{name} {lacking}")
    made = cls(**QUICK.get(name, {}) if quick else {})
    if quick and name == "synetune_cts":
        made.prepare = _with_few_candidates(made.prepare)
    return made


def learns(name: str) -> bool:
    """Does it learn from source tasks? Some peers' baselines do."""
    return _class(name).fit is not Searcher.fit


def _class(name: str) -> type[Searcher]:
    return registry.load("baselines" if name in registry.names("baselines") else "metamodels", name)


def _with_few_candidates(prepare):
    """Syne Tune draws 100,000 candidates one by one, in a loop over ``range``; a thousand are drawn here."""
    module = "syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher"

    def prepare_quickly(*args):
        few = mock.patch.object(importlib.import_module(module), "range", lambda n: range(min(n, 1000)), create=True)
        with few:
            return prepare(*args)

    return prepare_quickly
