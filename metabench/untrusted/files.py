"""Bounded reading: regular files alone, and no more of them than a limit; unpacking and parsing under the same rule."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import stat
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TextIO

from metabench.errors import MetabenchError
from metabench.untrusted.text import one_line, printable

#: bytes of a file, or of what is unpacked from one, where the caller names no other limit
LIMIT = 1 << 30
#: bytes of a document (JSON, TOML) that is read whole
DOCUMENT = 16 << 20
#: characters of one line of text
LINE = 1 << 24
#: members of a zip archive
MEMBERS = 200_000

Error = type[MetabenchError]


def open_regular(
    path: str | os.PathLike, *, most: int | None = LIMIT, follow: bool = True, error: Error = MetabenchError
) -> IO[bytes]:
    """Open a regular file for reading; a FIFO, a device or a folder is refused without waiting for it.

    Args:
        path: The file.
        most: Largest size in bytes; None for any.
        follow: Whether the last part of the path may be a symbolic link.
        error: What to raise for a file that breaks a rule.

    Returns:
        A buffered binary file; the caller closes it. The checks hold for it and not merely for its name.

    Raises:
        FileNotFoundError: There is no such file.
        MetabenchError: Of type ``error``: no regular file, a link, unreadable or too large.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    where = printable(path, 200)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:
        if isinstance(problem, OSError) and problem.errno == errno.ELOOP and not follow:
            raise error(f"{where} is a symbolic link; a file of its own is needed") from None
        if isinstance(problem, OSError) and problem.errno == errno.ENXIO:
            raise error(f"{where} is no regular file") from None
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise error(f"{where} cannot be read: {reason}") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{where} is no regular file")
        if most is not None and status.st_size > most:
            raise error(f"{where} has {size(status.st_size)}; at most {size(most)} are read")
        os.set_blocking(handle, True)
        return open(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(
    path: str | os.PathLike, *, most: int = LIMIT, follow: bool = True, error: Error = MetabenchError
) -> bytes:
    """The content of a regular file of at most ``most`` bytes, also where it grows meanwhile. Raises as
    :func:`open_regular` does."""
    with open_regular(path, most=most, follow=follow, error=error) as file:
        try:
            content = file.read(most + 1)
        except OSError as problem:
            raise error(f"{printable(path, 200)} cannot be read: {problem.strerror}") from None
    if len(content) > most:
        raise error(f"{printable(path, 200)} has more than {size(most)}, the most that is read")
    return content


# ---------------------------------------------------------------- documents
def parse_json(content: bytes | str, where: object, *, error: Error = MetabenchError) -> Any:
    """What a JSON document says. NaN, infinities, repeated keys, numbers of thousands of digits and deep nesting are
    refused. Raises ``error`` naming ``where``."""
    return _parsed(
        lambda text: json.loads(text, object_pairs_hook=_once, parse_constant=_no_number), content, where, error, "JSON"
    )


def parse_toml(content: bytes | str, where: object, *, error: Error = MetabenchError) -> dict[str, Any]:
    """What a TOML document says. Raises ``error`` naming ``where``."""
    return _parsed(tomllib.loads, content, where, error, "TOML")


def read_json(
    path: str | os.PathLike, *, most: int = DOCUMENT, follow: bool = True, error: Error = MetabenchError
) -> Any:
    """:func:`parse_json` of a regular file of at most ``most`` bytes. Raises FileNotFoundError when it is absent."""
    return parse_json(read_bytes(path, most=most, follow=follow, error=error), path, error=error)


def read_toml(
    path: str | os.PathLike, *, most: int = DOCUMENT, follow: bool = True, error: Error = MetabenchError
) -> dict[str, Any]:
    """:func:`parse_toml` of a regular file of at most ``most`` bytes. Raises FileNotFoundError when it is absent."""
    return parse_toml(read_bytes(path, most=most, follow=follow, error=error), path, error=error)


def read_lines(path: str | os.PathLike, *, most: int = DOCUMENT, error: Error = MetabenchError) -> list[str]:
    """The lines of a regular file of UTF-8 text. Raises FileNotFoundError when it is absent, else ``error``."""
    try:
        return read_bytes(path, most=most, error=error).decode("utf-8").splitlines()
    except UnicodeDecodeError as problem:
        raise error(f"{printable(path, 200)} is no text in UTF-8: {one_line(problem, 200)}") from None


def _parsed(parse: Callable[[str], Any], content: bytes | str, where: object, error: Error, kind: str) -> Any:
    try:
        return parse(content if isinstance(content, str) else content.decode("utf-8"))
    except RecursionError:
        raise error(f"{printable(where, 200)} is nested too deeply") from None
    except ValueError as problem:  # of decoding, of the parser, of 5,000-digit numbers
        raise error(f"{printable(where, 200)} is no {kind} document: {one_line(problem, 200)}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        raise ValueError("a key is listed twice")
    return out


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


# ---------------------------------------------------------------- text
def lines(file: TextIO, where: object, *, longest: int = LINE, error: Error = MetabenchError) -> Iterator[str]:
    """Lines of a text file, each of at most ``longest`` characters. Raises ``error`` at the first longer one."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise error(f"{printable(where, 200)}, line {number} has more than {longest:,} characters")
        yield line


# ---------------------------------------------------------------- packed
def gunzip(content: bytes, where: object, *, most: int = LIMIT, error: Error = MetabenchError) -> bytes:
    """What a gzip file holds, at most ``most`` bytes. Raises ``error`` when it is more, or damaged."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            out = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise error(f"{printable(where, 200)} is a damaged gzip file: {one_line(problem, 200)}") from None
    if len(out) > most:
        raise error(f"{printable(where, 200)} unpacks to more than {size(most)}, the most that is read")
    return out


def unzip(file: IO[bytes], where: object, *, most: int = LIMIT, error: Error = MetabenchError) -> dict[str, bytes]:
    """The members of a zip archive (folders left out), name → content, at most ``most`` bytes together.

    Raises ``error`` when it is more, when there are more than MEMBERS, a name occurs twice, or it is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise error(f"{printable(where, 200)} has {len(members):,} members; at most {MEMBERS:,} are read")
            total = sum(member.file_size for member in members)
            if total > most:
                raise error(f"{printable(where, 200)} unpacks to {size(total)}; at most {size(most)} are read")
            if len({member.filename for member in members}) < len(members):
                raise error(f"{printable(where, 200)} has a member twice")
            return {member.filename: unzipped(archive, member) for member in members if not member.is_dir()}
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as problem:
        raise error(f"{printable(where, 200)} is no readable zip archive: {one_line(problem, 200)}") from None


def unzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member of an archive: no more bytes, and no more memory, than its entry says. Raises BadZipFile for an encrypted
    one or one packed by a method other than deflate, whose size cannot be bounded on the way."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise zipfile.BadZipFile(f"{printable(member.filename)} is packed by a method that is not read")
    parts = []
    with archive.open(member) as file:  # piece by piece: read() unpacks up to 2 GB before it looks at the size
        while part := file.read(1 << 20):
            parts.append(part)
    return b"".join(parts)


def size(count: int) -> str:
    """Bytes as a person reads them: 512 bytes, 1.5 MB."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def regular(path: Path) -> bool:
    """Whether a path is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
