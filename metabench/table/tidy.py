"""Tables for analysis: one tidy row for each run, learning curves, regret; every column with its meaning and unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metabench import direction, extras, schema
from metabench.errors import UsageError
from metabench.registry import suggest
from metabench.space import Choice, Ordinal, Parameter
from metabench.table import splits
from metabench.tasks.meanings import MEANINGS

if TYPE_CHECKING:
    from metabench.table.read import Table

FORMATS = ("pandas", "polars", "arrow")
#: columns of a run, and of its task, in the order of a frame
_RUN = ("task_id", "config_id", "seed", "status", "final_valid_score", "final_test_score", "seconds", "params", "flops")
_TASK = ("dataset", "family", "kind", "metric", "direction", "n_train", "chance")
_UNITS = {
    "seconds": "seconds",
    "flops": "floating-point operations",
    "params": "parameters",
    "n_train": "rows",
    "epochs": "epochs",
    "epoch": "epochs",
    "trial": "trials",
    "regret": "0: the best stored configuration, 1: the median one",
}
_SCORES = ("final_valid_score", "final_test_score", "valid_score", "test_score", "chance")
_OWN = {
    "split": "part of the table's own split that the task's family stands in: train, valid, test, or null",
    "epoch": "completed passes over the training rows",
    "trial": "trials made so far",
    "regret": "expected validation regret of the best of so many trials, mean over the table's seeds",
}


def frame(table: Table, workload: str, tasks: str | Sequence[str] | None, features: bool, format: str) -> Any:
    """See :meth:`metabench.table.Table.frame`."""
    runs = table.runs(workload, list(_RUN), tasks)
    ids = runs["task_id"].combine_chunks()
    at = pc.index_in(ids.cast(pa.string()), pa.array(table.tasks["task_id"].to_list(), pa.string())).to_numpy()
    known, columns = table.tasks, {name: _used(runs[name]) for name in runs.column_names}
    for name in _TASK:
        columns[name] = pa.array(known[name].to_numpy()[at])
    parts = split_of(table)
    columns["split"] = pa.array([parts.get(t) for t in known["task_id"]], pa.string()).take(pa.array(at))
    configs, rows = table.configs(workload), runs["config_id"].to_numpy()
    for name in configs:
        columns[name] = pa.Array.from_pandas(configs[name]).take(pa.array(rows))
    for name in (n for n in map(str, known) if features and n.startswith("feature_")):
        columns[name] = pa.array(known[name].to_numpy()[at])
    return _as(_described(pa.table(columns), table, workload), format)


def _used(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of names with those alone that occur, so that groups of other tasks do not show up empty."""
    return column.cast(pa.string()).dictionary_encode() if pa.types.is_dictionary(column.type) else column


def split_of(table: Table) -> dict[str, str]:
    """Task → train, valid or test where the table stores a split (splits.csv); empty where it stores none."""
    if table.path is None or not (table.path / splits.FILE).exists():
        return {}
    part = {family: name for name, families in table.split.items() for family in families}
    pairs = zip(table.tasks["task_id"], table.tasks["family"], strict=True)
    return {task_id: part[family] for task_id, family in pairs if family in part}


def curve(table: Table, task_id: str, config_id: int, seed: int, format: str) -> Any:
    """See :meth:`metabench.table.Table.curve`."""
    series = ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
    workload = table.task_info(task_id).workload
    runs = table.runs(workload, ["config_id", "seed", "epochs", *series], [task_id])
    run = runs.filter(pc.and_(pc.equal(runs["config_id"], config_id), pc.equal(runs["seed"], seed)))
    if len(run) != 1:
        raise UsageError(f"table {table.name} has no run of configuration {config_id} with seed {seed} on {task_id}")
    epochs = run["epochs"][0].as_py()
    columns = {"epoch": pa.array(epochs, pa.int16())}
    for name in series:
        values = run[name][0].as_py()
        columns[name] = pa.array(values + [None] * (len(epochs) - len(values)), pa.float32())
    return _as(_described(pa.table(columns), table, workload), format)


