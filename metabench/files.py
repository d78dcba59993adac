"""Writing to disk so that a file or a folder is there in full or not at all, whatever ends the process meanwhile.

What is new is written under a hidden name beside its place, made durable (fsync), and renamed: a reader sees the old
content or the new one. Nothing is left over when the block fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
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

    The two change places in one step where the system can do that (Linux, macOS); elsewhere the old one is moved aside
    first, and moved back when the new one cannot take its place.

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
    """Move a file or folder to ``path``; a folder that is there ends up at ``aside``.

    A folder that is not empty cannot be replaced by a rename. The two change places in one step where the system has a
    call for it, so that a kill never leaves ``path`` empty; elsewhere the old folder is moved aside first.

    Raises:
        OSError: It cannot be moved; what was at ``path`` stands as it was.
    """
    if not os.path.lexists(path) or not (path.is_dir() or path.is_symlink()):
        os.replace(new, path)
        return
    if exchange(new, path):
        os.replace(new, aside)
        return
    os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(aside, path)
        raise


def exchange(one: Path, other: Path) -> bool:
    """Let two existing files or folders of one file system change places in one step.

    Returns:
        Whether it was done; False where the system or the file system has no such call.

    Raises:
        OSError: It has, and refused.
    """
    if (swap := _exchange()) is None:
        return False
    if swap(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_SUCH_CALL:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


#: of a kernel or a file system that cannot exchange: EINVAL, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM (of a sandbox)
_NO_SUCH_CALL = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


@cache
def _exchange() -> Callable[[bytes, bytes], int] | None:
    """The system's call as a function of two paths, None where there is none."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            here, call = -100, library.renameat2  # AT_FDCWD: paths are relative to the working directory
            return lambda a, b: call(here, a, here, b, 2)
        if sys.platform == "darwin":
            call = library.renamex_np
            return lambda a, b: call(a, b, 2)
    return None


def write_tree(folder: str | os.PathLike, files: Mapping[str, bytes]) -> None:
    """Write files below a folder so that each of its entries is old or new, never half-written and never absent.

    What earlier calls left behind when they were killed is removed first. An entry that is a folder is replaced whole;
    entries that ``files`` does not name stay.

    Args:
        folder: Where to write; it is made if need be.
        files: Path below ``folder``, with slashes → content.

    Raises:
        OSError: It cannot be written; entries that were not reached stand as they were.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    made = beside(folder / "tree")
    new, old = made / "new", made / "old"
    try:
        old.mkdir(parents=True)
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for entry in dict.fromkeys(name.split("/")[0] for name in files):
            move_into_place(new / entry, folder / entry, old / entry)
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
    for path in abandoned(folder):
        _remove(path)


def abandoned(folder: str | os.PathLike) -> list[Path]:
    """What :func:`sweep` removes from a folder."""
    found = []
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            match = _PART.fullmatch(entry.name)
            if _writing(entry, match["host"], int(match["process"])) if match else not _left_earlier(entry):
                continue
            found.append(Path(entry.path))
    return found


def beside(path: Path) -> Path:
    """A hidden name in the same folder, at which nothing is yet; :func:`sweep` finds it once this process has ended."""
    return path.with_name(f".{path.name[:60]}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.part")


_PART = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part", re.DOTALL)
#: how versions before this one named unfinished files; nothing says whose they are
_EARLIER = re.compile(r"\.(build|incoming)-.+|\..+\.\d+\.part", re.DOTALL)


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _left_earlier(entry: os.DirEntry) -> bool:
    is_named = _EARLIER.fullmatch(entry.name) is not None
    return is_named and time.time() - entry.stat(follow_symlinks=False).st_mtime > 86_400


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
