"""Delimited text as a table of text: what stands before the header, the header, the delimiter, packed files, long lines."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from metabench import untrusted
from metabench.errors import UsageError

#: what is kept of the parts of a table, and how many rows they have
Keep = Callable[[Iterable[pd.DataFrame]], tuple[pd.DataFrame, int]]
DELIMITERS = ",;\t|"
#: characters of a line; cells that are read at a time
LINE, CELLS = 1 << 24, 20_000_000
#: endings of packed files, by which a file's own ending is found
PACKED = {".gz", ".zst", ".zstd", ".bz2", ".xz"}


@dataclass(frozen=True)
class Layout:
    """How a file of delimited text is laid out."""

    delimiter: str
    #: lines before the header
    skip: int
    #: cells of the header, as they stand; where each row has one cell more, with a name for it
    header: tuple[str, ...]
    #: what is to be said of it
    said: tuple[str, ...] = ()


def suffix(path: Path) -> str:
    """The ending that says what a file is: of ``a.csv.gz`` ``.csv``."""
    ending = path.suffix.lower()
    return Path(path.stem).suffix.lower() if ending in PACKED else ending


class _Bounded(io.RawIOBase):
    """Bytes of a file, or of what it unpacks to; a line beyond LINE ends it."""

    def __init__(self, raw: IO[bytes], path: Path):
        self.raw, self.source, self.path, self.since = raw, _unpacked(raw), path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into) -> int:
        try:
            data = self.source.read(len(into))
        except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
                raise
            raise UsageError(f"{self.path} cannot be unpacked: {_short(error)}") from None
        last = data.rfind(b"\n")
        # a line may end with a carriage return alone
        last = data.rfind(b"\r") if last < 0 else last
        self.since = len(data) - last - 1 if last >= 0 else self.since + len(data)
        if self.since > LINE:
            raise UsageError(f"{self.path} has a line of more than {LINE:,} bytes: it is no table of text")
        into[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.source.close()
            self.raw.close()
        super().close()


def opened(path: Path, encoding: str, newline: str | None = "") -> IO[str]:
    """A file of text, unpacked where its first bytes say that it is packed (gzip, zstd, bzip2, xz).

    Args:
        path: A regular file.
        encoding: Its encoding; of UTF-8 a byte order mark is left out.
        newline: As of :func:`open`: "" leaves the ends of lines as they are, None makes each "\\n".

    Returns:
        A text file that the caller closes.

    Raises:
        UsageError: There is no such encoding.
    """
    known_encoding(path, encoding)
    encoding = "utf-8-sig" if is_utf8(encoding) else encoding
    raw = untrusted.open_regular(path, most=None, error=UsageError)
    try:
        return io.TextIOWrapper(io.BufferedReader(_Bounded(raw, path), 1 << 20), encoding=encoding, newline=newline)
    except BaseException:
        raw.close()
        raise


def _unpacked(raw: IO[bytes]) -> Any:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if start.startswith(b"\xfd7zXZ") else raw


def is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")


def known_encoding(path: Path, encoding: str) -> None:
    """Raises UsageError when there is no encoding of that name."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UsageError(f"{path}: {encoding!r} is no encoding; utf-8, latin-1 and utf-16 are some") from None


def layout(path: Path, encoding: str) -> Layout:
    """How a file is laid out, from its first lines.

    Args:
        path: A regular file.
        encoding: Its encoding.

    Returns:
        Its delimiter, the lines before its header, its header.

    Raises:
        UsageError: It is empty.
    """
    with opened(path, encoding) as text:
        first = [line for line in (text.readline(LINE) for _ in range(200)) if line]
    skip, named = 0, None
    while skip < len(first) and (not first[skip].strip() or first[skip].startswith(("#", "sep="))):
        line = first[skip].strip()
        if line.startswith("sep=") and len(line) == 5:
            named = line[4]
        elif line.startswith("#") and named is None and skip + 1 < len(first) and _is_header(line, first[skip + 1]):
            break
        skip += 1
    if skip >= len(first):
        raise UsageError(f"{path} cannot be read as a table: it is empty")
    delimiter = named or _delimiter(first[skip])
    rows = _cells("".join(first[skip:]), delimiter, 2)
    header, said = list(rows[0]), []
    comments = sum(bool(line.strip()) for line in first[:skip])
    if comments:
        said.append(f"{comments} line{'s' * (comments > 1)} before the header: left out")
    if len(rows) > 1 and len(rows[1]) == len(header) + 1:
        if rows[1][-1].strip():  # as R writes a table
            header = ["row name", *header]
            said.append("each row has one cell more than the header: the first is called 'row name'")
        else:
            header = [*header, ""]
    if len(header) > 1 and all(re.fullmatch(r"\s*[+-]?\d*[.,]?\d+([eE][+-]?\d+)?\s*", cell) for cell in header):
        said.append(f"the first row ({', '.join(header[:3])}, …) names the columns: a file without a header needs one")
    return Layout(delimiter, skip, tuple(header), tuple(said))


