"""Reading back what `metabench tune` kept: everything is checked when a folder is opened, nothing when it is used.

``model.json`` carries the sha256 of the weights and of itself. A folder of format 1, from before there were digests, is
opened with a warning that says so. Weights that are not finite are refused in either.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metabench import untrusted
from metabench.advise.inputs import TRANSFORMS
from metabench.errors import MetabenchError

#: format of model.json that is written; 1 had no digests
FORMAT = 2
WEIGHTS, FACTS = "model.safetensors", "model.json"
#: bytes of weights
LARGEST = 4 << 30


def describe(description: dict[str, Any], weights: Path) -> bytes:
    """The content of model.json: a description, and the sha256 of the file of weights and of itself."""
    whole = description | {"format": FORMAT, "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    return json.dumps(whole | {"sha256": _own(whole)}, indent=1, allow_nan=False).encode()


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the arrays of a kept network.

    Raises MetabenchError when they are absent, damaged, of another format or not what a network is made of.
    """
    from safetensors.numpy import load

    try:
        description = untrusted.read_json(folder / FACTS)
        weights = untrusted.read_bytes(folder / WEIGHTS, most=LARGEST)
    except FileNotFoundError as error:
        raise MetabenchError(f"{folder} holds no tuned network: {Path(error.filename).name} is absent") from None
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be read as a tuned network ({error.strerror})") from None
    if not isinstance(description, dict):
        raise MetabenchError(f"{folder / FACTS} describes no tuned network")
    _check_digests(folder, description, weights)
    try:
        arrays = load(weights)
    except Exception as error:  # safetensors raises an error of its own that is no ValueError
        raise MetabenchError(f"{folder / WEIGHTS} cannot be read: {untrusted.one_line(error, 200)}") from None
    for name, value in arrays.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all() and name.startswith("net."):
            raise MetabenchError(f"{folder / WEIGHTS}: {untrusted.printable(name)} has numbers that are not finite")
    if problem := _problem(description):
        raise MetabenchError(f"{folder / FACTS}: {problem}")
    return description, arrays


def _check_digests(folder: Path, description: dict[str, Any], weights: bytes) -> None:
    found = description.get("format")
    if found == 1:
        warnings.warn(f"{folder} was written without digests: damage to it cannot be seen", stacklevel=4)
        return
    if found != FORMAT:
        shown = untrusted.printable(repr(found))
        raise MetabenchError(f"{folder} is of format {shown}; expected {FORMAT}")
    if _own({k: v for k, v in description.items() if k != "sha256"}) != description.get("sha256"):
        raise MetabenchError(f"{folder / FACTS} is damaged: its sha256 is not the one that it carries")
    if hashlib.sha256(weights).hexdigest() != description.get("weights_sha256"):
        raise MetabenchError(f"{folder / WEIGHTS} is not the file that {FACTS} names: its sha256 differs")


def _own(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


# ---------------------------------------------------------------- what a description holds
def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _codes(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


Check = Callable[[Any], bool]
#: field → what it must be
_FIELDS: dict[str, Check] = {
    "workload": _text,
    "kind": _text,
    "metric": _text,
    "seed": _count,
    "n_outputs": _count,
    "n_classes": _count,
    "vocabulary": _count,
    "epochs": _count,
    "config": lambda value: isinstance(value, dict),
    "scores": lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    "target": lambda value: value is None or _text(value),
    "shape": lambda value: isinstance(value, list) and all(map(_count, value)) and math.prod(value) < 1 << 28,
    "output": lambda value: (
        isinstance(value, dict)
        and _number(value.get("mean"))
        and _number(value.get("std"))
        and (value.get("labels", 0) is None or isinstance(value.get("labels"), list))
    ),
    "inputs": lambda value: (
        value is None
        or (isinstance(value, dict) and value.get("form") in TRANSFORMS and isinstance(value.get("facts"), dict))
    ),
}
_SCALED: dict[str, Check] = {"mean": _numbers, "std": _numbers}
_TYPED: dict[str, Check] = {"dtype": lambda value: value in ("float32", "float64")}
#: form of inputs → what its facts must hold
_FORMS: dict[str, dict[str, Check]] = {
    "pixels": {"shape": _numbers},
    "image": {**_SCALED, "shape": _numbers},
    "words": {"codes": _codes, "length": _count, "unit": _text},
    "series": {**_SCALED, **_TYPED, "length": _count, "factor": _count},
    "windows": {**_SCALED, **_TYPED, "channels": lambda value: isinstance(value, list)},
    "letters": {"codes": _codes},
    "pairs": {
        "codes": _codes,
        "targets": _codes,
        "length": _count,
        "words": lambda value: isinstance(value, list) and len(value) == 2,
    },
}


def _problem(description: dict[str, Any]) -> str | None:
    """What is wrong with a description, or None."""
    for name, check in _FIELDS.items():
        if name not in description:
            return f"{name} is absent"
        if not check(description[name]):
            return f"{name} is {untrusted.printable(repr(description[name]))}, which cannot be"
    if description["n_outputs"] < 1 or (not description["shape"] and description["inputs"] is not None):
        return "a network has inputs and outputs"
    labels = description["output"]["labels"]
    if labels is not None and description["kind"] == "classification" and len(labels) != description["n_outputs"]:
        return f"{len(labels)} labels for {description['n_outputs']} outputs"
    if description["inputs"] is not None:
        form, facts = description["inputs"]["form"], description["inputs"]["facts"]
        known = _FORMS.get(form, {})
        for name, check in known.items():
            if not check(facts.get(name)):
                return f"inputs of form {form} have no sound {name}"
        if "mean" in known and len(facts["mean"]) != len(facts["std"]):
            return f"inputs of form {form} have {len(facts['mean'])} means and {len(facts['std'])} deviations"
    return None


# ---------------------------------------------------------------- trials
def check_trials(stored: Any) -> list[dict[str, Any]]:
    """The trials of a trials.json, each a dict whose values have the types that a trial has. Raises ValueError."""
    if not isinstance(stored, list):
        raise ValueError("trials are no list")
    for number, trial in enumerate(stored):
        wrong = [name for name, check in _TRIAL.items() if not isinstance(trial, dict) or not check(trial.get(name))]
        if wrong:
            raise ValueError(f"trial {number} has no sound {wrong[0]}")
        if len({len(trial[name]) for name in _CURVES}) > 1:
            raise ValueError(f"trial {number} has curves of different lengths")
    return stored


def _curve(value: Any) -> bool:
    return isinstance(value, list) and all(v is None or isinstance(v, int | float) for v in value)


_CURVES = ("epochs", "valid", "test", "train_loss")
_TRIAL: dict[str, Check] = {
    "arm": _text,
    "status": lambda value: value in ("ok", "diverged", "failed"),
    "seconds": _number,
    "flops": lambda value: isinstance(value, int | float),
    "config": lambda value: isinstance(value, dict),
    **dict.fromkeys(_CURVES, _curve),
}

__all__ = ["FACTS", "FORMAT", "WEIGHTS", "check_trials", "describe", "read_model"]
