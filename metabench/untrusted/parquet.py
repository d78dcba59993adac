"""Parquet of strangers. A footer claims rows and sizes that nobody checked, and a few bytes of a page can stand for
gigabytes of values, so such a file is read by a child process with a limit of memory; what arrives is plain Arrow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from metabench.errors import MetabenchError
from metabench.untrusted.child import bounded
from metabench.untrusted.files import LIMIT, Error, open_regular, size
from metabench.untrusted.text import one_line, printable

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: rows and columns of a file; bytes of its values
ROWS, COLUMNS, VALUES = 50_000_000, 100_000, 1 << 30
#: rows that are decoded at a time: a page may stand for far more bytes than it has
BATCH = 8_192
#: bytes of a footer
FOOTER = 64 << 20


def parquet(
    path: str | os.PathLike,
    *,
    columns: Sequence[str] | None = None,
    rows: int = ROWS,
    values: int = VALUES,
    memory: int = 3 << 30,
    seconds: float = 120.0,
    most: int = LIMIT,
    error: Error = MetabenchError,
) -> pa.Table:
    """A Parquet file that nobody vouches for, read in a child process.

    Args:
        path: The file.
        columns: Columns to read; None for all.
        rows: Most rows that it may have.
        values: Most bytes of its values in memory.
        memory: Bytes of address space of the child.
        seconds: Time after which the child is ended.
        most: Most bytes of the file.
        error: What to raise for a file that breaks a rule.

    Returns:
        Its rows.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: Of type ``error``: no Parquet, damaged, or beyond a limit.
    """
    import pyarrow as pa

    open_regular(path, most=most, error=error).close()
    arguments = (os.fspath(path), None if columns is None else list(columns), rows, values, most)
    content = bounded(
        "metabench.untrusted.parquet:as_arrow",
        *arguments,
        where=path,
        memory=memory,
        output=values,
        seconds=seconds,
        error=error,
    )
    try:
        table = pa.ipc.open_stream(content).read_all()
        table.validate()
        return table
    except (pa.ArrowException, OSError) as problem:
        raise error(f"{printable(path, 200)} cannot be read as Parquet: {one_line(problem, 200)}") from None


def open_parquet(file: IO[bytes], where: object, *, rows: int = ROWS, error: Error = MetabenchError) -> pq.ParquetFile:
    """A Parquet file whose footer fits the file: its length, its row count, and where its column chunks lie.

    This bounds what opening it costs. What reading it costs only :func:`parquet` bounds. Raises ``error``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = printable(where, 200)
    length = file.seek(0, os.SEEK_END)
    if length < 12:
        raise error(f"{shown} is no Parquet file: it has {length} bytes")
    file.seek(length - 8)
    tail = file.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or footer > min(length - 12, FOOTER):
        raise error(f"{shown} is no readable Parquet file: its end is not that of one")
    file.seek(0)
    try:
        opened = pq.ParquetFile(file, thrift_string_size_limit=FOOTER, thrift_container_size_limit=1_000_000)
        about = opened.metadata
        if not 0 <= about.num_rows <= rows or about.num_columns > COLUMNS:
            raise error(
                f"{shown} claims {about.num_rows:,} rows and {about.num_columns:,} columns; at most {rows:,} and "
                f"{COLUMNS:,} are read"
            )
        if sum(about.row_group(i).num_rows for i in range(about.num_row_groups)) != about.num_rows:
            raise error(f"{shown} is damaged: its row groups have other rows than it claims")
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise error(f"{shown} cannot be read as Parquet: {one_line(problem, 200)}") from None
    return opened


def as_arrow(path: str, columns: list[str] | None, rows: int, values: int, most: int) -> bytes:
    """In the child: the file as an Arrow stream."""
    import pyarrow as pa

    with open_regular(path, most=most) as file:
        opened = open_parquet(file, path, rows=rows)
        schema = opened.schema_arrow
        if columns is not None:
            if absent := [name for name in columns if name not in schema.names]:
                raise MetabenchError(f"{printable(path, 200)} has no column {printable(absent[0])}")
            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
        sink, total = pa.BufferOutputStream(), 0
        try:
            with pa.ipc.new_stream(sink, schema) as stream:
                for batch in opened.iter_batches(BATCH, columns=columns, use_threads=False):
                    total += batch.get_total_buffer_size()
                    if total > values:
                        raise MetabenchError(f"{printable(path, 200)} unpacks to more than {size(values)}")
                    stream.write_batch(batch)
        except pa.ArrowMemoryError:
            raise MemoryError from None
        except (pa.ArrowException, OSError, ValueError) as problem:
            raise MetabenchError(
                f"{printable(path, 200)} cannot be read as Parquet: {one_line(problem, 200)}"
            ) from None
        return sink.getvalue().to_pybytes()
