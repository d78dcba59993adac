"""Is a file of a table the one that the manifest lists? Asked whenever one is opened, and cheap: a file is hashed once.

The hash of a local file is remembered in this process for as long as device, inode, size and both times stay as they are;
the time of change cannot be set by hand. A file that changed within the last moments is hashed again, since a clock tick
hides a second change. A remote file is copied whole, once each time it is opened, and hashed on the way: what is read are
the bytes that were hashed, whatever the store answers later.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path
from typing import IO

from metabench.errors import MetabenchError
from metabench.table import manifest
from metabench.table.place import Place, read_small

#: seconds after a change in which a hash is not remembered
RACY = 2.0
#: bytes that are read of a remote file at a time
PIECE = 8 << 20
#: what a file is called until a published change has moved it to its place
_HIDDEN = re.compile(r"\.(.+)\.[0-9a-f]{16}\.new")
_seen: dict[str, tuple[tuple[int, ...], str]] = {}


def sha256(path: Path) -> str:
    """sha256 of a file, from memory where it has not changed since it was hashed. Raises OSError."""
    before = _identity(path)
    known = _seen.get(str(path))
    if known and known[0] == before:
        return known[1]
    value = manifest.sha256(path)
    if _identity(path) == before and time.time() - max(before[3:]) / 1e9 > RACY:
        _seen[str(path)] = before, value
    return value


def check(path: Place) -> None:
    """Raise MetabenchError when a table's local file is not what the manifest of its table says.

    Files that belong to no manifest are not judged here, remote ones by :func:`opened` alone.
    """
    if not isinstance(path, Path):
        return
    root, name = _belongs(path)
    listed = _listed(root, name)
    while listed:
        try:
            found = sha256(path)
        except OSError:
            return  # absent or unreadable: whoever opens it says so
        if found in listed:
            return
        before, listed = listed, _listed(root, name)
        if listed == before:  # no writer came between
            raise _foreign(path, root)


def opened(path: Place) -> Path | IO[bytes]:
    """A table's file to read from, checked: a local one as it lies, of a remote one a copy that is gone when it is closed.

    Raises:
        OSError: A remote file cannot be read.
        MetabenchError: It is not what the manifest of its table says.
    """
    if isinstance(path, Path):
        check(path)
        return path
    root, name = _belongs(path)
    listed = _listed(root, name)
    while True:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (its reader closes it)
        try:
            found = _copied(path, copy)
        except BaseException:
            copy.close()
            raise
        if not listed or found in listed:
            return copy
        copy.close()
        before, listed = listed, _listed(root, name)
        if listed == before:
            raise _foreign(path, root)


def read_bytes(path: Place) -> bytes:
    """A small file of a table in memory, checked. Raises FileNotFoundError, and MetabenchError as :func:`opened` does."""
    root, name = _belongs(path)
    listed = _listed(root, name)
    while True:
        content = read_small(path)
        if not listed or hashlib.sha256(content).hexdigest() in listed:
            return content
        before, listed = listed, _listed(root, name)
        if listed == before:  # no writer came between
            raise _foreign(path, root)


def _copied(path: Place, copy: IO[bytes]) -> str:
    """Copy a file's bytes, and go back to their beginning; their sha256."""
    value = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            value.update(piece)
            copy.write(piece)
    copy.seek(0)
    return value.hexdigest()


def _belongs(path: Place) -> tuple[Place, str]:
    """The folder of a file's table, and what its manifest calls the file."""
    hidden = _HIDDEN.fullmatch(path.name)
    name, sub = hidden[1] if hidden else path.name, path.parent.name
    return (path.parent.parent, f"{sub}/{name}") if sub in ("configs", "runs") else (path.parent, name)


def _foreign(path: Place, root: Place) -> MetabenchError:
    return MetabenchError(
        f"{path} is not the file that {manifest.SUMS} lists: `metabench verify {root}` says what is wrong, "
        f"`metabench repair {root}` retrains its runs"
    )


def _listed(root: Place, name: str) -> set[str]:
    """What a file may be: as the manifest has it, and as a published change that is not finished has it."""
    values = (manifest.read(root, file).get(name) for file in (manifest.SUMS, manifest.NEXT))
    return {value for value in values if value}


def _identity(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
