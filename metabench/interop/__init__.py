"""The door to other packages: peers' table formats, Optuna, Ray Tune, and values to enqueue anywhere.

>>> mb.interop.optuna.MetaSampler.from_pretrained("mlp-v1", task)     # needs optuna
>>> mb.interop.ray_tune.MetaSearch("mlp-v1", task)                    # needs ray[tune]
>>> mb.interop.top_params("mlp-v1", task, k=5, space={"lr": (1e-5, 1e-1, "log")})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from metabench.errors import MetabenchError

if TYPE_CHECKING:  # loaded when they are asked for
    from metabench.interop import optuna, ray_tune
    from metabench.interop.guide import top_params

#: modules that are loaded when they are asked for → the package that they need
_NEEDS = {"optuna": "optuna", "ray_tune": "ray"}
_PUBLIC = {"top_params": "metabench.interop.guide"}

__all__ = ["optuna", "ray_tune", "top_params"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name not in _NEEDS:
        raise AttributeError(f"module 'metabench.interop' has no attribute {name!r}")
    try:
        return importlib.import_module(f"metabench.interop.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _NEEDS[name]:
            raise
        raise MetabenchError(f"interop.{name} needs {_NEEDS[name]}; install metabench[{_NEEDS[name]}]") from None
