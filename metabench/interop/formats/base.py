"""What formats share: the rows that a reader gives, how they become a table, and files that may lie.

Everything read here is untrusted: sizes are bounded before anything is parsed, and whatever is wrong with a file is one
line that names it. No format that can run code is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import schema, untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.space import Choice, Float, Int, Space
from metabench.table import TableWriter, files, manifest, rows, splits, starts
from metabench.table.checks import check_configs
from metabench.table.place import Place
from metabench.table.write import encode_runs
from metabench.training.curves import SERIES, Curves

#: bytes that one file may have, unpacked; METABENCH_IMPORT_LIMIT changes it
LIMIT = 4 * 2**30
#: largest seed, or repeat of an evaluation, that a row can have
SEEDS = 2**15 - 1
#: numbers whose largest is this many times the smallest (all above 0) are taken as logarithmic when a format is silent
LOG_RATIO = 50.0


# ---------------------------------------------------------------- what is read
@dataclass(frozen=True)
class TaskFacts:
    """A task of an imported table: as much as its format says."""

    dataset: str
    metric: str
    direction: str = "max"
    #: data sets that share rows have one family (default: the data set)
    family: str = ""
    kind: str = "unknown"
    modality: str = "unknown"
    #: name → number
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """The runs of one workload, a row each.

    ``task`` and ``config`` are int [rows], positions in ``tasks`` and ``configs``; ``seed`` int [rows]. ``series`` maps
    names of :data:`metabench.training.curves.SERIES` to float [rows, checkpoints], NaN beyond a curve's end. A run is
    diverged where ``diverged`` says so or its curve ends early; ``seconds`` is float [rows] or None.
    """

    workload: str
    space: Space
    configs: pd.DataFrame
    tasks: Sequence[TaskFacts]
    task: np.ndarray
    config: np.ndarray
    seed: np.ndarray
    epochs: Sequence[int]
    series: Mapping[str, np.ndarray]
    diverged: np.ndarray | None = None
    seconds: np.ndarray | None = None
    #: int [tasks]: how many of the checkpoints a task has (default: all)
    lengths: np.ndarray | None = None
    #: the part of the split that each task stands in (of splits.PARTS), where the source has a split
    parts: Sequence[str] = ()
    #: task → name of a search → its first trials, both by position, where the source prescribes them
    starts: Mapping[int, Mapping[str, Sequence[int]]] = field(default_factory=dict)


class Format:
    """Base of the formats. A subclass has a ``name``, a docstring that says what its files hold, ``read`` and, where
    tables can be written in it, ``write``."""

    name: ClassVar[str]
    #: what :meth:`read` is given
    reads: ClassVar[str] = "a file"

    def read(self, path: Path) -> Iterator[Rows]:
        """The workloads that the files hold. Raises MetabenchError naming the file and what is wrong with it."""
        raise NotImplementedError

    def write(self, table, folder: Path, **options: Any) -> list[Path]:
        """Write a table's files into a folder; their paths."""
        raise UsageError(f"format {self.name} can be imported, not exported")


# ---------------------------------------------------------------- files
def read_bytes(path: Path) -> bytes:
    """A file's bytes, unpacked when it ends in .gz. Raises MetabenchError when it is absent, broken or too large."""
    limit = int(os.environ.get("METABENCH_IMPORT_LIMIT", LIMIT))
    try:
        with untrusted.open_regular(path, most=None) as raw:
            if (size := os.fstat(raw.fileno()).st_size) > limit:
                raise MetabenchError(f"{path} has {size:,} bytes; at most {limit:,} are read (METABENCH_IMPORT_LIMIT)")
            with gzip.open(raw, "rb") if path.name.endswith(".gz") else raw as file:
                data = file.read(limit + 1)
    except FileNotFoundError:
        raise MetabenchError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None
    if len(data) > limit:
        raise MetabenchError(f"{path} unpacks to more than {limit:,} bytes (METABENCH_IMPORT_LIMIT)")
    return data


