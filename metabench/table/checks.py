"""What verification asks of the rows of one runs file, some row groups at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import schema
from metabench.errors import UsageError
from metabench.space import Choice, Ordinal, Space
from metabench.table import files, rows
from metabench.table.place import Place
from metabench.training.curves import SERIES

#: row groups that are checked at once: their values stay near the processor
GROUPS = 2
#: metrics of tasks whose losses may fall below 0: the logarithm of a density, an unbiased distance, what a return lacks
SIGNED = ("nats", "mmd", "return")
STATUSES = ("ok", "diverged", "failed")
_NEVER_NULL = [name for name in schema.RUNS.names if name != "error" and name not in schema.FINALS]


@dataclass(frozen=True)
class Tasks:
    """What rows must agree with, an array entry per task; the last entry stands for an unknown task."""

    index: dict[str, int]
    metric: np.ndarray
    #: rows that a score of the first split is a share of; 0 where the metric is no accuracy or nobody says
    n_valid: np.ndarray
    n_test: np.ndarray
    n_splits: np.ndarray

    @classmethod
    def of(cls, tasks: pd.DataFrame) -> Tasks:
        """From tasks.parquet."""
        # in episodes a row may be asked about many times
        counted = ((tasks["metric"] == "accuracy") & (tasks["kind"] != "episodes")).to_numpy()

        def padded(values: np.ndarray, last: Any) -> np.ndarray:
            return np.append(values, last)

        return cls(
            index={task_id: i for i, task_id in enumerate(tasks["task_id"])},
            metric=padded(tasks["metric"].to_numpy(dtype=object), ""),
            n_valid=padded(np.where(counted, tasks["n_valid"], 0), 0),
            n_test=padded(np.where(counted, tasks["n_test"], 0), 0),
            n_splits=padded(np.maximum(tasks["n_splits"].to_numpy(), 1), 1),
        )


@dataclass
class Tally:
    """What is wrong → how many rows, and the first of them."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, bad: np.ndarray, what: str, where: Callable[[int], str]) -> None:
        if bad.any():
            count, first = self.found.get(what, (0, ""))
            self.found[what] = count + int(bad.sum()), first or where(int(bad.argmax()))

    def lines(self) -> list[str]:
        return [f"{count} rows {what}; the first: {first}" for what, (count, first) in self.found.items()]


@dataclass(frozen=True)
class Rows:
    """What was found in a file, and of its rows what has to be compared with other files."""

    tally: Tally
    names: list[str]
    #: positions in ``names``
    task: np.ndarray
    config_id: np.ndarray
    seed: np.ndarray
    run_ids: np.ndarray
    #: checkpoints of each row; −1 for a row that did not finish
    length: np.ndarray

    def where(self, row: int) -> str:
        return _where(self.names[self.task[row]], self.config_id[row], self.seed[row])

    def longest(self) -> dict[str, int]:
        """Task → checkpoints of its longest finished run."""
        top = np.zeros(len(self.names), int)
        np.maximum.at(top, self.task, self.length)
        return dict(zip(self.names, top.tolist(), strict=True))

    def cut_short(self, longest: dict[str, int]) -> np.ndarray:
        """Which finished runs have fewer checkpoints than the longest of their task, or none."""
        whole = np.array([longest[name] for name in self.names], dtype=int)
        return (self.length >= 0) & ((self.length < whole[self.task]) | (self.length == 0))


