"""Finished cells on disk: immutable parquet files of traces in one folder, each written in full or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError

#: metadata of a table of traces: method → its non-transfer twin, as JSON
TWINS = b"metabench.twins"
#: the column that only boards which count epochs need; files of others lack it
EPOCHS = "epochs"
#: metadata of a table of traces: the board that they were made on, as JSON {"board": folder, "profile": name}
BOARD = b"metabench.board"
#: metadata of a table of traces: the error of the surrogate that answered, a record for each task, as JSON
SURROGATE = b"metabench.surrogate"


class CellStore:
    """A folder of files ``<method>.<start>.<digest>.parquet`` of one schema, a row per cell; those of LIVE lie in the
    folder ``live`` in it.

    Cells are found by their key, whatever file holds them, so several evaluations may share a folder, also at the same
    time. ``CellStore(None)`` keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike | None, kind: pa.Schema = schema.TRACES):
        self.folder = None if folder is None else Path(folder) / "live" if kind is schema.LIVE else Path(folder)
        self.kind = kind

    def read(self, keys: Iterable[str]) -> pa.Table:
        """The stored cells among ``keys``, each once. Raises MetabenchError for a file that holds no traces."""
        parts = [self.kind.empty_table()]
        wanted = pa.array(list(keys), pa.string())
        for path in sorted(self.folder.glob("*.parquet")) if self.folder and self.folder.is_dir() else ():
            if not path.name.startswith("."):
                part = read_traces(path, self.kind)
                parts.append(part.filter(pc.is_in(part["cell"], wanted)))
        table = pa.concat_tables(parts)
        first = {key: row for row, key in reversed(list(enumerate(table["cell"].to_pylist())))}
        return table.take(pa.array(sorted(first.values()), pa.int64()))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store finished cells, a file for each method and start among them."""
        groups: dict[tuple[str, str], list] = {}
        for row in rows if self.folder else ():
            groups.setdefault((row["method"], row["start"]), []).append(row)
        for (method, start), members in groups.items():
            self.folder.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256("".join(sorted(row["cell"] for row in members)).encode()).hexdigest()[:16]
            path = self.folder / f"{method}.{start}.{digest}.parquet"
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            with part.open("wb") as file:
                pq.write_table(pa.Table.from_pylist(members, self.kind), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)


def read_traces(path: str | os.PathLike, kind: pa.Schema = schema.TRACES) -> pa.Table:
    """A file of traces with schema TRACES or LIVE (other columns are dropped).

    Raises MetabenchError naming the file when it is unreadable, of another schema version, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise MetabenchError(f"{path} cannot be read as traces: {str(error).splitlines()[0]}") from None
    version = (table.schema.metadata or {}).get(b"metabench.schema_version", b"none").decode()
    if version != schema.SCHEMA_VERSION:
        raise MetabenchError(f"{path} has schema version {version}; expected {schema.SCHEMA_VERSION}")
    if kind is schema.TRACES:
        table = completed(table)
    for field in kind:
        if field.name not in table.schema.names:
            raise MetabenchError(f"{path} holds no traces: column {field.name!r} is absent")
    try:
        return table.select(kind.names).cast(kind)
    except pa.ArrowException as error:
        raise MetabenchError(f"{path} holds no traces: {str(error).splitlines()[0]}") from None


def completed(traces: pa.Table) -> pa.Table:
    """Traces with the column ``epochs``, which files of boards that count trials lack."""
    if EPOCHS in traces.schema.names:
        return traces
    field = schema.TRACES.field(EPOCHS)
    return traces.add_column(
        min(schema.TRACES.get_field_index(EPOCHS), traces.num_columns), field, pa.nulls(len(traces), field.type)
    )
