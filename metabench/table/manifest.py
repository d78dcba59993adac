"""Which files make up a table, and how several of them change at once so that a kill at any moment loses nothing.

``SHA256SUMS`` (readable by ``sha256sum -c``) is the manifest: a file belongs to the table if and only if it stands in
it. A change is a redo log (Gray & Reuter, 1992, §10): the new files are written and fsynced under hidden names, the
manifest that lists them is published as ``SHA256SUMS.next`` by one rename (the commit point), and only then are the
files moved to their places. Whoever opens the table after a crash finishes a published change or sweeps up an
unpublished one.

The same holds on an object store (:mod:`metabench.table.place`), where a PUT and a copy are atomic and durable as soon
as they are answered, and a move is a copy and a deletion: every step after the commit point may be carried out again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from metabench import untrusted
from metabench.errors import MetabenchError
from metabench.table.lock import locked
from metabench.table.place import Place, place, read_small

SUMS, NEXT = "SHA256SUMS", "SHA256SUMS.next"
_FOLDERS = ("", "configs", "runs")
_FILE = re.compile(
    r"tasks\.parquet|starts\.csv|splits\.csv|configs/[a-z0-9_]+\.parquet|runs/[a-z0-9_]+(-\d{5})?\.parquet"
)
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def read(folder: Place | str, name: str = SUMS) -> dict[str, str]:
    """The files of a table, path inside ``folder`` → sha256, sorted; empty where there is no manifest yet.

    Raises MetabenchError naming the first line that is malformed or names something that is no table file.
    """
    path = place(folder) / name
    try:
        text = read_small(path).decode("ascii")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None
    files: dict[str, str] = {}
    *lines, rest = text.split("\n")
    if rest:
        raise MetabenchError(f"{path} is cut off in its last line")
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if not match or not _FILE.fullmatch(match[2]) or match[2] in files:
            what = f"expected '<sha256>  <table file>', once each, got {line[:100]!r}"
            raise MetabenchError(f"{path}, line {number}: {what}")
        files[match[2]] = match[1]
    return dict(sorted(files.items()))


def digest(folder: Place) -> str:
    """sha256 of the manifest: identifies the content of the whole table."""
    return hashlib.sha256(read_small(folder / SUMS)).hexdigest()


def sha256(path: Place) -> str:
    """sha256 of a file, hexadecimal. Raises OSError, and MetabenchError where it is no regular file."""
    with untrusted.open_regular(path, most=None) if isinstance(path, Path) else path.open() as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def commit(
    folder: Place, files: Mapping[str, bytes], remove: Iterable[str] = (), check: Callable[[], None] = lambda: None
) -> None:
    """Add or replace ``files`` (path inside the table → content) and drop ``remove``, all or nothing.

    The caller holds the lock; ``check`` raises MetabenchError when that is no longer so, and is called right before the
    change is published. When it returns the change is on disk. Raises MetabenchError (disk full, read-only …) with the
    table as it was.
    """
    sums = {path: value for path, value in read(folder).items() if path not in set(remove)}
    staged: list[Place] = []
    try:
        for path, content in files.items():
            value = hashlib.sha256(content).hexdigest()
            if sums.get(path) == value:
                continue
            sums[path] = value
            staged.append(_hidden(folder / path, value))
            staged[-1].parent.mkdir(exist_ok=True)  # not its parents: a table that has vanished stays away
            _write(staged[-1], content)
        lines = "".join(f"{value}  {path}\n" for path, value in sorted(sums.items())).encode()
        staged.append(_hidden(folder / SUMS, hashlib.sha256(lines).hexdigest()))
        _write(staged[-1], lines)
        for parent in {path.parent for path in staged}:
            _sync(parent)
        check()
        _move(staged[-1], folder / NEXT)
        _sync(folder)
    except MetabenchError:
        _discard(staged)
        raise
    except OSError as error:
        if not (folder / NEXT).exists():
            _discard(staged)
        where = error.filename or (staged[-1] if staged else folder)
        raise MetabenchError(f"{where} cannot be written: {_reason(error)}") from None
    _finish(folder)


def orphans(folder: Place) -> list[str]:
    """Table files that lie in a folder, sorted: of a table whose manifest is gone these are what is left of it."""
    found = [sub + path.name for sub in ("", "configs/", "runs/") for path in (folder / sub).glob("*.parquet")]
    return sorted(name for name in found if _FILE.fullmatch(name))


def pending(folder: Place) -> tuple[dict[str, str], dict[str, Place]] | None:
    """A change that was published and not finished, for readers that cannot finish it: the files that make up the table
    now, and where those lie that are not in their places yet. None where there is none."""
    if not (folder / NEXT).exists():
        return None
    sums = read(folder, NEXT)
    hidden = {name: _hidden(folder / name, value) for name, value in sums.items()}
    return sums, {name: path for name, path in hidden.items() if path.exists()}


def publish(folder: Path, sums: Mapping[str, str]) -> None:
    """Write the manifest of a folder whose files are as ``sums`` says. The caller holds the lock. Raises MetabenchError."""
    lines = "".join(f"{value}  {path}\n" for path, value in sorted(sums.items())).encode()
    hidden = _hidden(folder / SUMS, hashlib.sha256(lines).hexdigest())
    try:
        _write(hidden, lines)
        _move(hidden, folder / SUMS)
        _sync(folder)
    except OSError as error:
        raise MetabenchError(f"{error.filename or folder} cannot be written: {_reason(error)}") from None


def abandon(folder: Path) -> None:
    """Make a published change count although files that it promises are lost: what is there moves to its place. The caller
    holds the lock."""
    sums = read(folder, NEXT)
    for path, value in sums.items():
        hidden = _hidden(folder / path, value)
        if hidden.exists() and sha256(hidden) == value:
            _move(hidden, folder / path)
    publish(folder, sums)
    (folder / NEXT).unlink(missing_ok=True)


def recover(folder: Place) -> None:
    """Finish a change that was published, sweep up one that was not. The caller holds the lock."""
    if (folder / NEXT).exists():
        _finish(folder)
    for sub in _FOLDERS:
        for path in (folder / sub).glob(".*.new"):
            path.unlink()


def settle(folder: Place, patience: float = 5.0) -> None:
    """Before reading: see a published change through, by its writer if that is alive, by ourselves if not.

    Raises MetabenchError when that takes longer than ``patience``, or the folder cannot be written.
    """
    limit = time.monotonic() + patience
    while (folder / NEXT).exists():
        if not isinstance(folder, Path) and time.monotonic() < limit:
            time.sleep(0.1)  # its writer is most likely at it, and whether a remote one is alive takes long to tell
            continue
        try:
            with locked(folder, timeout=0.1):
                recover(folder)
        except MetabenchError:
            if time.monotonic() > limit:
                raise


def _finish(folder: Place) -> None:
    """Carry out the change published in NEXT; safe to repeat after a kill anywhere inside."""
    before, after = read(folder), read(folder, NEXT)
    try:
        changed = [path for path, value in after.items() if before.get(path) != value]
        for path in changed:
            hidden = _hidden(folder / path, after[path])
            if hidden.exists() and sha256(hidden) == after[path]:
                _move(hidden, folder / path)
            elif not (folder / path).exists() or sha256(folder / path) != after[path]:
                raise MetabenchError(f"{folder / path} was lost in an interrupted write: {NEXT} promises another")
        for path in before.keys() - after.keys():
            (folder / path).unlink(missing_ok=True)
        for parent in {(folder / path).parent for path in [*changed, *before.keys() - after.keys()]}:
            _sync(parent)
        _move(folder / NEXT, folder / SUMS)
        _sync(folder)
    except OSError as error:
        raise MetabenchError(f"{error.filename or folder} cannot be written: {_reason(error)}") from None


def _move(path: Place, target: Place) -> None:
    """Rename within one folder's file system: both places are of the same kind."""
    cast(Any, path).replace(target)


def _hidden(path: Place, value: str) -> Place:
    """Where content of that sha256 is written first: two writers never write the same hidden file differently."""
    return path.with_name(f".{path.name}.{value[:16]}.new")


def _discard(staged: Iterable[Place]) -> None:
    for path in staged:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return error.strerror or str(error).splitlines()[0]


def _write(path: Place, content: bytes) -> None:
    if not isinstance(path, Path):
        path.write_bytes(content)
        return
    path.unlink(missing_ok=True)  # what lies there may be a link: it is not written through
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Place) -> None:
    """Make renames in a folder durable."""
    if not isinstance(folder, Path):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