def check_rows(path: Place, tasks: Tasks | None, n_configs: int | None) -> Rows:
    """Read a runs file in full and check every row; ``tasks`` and ``n_configs`` are None where they cannot be read.

    Raises MetabenchError when the file is damaged or foreign.
    """
    file = files.open_runs(path)
    metadata = file.schema_arrow.metadata
    numerics = metadata.get(rows.NUMERICS_KEY, b"").decode(errors="replace")
    absent = metadata.get(rows.ABSENT_KEY, b"").decode(errors="replace").split(",")
    tally, known = Tally(), {}
    parts: list[tuple[np.ndarray, ...]] = [tuple(np.empty(0, np.int64) for _ in range(5))]
    for first in range(0, file.num_row_groups, GROUPS):
        groups = range(first, min(first + GROUPS, file.num_row_groups))
        part = files.read_rows(path, file, None, groups).unify_dictionaries().combine_chunks()
        if not len(part):
            continue
        missing = [name for name in _NEVER_NULL if part[name].null_count]
        if missing:
            tally.add(part[missing[0]].is_null().to_numpy(), f"have no {missing[0]}", _names_of(part))
            continue
        batch = _Batch(part, tasks, n_configs, numerics, absent)
        for bad, what in batch.findings():
            tally.add(bad, what, batch.where)
        code = np.array([known.setdefault(name, len(known)) for name in batch.names], dtype=np.int64)[batch.codes]
        parts.append((code, batch.config_id, batch.seed, batch.run_id, np.where(batch.ok, batch.length, -1)))
    return Rows(tally, list(known), *(np.concatenate(column) for column in zip(*parts, strict=True)))


def check_configs(space: Space, table: pa.Table) -> list[str]:
    """What is wrong with configurations (``config_id`` and a column per hyperparameter), a line each: a value that is
    missing, lies outside of its range or options, or is set where the hyperparameter is inactive."""
    frame = table.to_pandas(types_mapper=files.nullable)
    sound, active = np.ones(len(frame), bool), space.active(frame)
    for i, (name, p) in enumerate(space.items()):
        column = frame[name]
        inside = (
            column.isin(p.options) if isinstance(p, Choice | Ordinal) else column.between(p.low, p.high).fillna(False)
        )
        sound &= np.where(active[:, i], inside.to_numpy(dtype=bool), column.isna())
    found = []
    for config in table.take(np.flatnonzero(~sound)).to_pylist():  # mostly none: one by one they say what is wrong
        config_id = config.pop("config_id")
        try:
            validated = space.validate(config)
        except UsageError as error:
            found.append(f"configuration {config_id}: {error}")
            continue
        extra = [name for name, value in config.items() if value is not None and validated[name] is None]
        if extra:
            found.append(f"configuration {config_id} sets {extra[0]}, which is inactive there")
    return found


def _where(task: str | None, config_id: int | None, seed: int | None) -> str:
    return f"task {task}, configuration {config_id}, seed {seed}"


def _names_of(part: pa.Table) -> Callable[[int], str]:
    keys = part.select(["task_id", "config_id", "seed"])
    return lambda row: _where(*keys.slice(row, 1).to_pylist()[0].values())


def _coded(part: pa.Table, name: str) -> tuple[np.ndarray, list[str]]:
    """A dictionary column as positions and what stands there."""
    column = part[name].chunk(0)
    return column.indices.to_numpy(), column.dictionary.to_pylist()


def _values(part: pa.Table, name: str) -> np.ndarray:
    values = part[name].chunk(0).flatten()
    return values.to_numpy(zero_copy_only=not values.null_count)


