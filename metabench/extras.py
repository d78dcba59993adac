"""Which extra of metabench brings a package that the core does without, and the one line for a package that is absent."""

from __future__ import annotations

import importlib.util

from metabench.errors import MetabenchError

#: module → the extra that brings it; tests/test_light_core.py compares this with the metadata
EXTRAS = {
    "torch": "train",
    "xgboost": "methods",
    "optuna": "optuna",
    "cmaes": "optuna",
    "ray": "ray",
    "botorch": "botorch",
    "gpytorch": "botorch",
    "ConfigSpace": "configspace",
    "nevergrad": "peers",
    "smac": "peers",
    "syne_tune": "peers",
    "jax": "jax",
    "polars": "polars",
    "huggingface_hub": "hub",
}


class MissingExtra(MetabenchError):
    """A package of an extra is not installed (exit status 1)."""


def has(module: str) -> bool:
    """Whether a module can be imported here; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # something in its place that is no package
        return False


def absent(module: str, what: str) -> MissingExtra:
    """The error for a package that is not there.

    Args:
        module: the package, as it is imported.
        what: what needs it, such as ``training networks``; the beginning of a sentence.

    Returns:
        An error of one line that names the extra.
    """
    extra = EXTRAS.get(module)
    install = f"metabench[{extra}]" if extra else module
    return MissingExtra(f"{what} needs {module}, which is not installed: pip install '{install}'")


def need(module: str, what: str) -> None:
    """Raise :class:`MissingExtra` unless a module can be imported; see :func:`absent`."""
    if not has(module):
        raise absent(module, what)


def explained(error: ImportError) -> MissingExtra | None:
    """The one line for a failed import, where an extra would mend it; None for any other."""
    module = (error.name or "").partition(".")[0]
    return absent(module, "this") if module in EXTRAS and not has(module) else None
