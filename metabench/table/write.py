"""Writing a table: tasks, configurations and rows go in atomically; many small shards are merged into few files."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metabench import schema
from metabench.errors import MetabenchError, UsageError
from metabench.metatrain import row_keys
from metabench.space import Space
from metabench.table import files, manifest, rows, splits
from metabench.table.lock import locked
from metabench.table.place import Place, place
from metabench.tasks.task import Task

#: size that a compacted runs file stays under, bytes
FILE_BYTES = 30_000_000
_NAME = re.compile(r"[a-z0-9_]+")


class TableWriter:
    """The one process that may change the table in ``path`` (``<name>/v<N>``, a folder or a URI, created when absent).

    A context manager that holds the table's lock. Every method returns with its change on disk; killing the process at
    any moment leaves the table as it was before or after the call. Raises MetabenchError when the folder is read-only,
    vanishes, is locked by another writer, or holds rows of another numerics version.
    """

    def __init__(self, path: str | Place, lock_timeout: float = 5.0):
        self.path = place(path)
        self._lock_timeout = lock_timeout
        self._stack = contextlib.ExitStack()
        self._keys: dict[str, np.ndarray] = {}

    def __enter__(self) -> TableWriter:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetabenchError(f"{self.path} cannot be written: {error.strerror or error}") from None
        with contextlib.ExitStack() as stack:
            self._check = stack.enter_context(locked(self.path, self._lock_timeout))
            manifest.recover(self.path)
            self._sums = manifest.read(self.path)
            if not self._sums and (left := manifest.orphans(self.path)):
                raise MetabenchError(
                    f"{self.path} holds {left[0]} but no {manifest.SUMS}; `metabench repair {self.path}` restores it"
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc) -> None:
        self._stack.close()

    def _commit(self, files: Mapping[str, bytes], remove: Iterable[str] = ()) -> None:
        self.check_whole()
        manifest.commit(self.path, files, remove, self._check)
        self._sums = manifest.read(self.path)

    def check_whole(self) -> None:
        """Raise MetabenchError when the table is no longer what this writer made it: its manifest was changed or removed, or
        a file is gone."""
        self._check()
        if manifest.read(self.path) != self._sums:
            raise MetabenchError(
                f"{self.path / manifest.SUMS} was changed or removed while the table was being written; "
                f"`metabench repair {self.path}` restores it"
            )
        if isinstance(self.path, Path):
            gone = [name for name in self._sums if not (self.path / name).is_file()]
            if gone:
                raise MetabenchError(
                    f"{self.path / gone[0]} was removed while the table was being written; "
                    f"`metabench repair {self.path}` restores it"
                )

    # ---------------------------------------------------------------- tasks and configurations
    def put_tasks(self, tasks: Iterable[Task]) -> None:
        """Add tasks. Raises MetabenchError when a stored task of the same name has other splits or another metric."""
        self.put_task_rows([task_row(task) for task in tasks])

    def put_task_rows(self, given: Iterable[Mapping[str, Any]]) -> None:
        """Add tasks that are rows of another table's tasks.parquet; see :meth:`put_tasks`."""
        path = self.path / "tasks.parquet"
        stored = files.read_tasks(path).to_pylist() if "tasks.parquet" in manifest.read(self.path) else []
        known = {row["task_id"]: row for row in stored}
        added = []
        for row in given:
            old = known.get(row["task_id"])
            if old is None:
                added.append(dict(row))
                known[row["task_id"]] = row
            else:
                for key in ("split_hashes", "metric", "kind", "n_features", "n_classes"):
                    if old[key] != row[key]:
                        raise MetabenchError(
                            f"{path}: task {row['task_id']} has another {key} than it has now; write a new table version"
                        )
        if added:
            table = sorted([*stored, *added], key=lambda row: row["task_id"])
            columns = {name for row in table for name in row if name.startswith("feature_")}
            features = sorted(name.removeprefix("feature_") for name in columns)
            whole = schema.tasks_schema(features)
            filled = [{name: row.get(name, math.nan) for name in whole.names} for row in table]
            self._commit({"tasks.parquet": rows.encode(pa.Table.from_pylist(filled, schema=whole))})

    def put_split(self, content: bytes) -> None:
        """Replace splits.csv of a table whose manifest lists it."""
        self._commit({splits.FILE: content})

    def put_configs(self, workload: str, space: Space, n: int) -> None:
        """Store the first ``n`` configurations of the space's Sobol sequence (seed 0); a longer stored list is kept.

        Raises UsageError unless ``n`` is a power of two, MetabenchError when the stored ones came from another space, or
        when others follow fewer than ``n`` of them.
        """
        if n < 1 or n & (n - 1):
            raise UsageError(f"the number of configurations must be a power of two, got {n}")
        self._check_configs(workload, space)
        frame = space.sample(n, seed=0)
        name = f"configs/{workload}.parquet"
        old, origins = self._stored_configs(workload, space)
        if old is not None:
            drawn = _leading(origins)
            shared = min(n, drawn)
            if not space.same(old[:shared], frame[:shared]):
                raise self._foreign(name, workload)
            if drawn >= n:
                return
            if drawn < len(old):
                raise MetabenchError(
                    f"{self.path / name} holds {drawn} Sobol configurations, and others after them, so it cannot hold "
                    f"{n}; write a new table version"
                )
            frame = pd.concat([old, frame[shared:]], ignore_index=True)
        self._put(workload, space, frame, ["sobol"] * n)

    def add_configs(self, workload: str, space: Space, configs: pd.DataFrame, origins: Sequence[str]) -> list[int]:
        """Store further configurations after those that are there.

        Args:
            workload: the workload.
            space: its search space.
            configs: configurations, a row each; those that are stored already are not stored again.
            origins: how each came to be: ``default`` or ``elite:<task>:<method>``.

        Returns:
            the config_id of each row.

        Raises:
            MetabenchError: the stored configurations came from another space.
        """
        self._check_configs(workload, space)
        files.check_origins(self.path, origins)
        frame, known = self._stored_configs(workload, space)
        frame = space.table([]) if frame is None else frame
        names = list(space)
        configs = configs[names].astype({k: p.dtype for k, p in space.items()})
        ids = {key: i for i, key in reversed(list(enumerate(row_keys(frame, names))))}
        out, fresh, made = [], [], list(known)
        for i, key in enumerate(row_keys(configs, names)):
            if key not in ids:
                ids[key] = len(frame) + len(fresh)
                fresh.append(i)
                made.append(origins[i])
            out.append(ids[key])
        if fresh:
            self._put(workload, space, pd.concat([frame, configs.iloc[fresh]], ignore_index=True), made)
        return out

    def _check_configs(self, workload: str, space: Space) -> None:
        if not _NAME.fullmatch(workload):
            raise UsageError(f"workload {workload!r}: a name is made of a–z, 0–9 and _")
        if schema.ORIGIN in space:
            raise UsageError(f"a hyperparameter may not be called {schema.ORIGIN!r}")

    def _foreign(self, name: str, workload: str) -> MetabenchError:
        return MetabenchError(
            f"{self.path / name} was drawn from another space than workload {workload} has now; "
            "write a new table version"
        )

    def _stored_configs(self, workload: str, space: Space) -> tuple[pd.DataFrame | None, list[str]]:
        """The configurations that are stored, and how they came to be; None where there are none."""
        name = f"configs/{workload}.parquet"
        if name not in manifest.read(self.path):
            return None, []
        old_space, table = files.read_configs(self.path / name)
        if old_space.to_json() != space.to_json():
            raise self._foreign(name, workload)
        frame = table.to_pandas(types_mapper=files.nullable).drop(columns="config_id")
        return frame, files.read_origins(self.path / name) or ["sobol"] * len(frame)

    def _put(self, workload: str, space: Space, frame: pd.DataFrame, origins: Sequence[str]) -> None:
        frame = frame.astype({k: p.dtype for k, p in space.items()})
        frame.insert(0, "config_id", np.arange(len(frame), dtype=np.int32))
        frame[schema.ORIGIN] = list(origins)
        kind = schema.configs_schema(space, origin=True)
        table = pa.Table.from_pandas(frame, schema=kind, preserve_index=False)
        description = json.dumps(space.to_json(), separators=(",", ":"))
        table = table.replace_schema_metadata({**kind.metadata, files.SPACE_KEY: description.encode()})
        self._commit({f"configs/{workload}.parquet": rows.encode(table)})

    # ---------------------------------------------------------------- rows
    def run_files(self, workload: str) -> list[str]:
        """Paths (inside the table) of the workload's runs files."""
        return runs_of(manifest.read(self.path), workload)

    def keys(self, workload: str) -> np.ndarray:
        """run_ids that are stored, int64, sorted."""
        if workload not in self._keys:
            parts = [np.empty(0, np.int64)]
            for name in self.run_files(workload):
                file = files.open_runs(self.path / name)
                check_numerics(self.path / name, file.schema_arrow)
                parts.append(files.read_rows(self.path / name, file, ["run_id"])["run_id"].to_numpy())
            self._keys[workload] = np.sort(np.concatenate(parts))
        return self._keys[workload]

    def append(self, workload: str, table: pa.Table) -> None:
        """Store rows (schema RUNS) as one more shard. Raises MetabenchError when one of them is stored already."""
        if not len(table):
            return
        self.check_whole()
        new = table["run_id"].to_numpy()
        known = self.keys(workload)
        if len(np.unique(new)) < len(new) or np.isin(new, known).any():
            raise MetabenchError(f"{self.path}: rows of {workload} would be stored twice")
        numbers = [int(name[-13:-8]) for name in self.run_files(workload) if name[-14] == "-"]
        name = f"runs/{workload}-{max(numbers, default=-1) + 1:05d}.parquet"
        self._commit({name: encode_runs(table)})
        self._keys[workload] = np.sort(np.concatenate([known, new]))

    def count_failed(self, workload: str, task_ids: Iterable[str], config_ids: np.ndarray, n_seeds: int) -> int:
        """How many stored runs of tasks × configurations × seeds 0 … n_seeds − 1 have failed."""
        count, wanted = 0, pa.array(list(task_ids), pa.string())
        for name in self.run_files(workload):
            file = files.open_runs(self.path / name)
            part = files.read_rows(self.path / name, file, ["task_id", "config_id", "seed", "status"])
            part = part.filter(pc.equal(part["status"].cast(pa.string()), "failed"))
            part = part.filter(pc.is_in(part["task_id"].cast(pa.string()), wanted))
            known = np.isin(part["config_id"].to_numpy(), config_ids) & (part["seed"].to_numpy() < n_seeds)
            count += int(known.sum())
        return count

    def compact(self, workload: str, keep: Callable[[pa.Table], np.ndarray] | None = None) -> None:
        """Merge the shards into ``runs/<workload>.parquet``, or numbered files of at most FILE_BYTES, sorted by key.

        ``keep`` (rows → bool [rows]) may drop rows. The result depends on the rows alone, not on how they came in.
        """
        old = self.run_files(workload)
        if not old or (keep is None and old == [f"runs/{workload}.parquet"]):
            return  # only this method writes a file of that name
        opened = [(self.path / name, files.open_runs(self.path / name)) for name in old]
        for path, file in opened:
            check_numerics(path, file.schema_arrow)
        runs = rows.join_chunks([files.read_rows(path, file) for path, file in opened])
        if keep is not None:
            runs = runs.filter(pa.array(keep(runs)))
        runs = rows.ordered(runs)
        step, size = max(len(runs), 1), len(encode_runs(runs))
        if size > FILE_BYTES:
            count = math.ceil(size / (0.95 * FILE_BYTES))
            step = math.ceil(len(runs) / count / rows.ROW_GROUP) * rows.ROW_GROUP
        starts = range(0, max(len(runs), 1), step)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compression runs outside of the interpreter's lock
            payloads = list(pool.map(lambda start: encode_runs(runs.slice(start, step), level=rows.FINAL), starts))
        if len(payloads) == 1:
            new = {f"runs/{workload}.parquet": payloads[0]}
        else:
            new = {f"runs/{workload}-{i:05d}.parquet": payload for i, payload in enumerate(payloads)}
        self._commit(new, remove=set(old) - set(new))
        self._keys.pop(workload, None)

    def drop_failed(self, workload: str) -> None:
        """Forget failed runs, so that they count as missing and are tried again."""
        self.compact(workload, keep=lambda runs: np.array(runs["status"].to_pylist()) != "failed")


