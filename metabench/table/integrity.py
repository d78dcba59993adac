"""Is a file of a table the one that the manifest lists? Asked whenever one is opened, and cheap: a file is hashed once.

Its hash is remembered in this process for as long as device, inode, size and both times stay as they are; the time of
change cannot be set by hand. A file that changed within the last moments is hashed again, since a clock tick hides a
second change. On a remote place nothing is hashed before it is read: there page checksums and `metabench verify` speak.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from metabench.errors import MetabenchError
from metabench.table import manifest
from metabench.table.place import Place

#: seconds after a change in which a hash is not remembered
RACY = 2.0
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
    """Raise MetabenchError when a table's file is not what the manifest of its table says.

    Files that belong to no manifest are not judged here.
    """
    if not isinstance(path, Path):
        return
    root = path.parent.parent if path.parent.name in ("configs", "runs") else path.parent
    name = path.relative_to(root).as_posix()
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
            raise MetabenchError(
                f"{path} is not the file that {manifest.SUMS} lists: `metabench verify {root}` says what is wrong, "
                f"`metabench repair {root}` retrains its runs"
            )


def _listed(root: Path, name: str) -> set[str]:
    """What a file may be: as the manifest has it, and as a published change that is not finished has it."""
    values = (manifest.read(root, file).get(name) for file in (manifest.SUMS, manifest.NEXT))
    return {value for value in values if value}


def _identity(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
