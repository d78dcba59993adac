"""HPO-B's result files: what its ``benchmark_plot.py`` draws, so that methods of both sides stand in one table.

A method's file is ``{space: {dataset: {"test0": [values], …}}}``: the best response so far, min–max scaled over the data
set, after the five initial trials and after each of the iterations that follow, 101 values in all (Pineda Arango et
al., NeurIPS 2021 Datasets and Benchmarks).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import direction
from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.base import numbers, read_json
from metabench.interop.formats.hpob import FIRST, SEARCHES, Hpob, keys

if TYPE_CHECKING:
    from metabench.boards.board import Board

#: iterations of a search, and those at which HPO-B compares
ITERATIONS, MARKS = 100, (5, 25, 50, 100)
#: decimals at which two methods tie
DECIMALS = 8
#: space, data set, search → best so far, float64 [iterations + 1]
Results = Mapping[tuple[str, str, str], np.ndarray]


def read(path: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """A result file. Raises MetabenchError naming the entry that is no list of shares, or of another length than others.

    That the best so far never falls is not asked for: in a file that HPO-B publishes (GP.json) it does.
    """
    found: dict[tuple[str, str, str], np.ndarray] = {}
    lengths: dict[int, tuple] = {}
    for space, datasets in read_json(path).items():
        for dataset, searches in _members(datasets, f"{path}: space {space!r}"):
            for search, values in _members(searches, f"{path}: space {space!r}, data set {dataset!r}"):
                where = f"{path}: space {space!r}, data set {dataset!r}, search {search!r}"
                best = numbers(values, where)
                if not len(best) or not ((best >= -1e-9) & (best <= 1 + 1e-9)).all():
                    raise MetabenchError(f"{where} leaves [0, 1]")
                found[space, dataset, search] = best
                lengths.setdefault(len(best), (space, dataset, search))
    if not found:
        raise MetabenchError(f"{path} holds no searches")
    if len(lengths) > 1:
        (n, one), (m, other) = list(lengths.items())[:2]
        raise MetabenchError(f"{path}: {'/'.join(one)} has {n} values, {'/'.join(other)} {m}")
    return found


def _members(value: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise MetabenchError(f"{where} holds {type(value).__name__}, expected dict")
    return list(value.items())


def write(results: Results, path: Path) -> None:
    """A result file as :func:`read` reads it and HPO-B's plotter does."""
    nested: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (space, dataset, search), best in results.items():
        nested.setdefault(space, {}).setdefault(dataset, {})[search] = np.asarray(best, float).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nested, allow_nan=False), encoding="utf-8")


def of_traces(
    traces: pa.Table, table, board: Board, data: Path | None = None
) -> dict[str, dict[tuple[str, str, str], np.ndarray]]:
    """Method → its results, from the searches with given first trials that a board of HPO-B's protocol holds.

    A table stores single precision, HPO-B's files double: with ``data``, the folder that was imported, values are taken
    from there, so that methods which found the same evaluation tie with those of published files.

    Raises UsageError for a board of another protocol, MetabenchError when ``data`` is not what was imported.
    """
    if board.protocol != "hpob":
        raise UsageError(f"board {board.name} does not follow HPO-B's protocol; results are written from those that do")
    exact = _responses(data) if data else None
    out: dict[str, dict[tuple[str, str, str], np.ndarray]] = {}
    scaled: dict[str, np.ndarray] = {}
    for row in traces.to_pylist():
        if row["start"] != "given5":
            continue
        task_id, workload = row["task_id"], table.task_info(row["task_id"]).workload
        if task_id not in scaled:
            scaled[task_id] = _scaled(table, workload, task_id, exact)
        best = np.fmax.accumulate(scaled[task_id][row["config_ids"]])[FIRST - 1 :]
        best = np.append(best, np.full(max(0, board.budget - FIRST + 1 - len(best)), best[-1]))
        names = list(table.starts.get(task_id, SEARCHES))
        out.setdefault(row["method"], {})[*keys(task_id, workload), names[row["seed"] % len(names)]] = best
    return out


def _responses(folder: Path) -> dict[tuple[str, str], np.ndarray]:
    """Workload and data set → y by configuration, NaN where it has none, from the files themselves."""
    out = {}
    for part in Hpob().read(folder):
        for t, facts in enumerate(part.tasks):
            y = np.full(len(part.configs), np.nan)
            y[part.config[part.task == t]] = part.series["valid_score"][part.task == t, 0]
            out[part.workload, facts.dataset] = y
    return out


def _scaled(table, workload: str, task_id: str, exact: Mapping | None) -> np.ndarray:
    """Responses of all configurations, 0 the task's worst and 1 its best; NaN where there is none."""
    y = table.final(workload, [task_id])[0, :, 0]
    if exact is not None:
        found = exact.get((workload, keys(task_id, workload)[1]))
        if found is None or found.shape != y.shape or not np.array_equal(found.astype(np.float32), y, equal_nan=True):
            raise MetabenchError(f"the files do not hold what was imported as {task_id}")
        y = found
    y = direction.sign(table.task_info(task_id).direction) * y
    low, high = np.nanmin(y), np.nanmax(y)
    return (y - low) / (high - low) if high > low else np.where(np.isnan(y), np.nan, 1.0)


def rank(methods: Mapping[str, Results], marks: Sequence[int] = MARKS) -> pd.DataFrame:
    """HPO-B's table: average rank and average regret of methods after ``marks`` iterations.

    Ranks are among all methods in each space, data set and search that all of them hold, by the best so far rounded to
    eight decimals, ties sharing the mean rank. Columns: method, and for every mark that all reach ``rank@N`` and
    ``regret@N``; best first by the last rank. Raises UsageError when they hold no search in common.
    """
    from scipy.stats import rankdata

    common = [cell for cell in next(iter(methods.values()), {}) if all(cell in m for m in methods.values())]
    if not common:
        raise UsageError("the results hold no search in common: compare files of the same data sets and searches")
    length = min(len(m[cell]) for m in methods.values() for cell in common)
    best = np.array([[m[cell][:length] for cell in common] for m in methods.values()])
    ranks = rankdata(-best.round(DECIMALS), axis=0).mean(axis=1)
    regret = 1.0 - best.mean(axis=1)
    reached = [m for m in marks if m < length] or [length - 1]
    frame = pd.DataFrame({"method": list(methods)})
    for m in reached:
        frame[f"rank@{m}"], frame[f"regret@{m}"] = ranks[:, m], regret[:, m]
    return frame.sort_values(f"rank@{reached[-1]}", kind="stable").reset_index(drop=True)
