"""HPO-B (Pineda-Arango et al., NeurIPS 2021 Datasets and Benchmarks): tables of 176 search spaces from OpenML, as JSON.

``meta-{train,validation,test}-dataset.json`` (and ``meta-train-dataset-augmented.json``) hold
``{space: {dataset: {"X": [[…]], "y": [[…]]}}}`` with X in [0, 1] and y to be maximised;
``bo-initializations.json`` the five first trials of five searches, ``{space: {dataset: {"test0": [rows], …}}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.base import Format, Rows, TaskFacts, identifier, read_json, repeats
from metabench.search.starts import random_start
from metabench.space import Float, Space

#: part of a split → file
FILES = {
    "train": "meta-train-dataset.json",
    "valid": "meta-validation-dataset.json",
    "test": "meta-test-dataset.json",
}
AUGMENTED, STARTS, DESCRIPTORS = (
    "meta-train-dataset-augmented.json",
    "bo-initializations.json",
    "meta-dataset-descriptors.json",
)
#: searches with given first trials, and how many trials those are
SEARCHES, FIRST = tuple(f"test{i}" for i in range(5)), 5


class Hpob(Format):
    """HPO-B's JSON, one file or a folder of them: a workload ``hpob_<space>`` for each search space.

    A configuration is a row of X; data sets of one space that share rows share configurations, others have their own,
    so a task's runs cover only part of its space's configurations. Names come from the descriptors where there are any.
    Scores are rounded to single precision.
    """

    name = "hpob"
    reads = "a JSON file, or a folder of meta-*-dataset.json"

    def read(self, path: Path) -> Iterator[Rows]:
        paths = [path] if path.is_file() else [p for f in FILES.values() if (p := path / f).exists()]
        if not paths:
            raise MetabenchError(f"{path} holds none of {', '.join(FILES.values())}")
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for file in paths:
            for space, datasets in read_json(file).items():
                if not isinstance(datasets, Mapping):
                    raise MetabenchError(f"{file}: space {space!r} holds no data sets")
                for dataset, table in datasets.items():
                    if dataset in found.setdefault(space, {}):
                        raise MetabenchError(
                            f"{file}: data set {dataset!r} of space {space!r} stands in another file too"
                        )
                    found[space][dataset] = {"file": file, "table": table}
        folder = path if path.is_dir() else path.parent
        names = _names(folder / DESCRIPTORS) if (folder / DESCRIPTORS).exists() else {}
        for space, datasets in found.items():
            yield _workload(space, datasets, names.get(space))

    def write(self, table, folder: Path, *, board=None, workload: str = "", **options: Any) -> list[Path]:
        """A table under a board's split, in the files that HPO-B's handler opens.

        X is :meth:`metabench.space.Space.encode`, y the final validation score of seed 0 signed so that larger is
        better; a run that diverged has the task's worst. Raises UsageError without a board.
        """
        if board is None:
            raise UsageError("format hpob needs --board: its files are the parts of a split")
        workload = workload or board.workload
        configs = table.configs(workload)
        x = table.space(workload).encode(configs).astype(float).tolist()
        parts: dict[str, dict[str, Any]] = {}
        for part in FILES:
            tasks = board.tasks(table, part)
            scores = table.final(workload, tasks)[:, :, 0] if tasks else np.empty((0, len(configs)))
            datasets = {}
            for task_id, y in zip(tasks, scores, strict=True):
                y = y if table.task_info(task_id).direction == "max" else -y
                filled = np.where(np.isfinite(y), y, np.nanmin(y))
                datasets[task_id.removeprefix(f"{workload}-")] = {"X": x, "y": filled[:, None].tolist()}
            parts[part] = {workload: datasets}
        starts = {
            workload: {
                task_id.removeprefix(f"{workload}-"): {
                    name: random_start(task_id, i, len(configs), FIRST) for i, name in enumerate(SEARCHES)
                }
                for part in ("valid", "test")
                for task_id in board.tasks(table, part)
            }
        }
        names = table.space(workload).encoded_names
        described = {
            workload: {
                "variables": {name: {"min": 0.0, "max": 1.0, "optional": False} for name in names},
                "variables_to_apply_log": [],
                "variables_order": names,
            }
        }
        contents = {FILES[part]: value for part, value in parts.items()}
        contents |= {AUGMENTED: parts["train"], STARTS: starts, DESCRIPTORS: described}
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in contents.items():
            (folder / name).write_text(json.dumps(value, allow_nan=False))
        return [folder / name for name in contents]


def _names(path: Path) -> dict[str, list[str]]:
    """Space → names of its variables, in the order of X's columns."""
    out = {}
    for space, facts in read_json(path).items():
        order = facts.get("variables_order") if isinstance(facts, Mapping) else None
        if isinstance(order, list) and all(isinstance(name, str) for name in order):
            out[space] = order
    return out


def _workload(space: str, datasets: dict[str, dict[str, Any]], names: list[str] | None) -> Rows:
    tasks, parts = [], []
    for dataset, entry in datasets.items():
        where = f"{entry['file']}: space {space!r}, data set {dataset!r}"
        table = entry["table"]
        if not isinstance(table, Mapping) or not {"X", "y"} <= set(table):
            raise MetabenchError(f"{where} has no X and y")
        try:
            x, y = np.array(table["X"], dtype=np.float64), np.array(table["y"], dtype=np.float64)
        except (TypeError, ValueError):
            raise MetabenchError(f"{where}: X or y is ragged or holds what is no number") from None
        if x.ndim != 2 or y.shape not in ((len(x), 1), (len(x),)) or not len(x):
            raise MetabenchError(f"{where}: X has shape {x.shape} and y {y.shape}; expected [n, d] and [n, 1]")
        if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
            raise MetabenchError(f"{where}: X leaves [0, 1]")
        if parts and x.shape[1] != parts[0][0].shape[1]:
            raise MetabenchError(f"{where}: X has {x.shape[1]} columns, other data sets have {parts[0][0].shape[1]}")
        parts.append((x, y.ravel()))
        tasks.append(TaskFacts(identifier(dataset), "hpob_y", family=identifier(dataset)))
    width = parts[0][0].shape[1]
    names = names if names and len(set(names)) == len(names) == width else [f"x{i}" for i in range(width)]
    points = np.concatenate([x for x, _ in parts])
    unique, first, where_to = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # configurations in the order in which they were met
    place = np.empty(len(unique), dtype=np.int64)
    place[order] = np.arange(len(unique))
    task = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    config = place[where_to.ravel()]
    return Rows(
        workload=f"hpob_{identifier(space)}",
        space=Space({name: Float(0.0, 1.0) for name in names}),
        configs=pd.DataFrame(unique[order], columns=names),
        tasks=tasks,
        task=task,
        config=config,
        seed=repeats(task, config),
        epochs=(1,),
        series={"valid_score": np.concatenate([y for _, y in parts])[:, None]},
    )
