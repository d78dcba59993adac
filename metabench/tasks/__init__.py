"""Tasks: a data set, a workload that trains on it, a metric, fixed splits. ``mlp-iris`` is iris trained by ``mlp``.

Preparing a task reads its data set once; arrays and facts are kept in the cache folder (``METABENCH_CACHE``) under a
key of everything they depend on.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from metabench import files, registry
from metabench.errors import MetabenchError, UsageError
from metabench.sources.base import Dataset
from metabench.tasks import prepared
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
        try:
            source = registry.create("sources", source_name)
            listed = {name: (source, source.listing(name)) for name in source.names()}
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if source_name in registry.builtin("sources"):
                raise
            what = str(error) or type(error).__name__
            warnings.warn(f"data sets of source {source_name!r} are left out: {what}", stacklevel=2)
            continue
        for name, listing in listed.items():
            if name in found:
                raise MetabenchError(f"two sources provide data set {name!r}: {found[name][0].name} and {source.name}")
            found[name] = listing
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


def check(task_id: str) -> None:
    """Raise UsageError, with the nearest known id, for one that is no task's; no data is read."""
    workload, _, name = task_id.partition("-")
    known = names(workload, is_variant(name)) if workload in registry.names("workloads") else []
    if task_id not in known:
        raise _unknown(task_id, known)


@cache
def get(task_id: str) -> Task:
    """The task of that id.

    Raises UsageError for an unknown id, MetabenchError when its data cannot be had.
    """
    check(task_id)
    workload, _, name = task_id.partition("-")
    listing = _listings()[name][1]
    identity = _identity(listing.fingerprint, registry.load("workloads", workload))
    folder = cache_dir() / "tasks" / f"{name}-{identity}"
    facts = _stored(folder, name, workload)
    return _task(workload, facts, partial(_load, folder, name, workload))


def _unknown(task_id: str, known: list[str]) -> UsageError:
    """What is wrong with an id: no task of its workload, or no workload in front."""
    if known:
        # the workload's name before the dash is the same in all of them and makes any two look near
        start = known[0].partition("-")[0]
        rest = {name.partition("-")[2]: name for name in known}
        if near := difflib.get_close_matches(task_id.partition("-")[2], rest, n=1, cutoff=0.7):
            return UsageError(f"unknown task {task_id!r}; did you mean {rest[near[0]]!r}?")
        return UsageError(f"unknown task {task_id!r}; `metabench list tasks` names the {len(known):,} of {start}")
    every = [name for workload in registry.names("workloads") for name in names(workload)]
    if whole := [name for name in every if name.partition("-")[2] == task_id]:
        return UsageError(f"unknown task {task_id!r}; did you mean {' or '.join(map(repr, whole[:3]))}?")
    if near := difflib.get_close_matches(task_id, every, n=1, cutoff=0.7):
        return UsageError(f"unknown task {task_id!r}; did you mean {near[0]!r}?")
    return UsageError(f"unknown task {task_id!r}; `metabench list tasks` names the {len(every):,} that there are")


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
    code += f"/{views.VERSION}/{workload.view}/{workload.rows[1]}/{workload.metric}/{prepared.VERSION}"
    return hashlib.sha256(f"{fingerprint}/{code}".encode()).hexdigest()[:16]


def _stored(folder: Path, name: str, workload: str) -> dict[str, Any]:
    """Facts of a task in the cache, which is prepared first where it is not there or damaged."""
    with contextlib.suppress(prepared.Unsound):
        return prepared.read_facts(folder)
    _sweep(folder.parent)
    facts, arrays = prepare(_listings()[name][0].load(name), registry.load("workloads", workload))
    try:
        prepared.store(folder, facts, arrays)
    except OSError as error:
        with contextlib.suppress(prepared.Unsound):  # another process may have been quicker
            return prepared.read_facts(folder)
        raise MetabenchError(f"prepared tasks cannot be stored in {folder.parent}: {error.strerror}") from None
    return facts


def _load(folder: Path, name: str, workload: str, split: int) -> Arrays:
    """The arrays of a split; a folder that was damaged, or vanished, since it was looked at is prepared once more."""
    try:
        return prepared.read(folder, split)
    except prepared.Unsound:
        (folder / prepared.FACTS).unlink(missing_ok=True)
        _stored(folder, name, workload)
    try:
        return prepared.read(folder, split)
    except prepared.Unsound as error:
        raise MetabenchError(f"the cache does not keep what is written to it: {error}") from None


@cache
def _sweep(folder: Path) -> None:
    files.sweep(folder)


def _task(workload: str, facts: dict[str, Any], load) -> Task:
    known = {**facts, "split_hashes": tuple(facts["split_hashes"]), "shape": tuple(facts["shape"])}
    trained = known.pop("trained_rows", facts["n_train"])  # rare classes may be repeated
    known["notes"] = tuple(known.get("notes", ()))
    epochs = checkpoints(trained, registry.load("workloads", workload).epochs)
    return Task(task_id=f"{workload}-{facts['dataset']}", workload=workload, load=load, checkpoints=epochs, **known)


__all__ = ["Arrays", "Task", "from_dataset", "get", "names", "select", "to_frame"]
