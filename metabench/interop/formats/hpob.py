"""HPO-B (Pineda-Arango et al., NeurIPS 2021 Datasets and Benchmarks): tables of 176 search spaces from OpenML, as JSON.

``meta-{train,validation,test}-dataset.json`` (and ``meta-train-dataset-augmented.json``) hold
``{space: {dataset: {"X": [[…]], "y": [[…]]}}}`` with X in [0, 1] and y to be maximised;
``bo-initializations.json`` the five first trials of five searches, ``{space: {dataset: {"test0": [rows], …}}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import direction
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
_PREFIX = "hpob_"
_UNIT = Float(0.0, 1.0)


def keys(task_id: str, workload: str) -> tuple[str, str]:
    """A task's search space and data set as HPO-B's files name them."""
    return workload.removeprefix(_PREFIX), task_id.removeprefix(f"{workload}-")


class Hpob(Format):
    """HPO-B's JSON, one file or a folder of them: a workload ``hpob_<space>`` for each search space.

    A configuration is a row of X: what a data set repeats is a candidate of its own, as it is in HPO-B; data sets of one
    space that share rows share configurations, others have their own, so a task's runs cover only part of its space's
    configurations. HPO-B splits data sets anew in every space: a family is a data set in a space. The files' split and
    first trials come along (splits.csv, starts.csv), names from the descriptors where there are any. Scores are rounded
    to single precision.
    """

    name = "hpob"
    reads = "a JSON file, or a folder of meta-*-dataset.json"

    def read(self, path: Path) -> Iterator[Rows]:
        paths = [path] if path.is_file() else [p for f in FILES.values() if (p := path / f).exists()]
        if not paths:
            raise MetabenchError(f"{path} holds none of {', '.join(FILES.values())}")
        part_of = {file: f"meta_{part}" for part, file in FILES.items()} | {AUGMENTED: "meta_train"}
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for file in paths:
            for space, datasets in read_json(file).items():
                if not isinstance(datasets, Mapping) or not datasets:
                    raise MetabenchError(f"{file}: space {space!r} holds no data sets")
                for dataset, table in datasets.items():
                    if dataset in found.setdefault(space, {}):
                        raise MetabenchError(f"{file}: data set {dataset!r} of space {space!r} is in another file too")
                    found[space][dataset] = {"file": file, "table": table, "part": part_of.get(file.name)}
        folder = path if path.is_dir() else path.parent
        names = _names(folder / DESCRIPTORS) if (folder / DESCRIPTORS).exists() else {}
        starts = read_json(folder / STARTS) if (folder / STARTS).exists() else {}
        for space, datasets in found.items():
            yield _workload(space, datasets, names.get(space), starts.get(space, {}), folder / STARTS)

    def write(self, table, folder: Path, *, board=None, workload: str = "", **options: Any) -> list[Path]:
        """A table under a board's split, in the files that HPO-B's handler opens.

        A task holds what was run on it with seed 0: X is :meth:`metabench.space.Space.encode` (an imported X as it was),
        y the final validation score signed so that larger is better; a run that diverged has the task's worst. First
        trials are those that the table prescribes, else random. Raises UsageError without a board.
        """
        if board is None:
            raise UsageError("format hpob needs --board: its files are the parts of a split")
        board = board.on(table)
        contents: dict[str, dict[str, Any]] = {name: {} for name in (*FILES.values(), AUGMENTED, STARTS, DESCRIPTORS)}
        for name in [workload] if workload else board.workloads(table):
            key, space, configs = name.removeprefix(_PREFIX), table.space(name), table.configs(name)
            raw = all(p == _UNIT for p in space.values())
            x = configs.to_numpy(float) if raw else space.encode(configs).astype(float)
            for part, file in FILES.items():
                tasks = [t for t in board.tasks(table, part) if table.task_info(t).workload == name]
                datasets, first = {}, {}
                for task_id, rows, y in _evaluations(table, name, tasks):
                    dataset = keys(task_id, name)[1]
                    datasets[dataset] = {"X": x[rows].tolist(), "y": y[:, None].tolist()}
                    given = table.starts.get(task_id)
                    first[dataset] = (
                        {search: np.searchsorted(rows, ids).tolist() for search, ids in given.items()}
                        if given
                        else {s: random_start(task_id, i, len(rows), FIRST) for i, s in enumerate(SEARCHES)}
                    )
                contents[file] |= {key: datasets} if datasets else {}
                if first and part != "train":
                    contents[STARTS].setdefault(key, {}).update(first)
            columns = list(space) if raw else space.encoded_names
            contents[DESCRIPTORS][key] = {
                "variables": {column: {"min": 0.0, "max": 1.0, "optional": False} for column in columns},
                "variables_to_apply_log": [],
                "variables_order": columns,
            }
        contents[AUGMENTED] = contents[FILES["train"]]
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in contents.items():
            (folder / name).write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
        return [folder / name for name in contents]


def _evaluations(table, workload: str, tasks: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each task with the configurations that were run on it, ascending, and their y."""
    if not tasks:
        return
    scores, ran = table.final(workload, tasks)[:, :, 0], table.ran(workload, tasks)[:, :, 0]
    for task_id, y, mine in zip(tasks, scores, ran, strict=True):
        rows = np.flatnonzero(mine)
        y = direction.sign(table.task_info(task_id).direction) * y[rows]
        yield task_id, rows, np.where(np.isfinite(y), y, np.nanmin(y))


