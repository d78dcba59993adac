"""What this machine offers: versions, cores, backends, optional packages, settings."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from metabench.errors import MetabenchError

PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
OPTIONAL = ("torch", "xgboost", "botorch", "optuna", "cmaes", "jax", "duckdb", "polars", "playwright", "ray", "triton")
SETTINGS = (
    "METABENCH_CACHE",
    "METABENCH_DATA",
    "METABENCH_DATASETS",
    "METABENCH_LEADERBOARDS",
    "METABENCH_MIRROR",
    "METABENCH_DEBUG",
    "CXX",
)


def diagnosis() -> list[dict[str, Any]]:
    """Rows of {"item", "found"}. Loads torch only where there is a driver, to see whether it finds a GPU."""
    from metabench import __version__, extras, tasks
    from metabench.training import backends, resident
    from metabench.training.machine import pick_device, processor

    device = pick_device("auto")

    found = {
        "metabench": __version__,
        "python": platform.python_version(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "gpu": processor(device) if device == "cuda" else "none that torch finds",
        "c++ compiler": _compiler(),
        "compiled kernels": resident.cache_folder(),
        "cache folder": tasks.cache_dir(),
    }
    found |= {name: _version(name) or "absent: reinstall metabench" for name in PACKAGES}
    found |= {f"{name} (optional)": _version(name) or "absent" for name in OPTIONAL}
    found |= {f"backend {name}": reason or "usable" for name, reason in backends().items()}
    if not extras.has("torch"):
        return _rows(found)
    if resident.available() is None:
        found["backend resident"] = f"usable, {resident.load().isa().decode()}"
    found["backend resident on a GPU"] = backends("cuda")["resident"] or f"usable, Triton {_version('triton')}"
    return _rows(found)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    found |= {name: os.environ.get(name, "not set") for name in SETTINGS}
    return [{"item": name, "found": str(value)} for name, value in found.items()]


def _compiler() -> str:
    from metabench.training import resident

    try:
        return resident.compiler()
    except MetabenchError as error:
        return f"{error}; install g++ or clang++"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