def regret(table: Table, method: str, workload: str, tasks: Sequence[str] | None, trials: int, format: str) -> Any:
    """See :meth:`metabench.table.Table.regret`."""
    if method != "random":
        raise UsageError(
            f"table.regret knows the exact regret of 'random' alone, not of {method!r}; mb.evaluate runs any method"
        )
    mine = table.tasks["task_id"][table.tasks["workload"] == workload].tolist()
    tasks = mine if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    n = len(table.configs(workload))
    if not 1 <= trials <= n:
        raise UsageError(f"trials is {trials}; it must lie in 1 … {n}, the stored configurations")
    signs = np.array([direction.sign(table.task_info(t).direction) for t in tasks])
    scores = table.final(workload, tasks) * signs[:, None, None]
    expected = np.stack([best_of_random(s, trials) for s in scores]) if tasks else np.empty((0, trials))
    out = {
        "task_id": pa.array(np.repeat(tasks, trials), pa.string()),
        "trial": pa.array(np.tile(np.arange(1, trials + 1), len(tasks)), pa.int32()),
        "regret": pa.array(expected.ravel()),
    }
    return _as(_described(pa.table(out), table, workload), format)


def best_of_random(scores: np.ndarray, trials: int) -> np.ndarray:
    """Exact expected regret of random search without replacement.

    Args:
        scores: [configs, seeds], larger is better, NaN where a run diverged.
        trials: how many trials.

    Returns:
        float64 [trials]: after 1, 2, … trials, mean over the seeds. Regret is that of :mod:`metabench.scores.regret`: 0 for
        the best configuration, 1 for the median one and for whatever is worse or diverged.
    """
    n = len(scores)
    finite = np.isfinite(scores)
    ordered = np.sort(np.where(finite, scores, -np.inf), axis=0)
    worst = np.min(np.where(finite, scores, np.inf), axis=0)
    best, median = ordered[-1], np.maximum(ordered[(n - 1) // 2], worst)
    span = np.where(best > median, best - median, 1.0)
    values = np.clip((best - np.where(finite, scores, -np.inf)) / span, 0.0, 1.0)
    values = np.sort(np.where(finite, values, 1.0), axis=0)  # best first
    means = values.mean(axis=1)
    out = np.empty(trials)
    beyond = np.ones(n)  # chance that none of the i best is among the trials
    left = n - np.arange(1, n + 1)
    for k in range(trials):
        beyond = beyond * np.clip(left - k, 0, None) / (n - k)
        out[k] = ((np.concatenate([[1.0], beyond[:-1]]) - beyond) * means).sum()
    return out


def columns(table: Table, workload: str) -> pd.DataFrame:
    """See :meth:`metabench.table.Table.columns`."""
    found = frame(table, workload, [], True, "arrow").schema
    rows = [(f.name, str(f.type), *(f.metadata[k].decode() for k in (b"unit", b"description"))) for f in found]
    return pd.DataFrame(rows, columns=["column", "type", "unit", "description"]).set_index("column")


# ---------------------------------------------------------------- descriptions
def _described(found: pa.Table, table: Table, workload: str) -> pa.Table:
    space = table.space(workload)
    fields = []
    for field in found.schema:
        meaning, unit = _meaning(field.name, space)
        fields.append(field.with_metadata({"description": meaning, "unit": unit}))
    return found.cast(pa.schema(fields))


def _meaning(name: str, space) -> tuple[str, str]:
    if name in space:
        return _parameter(space[name])
    if name.startswith("feature_"):
        return MEANINGS.get(name.removeprefix("feature_"), ("a feature of another project's table", "unknown"))
    for known in (schema.RUNS, schema.TASKS):
        if name in known.names and name not in _OWN:
            unit = "the task's metric" if name in _SCORES else _UNITS.get(name, "none")
            unit = "the task's loss" if name.endswith("_loss") else unit
            return known.field(name).metadata[b"description"].decode(), unit
    return _OWN[name], _UNITS.get(name, "none")


def _parameter(p: Parameter) -> tuple[str, str]:
    values = ", ".join(map(str, p.options)) if isinstance(p, Choice | Ordinal) else f"{p.low:g} to {p.high:g}"
    scale = ", on a logarithmic scale" if getattr(p, "log", False) else ""
    scale = ", evenly in log(1 − x)" if getattr(p, "reverse", False) else scale
    active = f"; null unless {p.when.parent} is {' or '.join(map(str, p.when.values))}" if p.when else ""
    return f"hyperparameter: {values}{scale}{active}", "name" if isinstance(p, Choice) else "number"


def _as(found: pa.Table, format: str) -> Any:
    if format not in FORMATS:
        raise suggest(format, FORMATS, "format")
    if format == "arrow":
        return found
    if format == "polars":
        extras.need("polars", "format='polars'")
        import polars

        return polars.from_arrow(found)
    out = found.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    out.attrs["columns"] = {
        f.name: {k.decode(): v.decode() for k, v in f.metadata.items()} for f in found.schema if f.metadata
    }
    return out