def _names(path: Path) -> dict[str, list[str]]:
    """Space → names of its variables, in the order of X's columns."""
    out = {}
    for space, facts in read_json(path).items():
        order = facts.get("variables_order") if isinstance(facts, Mapping) else None
        if isinstance(order, list) and all(isinstance(name, str) for name in order):
            out[space] = order
    return out


def _workload(
    space: str, datasets: dict[str, dict[str, Any]], names: list[str] | None, starts: Any, where_starts: Path
) -> Rows:
    tasks, parts = [], []
    for dataset, entry in datasets.items():
        where = f"{entry['file']}: space {space!r}, data set {dataset!r}"
        table = entry["table"]
        if not isinstance(table, Mapping) or not {"X", "y"} <= set(table):
            raise MetabenchError(f"{where} has no X and y")
        try:
            x, y = np.array(table["X"], dtype=np.float64), np.array(table["y"], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise MetabenchError(f"{where}: X or y is ragged or holds what is no number") from None
        if x.ndim != 2 or y.shape not in ((len(x), 1), (len(x),)) or not len(x):
            raise MetabenchError(f"{where}: X has shape {x.shape} and y {y.shape}; expected [n, d] and [n, 1]")
        if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
            raise MetabenchError(f"{where}: X leaves [0, 1]")
        if parts and x.shape[1] != parts[0][0].shape[1]:
            raise MetabenchError(f"{where}: X has {x.shape[1]} columns, other data sets have {parts[0][0].shape[1]}")
        parts.append((x, y.ravel()))
        family = f"{identifier(space)}_{identifier(dataset)}"
        tasks.append(TaskFacts(identifier(dataset), "hpob_y", family=family))
    width = parts[0][0].shape[1]
    names = names if names and len(set(names)) == len(names) == width else [f"x{i}" for i in range(width)]
    points = np.concatenate([x for x, _ in parts])
    task = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    _, point = np.unique(points, axis=0, return_inverse=True)
    again = repeats(task, point.ravel())
    _, first, where_to = np.unique(np.stack([point.ravel(), again], 1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # configurations in the order in which they were met
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    config = place[where_to.ravel()]
    given = {
        t: _first(starts[dataset], config[task == t], f"{where_starts}: data set {dataset!r} of space {space!r}")
        for t, dataset in enumerate(datasets)
        if isinstance(starts, Mapping) and dataset in starts
    }
    sides = [entry["part"] for entry in datasets.values()]
    return Rows(
        workload=f"{_PREFIX}{identifier(space)}",
        space=Space(dict.fromkeys(names, _UNIT)),
        configs=pd.DataFrame(points[first[order]], columns=names),
        tasks=tasks,
        task=task,
        config=config,
        seed=np.zeros(len(task), dtype=np.int64),
        epochs=(1,),
        series={"valid_score": np.concatenate([y for _, y in parts])[:, None]},
        parts=sides if all(sides) else (),
        starts=given,
    )


def _first(searches: Any, configs: np.ndarray, where: str) -> dict[str, list[int]]:
    """The first trials of a data set's searches: rows of X become configurations."""
    if not isinstance(searches, Mapping) or not searches:
        raise MetabenchError(f"{where} holds no searches")
    out = {}
    for name, rows in searches.items():
        whole = isinstance(rows, list) and rows and all(type(r) is int and 0 <= r < len(configs) for r in rows)
        if not whole or len(set(rows)) < len(rows):
            raise MetabenchError(f"{where}: {name!r} is no list of different rows of X")
        out[name] = configs[rows].tolist()
    return out
