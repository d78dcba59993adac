"""Which files make up a table, and how several of them change at once so that a kill at any moment loses nothing.

``SHA256SUMS`` (readable by ``sha256sum -c``) is the manifest: a file belongs to the table if and only if it stands in
it. A change is a redo log (Gray & Reuter, 1992, §10): the new files are written and fsynced under hidden names, the
manifest that lists them is published as ``SHA256SUMS.next`` by one rename (the commit point), and only then are the
files moved to their places. Whoever opens the table after a crash finishes a published change or sweeps up an
unpublished one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from metabench.errors import MetabenchError

SUMS, NEXT, LOCK = "SHA256SUMS", "SHA256SUMS.next", ".lock"
_FOLDERS = ("", "configs", "runs")
_FILE = re.compile(r"tasks\.parquet|starts\.csv|configs/[a-z0-9_]+\.parquet|runs/[a-z0-9_]+(-\d{5})?\.parquet")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def read(folder: Path, name: str = SUMS) -> dict[str, str]:
    """The files of a table, path inside ``folder`` → sha256, sorted; empty where there is no manifest yet.

    Raises MetabenchError naming the first line that is malformed or names something that is no table file.
    """
    path = Path(folder) / name
    try:
        text = path.read_bytes().decode("ascii")
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, OSError) as error:
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


def digest(folder: Path) -> str:
    """sha256 of the manifest: identifies the content of the whole table."""
    return hashlib.sha256((Path(folder) / SUMS).read_bytes()).hexdigest()


def sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: Path, timeout: float = 5.0) -> Iterator[Callable[[], None]]:
    """Hold the table's lock; the system releases it when the process dies, however it dies.

    Gives a function that raises MetabenchError when the lock no longer lies in the folder: moved away, removed, or
    replaced by another. Raises MetabenchError when another process holds it for ``timeout`` seconds or the folder cannot
    be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(Path(folder) / LOCK)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise MetabenchError(f"{folder} is being written by another process; wait until it has finished") from None
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        held = _identity(folder)

        def check() -> None:
            if held is None or _identity(folder) != held:
                raise MetabenchError(f"{folder} was moved, removed or replaced while it was being written")

        yield check
    finally:
        lock.release()


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(Path(folder) / LOCK)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def commit(folder: Path, files: Mapping[str, bytes], remove: Iterable[str] = ()) -> None:
    """Add or replace ``files`` (path inside the table → content) and drop ``remove``, all or nothing.

    The caller holds the lock. When it returns the change is on disk. Raises MetabenchError (disk full, read-only …)
    with the table as it was.
    """
    folder = Path(folder)
    sums = {path: value for path, value in read(folder).items() if path not in set(remove)}
    staged: list[Path] = []
    try:
        for path, content in files.items():
            value = hashlib.sha256(content).hexdigest()
            if sums.get(path) == value:
                continue
            sums[path] = value
            staged.append(_hidden(folder / path))
            staged[-1].parent.mkdir(exist_ok=True)  # not its parents: a table that has vanished stays away
            _write(staged[-1], content)
        staged.append(_hidden(folder / SUMS))
        _write(staged[-1], "".join(f"{value}  {path}\n" for path, value in sorted(sums.items())).encode())
        for parent in {path.parent for path in staged}:
            _sync(parent)
        os.replace(staged[-1], folder / NEXT)
        _sync(folder)
    except OSError as error:
        if not (folder / NEXT).exists():
            for path in staged:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        where = error.filename or (staged[-1] if staged else folder)
        raise MetabenchError(f"{where} cannot be written: {error.strerror or error}") from None
    _finish(folder)


def recover(folder: Path) -> None:
    """Finish a change that was published, sweep up one that was not. The caller holds the lock."""
    folder = Path(folder)
    if (folder / NEXT).exists():
        _finish(folder)
    for sub in _FOLDERS:
        for path in sorted((folder / sub).glob(".*.new")):
            path.unlink()


def settle(folder: Path, patience: float = 5.0) -> None:
    """Before reading: see a published change through, by its writer if that is alive, by ourselves if not."""
    limit = time.monotonic() + patience
    while (folder / NEXT).exists():
        try:
            with locked(folder, timeout=0.1):
                recover(folder)
        except MetabenchError:
            if time.monotonic() > limit:
                raise


def _finish(folder: Path) -> None:
    """Carry out the change published in NEXT; safe to repeat after a kill anywhere inside."""
    before, after = read(folder), read(folder, NEXT)
    try:
        changed = [path for path, value in after.items() if before.get(path) != value]
        for path in changed:
            hidden = _hidden(folder / path)
            if hidden.exists() and sha256(hidden) == after[path]:
                os.replace(hidden, folder / path)
            elif not (folder / path).exists() or sha256(folder / path) != after[path]:
                raise MetabenchError(f"{folder / path} was lost in an interrupted write: {NEXT} promises another")
        for path in before.keys() - after.keys():
            (folder / path).unlink(missing_ok=True)
        for parent in {(folder / path).parent for path in [*changed, *before.keys() - after.keys()]}:
            _sync(parent)
        os.replace(folder / NEXT, folder / SUMS)
        _sync(folder)
    except OSError as error:
        raise MetabenchError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from None


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
