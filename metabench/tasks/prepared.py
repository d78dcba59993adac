"""Prepared tasks in the cache: the arrays of every split and the facts of a task, with digests that are checked on reading.

A folder holds one ``<split>.npz`` a split and ``facts.json``, which carries the sha256 of each and of itself. A folder that
is damaged, incomplete or of another make counts as absent, so that it is prepared anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from metabench import files, untrusted
from metabench.errors import MetabenchError
from metabench.tasks.task import Arrays

#: part of every folder's key: raised when what is stored changes its form
VERSION = "2"
FACTS = "facts.json"
_ARRAYS = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test", "x_source", "y_source")
#: facts that every task has
_KNOWN = ("dataset", "kind", "metric", "n_train", "n_splits", "n_classes", "shape", "split_hashes", "features")
_MORE = ("vocabulary", "system", "shots", "source_classes")


class Unsound(Exception):
    """A folder does not hold what was stored; the message says what is wrong."""


def store(folder: Path, facts: dict[str, Any], arrays: Callable[[int], Arrays]) -> None:
    """Keep a prepared task; what is in its place is replaced. Raises OSError when it cannot be written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    digests = {}
    with files.replacing_folder(folder) as made:
        for split in range(facts["n_splits"]):
            part = arrays(split)
            kept = {name: value for name in _ARRAYS if (value := getattr(part, name)) is not None}
            np.savez(made / f"{split}.npz", **kept)
            digests[f"{split}.npz"] = _sha256((made / f"{split}.npz").read_bytes())
        text = json.dumps({"facts": facts, "files": digests})
        (made / FACTS).write_text(json.dumps({"sha256": _sha256(text.encode()), "content": text}), encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of a stored task. Raises Unsound when they are absent or damaged."""
    return _document(folder)["facts"]


def read(folder: Path, split: int) -> Arrays:
    """The arrays of a stored split. Raises Unsound when they are absent, damaged, or not what the facts say."""
    document = _document(folder)
    facts, path = document["facts"], folder / f"{split}.npz"
    try:
        content = untrusted.read_bytes(path, follow=False)
        if _sha256(content) != document["files"].get(path.name):
            raise Unsound(f"{path}: its sha256 is not the one that was stored")
        values = untrusted.npz(content, path)
    except (FileNotFoundError, MetabenchError) as error:
        raise Unsound(str(error)) from None
    more = {name: facts[name] for name in _MORE if name in facts}
    try:
        arrays = Arrays(facts["kind"], facts["metric"], facts["n_classes"], **values, **more)
    except TypeError as error:
        raise Unsound(f"{path} holds other arrays than a split has: {error}") from None
    if problem := _problem(arrays, facts):
        raise Unsound(f"{path}: {problem}")
    return arrays


def _document(folder: Path) -> dict[str, Any]:
    path = folder / FACTS
    try:
        outer = untrusted.read_json(path, follow=False)
        text = outer["content"]
        if _sha256(text.encode()) != outer["sha256"]:
            raise Unsound(f"{path}: its sha256 is not the one that was stored")
        document = json.loads(text)
        missing = [name for name in _KNOWN if name not in document["facts"]]
        if missing or not isinstance(document["files"], dict):
            raise Unsound(f"{path} is incomplete")
    except (OSError, MetabenchError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unsound(f"{path} cannot be used ({error})") from None
    return document


def _problem(arrays: Arrays, facts: dict[str, Any]) -> str | None:
    """What a kernel would stumble over."""
    for part in ("train", "valid", "test"):
        x, y = getattr(arrays, f"x_{part}"), getattr(arrays, f"y_{part}")
        if x.ndim < 1 or y.ndim < 1 or len(x) != len(y):
            return f"x_{part} and y_{part} have other shapes than a split has"
        # a split's own training rows say how many columns there are: categories seen in one may be absent from another
        if x.shape[1:] != arrays.x_train.shape[1:] or x.ndim != 1 + len(facts["shape"]):
            return f"rows of x_{part} have shape {list(x.shape[1:])}, those of x_train {list(arrays.x_train.shape[1:])}"
        if x.dtype not in (np.float32, np.int32) or y.dtype not in (np.float32, np.int32):
            return f"x_{part} or y_{part} is neither float32 nor int32"
        is_classes = facts["kind"] == "classification" and y.dtype == np.int32 and len(y)
        if is_classes and (y.min() < 0 or y.max() >= facts["n_classes"]):
            return f"y_{part} has classes beyond {facts['n_classes']}"
    return None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
