"""Brings the files of a table or board into the cache: checked, resumable, each in its place whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from metabench.downloads import mirrors
from metabench.downloads.listing import Entry, entries
from metabench.errors import MetabenchError
from metabench.sources._fetch import cache_dir


def folder(entry: Entry) -> Path:
    """Where an entry lies once it is fetched."""
    return cache_dir() / entry.prefix


def cached(kind: str) -> Path:
    """The folder of the cache that holds what was fetched of a kind."""
    return cache_dir() / kind


def complete(kind: str, name: str) -> dict[int, Path]:
    """Version → folder of what is in the cache whole."""
    return {e.version: folder(e) for e in entries() if (e.kind, e.name) == (kind, name) and on_disk(e)}


def names(kind: str) -> list[str]:
    """Names of all that can be fetched of a kind."""
    return sorted({e.name for e in entries() if e.kind == kind})


def on_disk(entry: Entry) -> bool:
    """Whether every file of an entry is in the cache, judged by names and sizes; readers check the hashes."""
    root = folder(entry)
    return all(_size(root / path) == size for path, (_, size) in entry.files.items())


def fetch(entry: Entry, say: Callable[[str], None] | None = None) -> Path:
    """Bring what the cache lacks of a table or board.

    Args:
        entry: what :func:`metabench.downloads.find` returned.
        say: is told in one line what is loaded, how large it is and from where. None: stderr.

    Returns:
        The folder.

    Raises:
        MetabenchError: in one line, when the mirror cannot be reached, has other files, serves a web page or ends early,
            or when the cache cannot be written. What was loaded of the cut file is kept and the next call goes on there.
    """
    import pooch
    from filelock import FileLock

    root = folder(entry)
    missing = {path: of for path, of in entry.files.items() if not _is_here(root / path, *of)}
    if not missing:
        return root
    base = mirrors.mirror()
    size = sum(size for _, size in missing.values())
    shown = base.partition("?")[0]
    (say or _to_stderr)(f"loading {entry.what}, {_megabytes(size)}, from {shown} into {root}")
    pooch.get_logger().setLevel("WARNING")
    with _readable_errors(), _locked(FileLock):
        store = pooch.create(
            path=root,
            base_url="",
            registry={path: f"sha256:{sha}" for path, (sha, _) in missing.items()},
            urls={path: mirrors.address(base, f"{entry.prefix}/{path}") for path in missing},
        )
        for path, (sha, length) in missing.items():
            store.fetch(path, downloader=cast(Any, _Resuming(sha, length)))
    return root


class _Resuming:
    """A downloader for pooch that goes on where a cut download of the same file stopped."""

    def __init__(self, sha256: str, size: int):
        self.sha256, self.size = sha256, size

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        part = cache_dir() / "partial" / self.sha256
        part.parent.mkdir(parents=True, exist_ok=True)
        for attempt in (_size(part) or 0, 0):
            self._load(url, part, attempt if attempt < self.size else 0)
            if _hash(part) == self.sha256:
                shutil.copyfile(part, output_file)
                part.unlink()
                return
            short = (_size(part) or 0) < self.size
            if short or not attempt:
                break
        if short:
            got = _size(part) or 0
            raise MetabenchError(
                f"{url} was cut off after {got:,} of {self.size:,} bytes; the same command goes on there"
            )
        part.unlink(missing_ok=True)
        raise MetabenchError(f"{url} is not the listed file: its sha256 is not {self.sha256[:16]}…")

    def _load(self, url: str, part: Path, start: int) -> None:
        begin, pieces = mirrors.read(url, start)
        size = begin
        with part.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            for piece in pieces:
                if not size and piece.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
                    raise MetabenchError(
                        f"{url} is a web page and not the file: METABENCH_MIRROR must name the folder of raw files"
                    )
                size += len(piece)
                if size > self.size:
                    raise MetabenchError(f"{url} is not the listed file: it has more than {self.size:,} bytes")
                file.write(piece)
            file.truncate()


@contextmanager
def _locked(lock: type) -> Iterator[None]:
    """One process fetches at a time; another one then finds the files there."""
    path = cache_dir() / "partial" / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(str(path)):
        yield


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except MetabenchError:
        raise
    except (
        OSError,
        ValueError,
    ) as error:  # pooch names a folder that it cannot write in a ValueError or PermissionError
        code = getattr(error, "errno", None)
        if code == errno.ENOSPC:
            raise MetabenchError(
                f"{cache_dir()}: the disk is full; free some space or point METABENCH_CACHE at a folder on another disk"
            ) from None
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise MetabenchError(
            f"{cache_dir()} cannot be written ({why}); point METABENCH_CACHE at a folder that can"
        ) from None


def _is_here(path: Path, sha256: str, size: int) -> bool:
    return _size(path) == size and _hash(path) == sha256


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def _to_stderr(line: str) -> None:
    print(f"metabench: {line}", file=sys.stderr)
