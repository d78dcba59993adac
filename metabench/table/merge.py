"""One table made of several that share configurations: rows of earlier tables, of pilots and of work done elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench.errors import UsageError
from metabench.files import replacing_folder, sweep
from metabench.table import files, manifest, rows
from metabench.table.find import load_table
from metabench.table.lock import LOCK
from metabench.table.place import Place, place
from metabench.table.read import Table
from metabench.table.write import TableWriter, check_numerics


@dataclass(frozen=True)
class Merged:
    """What :func:`merge` stored of one workload."""

    workload: str
    tasks: int
    configs: int
    runs: int
    #: runs that several sources hold; the first one's rows were kept
    doubled: int


def merge(
    path: str | Place, sources: Sequence[str | Place | Table], keep: Callable[[str], bool] = lambda task_id: True
) -> list[Merged]:
    """Write a new table that holds the rows of several.

    Of a run that several hold the row of the first is kept. Configurations must agree in their common part: the longest
    list is stored, so that every config_id and run_id stays what it was. Tasks without runs are left out. A new folder
    takes its place when it is complete; what a killed merge left beside it is removed. A remote place is written one workload
    after the other.

    Args:
        path: folder ``<name>/v<N>`` of the new table; it must hold none.
        sources: tables, the one that counts most first.
        keep: task_id → whether its rows are taken.

    Returns:
        a summary of each workload.

    Raises:
        UsageError: there is a table in ``path`` already, a source is an import, or configurations differ.
        MetabenchError: a task has other splits in two sources, or rows are of another numerics version.
    """
    path = place(path)
    if manifest.read(path):
        raise UsageError(f"{path} holds a table already; merge into a new folder")
    tables = [source if isinstance(source, Table) else load_table(source) for source in sources]
    if not tables:
        raise UsageError("nothing to merge: name at least one table")
    if not isinstance(path, Path) or (path.exists() and any(path.iterdir())):
        return _written(path, tables, keep)
    sweep(path.parent)
    with replacing_folder(path) as made:
        out = _written(made, tables, keep)
        (made / LOCK).unlink(missing_ok=True)
    return out


def _written(path: Place, tables: Sequence[Table], keep: Callable[[str], bool]) -> list[Merged]:
    out = []
    with TableWriter(path) as writer:
        for workload in sorted({w for table in tables for w in table.workloads}):
            holding = [table for table in tables if workload in table.workloads]
            out.append(_workload(writer, workload, holding, keep))
    return out


def _workload(writer: TableWriter, workload: str, tables: Sequence[Table], keep) -> Merged:
    _put_configs(writer, workload, tables)
    parts = [_rows(table, workload, keep) for table in tables]
    runs = rows.join_chunks(parts)
    _, first = np.unique(runs["run_id"].to_numpy(), return_index=True)
    kept = runs.take(np.sort(first))
    there = set(kept["task_id"].cast(pa.string()).to_pylist())
    for table in tables:
        writer.put_task_rows(row for row in _task_rows(table) if row["task_id"] in there)
    writer.append(workload, kept)
    writer.compact(workload)
    n = len(load_table(writer.path).configs(workload))
    return Merged(workload, len(there), n, len(kept), len(runs) - len(kept))


def _task_rows(table: Table) -> list[dict]:
    return files.read_tasks(table._at("tasks.parquet")).to_pylist()


def _rows(table: Table, workload: str, keep) -> pa.Table:
    for source_path, file in table._opened(workload):
        check_numerics(source_path, file.schema_arrow)
        if file.schema_arrow.metadata.get(rows.ABSENT_KEY):
            raise UsageError(f"{source_path} was imported and lacks columns; it cannot be merged")
    chosen = [t for t in table.tasks["task_id"] if t.startswith(f"{workload}-") and keep(t)]
    return table.runs(workload, tasks=chosen)


def _put_configs(writer: TableWriter, workload: str, tables: Sequence[Table]) -> None:
    """Store the first table's configurations, and those that longer lists have after them; a list must be the beginning of
    every longer one."""
    space = tables[0].space(workload)
    kept, origins = tables[0].configs(workload).reset_index(drop=True), tables[0].origins(workload).tolist()
    for table in tables[1:]:
        mine, made = table.configs(workload).reset_index(drop=True), table.origins(workload).tolist()
        shared = min(len(kept), len(mine))
        same = table.space(workload) == space and made[:shared] == origins[:shared]
        if not same or not space.same(mine[:shared], kept[:shared]):
            raise UsageError(f"{table.path} and {tables[0].path} hold different configurations of {workload}")
        kept, origins = pd.concat([kept, mine[shared:]], ignore_index=True), origins + made[shared:]
    writer.add_configs(workload, space, kept, origins)


__all__ = ["Merged", "merge"]
