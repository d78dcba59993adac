"""The folder of a submission: read once, within bounds, and drafted for its author.

Everything that is checked, scored and kept comes from the bytes that :func:`read` returns, so that a folder which changes
meanwhile changes nothing. No link is followed, no size is believed, and nothing is executed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from metabench.boards.board import Board
from metabench.boards.submissions.form import NO_AUTHOR, NO_SUMMARY, SPEC, Refused, Submission, parse
from metabench.errors import MetabenchError, UsageError
from metabench.files import replace_file
from metabench.untrusted import parse_toml, printable, read_bytes

if TYPE_CHECKING:
    from metabench.search.base import Searcher
    from metabench.table import Table

FILES = ("submission.toml", "traces.parquet")
#: what is added beside them when a submission is accepted
STATUS = "status.json"
#: bytes that a file of a submission may have
LARGEST = {"submission.toml": 64 * 1024, "traces.parquet": 32 * 2**20, STATUS: 16 * 2**20}


@dataclass(frozen=True)
class Packet:
    """The bytes of a submission, and what its author says in them."""

    folder: Path
    submission: Submission
    toml: bytes
    traces: bytes
    #: status.json; None where it was not accepted
    status: bytes | None = None


def read(folder: str | os.PathLike, *, follow: bool = True) -> Packet:
    """Read the files of a submission, each once.

    Args:
        folder: A folder of the two files, and status.json where it was accepted.
        follow: Whether the folder itself may be reached by a symbolic link. Its files never are.

    Returns:
        Their bytes; the traces are not opened yet.

    Raises:
        Refused: It is anything but a folder of these files, of bounded size, with a well-formed submission.toml.
    """
    folder = Path(folder)
    shown = printable(folder, 200)
    if folder.is_file():
        raise Refused(f"{shown} is a file; unpack it and give the folder with {' and '.join(FILES)}")
    if not folder.is_dir():
        raise Refused(f"{shown} is no folder")
    if folder.is_symlink() and not follow:
        raise Refused(f"{shown} is a symbolic link; only plain folders are taken")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise Refused(f"{shown}: {printable(entry.name)!r} is a symbolic link; only plain files are taken")
                if entry.name not in (*FILES, STATUS) or not entry.is_file(follow_symlinks=False):
                    what = f"{printable(entry.name)!r} does not belong here"
                    raise Refused(f"{shown}: {what}; a submission is {' and '.join(FILES)}")
    except OSError as error:
        raise Refused(f"{shown} cannot be read: {error.strerror}") from None
    toml, traces = (_bytes(folder / name) for name in FILES)
    status = _bytes(folder / STATUS) if (folder / STATUS).exists() else None
    return Packet(folder, parse(parse_toml(toml, FILES[0], error=Refused)), toml, traces, status)


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, most=LARGEST[path.name], follow=False, error=Refused)
    except FileNotFoundError:
        raise Refused(f"{printable(path.parent, 200)}: {path.name} is absent") from None


def packed(traces: pa.Table) -> bytes:
    """Traces as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(traces, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


# ---------------------------------------------------------------- drafting
def draft(folder: str | os.PathLike, traces: pa.Table, searcher: Searcher, board: Board, table: Table) -> Path:
    """Write a submission of a method's traces into a new folder, for its author to complete; returns the folder.

    Everything that is known is filled in. Who made the method is not known, and what it does only from its docstring:
    the placeholders that stand there are refused until they are replaced.

    Raises UsageError when the folder holds something, MetabenchError when it cannot be written.
    """
    board.require_split("submissions")
    folder = Path(folder)
    learned = [t for part in ("train", "valid") for t in board.tasks(table, part)]
    spec = f"{type(searcher).__module__}:{type(searcher).__qualname__}"
    doc = " ".join((searcher.__doc__ or "").split("\n\n")[0].split())[:300].replace("<", "").replace(">", "")
    lines = [
        "# Say what the method is and who made it; `metabench submit` checks the rest.",
        f"method = {json.dumps(searcher.name)}",
        f"board = {json.dumps(board.name)}",
        f"digest = {json.dumps(board.digest)}",
        f"summary = {json.dumps(doc or NO_SUMMARY, ensure_ascii=False)}",
        f"authors = [{json.dumps(NO_AUTHOR)}]",
        *([f"spec = {json.dumps(spec)}"] if SPEC.fullmatch(spec) else []),
        *([f"twin = {json.dumps(searcher.twin)}"] if searcher.twin else []),
        '# code = "https://…"',
        '# paper = "https://…"',
        '# tasks that it learned from; other data as "sha256:<digest of a split>" or "elsewhere:<what it is>"',
        f"trained_on = {json.dumps(learned)}",
        "# tasks on which its settings were chosen",
        "tuned_on = []",
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; a submission is drafted into a new folder")
        replace_file(folder / FILES[0], "\n".join(lines) + "\n")
        replace_file(folder / FILES[1], packed(traces))
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