def _leading(origins: Sequence[str]) -> int:
    """How many Sobol configurations a list begins with."""
    return next((i for i, origin in enumerate(origins) if origin != "sobol"), len(origins))


def task_row(task: Task) -> dict:
    """A task as a row of tasks.parquet."""
    row = {f.name: getattr(task, f.name) for f in fields(task) if f.name in schema.TASKS.names}
    row["split_hashes"] = list(row["split_hashes"])
    return row | {f"feature_{name}": float(value) for name, value in task.features.items()}


def encode_runs(table: pa.Table, absent: Sequence[str] = (), level: int = rows.QUICK) -> bytes:
    """Rows as Parquet bytes, with the schema and numerics versions; ``absent`` names columns that hold nothing."""
    metadata = {**schema.RUNS.metadata, rows.NUMERICS_KEY: schema.NUMERICS_VERSION.encode()}
    if absent:
        metadata[rows.ABSENT_KEY] = ",".join(absent).encode()
    return rows.encode(table.cast(schema.RUNS).replace_schema_metadata(metadata), level)


def check_numerics(path: Place, found: pa.Schema) -> None:
    """Raise MetabenchError when a runs file was made with another numerics version."""
    version = found.metadata.get(rows.NUMERICS_KEY, b"").decode(errors="replace")
    if version != schema.NUMERICS_VERSION:
        raise MetabenchError(
            f"{path} holds rows of numerics version {version or 'unknown'}, this metabench makes version "
            f"{schema.NUMERICS_VERSION}; write a new table version"
        )


def runs_of(sums: Iterable[str], workload: str) -> list[str]:
    """Those paths of a manifest that are runs files of a workload."""
    return [path for path in sums if re.fullmatch(rf"runs/{re.escape(workload)}(-\d{{5}})?\.parquet", path)]
