"""Where a table lies: a folder (:class:`pathlib.Path`), or a prefix on any file system of pyarrow or fsspec.

``s3://bucket/prefix`` and its like become a :class:`Remote`, which has as much of Path as tables need. An object is written
whole by one PUT, or not at all; moving one is a copy (as atomic) and a deletion, so whoever moves must be able to repeat
it, as :mod:`metabench.table.manifest` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from metabench import untrusted
from metabench.errors import MetabenchError, UsageError

#: bytes of a table's manifest, split, prescribed starts, seal or notes
SMALL = 16 << 20

_URI = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[^/@]*@)?([^?#]*)", re.DOTALL)


class _Stat(NamedTuple):
    st_size: int


@dataclass(frozen=True)
class Remote:
    """A path on a file system. ``shown`` is its URI without what may be secret: user, password and query.

    Methods do what those of Path of the same name do, and raise OSError; folders need not be made.
    """

    filesystem: fs.FileSystem = field(repr=False, compare=False)
    key: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return self.shown

    def __truediv__(self, name: str | PurePosixPath) -> Remote:
        more = str(name).strip("/")
        if not more:
            return self
        return Remote(self.filesystem, f"{self.key.rstrip('/')}/{more}", f"{self.shown.rstrip('/')}/{more}")

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> Remote:
        cut = len(self.name) + 1
        return Remote(self.filesystem, self.key[:-cut], self.shown[:-cut])

    def with_name(self, name: str) -> Remote:
        return self.parent / name

    def resolve(self) -> Remote:
        return self

    def _type(self) -> fs.FileType:
        return self.filesystem.get_file_info(self.key).type

    def exists(self) -> bool:
        return self._type() != fs.FileType.NotFound

    def is_file(self) -> bool:
        return self._type() == fs.FileType.File

    def is_dir(self) -> bool:
        return self._type() == fs.FileType.Directory

    def stat(self) -> _Stat:
        return _Stat(self.filesystem.get_file_info(self.key).size)

    def iterdir(self) -> Iterator[Remote]:
        for info in self.filesystem.get_file_info(fs.FileSelector(self.key, allow_not_found=True)):
            yield self / info.base_name

    def glob(self, pattern: str) -> list[Remote]:
        """Entries of this folder whose names match; nothing below them."""
        return [path for path in self.iterdir() if fnmatchcase(path.name, pattern)]

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: :meth:`write_bytes` makes the folders that it needs, where the file system has such."""

    def open(self, mode: str = "rb") -> pa.NativeFile:
        """For reading at any position."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: a remote file can be opened as 'rb' only")
        return self.filesystem.open_input_file(self.key)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def write_bytes(self, content: bytes) -> None:
        try:
            stream = self.filesystem.open_output_stream(self.key)
        except FileNotFoundError:
            self.filesystem.create_dir(self.parent.key, recursive=True)
            stream = self.filesystem.open_output_stream(self.key)
        with stream:
            stream.write(content)

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self.filesystem.delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: Remote) -> None:
        """Copy over ``target``, then delete: not atomic, but safe to repeat."""
        self.filesystem.copy_file(self.key, target.key)
        self.filesystem.delete_file(self.key)


Place = Path | Remote


def place(where: str | Path | Remote) -> Place:
    """A folder as it stands, or the place that a URI names.

    Options of the file system stand in the URI's query, as pyarrow has them (``?endpoint_override=host:port&scheme=http``),
    credentials and the rest in the environment. Raises UsageError when nothing here knows the file system.
    """
    if isinstance(where, Path | Remote):
        return where
    match = _URI.match(where)
    if not match:
        return Path(where)
    scheme, rest = match[1], match[2].rstrip("/")
    if not rest:
        raise UsageError(f"{scheme}:// names no place: a table lies in {scheme}://<bucket>/<prefix>")
    try:
        filesystem, key = _filesystem(where)
    except ImportError as error:
        raise UsageError(f"{scheme}://{rest}: {str(error).splitlines()[0]}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{scheme}://{rest} cannot be used: {str(error).splitlines()[0]}") from None
    if isinstance(filesystem, fs.LocalFileSystem):
        return Path(key)
    return Remote(filesystem, key.rstrip("/"), f"{scheme}://{rest}")


def read_small(path: Place) -> bytes:
    """One of a table's small files, which may be anything: a pipe, a device, an endless one.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: It is no regular file, has more than SMALL bytes, or cannot be read.
    """
    if isinstance(path, Path):
        return untrusted.read_bytes(path, most=SMALL)
    try:
        with path.open() as file:
            content = file.read(SMALL + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MetabenchError(f"{path} cannot be read: {untrusted.one_line(error, 200)}") from None
    if len(content) > SMALL:
        raise MetabenchError(f"{path} has more than {SMALL:,} bytes, the most that is read")
    return content


@cache
def _filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's own file system for a URI, or fsspec's for a scheme that pyarrow does not know."""
    try:
        return fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        if "nrecognized filesystem" not in str(error):
            raise
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ImportError("pyarrow does not know this file system; others need the package fsspec") from None
    found, key = url_to_fs(uri)
    return fs.PyFileSystem(fs.FSSpecHandler(found)), key
