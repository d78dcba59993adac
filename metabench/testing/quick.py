"""Built-in methods with settings that make them quick, for tests: how a method is wired stays the same."""

from __future__ import annotations

import importlib
from typing import Any
from unittest import mock

from metabench import registry
from metabench.search.base import Searcher

#: settings where a fit or a proposal takes long otherwise
QUICK: dict[str, dict[str, Any]] = {
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


def quick(name: str) -> Searcher:
    """A baseline or meta-model by name with :data:`QUICK` settings. Raises UsageError for an unknown name."""
    kind = "baselines" if name in registry.names("baselines") else "metamodels"
    made = registry.create(kind, name, **QUICK.get(name, {}))
    if name == "synetune_cts":
        made.prepare = _with_few_candidates(made.prepare)
    return made


def _with_few_candidates(prepare):
    """Syne Tune draws 100,000 candidates one by one, in a loop over ``range``; a thousand are drawn here."""
    module = "syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher"

    def prepare_quickly(*args):
        few = mock.patch.object(importlib.import_module(module), "range", lambda n: range(min(n, 1000)), create=True)
        with few:
            return prepare(*args)

    return prepare_quickly
