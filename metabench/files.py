"""Writing to disk so that a file or a folder is there in full or not at all, whatever ends the process meanwhile.

What is new is written under a hidden name beside its place, made durable (fsync), and renamed: a reader sees the old
content or the new one. Nothing is left over when the block fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write the new content of the file ``path`` to; it takes the file's place when the block ends well.

    Folders on the way are made. Two processes that write one file at a time do not meet: the later one stays.

    Args:
        path: The file to add or replace.

    Yields:
        A path in the same folder, at which nothing is yet.

    Raises:
        OSError: The file cannot be written; the old one stands as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = beside(path)
    try:
        yield part
        _sync(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_file(path: str | os.PathLike, content: bytes | str) -> None:
    """Add or replace the file ``path``, all or nothing; text is written as UTF-8 with the line ends it has.

    Args:
        path: The file; folders on the way are made.
        content: All that it is to hold.

    Raises:
        OSError: The file cannot be written; the old one stands as it was.
    """
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new, empty folder to fill; it takes the place of the folder ``path`` when the block ends well.

    A folder that is not empty cannot be replaced in one step: the old one is moved aside first, and moved back when the
    new one cannot take its place.

    Args:
        path: The folder to add or replace. A symbolic link there is replaced, and what it points to stays.

    Yields:
        A folder beside it.

    Raises:
        OSError: The folder cannot be written; the old one stands as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made, old = beside(path), beside(path)
    made.mkdir()
    try:
        yield made
        for file in made.rglob("*"):
            if file.is_file() and not file.is_symlink():
                _sync(file)
        move_into_place(made, path, old)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        _remove(old)


def move_into_place(new: Path, path: Path, aside: Path) -> None:
    """Move a file or folder to ``path``; what is there is moved to ``aside`` first if it is a folder.

    Raises:
        OSError: It cannot be moved; what was at ``path`` stands as it was.
    """
    if not os.path.lexists(path) or not (path.is_dir() or path.is_symlink()):
        os.replace(new, path)
        return
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(aside, path)
        raise


def write_durably(path: Path, content: bytes) -> None:
    """Write a file in place and wait until it is on disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system lets a folder be opened (Windows does not)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: str | os.PathLike) -> None:
    """Remove what killed processes left in a folder: parts of files and folders that took nobody's place.

    A part's name says which process of which machine writes it. It is removed once that process has ended, one of another
    machine after a day. Links are removed, not followed; what cannot be removed stays.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _PART.fullmatch(entry.name)
            if match and not _writing(entry, match["host"], int(match["process"])):
                _remove(Path(entry.path))


def beside(path: Path) -> Path:
    """A hidden name in the same folder, at which nothing is yet; :func:`sweep` finds it once this process has ended."""
    return path.with_name(f".{path.name[:60]}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part")


_PART = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part", re.DOTALL)


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _writing(entry: os.DirEntry, host: str, process: int) -> bool:
    if host != _host():
        return time.time() - entry.stat(follow_symlinks=False).st_mtime < 86_400
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