def read_json(path: Path, kind: type = dict) -> Any:
    """A JSON file whose outermost value is of ``kind``. Raises MetabenchError when it is not."""
    try:
        value = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise MetabenchError(f"{path} is no JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(value, kind):
        raise MetabenchError(f"{path} holds {type(value).__name__}, expected {kind.__name__}")
    return value


def numbers(value: Any, where: str, length: int | None = None) -> np.ndarray:
    """A list of numbers (null is NaN) as float64 [n]. Raises MetabenchError when it is something else."""
    if not isinstance(value, list):
        raise MetabenchError(f"{where} is no list of numbers")
    try:
        out = np.array([math.nan if v is None else v for v in value], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise MetabenchError(f"{where} is no flat list of numbers") from None
    if out.ndim != 1:
        raise MetabenchError(f"{where} is no flat list of numbers")
    if length is not None and len(out) != length:
        raise MetabenchError(f"{where} has {len(out)} values, expected {length}")
    return out


def frame_of(table: Any, where: object) -> pd.DataFrame:
    """Configurations as a table. Raises MetabenchError for a number that no float holds, which old pandas does not take."""
    try:
        return pd.DataFrame(table)
    except OverflowError:
        raise MetabenchError(f"{where}: a hyperparameter is a number that is too large") from None


def identifier(text: str) -> str:
    """A name as tables have them: a–z, 0–9 and _, at most 60 characters; others are told apart by a hash."""
    plain = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    if plain == str(text) and 0 < len(plain) <= 60:
        return plain
    digest = hashlib.sha256(str(text).encode()).hexdigest()[:6]
    return f"{plain[:53]}_{digest}".lstrip("_") if not _is_plain(str(text), plain) else plain


def _is_plain(text: str, plain: str) -> bool:
    """Do only case, blanks and dashes tell a name from its identifier?"""
    return 0 < len(plain) <= 60 and re.sub(r"[ \-]", "_", text.lower()) == plain


def repeats(task: np.ndarray, config: np.ndarray) -> np.ndarray:
    """How often a task has met the configuration before: evaluations that a table repeats become seeds."""
    order = np.lexsort((np.arange(len(task)), config, task))
    new = np.r_[True, (np.diff(task[order]) != 0) | (np.diff(config[order]) != 0)]
    start = np.flatnonzero(new)
    count = np.arange(len(task)) - np.repeat(start, np.diff(np.r_[start, len(task)]))
    out = np.empty(len(task), dtype=np.int64)
    out[order] = count
    return out


# ---------------------------------------------------------------- spaces
def infer_space(configs: pd.DataFrame, log: Sequence[str] = ()) -> Space:
    """A space that holds these configurations, for formats that do not describe theirs.

    Text and booleans become choices, numbers ranges from their least to their greatest, logarithmic where all are
    positive and the greatest is over :data:`LOG_RATIO` times the least (or the name is in ``log``). Columns with a
    single value are left out.
    """
    parameters = {}
    for name, column in configs.items():
        known = column.dropna()
        if known.nunique() < 2:
            continue
        if not pd.api.types.is_numeric_dtype(known) or pd.api.types.is_bool_dtype(known):
            parameters[str(name)] = Choice(*sorted(known.astype(str).unique()))
            continue
        low, high = float(known.min()), float(known.max())
        is_log = low > 0 and (name in log or high / low >= LOG_RATIO)
        whole = (known == np.floor(known)).all() and abs(low) < 2**53 and abs(high) < 2**53
        parameters[str(name)] = Int(int(low), int(high), log=is_log) if whole else Float(low, high, log=is_log)
    if not parameters:
        raise MetabenchError("no hyperparameter takes two values")
    return Space(parameters)


def typed(space: Space, configs: pd.DataFrame) -> pd.DataFrame:
    """Configurations with the space's columns and types."""
    out = {}
    for name, p in space.items():
        column = configs[name]
        column = column.where(column.isna(), column.astype(str)) if isinstance(p, Choice) else column
        out[name] = pd.Series(column.to_numpy(), dtype=object).astype(p.dtype)
    return pd.DataFrame(out)


# ---------------------------------------------------------------- into a table
def store(parts: Sequence[Rows], path: Place, origin: str) -> None:
    """Write rows as a new table in the folder ``path`` (``<name>/v<N>``), all or nothing.

    ``origin`` says where they come from (format and file); it becomes the tasks' source, and the runs' engine. Series
    that a format lacks are NaN throughout. A folder that holds this very table, as after a kill late in an import, stays
    as it is. Raises MetabenchError when it holds another, or when rows are not what they should be: a run twice, a task or
    configuration that is not there.
    """
    with TableWriter(path) as writer:
        tasks, contents, first = [], {}, {}
        for part in parts:
            if not re.fullmatch(r"[a-z0-9_]+", part.workload):
                raise UsageError(f"workload {part.workload!r}: a name is made of a–z, 0–9 and _")
            tasks += [_task_row(part.workload, t, origin) for t in part.tasks]
            first |= {f"{part.workload}-{part.tasks[t].dataset}": searches for t, searches in part.starts.items()}
            contents[f"configs/{part.workload}.parquet"] = _configs(part)
            absent = [*(name for name in SERIES if name not in part.series), "params", "flops"]
            contents[f"runs/{part.workload}.parquet"] = encode_runs(rows.ordered(_runs(part, origin)), absent)
        contents["tasks.parquet"] = _tasks(tasks)
        if first:
            contents[starts.FILE] = starts.write(first)
        if any(part.parts for part in parts):
            contents[splits.FILE] = _split(parts)
        if stored := manifest.read(writer.path):
            if stored != {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}:
                raise MetabenchError(f"{path} holds a table already; import into a new one")
            return
        manifest.commit(writer.path, contents)


def _split(parts: Sequence[Rows]) -> bytes:
    return splits.encode(
        sorted(
            (f"{part.workload}-{task.dataset}", task.family or task.dataset, side)
            for part in parts
            for task, side in zip(part.tasks, part.parts or [splits.NONE] * len(part.tasks), strict=True)
        )
    )


def _task_row(workload: str, facts: TaskFacts, origin: str) -> dict[str, Any]:
    blank = {f.name: 0 if pa.types.is_integer(f.type) else "" for f in schema.TASKS}
    known = {
        "task_id": f"{workload}-{facts.dataset}",
        "dataset": facts.dataset,
        "family": facts.family or facts.dataset,
        "source": f"import:{origin}",
        "modality": facts.modality,
        "workload": workload,
        "kind": facts.kind,
        "metric": facts.metric,
        "direction": facts.direction,
        "split_hashes": [],
        "chance": math.nan,
    }
    return blank | known | {f"feature_{identifier(k)}": float(v) for k, v in facts.features.items()}


def _tasks(tasks: list[dict[str, Any]]) -> bytes:
    ids = [row["task_id"] for row in tasks]
    if twice := sorted(t for t, count in Counter(ids).items() if count > 1):
        raise MetabenchError(f"task {twice[0]} is listed twice")
    features = sorted({k.removeprefix("feature_") for row in tasks for k in row if k.startswith("feature_")})
    whole = schema.tasks_schema(features)
    filled = [
        {name: row.get(name, math.nan) for name in whole.names} for row in sorted(tasks, key=lambda r: r["task_id"])
    ]
    return rows.encode(pa.Table.from_pylist(filled, schema=whole))


def _configs(part: Rows) -> bytes:
    kind = schema.configs_schema(part.space)
    frame = typed(part.space, part.configs)
    frame.insert(0, "config_id", np.arange(len(frame), dtype=np.int32))
    table = pa.Table.from_pandas(frame, schema=kind, preserve_index=False)
    if wrong := check_configs(part.space, table):
        raise MetabenchError(f"workload {part.workload}: {wrong[0]}")
    description = json.dumps(part.space.to_json(), separators=(",", ":")).encode()
    return rows.encode(table.replace_schema_metadata({**kind.metadata, files.SPACE_KEY: description}))


def _check_series(part: Rows, series: Mapping[str, np.ndarray]) -> None:
    """Refuse losses and scores that cannot be: negative ones, shares of right rows that are no shares."""
    metric = np.array([task.metric for task in part.tasks], dtype=object)[part.task]
    share = np.array([str(m).endswith("accuracy") for m in metric], dtype=bool)[:, None]
    for name, values in series.items():
        with np.errstate(invalid="ignore"):
            if name.endswith("_loss"):
                bad, what = values < 0, "negative"
            else:
                over = (values > 1) & (share | (metric == "r2")[:, None])
                bad, what = over | ((values < 0) & share), "no share" if share.any() else "above 1"
        if bad.any():
            row = int(np.argmax(bad.any(axis=1)))
            where = f"task {part.tasks[part.task[row]].dataset}, configuration {part.config[row]}"
            raise MetabenchError(f"workload {part.workload}: {where}: a {name} is {what}: {values[bad][0]:g}")


def _runs(part: Rows, origin: str) -> pa.Table:
    n, e = len(part.task), len(part.epochs)
    keys = np.stack([part.task, part.config, part.seed], axis=1) if n else np.empty((0, 3), int)
    if n and (keys.min() < 0 or part.task.max() >= len(part.tasks) or part.config.max() >= len(part.configs)):
        raise MetabenchError(f"workload {part.workload}: a run names a task or configuration that is not there")
    if n and part.seed.max() > SEEDS:
        at = int(np.argmax(part.seed))
        where = f"task {part.tasks[part.task[at]].dataset}, configuration {part.config[at]}"
        raise MetabenchError(
            f"workload {part.workload}: {where} has seed {part.seed[at]}; at most {SEEDS:,} can be stored"
        )
    if len(np.unique(keys, axis=0)) < n:
        raise MetabenchError(f"workload {part.workload}: a run is listed twice")
    if list(part.epochs) != sorted(set(part.epochs)) or min(part.epochs) < 1 or max(part.epochs) >= 2**15:
        raise MetabenchError(f"workload {part.workload}: checkpoints {list(part.epochs)[:5]}… do not ascend from 1 on")
    for name, values in part.series.items():
        if np.shape(values) != (n, e):
            raise MetabenchError(f"workload {part.workload}: {name} has shape {np.shape(values)}, expected {(n, e)}")
    whole = (part.lengths if part.lengths is not None else np.full(len(part.tasks), e))[part.task]
    kept = {name: np.where(np.abs(v) < 3e38, v, np.nan) for name, v in part.series.items()}  # what float32 holds
    _check_series(part, kept)
    known = np.asarray(np.stack([np.isfinite(v) for v in kept.values()]).all(axis=0))
    length = np.minimum(np.where(known.all(axis=1), e, np.argmin(known, axis=1)), whole)
    diverged = (length < whole) | (part.diverged if part.diverged is not None else False)
    tables = []
    order = np.argsort(part.task, kind="stable")
    ends = np.searchsorted(part.task[order], np.arange(len(part.tasks) + 1))
    for t, facts in enumerate(part.tasks):
        at = order[ends[t] : ends[t + 1]]
        if not len(at):
            continue
        size = int(whole[at[0]])
        curves = Curves.empty(len(at), part.epochs[:size], origin, "unknown")
        for name in SERIES:
            if name in part.series:
                getattr(curves, name)[:] = kept[name][at, :size]
        curves.length[:] = length[at]
        curves.status = ["diverged" if d else "ok" for d in diverged[at]]
        if part.seconds is not None:
            known = np.where(np.abs(part.seconds[at]) < 3e38, part.seconds[at], 0.0)  # nor is NaN
            curves.seconds[:] = np.maximum(known, 0.0)
        ids = rows.run_ids([f"{part.workload}-{facts.dataset}"] * len(at), part.config[at], part.seed[at])
        tables.append(
            rows.from_curves(
                f"{part.workload}-{facts.dataset}", part.config[at], part.seed[at], curves, rows.cohort_id(ids)
            )
        )
    return rows.join_chunks(tables)