class _Batch:
    """Rows of some row groups without nulls, their keys decoded."""

    def __init__(self, part: pa.Table, tasks: Tasks | None, n_configs: int | None, numerics: str, absent: list[str]):
        self.part, self.tasks, self.n_configs, self.numerics, self.absent = part, tasks, n_configs, numerics, absent
        self.codes, self.names = _coded(part, "task_id")
        self.config_id, self.seed = part["config_id"].to_numpy(), part["seed"].to_numpy()
        self.run_id = part["run_id"].to_numpy()
        status, names = _coded(part, "status")
        self.ok, self.failed = (np.array([n == s for n in names], dtype=bool)[status] for s in ("ok", "failed"))
        self.known_status = np.array([n in STATUSES for n in names], dtype=bool)[status]
        offsets = {name: np.asarray(part[name].chunk(0).offsets) for name in ("epochs", *SERIES)}
        self.length = np.diff(offsets["epochs"])
        self.uneven = np.any([np.diff(o) != self.length for o in offsets.values()], axis=0)

    def where(self, row: int) -> str:
        return _where(self.names[self.codes[row]], self.config_id[row], self.seed[row])

    def findings(self) -> Iterator[tuple[np.ndarray, str]]:
        """Pairs of (bool [rows]: is it bad?, what is wrong)."""
        tasks, n = self.tasks, len(self.part)
        own = np.array([tasks.index.get(name, -1) if tasks else -1 for name in self.names], dtype=np.int64)[self.codes]
        error = self.part["error"].is_valid().to_numpy()
        ids = rows.run_ids_of(self.names, self.codes, self.config_id, self.seed, self.numerics)
        yield ids != self.run_id, "have a run_id of another run"
        if tasks:
            yield own < 0, "name a task that is not in tasks.parquet"
        top = 2**31 if self.n_configs is None else self.n_configs
        yield (self.config_id < 0) | (self.config_id >= top), "name a configuration that does not exist"
        yield self.seed < 0, "have a negative seed"
        yield ~self.known_status, "have an unknown status"
        yield self.failed & ~error, "failed without a reason"
        yield ~self.failed & error, "carry an error though they did not fail"
        seconds = self.part["seconds"].to_numpy()
        yield ~(np.isfinite(seconds) & (seconds >= 0)), "have seconds that are no time"
        costs = [self.part[name].to_numpy() <= 0 for name in ("params", "flops") if name not in self.absent]
        yield self.ok & np.any(costs or [np.zeros(n, bool)], axis=0), "are ok without parameters or FLOPs"
        again = rows.with_finals(self.part.drop_columns(list(schema.FINALS)), list(schema.FINALS))
        same = [self.part[name].combine_chunks().fill_null(np.inf).to_numpy() for name in schema.FINALS]
        told = [again[name].combine_chunks().fill_null(np.inf).to_numpy() for name in schema.FINALS]
        stale = [~((a == b) | (np.isnan(a) & np.isnan(b))) for a, b in zip(same, told, strict=True)]
        yield np.any(stale, axis=0), "have a final score that is not the last of a finished curve"
        yield self.uneven, "have series of different lengths"
        if not self.uneven.any():
            yield from self._curves(own)

    def _curves(self, own: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
        ends = np.cumsum(self.length)

        def rows_with(bad: np.ndarray) -> np.ndarray:
            """Rows one of whose values is bad."""
            hit = np.zeros(len(self.part), bool)
            hit[np.searchsorted(ends, np.flatnonzero(bad), side="right")] = True
            return hit

        epochs = _values(self.part, "epochs")
        starts = (ends - self.length)[self.length > 0]
        step = np.empty(len(epochs), np.int32)
        np.subtract(epochs[1:], epochs[:-1], out=step[1:], dtype=np.int32)
        step[starts] = epochs[starts]
        yield rows_with(~(step > 0)), "have epochs that do not ascend from 1"
        for name in SERIES:
            value = _values(self.part, name)
            if name in self.absent:
                yield rows_with(~np.isnan(value)), f"have a {name}, which the file says it lacks"
                continue
            yield rows_with(~np.isfinite(value)), f"have a {name} that is not finite"
            if name in rows.LOSSES:
                below = rows_with(value < 0)
                signed = np.isin(self.tasks.metric, SIGNED)[own] if self.tasks else np.zeros(len(below), bool)
                yield below & ~signed, f"have a negative {name}"
            elif self.tasks:
                yield from self._scores(name, value, own, rows_with)

    def _scores(self, name: str, value: np.ndarray, own: np.ndarray, rows_with) -> Iterator[tuple[np.ndarray, str]]:
        tasks = cast("Tasks", self.tasks)  # the caller has seen that there are some
        fraction = np.array([str(m).endswith("accuracy") for m in tasks.metric], dtype=bool)[own]
        over = rows_with(value > 1)
        yield fraction & (over | rows_with(value < 0)), f"have a {name} outside [0, 1]"
        yield (tasks.metric == "r2")[own] & over, f"have a {name} above 1"
        # data sets with several splits need not have equally many rows in all of them: tasks.parquet tells of the first
        of = (tasks.n_valid if name == "valid_score" else tasks.n_test)[own]
        of = np.repeat(np.where(self.seed % tasks.n_splits[own] == 0, of, 0).astype(np.float32), self.length)
        count = value * of
        with np.errstate(invalid="ignore"):
            yield rows_with(np.abs(count - np.rint(count)) > 0.01), f"have a {name} that is no count of the task's rows"
