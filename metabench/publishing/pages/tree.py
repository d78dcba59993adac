"""Published files on disk: how they are written, and what of them is stale."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metabench import files
from metabench.errors import MetabenchError
from metabench.publishing.pages.formats import parquet


def write_tree(folder: str | os.PathLike, contents: Mapping[str, bytes], what: str = "the pages") -> list[Path]:
    """Write files below a folder; each of its entries is replaced whole, so that nothing old is left inside one.

    Args:
        folder: Where to write; it is made if need be. Entries that no path begins with stay.
        contents: Path below the folder, with slashes → what the file holds.
        what: What an error says could not be written.

    Returns:
        The paths written, sorted.

    Raises:
        MetabenchError: The folder cannot be written.
    """
    folder = Path(folder)
    try:
        files.write_tree(folder, contents)
    except OSError as error:
        raise MetabenchError(f"{what} cannot be written to {folder}: {error.strerror or error}") from None
    return sorted(folder / name for name in contents)


def write_files(folder: str | os.PathLike, contents: Iterable[tuple[str, bytes]]) -> list[Path]:
    """Write files below a folder one by one, as they come; all others stay, those beside them too.

    Args:
        folder: Where to write; it is made if need be.
        contents: Path below the folder, with slashes, and what the file holds.

    Returns:
        The paths written, in the order they came.

    Raises:
        MetabenchError: One cannot be written; it names the file.
    """
    return [write_file(Path(folder, name), content) for name, content in contents]


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all. Raises MetabenchError when it cannot be written."""
    try:
        files.replace_file(path, content)
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def check_tree(folder: str | os.PathLike, contents: Mapping[str, bytes], whole: str = ".") -> list[str]:
    """What is stale below a folder: a line for each file that is absent, differs or is left over. Nothing is written.

    Parquet files are compared by content, since their bytes depend on the version of the writing library.

    Args:
        folder: Where the files should be.
        contents: Path below the folder, with slashes → what the file should hold.
        whole: The folder in it that may hold nothing else; ``.`` is the folder itself.

    Returns:
        The lines, sorted.
    """
    folder, problems = Path(folder), []
    for name, content in contents.items():
        if not (folder / name).is_file():
            problems.append(f"{folder / name} is absent")
        elif not _same(folder / name, content):
            problems.append(f"{folder / name} is stale")
    there = [path for path in (folder / whole).rglob("*") if path.is_file()]
    left = [path for path in there if path.relative_to(folder).as_posix() not in contents]
    return sorted([*problems, *(f"{path} is left over" for path in left)])


def _same(path: Path, content: bytes) -> bool:
    if path.suffix != ".parquet":
        return path.read_bytes() == content
    try:
        # written again by one library, so that what is no number equals itself
        stored, expected = (pq.read_table(source).combine_chunks() for source in (path, io.BytesIO(content)))
        return parquet(stored) == parquet(expected)
    except (pa.ArrowException, OSError):
        return False
