"""Finished cells on disk: immutable parquet files of traces in one folder, each written in full or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError
from metabench.files import replace_file, sweep
from metabench.untrusted import one_line, printable, read_bytes

#: the column that only boards which count epochs need; files of others lack it
EPOCHS = "epochs"


#: the digest of its content in the name of a file
_SEALED = re.compile(r".+\.([0-9a-f]{64})\.parquet", re.DOTALL)
#: cell key → method, start, task, seed: what the cell must say of itself
Expected = Mapping[str, tuple[str, str, str, int]]


class CellStore:
    """A folder of files ``<method>.<start>.<sha256 of the file>.parquet`` of one schema, a row per cell; those of LIVE lie
    in the folder ``live`` in it, those of FOLDED in ``folds``.

    Cells are found by their key, whatever file holds them, so several evaluations may share a folder, also at the same
    time. A file whose content is not what its name promises, or that holds a cell which is not what its key stands for,
    counts for nothing: a warning names it, its cells are computed anew, and it is removed when they are stored.
    ``CellStore(None)`` keeps nothing.
    """

    def __init__(self, folder: str | os.PathLike | None, kind: pa.Schema = schema.TRACES):
        within = {id(schema.LIVE): "live", id(schema.FOLDED): "folds"}.get(id(kind), "")
        self.folder = None if folder is None else Path(folder) / within
        self.kind = kind
        self._damaged: set[Path] = set()

    def read(self, keys: Iterable[str] | Expected) -> pa.Table:
        """The stored cells among ``keys``, each once; a mapping says of each what it must be."""
        parts = [self.kind.empty_table()]
        expected = keys if isinstance(keys, Mapping) else {}
        wanted = pa.array(list(keys), pa.string())
        for path in sorted(self.folder.glob("*.parquet")) if self.folder and self.folder.is_dir() else ():
            if path.name.startswith("."):
                continue
            try:
                part = traces_in(read_sealed(path), path, self.kind)
                part = part.filter(pc.is_in(part["cell"], wanted))
                _check_cells(part, expected, path)
            except FileNotFoundError:  # another evaluation found it damaged
                continue
            except MetabenchError as error:
                self._damaged.add(path)
                warnings.warn(f"{error}; its cells are computed anew", stacklevel=2)
                continue
            parts.append(part)
        table = pa.concat_tables(parts)
        first = {key: row for row, key in reversed(list(enumerate(table["cell"].to_pylist())))}
        return table.take(pa.array(sorted(first.values()), pa.int64()))

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store finished cells, a file for each method and start among them. Raises MetabenchError when it cannot."""
        if self.folder is None:
            return
        groups: dict[tuple[str, str], list] = {}
        for row in rows:
            groups.setdefault((row["method"], row["start"]), []).append(row)
        for (method, start), members in groups.items():
            write_sealed(self.folder, f"{method}.{start}", pa.Table.from_pylist(members, self.kind))
        while groups and self._damaged:
            self._damaged.pop().unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what evaluations that were killed left unfinished."""
        if self.folder is not None:
            sweep(self.folder)


def write_sealed(folder: Path, stem: str, table: pa.Table) -> Path:
    """Write a table to ``folder`` as a file whose name ends with the sha256 of its content; the path of it.

    Raises MetabenchError when it cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    path = folder / f"{stem}.{hashlib.sha256(content).hexdigest()}.parquet"
    try:
        replace_file(path, content)
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def read_sealed(path: Path) -> bytes:
    """The content of a file that :func:`write_sealed` wrote. One of an earlier version has no digest to compare.

    Raises MetabenchError naming it when its content is not what its name promises; FileNotFoundError.
    """
    content = read_bytes(path)
    match = _SEALED.fullmatch(path.name)
    if match and hashlib.sha256(content).hexdigest() != match[1]:
        raise MetabenchError(f"{path} is damaged: its content is not what its name promises")
    return content


def _check_cells(part: pa.Table, expected: Expected, path: Path) -> None:
    """Raise MetabenchError at the first cell that is not what its key stands for, or that no search can have left."""
    for cell, *identity in zip(
        *(part[n].to_pylist() for n in ("cell", "method", "start", "task_id", "seed")), strict=True
    ):
        if expected.get(cell, found := tuple(identity)) != found:
            raise MetabenchError(
                f"{path} holds a cell of {' / '.join(map(str, found))}, which its key does not stand for"
            )
    steps = part["configs" if "configs" in part.schema.names else "config_ids"].combine_chunks()
    seconds = part["overhead"].combine_chunks()
    n_steps, n_seconds = (pc.fill_null(pc.list_value_length(lists), 0) for lists in (steps, seconds))
    sound = pc.all(pc.and_(pc.greater(n_steps, 0), pc.equal(n_steps, n_seconds)), min_count=0).as_py()
    values = seconds.flatten().to_numpy(zero_copy_only=False)
    if not sound or steps.flatten().null_count or not ((values >= 0) & (values < math.inf)).all():
        raise MetabenchError(f"{path} holds a cell that is no search")


def read_traces(path: str | os.PathLike, kind: pa.Schema = schema.TRACES) -> pa.Table:
    """A file of traces with schema TRACES or LIVE (other columns are dropped).

    Raises MetabenchError naming the file when it is unreadable, of another schema version, or lacks a column.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise MetabenchError(f"{path} is absent") from None
    return traces_in(content, path, kind)


def traces_in(content: bytes, path: str | os.PathLike, kind: pa.Schema = schema.TRACES) -> pa.Table:
    """What :func:`read_traces` returns, of the content of a file that is at hand."""
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            table = file.read()
        table.validate(full=True)
        names = table.column_names  # raises where one is no UTF-8
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise MetabenchError(f"{path} cannot be read as traces: {one_line(error, 200)}") from None
    version = (table.schema.metadata or {}).get(b"metabench.schema_version", b"none").decode(errors="replace")
    if version != schema.SCHEMA_VERSION:
        raise MetabenchError(f"{path} has schema version {printable(version)}; expected {schema.SCHEMA_VERSION}")
    if kind is schema.TRACES:
        table = completed(table)
    for field in kind:
        if names.count(field.name) > 1:
            raise MetabenchError(f"{path} holds no traces: column {field.name!r} is there twice")
        if field.name not in table.schema.names:
            raise MetabenchError(f"{path} holds no traces: column {field.name!r} is absent")
    try:
        return table.select(kind.names).cast(kind)
    except (pa.ArrowException, NotImplementedError) as error:
        raise MetabenchError(f"{path} holds no traces: {one_line(error, 200)}") from None


def content_digest(traces: pa.Table) -> str:
    """sha256 of what traces say, whatever the keys of their cells and their order."""
    ordered = traces.drop_columns(["cell"]).sort_by(
        [(name, "ascending") for name in ("method", "start", "task_id", "seed")]
    )
    digest = hashlib.sha256()
    for name in sorted(ordered.schema.names):
        column = ordered[name].combine_chunks()
        digest.update(json.dumps([name, column.to_pylist()]).encode())
    return digest.hexdigest()


def completed(traces: pa.Table) -> pa.Table:
    """Traces with the column ``epochs``, which files of boards that count trials lack."""
    if EPOCHS in traces.schema.names:
        return traces
    field = schema.TRACES.field(EPOCHS)
    return traces.add_column(
        min(schema.TRACES.get_field_index(EPOCHS), traces.num_columns), field, pa.nulls(len(traces), field.type)
    )
