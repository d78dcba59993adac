"""Arrow's own files (Feather, IPC streams) of strangers: what a batch unpacks to is known before anything is unpacked, and
what arrives is validated, since offsets inside it are believed by whatever reads it later."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metabench.errors import MetabenchError
from metabench.untrusted.files import Error, open_regular, size
from metabench.untrusted.text import one_line, printable

if TYPE_CHECKING:
    import pyarrow as pa

#: bytes that one batch may unpack to
BATCH_BYTES = 1 << 30
_MAGIC = b"ARROW1\x00\x00"


def arrow_batches(
    path: str | os.PathLike, *, most: int = BATCH_BYTES, error: Error = MetabenchError
) -> Iterator[pa.RecordBatch]:
    """The batches of a Feather file (version 2) or an Arrow stream, in order.

    Args:
        path: The file.
        most: Bytes that one batch may have, unpacked.
        error: What to raise for a file that breaks a rule.

    Yields:
        Validated batches.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: Of type ``error``: no such file of Arrow, damaged, or a batch beyond ``most``.
    """
    import pyarrow as pa

    shown = printable(path, 200)
    with open_regular(path, most=None, error=error) as file:
        start = len(_MAGIC) if file.read(len(_MAGIC)) == _MAGIC else 0
        try:
            file.seek(start)
            for message in pa.ipc.MessageReader.open_stream(pa.PythonFile(file, mode="r")):
                if (found := _unpacked(message.metadata.to_pybytes(), message.body)) > most:
                    raise error(f"{shown} has a batch that unpacks to {size(found)}; at most {size(most)} are read")
            file.seek(start)
            for batch in pa.ipc.open_stream(pa.PythonFile(file, mode="r")):
                batch.validate(full=True)
                yield batch
        except MetabenchError:
            raise
        except (pa.ArrowException, OSError, EOFError, ValueError, TypeError, KeyError, struct.error) as problem:
            raise error(f"{shown} cannot be read as Arrow: {one_line(problem, 200)}") from None


def _unpacked(metadata: bytes, body: pa.Buffer | None) -> int:
    """Bytes that a message's body unpacks to. ``metadata`` is Arrow's flatbuffer ``Message``, which Arrow has verified."""
    if body is None:
        return 0
    kind = _scalar(metadata, _root(metadata), 1, "<B")
    found = _table(metadata, _root(metadata), 2)
    if kind == 2 and found is not None:  # a dictionary's batch lies inside it
        found = _table(metadata, found, 1)
    if kind not in (2, 3) or found is None or _table(metadata, found, 3) is None:  # no batch, or not compressed
        return body.size
    buffers, total = _vector(metadata, found, 2), 0
    for at, length in (struct.unpack_from("<qq", metadata, buffers[0] + 16 * i) for i in range(buffers[1])):
        if length >= 8:
            total += max(struct.unpack("<q", body[at : at + 8].to_pybytes())[0], length)
    return total


# ---------------------------------------------------------------- flatbuffers, as much as is needed
def _root(data: bytes) -> int:
    return struct.unpack_from("<I", data, 0)[0]


def _field(data: bytes, table: int, index: int) -> int | None:
    """Where a table's field lies; None where it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * index >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * index)[0]
    return table + offset if offset else None


def _scalar(data: bytes, table: int, index: int, form: str) -> int:
    at = _field(data, table, index)
    return 0 if at is None else struct.unpack_from(form, data, at)[0]


def _table(data: bytes, table: int, index: int) -> int | None:
    at = _field(data, table, index)
    return None if at is None else at + struct.unpack_from("<I", data, at)[0]


def _vector(data: bytes, table: int, index: int) -> tuple[int, int]:
    """Where a vector's elements begin, and how many there are."""
    at = _table(data, table, index)
    return (0, 0) if at is None else (at + 4, struct.unpack_from("<I", data, at)[0])