def _is_header(line: str, following: str) -> bool:
    """Whether a line that begins with # names the columns of the next one."""
    mark = _delimiter(following)
    return following.count(mark) > 0 and line.count(mark) == following.strip().count(mark)


def _delimiter(line: str) -> str:
    bare = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=lambda mark: (bare.count(mark), mark == ","))


def _cells(text: str, delimiter: str, rows: int) -> list[list[str]]:
    import csv as module

    out = []
    module.field_size_limit(LINE)
    for row in module.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True):
        if row:
            out.append(row)
        if len(out) == rows:
            break
    return out or [[""]]


def csv(path: Path, encoding: str, keep: Keep, chunk: int) -> tuple[pd.DataFrame, int, Layout]:
    """A table of delimited text, all cells text, its columns called as the header has them.

    Args:
        path: A regular file, packed or not.
        encoding: Its encoding.
        keep: Takes parts of the table and returns what is kept of their rows, and how many there were.
        chunk: Rows that are read at a time, at most.

    Returns:
        What was kept, how many rows there are, how the file is laid out.

    Raises:
        UsageError: It is no table, or of another encoding.
    """
    try:
        found = layout(path, encoding)
        places = range(len(found.header))
        settings: dict[str, Any] = dict(
            sep=found.delimiter,
            skiprows=found.skip,
            header=0,
            names=list(places),
            index_col=False,
            dtype=str,
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[],
            low_memory=False,
        )
        rows = max(1, min(chunk, CELLS // len(found.header)))
        with opened(path, encoding) as text, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it would cut off cells
            with pd.read_csv(text, chunksize=rows, **settings) as chunks:
                kept, total = keep(chunks)
    except UnicodeError as error:
        if not_text(path):
            raise UsageError(f"{path} is no text, so no table of delimited text") from None
        raise UsageError(
            f"{path} is not {encoding} text ({_short(error)}); name its encoding, such as latin-1 or utf-16"
        ) from None
    except UsageError:
        raise
    except (ValueError, MemoryError, OSError, EOFError, lzma.LZMAError, pd.errors.ParserWarning) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(f"{path} cannot be read as a table: {_cause(error)}") from None
    kept = kept.reindex(columns=list(places)).astype(object)
    kept.columns = list(found.header)
    return kept.where(kept.notna(), None), total, found


def marked(path: Path, encoding: str) -> str:
    """UTF-16 where a file begins with its byte order mark and UTF-8 was expected; else ``encoding``."""
    if not path.is_file() or not is_utf8(encoding):
        return encoding
    with untrusted.open_regular(path, most=None, error=UsageError) as raw:
        return "utf-16" if raw.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else encoding


def not_text(path: Path) -> bool:
    """Whether a file's first bytes hold control characters or zero bytes, as no text has them; text in UTF-16 has a mark."""
    with (
        untrusted.open_regular(path, most=None, error=UsageError) as raw,
        io.BufferedReader(_Bounded(raw, path)) as source,
    ):
        start = source.read(4096)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return bool(re.search(rb"[\x00-\x06\x0e-\x1a]", start))


def _cause(error: BaseException) -> str:
    """What a reader says of a row or a quote, with the number of the line; other errors as they are."""
    text = _short(error)
    if ragged := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        return f"line {ragged[2]} has {ragged[3]} cells, more than the {ragged[1]} of the header"
    if quote := re.search(r"EOF inside string starting at row (\d+)", text):
        return f"a quotation mark in line {int(quote[1]) + 1} is never closed"
    return text.removeprefix("Error tokenizing data. C error: ")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = [
    "PACKED",
    "Keep",
    "Layout",
    "csv",
    "is_utf8",
    "known_encoding",
    "layout",
    "marked",
    "not_text",
    "opened",
    "suffix",
]
