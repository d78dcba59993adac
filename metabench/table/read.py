"""Reading a table: opened lazily, one task's columns out of a million runs in well under a second."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest
from metabench.space import Space
from metabench.table import files, integrity, manifest, splits, tidy
from metabench.table import starts as prescribed
from metabench.table.place import Place, place
from metabench.training.curves import SERIES

_TASK = schema.RUNS.get_field_index("task_id")
_SEED = schema.RUNS.get_field_index("seed")


class Table:
    """A table in a folder or a remote place; nothing is read before it is asked for. Open it with :func:`load_table`.

    Every reading method raises MetabenchError naming the file that is missing, foreign, damaged or of another schema
    version, and UsageError for a task or workload that the table does not hold.
    """

    def __init__(self, path: str | Place):
        self.path: Place = place(path)
        #: files of a published change that lie under other names still, where nobody here may move them
        self._moved: dict[str, Place] = {}
        try:
            manifest.settle(self.path)
            self._sums = manifest.read(self.path)
        except MetabenchError:
            found = manifest.pending(self.path)
            if found is None or any(n not in found[1] and not (self.path / n).exists() for n in found[0]):
                raise
            self._sums, self._moved = found
        if not self._sums:
            raise MetabenchError(f"{self.path} is no table: it has no {manifest.SUMS}")
        self._configs: dict[str, tuple[Space, pd.DataFrame]] = {}
        self._runs: dict[str, list[tuple[Place, pq.ParquetFile]]] = {}

    def __repr__(self) -> str:
        return f"<table {self.name}: {len(self.tasks)} tasks, workloads {', '.join(self.workloads)}>"

    @property
    def name(self) -> str:
        """The table's name: the folder above ``v<N>``."""
        folder = self.path.resolve()
        return folder.parent.name if re.fullmatch(r"v\d+", folder.name) else folder.name

    @property
    def version(self) -> int | None:
        """N of the folder ``v<N>``; None for a folder that is called otherwise."""
        match = re.fullmatch(r"v(\d+)", self.path.resolve().name)
        return int(match[1]) if match else None

    @cached_property
    def digest(self) -> str:
        """sha256 of SHA256SUMS: identifies tasks, configurations and rows together."""
        return manifest.digest(self.path)

    def digest_of(self, workloads: Sequence[str]) -> str:
        """sha256 of everything that the table says of some workloads: the files of their configurations and rows, and their
        tasks. It stays as it is when the table gains another workload."""
        known = {
            name: sha for name, sha in self._sums.items() if re.split(r"[-.]", PurePosixPath(name).name)[0] in workloads
        }
        mine = self.tasks[self.tasks["workload"].isin(workloads)].sort_values("task_id")
        rows = mine.astype(object).where(mine.notna(), None).to_dict("records")
        text = json.dumps([known, rows], sort_keys=True, default=lambda value: value.tolist())
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def workloads(self) -> list[str]:
        return [Path(path).stem for path in self._sums if path.startswith("configs/")]

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """tasks.parquet, a row per task."""
        return files.read_tasks(self._at("tasks.parquet")).to_pandas()

    def _at(self, name: str) -> Place:
        """Where a file of the table lies. Raises MetabenchError when the manifest does not list it."""
        if name not in self._sums:
            raise MetabenchError(f"{self.path / name} is not listed in {manifest.SUMS}")
        return self._moved.get(name, self.path / name)

    @cached_property
    def split(self) -> dict[str, tuple[str, ...]]:
        """The split that is stored beside the table (splits.csv): train, valid, test → families of data sets.

        Raises MetabenchError when there is none.
        """
        if self.path is None or not (self.path / splits.FILE).exists():
            raise MetabenchError(f"table {self.name} has no {splits.FILE}, so it has no split of its own")
        stored = splits.parse(self.path / splits.FILE, integrity.read_bytes(self.path / splits.FILE))
        parts = {part: {family for family, p in stored.values() if p == part} for part in splits.PARTS}
        return {part.removeprefix("meta_"): tuple(sorted(families)) for part, families in parts.items()}

    @cached_property
    def starts(self) -> dict[str, dict[str, list[int]]]:
        """First trials that the table's source prescribes: task → name of a search → configurations; mostly empty."""
        known = self.path is not None and prescribed.FILE in self._sums
        return prescribed.read(self.path / prescribed.FILE) if known else {}

    # ---------------------------------------------------------------- configurations
    def _of(self, workload: str) -> tuple[Space, pd.DataFrame]:
        if workload not in self.workloads:
            raise suggest(workload, self.workloads, f"workload in table {self.name}")
        if workload not in self._configs:
            space, table = files.read_configs(self._at(f"configs/{workload}.parquet"))
            frame = table.to_pandas(types_mapper=files.nullable).set_index("config_id")
            self._configs[workload] = space, frame.astype({name: p.dtype for name, p in space.items()})
        return self._configs[workload]

    def space(self, workload: str) -> Space:
        """The search space that the configurations were drawn from."""
        return self._of(workload)[0]

    def configs(self, workload: str) -> pd.DataFrame:
        """The configuration table, indexed by config_id 0, 1, 2 …; values are missing where inactive."""
        return self._of(workload)[1].copy()

    def origins(self, workload: str) -> pd.Series:
        """How each configuration came to be, indexed by config_id: ``sobol``, ``default`` or ``elite:<task>:<method>``.

        A table that does not say has Sobol configurations alone.
        """
        n = len(self._of(workload)[1])
        found = files.read_origins(self._at(f"configs/{workload}.parquet"))
        return pd.Series(["sobol"] * n if found is None else found, index=self._of(workload)[1].index, name="origin")

    # ---------------------------------------------------------------- rows
    def _opened(self, workload: str) -> list[tuple[Place, pq.ParquetFile]]:
        if workload not in self._runs:
            self._of(workload)
            paths = [self._at(p) for p in self._sums if re.fullmatch(rf"runs/{workload}(-\d{{5}})?\.parquet", p)]
            try:
                self._runs[workload] = [(path, files.open_runs(path)) for path in paths]
            finally:
                if not self._moved and manifest.read(self.path) != self._sums:
                    self._runs.pop(workload, None)
                    raise MetabenchError(f"{self.path} was changed while it was being read; load it again")
        return self._runs[workload]

    def _known(self, task_ids: str | Sequence[str], workload: str) -> list[str]:
        """Task ids as a list, of one where text is given. Raises UsageError for an unknown one."""
        task_ids = [task_ids] if isinstance(task_ids, str) else list(task_ids)
        known = set(self.tasks["task_id"])
        for task_id in task_ids:
            if task_id not in known:
                whole = [name for name in sorted(known) if name.partition("-")[2] == task_id]
                whole.sort(key=lambda name: not name.startswith(f"{workload}-"))
                hint = f"; did you mean {' or '.join(map(repr, whole[:3]))}?" if whole else ""
                error = suggest(str(task_id), sorted(known), f"task in table {self.name}")
                raise UsageError(f"unknown task in table {self.name} {task_id!r}{hint}") if whole else error
        return task_ids

    def runs(
        self, workload: str, columns: str | Sequence[str] | None = None, tasks: str | Sequence[str] | None = None
    ) -> pa.Table:
        """Rows (schema RUNS) in the order of the files; ``columns`` and ``tasks`` select (None: all).

        Raises UsageError for a task or column that the table does not have.
        """
        columns = [columns] if isinstance(columns, str) else columns
        tasks = None if tasks is None else self._known(tasks, workload)
        if unknown := [name for name in columns or () if name not in schema.RUNS.names]:
            raise suggest(unknown[0], schema.RUNS.names, "column")
        names = list(schema.RUNS.names if columns is None else columns)
        parts = []
        for path, file in self._opened(workload):
            if tasks is None:
                parts.append(files.read_rows(path, file, names))
                continue
            groups = [g for g in range(file.num_row_groups) if _may_hold(file.metadata.row_group(g), tasks)]
            if groups:
                part = files.read_rows(path, file, list(dict.fromkeys([*names, "task_id"])), groups)
                wanted = pc.is_in(part["task_id"].cast(pa.string()), pa.array(list(tasks), pa.string()))
                parts.append(part.filter(wanted).select(names))
        if not parts:
            return schema.RUNS.empty_table().select(names)
        return pa.concat_tables(parts).unify_dictionaries()

    def n_seeds(self, workload: str) -> int:
        """One more than the largest seed that any run of the workload has."""
        groups = [f.metadata.row_group(g) for _, f in self._opened(workload) for g in range(f.num_row_groups)]
        stats = [group.column(_SEED).statistics for group in groups if group.num_rows]
        return 1 + max((s.max for s in stats if s is not None and s.has_min_max), default=-1)

    def _cells(self, workload: str, task_ids: Sequence[str], columns: Sequence[str]) -> tuple[pa.Table, tuple, tuple]:
        """Rows of some tasks, the position [task, config, seed] of each, and the shape of that grid."""
        task_ids = self._known(task_ids, workload)
        part = self.runs(workload, ["task_id", "config_id", "seed", *columns], task_ids)
        where = {task_id: i for i, task_id in enumerate(task_ids)}
        column = part["task_id"].combine_chunks()
        codes = np.array([where.get(name, -1) for name in column.dictionary.to_pylist()], dtype=np.int64)
        at = (codes[column.indices.to_numpy()], part["config_id"].to_numpy(), part["seed"].to_numpy())
        shape = (len(task_ids), len(self._of(workload)[1]), self.n_seeds(workload))
        if len(part) and (at[1].min() < 0 or at[1].max() >= shape[1] or at[2].min() < 0):
            raise MetabenchError(f"{self.path}: runs of {workload} name configurations or seeds that do not exist")
        return part, at, shape

    def final(self, workload: str, task_ids: Sequence[str], series: str = "valid_score") -> np.ndarray:
        """A series at the last checkpoint, float64 [tasks, configs, seeds]; NaN where diverged, failed or absent."""
        if series not in SERIES:
            raise suggest(series, list(SERIES), "series")
        part, at, shape = self._cells(workload, task_ids, ["status", series])
        ok = _is_ok(part)
        offsets, values = _flat(part[series])
        out = np.full(shape, np.nan)
        out[tuple(a[ok] for a in at)] = values[offsets[1:][ok] - 1]
        return out

    def ran(self, workload: str, task_ids: Sequence[str]) -> np.ndarray:
        """Is the run stored at all? bool [tasks, configs, seeds]."""
        _, at, shape = self._cells(workload, task_ids, [])
        out = np.zeros(shape, dtype=bool)
        out[at] = True
        return out

    def curves(self, workload: str, task_ids: Sequence[str], series: str = "valid_score") -> np.ndarray:
        """A series at every checkpoint, float32 [tasks, configs, seeds, checkpoints]; NaN from divergence on."""
        if series not in SERIES:
            raise suggest(series, list(SERIES), "series")
        part, at, shape = self._cells(workload, task_ids, [series])
        offsets, values = _flat(part[series])
        length = np.diff(offsets)
        out = np.full((*shape, length.max(initial=0)), np.nan, dtype=np.float32)
        row = np.repeat(np.arange(len(part)), length)
        out[(*(a[row] for a in at), np.arange(len(values)) - offsets[row])] = values
        return out

    def seconds(self, workload: str, task_ids: Sequence[str]) -> np.ndarray:
        """Mean training seconds over the seeds, float64 [tasks, configs]; NaN where nothing was trained."""
        part, at, shape = self._cells(workload, task_ids, ["epochs", "seconds"])
        trained = np.diff(_flat(part["epochs"])[0]) > 0
        total, count = np.zeros(shape[:2]), np.zeros(shape[:2])
        np.add.at(total, (at[0][trained], at[1][trained]), part["seconds"].to_numpy()[trained])
        np.add.at(count, (at[0][trained], at[1][trained]), 1)
        return np.divide(total, count, out=np.full(shape[:2], np.nan), where=count > 0)

    # ---------------------------------------------------------------- for analysis
    def frame(
        self,
        workload: str,
        tasks: str | Sequence[str] | None = None,
        *,
        features: bool = True,
        format: str = "pandas",
    ) -> Any:
        """A tidy row for each run: its final scores and cost, its hyperparameters, its task and split, the task features.

        Args:
            workload: such as ``mlp``.
            tasks: one task or several; None: all.
            features: whether to add the columns ``feature_*``.
            format: ``pandas``, ``polars`` or ``arrow``.

        Returns:
            The frame. :meth:`columns` says what each column means; Arrow's field metadata and pandas' ``attrs`` say it too.

        Raises:
            UsageError: an unknown workload, task or format.
        """
        return tidy.frame(self, workload, tasks, features, format)

    def columns(self, workload: str) -> pd.DataFrame:
        """Type, unit and description of every column of :meth:`frame`, indexed by column."""
        return tidy.columns(self, workload)

    def curve(self, task_id: str, config_id: int, seed: int = 0, *, format: str = "pandas") -> Any:
        """The learning curves of one run: a row for each epoch at which it was scored, losses and scores as columns.

        Raises UsageError for a run that the table does not hold.
        """
        return tidy.curve(self, task_id, config_id, seed, format)

    def regret(
        self,
        method: str = "random",
        workload: str = "mlp",
        tasks: str | Sequence[str] | None = None,
        *,
        trials: int = 50,
        format: str = "pandas",
    ) -> Any:
        """The exact expected validation regret of random search on the stored configurations, for each task and trial.

        Args:
            method: ``random``; :func:`metabench.evaluate` runs any other method.
            workload: such as ``mlp``.
            tasks: one task or several; None: all of the workload.
            trials: how many trials.
            format: ``pandas``, ``polars`` or ``arrow``.

        Returns:
            Columns ``task_id``, ``trial`` and ``regret`` (0: the best stored configuration, 1: the median one).

        Raises:
            UsageError: another method, an unknown task, or more trials than configurations.
        """
        return tidy.regret(self, method, workload, tasks, trials, format)

    # ---------------------------------------------------------------- what meta-models are given
    @cached_property
    def _infos(self) -> dict:
        from metabench.metatrain import TaskInfo

        features = {name: name.removeprefix("feature_") for name in map(str, self.tasks) if name.startswith("feature_")}
        keep = ("task_id", "family", "modality", "workload", "kind", "metric", "direction")
        return {
            row["task_id"]: TaskInfo(**{k: row[k] for k in keep}, features={v: row[k] for k, v in features.items()})
            for row in self.tasks.to_dict("records")
        }

    def task_info(self, task_id: str):
        """What may be known of a task before training: :class:`metabench.metatrain.TaskInfo`."""
        if task_id not in self._infos:
            raise suggest(task_id, list(self._infos), f"task in table {self.name}")
        return self._infos[task_id]

    def meta_train(self, workload: str, train_ids: Sequence[str], valid_ids: Sequence[str] = ()):
        """Source tasks as a :class:`metabench.metatrain.MetaTrain`, the validation tasks in its ``valid``."""
        from metabench.metatrain import MetaTrain

        train_ids = self._known(train_ids, workload)
        valid = self.meta_train(workload, valid_ids) if len(valid_ids) else None
        observed = self.ran(workload, train_ids)
        return MetaTrain(
            space=self.space(workload),
            configs=self.configs(workload),
            tasks=[self.task_info(task_id) for task_id in train_ids],
            scores=self.final(workload, train_ids),
            valid=valid,
            seconds=self.seconds(workload, train_ids),
            observed=None if observed.all() else observed,
        )


def _may_hold(group: pq.RowGroupMetaData, tasks: Sequence[str]) -> bool:
    stats = group.column(_TASK).statistics
    if stats is None or not stats.has_min_max:
        return True
    return any(stats.min <= task <= stats.max for task in tasks)


def _is_ok(part: pa.Table) -> np.ndarray:
    status = part["status"].combine_chunks()
    ok = np.array([name == "ok" for name in status.dictionary.to_pylist()], dtype=bool)
    return ok[status.indices.to_numpy()]


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A list column as (offsets [rows + 1], values)."""
    lists = column.combine_chunks()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], lists.flatten().to_numpy()
