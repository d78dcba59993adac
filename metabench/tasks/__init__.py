"""Tasks: a data set, a workload that trains on it, a metric, fixed splits. ``mlp-iris`` is iris trained by ``mlp``.

Preparing a task reads its data set once; arrays and facts are kept in the cache folder (``METABENCH_CACHE``) under a
key of everything they depend on.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from metabench import registry
from metabench.errors import MetabenchError
from metabench.sources.base import Dataset
from metabench.tasks.prepare import prepare
from metabench.tasks.task import Arrays, Task, checkpoints
from metabench.tasks.variants import is_variant

#: data sets with fewer rows are no tasks: their test part would be a handful of rows
MIN_ROWS = 150


@cache
def _listings() -> dict[str, tuple[Any, Any]]:
    """Data set → (source, listing), over all sources."""
    found: dict[str, tuple[Any, Any]] = {}
    for source_name in registry.names("sources"):
        source = registry.create("sources", source_name)
        for name in source.names():
            if name in found:
                raise MetabenchError(f"two sources provide data set {name!r}: {found[name][0].name} and {source.name}")
            found[name] = source, source.listing(name)
    return found


def names(workload: str = "mlp", variants: bool = False) -> list[str]:
    """Task ids of a workload, sorted; whether or not their data is here. With ``variants`` those of data sets made harder
    (:mod:`metabench.tasks.variants`) instead.

    Left out: data sets under MIN_ROWS rows, and those with several labels a row.
    """
    kinds = registry.load("workloads", workload)
    return sorted(
        f"{workload}-{name}"
        for name, (_, listing) in _listings().items()
        if is_variant(name) == variants and kinds.accepts(listing) and listing.n_rows >= MIN_ROWS
    )


def select(workload: str, pattern: str = "*") -> list[str]:
    """Task ids that match a glob such as ``mlp-*`` or a comma-separated list of them; variants, such as
    ``mlp-yeast__half``, where it has their ``__``.

    Raises UsageError when a part of the pattern matches nothing.
    """
    chosen: list[str] = []
    for part in pattern.split(","):
        known = names(workload, variants=is_variant(part))
        part = part.strip() if part.strip().startswith(f"{workload}-") else f"{workload}-{part.strip()}"
        hits = fnmatch.filter(known, part)
        if not hits:
            raise registry.suggest(part, known, "task")
        chosen += hits
    return sorted(set(chosen))


@cache
def get(task_id: str) -> Task:
    """The task of that id.

    Raises UsageError for an unknown id, MetabenchError when its data cannot be had.
    """
    workload, _, name = task_id.partition("-")
    known = names(workload, is_variant(name)) if workload in registry.names("workloads") else []
    if task_id not in known:
        raise registry.suggest(task_id, known, "task")
    source, listing = _listings()[name]
    load = registry.load("workloads", workload)
    folder = cache_dir() / "tasks" / f"{name}-{_identity(listing.fingerprint, load)}"
    facts = _read_facts(folder)
    if facts is None:
        facts = _prepare(source.load(name), load, folder)
    return _task(workload, facts, partial(_load, folder))


def from_dataset(dataset: Dataset, workload: str = "mlp") -> Task:
    """A task on a data set that no source lists, prepared in memory."""
    facts, splits = prepare(dataset, registry.load("workloads", workload))
    made = cache(lambda split: splits(split))
    return _task(workload, facts, made)


def cache_dir() -> Path:
    """Where prepared arrays are kept: METABENCH_CACHE, or the user's cache folder."""
    from metabench.sources._fetch import cache_dir as folder

    return folder()


def to_frame(tasks: Sequence[Task]):
    """Tasks as an Arrow table (schema TASKS and their features)."""
    import pyarrow as pa

    from metabench.schema import TASKS, tasks_schema
    from metabench.tasks.features import FEATURES

    rows = []
    for task in tasks:
        row = {f.name: getattr(task, f.name) for f in fields(task) if f.name in TASKS.names}
        rows.append(row | {f"feature_{k}": v for k, v in task.features.items()})
    return pa.Table.from_pylist(rows, schema=tasks_schema(list(FEATURES)))


# -------------------------------------------------------------------------------------------------------- preparation
def _identity(fingerprint: str, workload) -> str:
    from metabench.tasks import features, preprocess, splits, views

    code = f"{preprocess.VERSION}/{splits.SPLITS}/{workload.rows[0]}/{','.join(features.FEATURES)}"
    code += f"/{views.VERSION}/{workload.view}/{workload.rows[1]}/{workload.metric}"
    return hashlib.sha256(f"{fingerprint}/{code}".encode()).hexdigest()[:16]


def _prepare(dataset: Dataset, workload, folder: Path) -> dict[str, Any]:
    """Prepare a data set and keep the result: one .npz a split, facts.json last."""
    facts, arrays = prepare(dataset, workload)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            place = Path(made) / "task"
            place.mkdir()
            for split in range(facts["n_splits"]):
                a = arrays(split)
                kept = {f: getattr(a, f) for f in _ARRAYS}
                np.savez(place / f"{split}.npz", **{f: v for f, v in kept.items() if v is not None})
            (place / "facts.json").write_text(json.dumps(facts))
            if not folder.exists():  # another process may have been quicker
                try:
                    os.rename(place, folder)
                except OSError:
                    if not folder.exists():
                        raise
    except OSError as error:
        raise MetabenchError(f"prepared tasks cannot be stored in {folder.parent}: {error.strerror}") from None
    return facts


_ARRAYS = ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test", "x_source", "y_source")


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "facts.json").read_text())
    except FileNotFoundError:
        return None


def _load(folder: Path, split: int) -> Arrays:
    facts = _read_facts(folder)
    if facts is None:
        raise MetabenchError(f"{folder} has vanished from the cache; run the command again")
    with np.load(folder / f"{split}.npz", allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
        more = {name: facts[name] for name in ("vocabulary", "system", "shots", "source_classes") if name in facts}
        return Arrays(facts["kind"], facts["metric"], facts["n_classes"], **values, **more)


def _task(workload: str, facts: dict[str, Any], load) -> Task:
    known = {**facts, "split_hashes": tuple(facts["split_hashes"]), "shape": tuple(facts["shape"])}
    epochs = checkpoints(facts["n_train"], registry.load("workloads", workload).epochs)
    return Task(task_id=f"{workload}-{facts['dataset']}", workload=workload, load=load, checkpoints=epochs, **known)


__all__ = ["Arrays", "Task", "from_dataset", "get", "names", "select", "to_frame"]
