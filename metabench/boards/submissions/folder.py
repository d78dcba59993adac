"""The folder of a submission: read within bounds, drafted for its author, kept on its board.

Sizes are bounded before a file is read, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from metabench import schema
from metabench.boards.board import Board
from metabench.boards.submissions.form import SPEC, Refused, Submission, parse
from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest

if TYPE_CHECKING:
    from metabench.boards.submissions.rules import Checked
    from metabench.search.base import Searcher
    from metabench.table import Table

FILES = ("submission.toml", "traces.parquet")
#: what is added beside them when a submission is accepted
STATUS = "status.json"
STATUSES = ("recomputed", "reproduced", "confirmed")
#: bytes that a file of a submission may have, and its traces when they are unpacked
LARGEST = {"submission.toml": 64 * 1024, "traces.parquet": 32 * 2**20}
UNPACKED = 512 * 2**20
#: steps that a search may make for a full training's epochs, where these are counted
STEPS = 1000
#: columns of traces that must be there: of those that index a table, and of live ones
_COMPULSORY = (
    ("method", "start", "task_id", "seed", "config_ids", "overhead"),
    tuple(name for name in schema.LIVE.names if name != "cell"),
)


# ---------------------------------------------------------------- reading
def read(folder: str | os.PathLike) -> tuple[Submission, Path]:
    """The submission in a folder and the path of its traces, which are not opened yet.

    Raises Refused for anything but a folder of the two files, of bounded size, with well-formed contents.
    """
    folder = Path(folder)
    if folder.is_file():
        raise Refused(f"{folder} is a file; unpack it and give the folder with {' and '.join(FILES)}")
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder")
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_symlink():
            raise Refused(f"{folder}: {entry.name!r} is a symbolic link; only plain files are taken")
        if entry.name not in (*FILES, STATUS) or not entry.is_file(follow_symlinks=False):
            raise Refused(f"{folder}: {entry.name!r} does not belong here; a submission is {' and '.join(FILES)}")
    for name in FILES:
        if not (folder / name).is_file():
            raise Refused(f"{folder}: {name} is absent")
        if (size := (folder / name).stat().st_size) > LARGEST[name]:
            raise Refused(f"{folder}: {name} has {size:,} bytes; at most {LARGEST[name]:,} are taken")
    try:
        facts = tomllib.loads((folder / "submission.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{folder}: submission.toml: {' '.join(str(error).split())}") from None
    return parse(facts), folder / "traces.parquet"


def read_traces(
    path: Path, submission: Submission, cells: int, trials: int, kind: pa.Schema
) -> tuple[pa.Table, list | None]:
    """Traces of schema ``kind`` and the claimed score of every trial, if the file has a column ``scores``."""
    known = [f.name for f in kind]
    compulsory = _COMPULSORY[kind is schema.LIVE]
    try:
        with pq.ParquetFile(path) as file:
            # a list of a billion equal numbers packs into a few bytes: what counts is how many there are
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            values = max((g.column(j).num_values for g in groups for j in range(g.num_columns)), default=0)
            if (
                file.metadata.num_rows > cells
                or values > cells * trials
                or sum(g.total_byte_size for g in groups) > UNPACKED
            ):
                raise Refused(
                    f"traces.parquet claims {file.metadata.num_rows:,} rows and {values:,} trials; "
                    f"this board has at most {cells:,} cells of {trials:,} trials"
                )
            for name in file.schema_arrow.names:
                if name not in (*known, "scores"):
                    raise Refused(f"traces.parquet: {suggest(name, [*known, 'scores'], 'column')}")
            table = file.read()
        claimed = table["scores"].cast(pa.list_(pa.float64())).to_pylist() if "scores" in table.column_names else None
        if "cell" not in table.column_names:
            table = table.append_column("cell", pa.array([""] * len(table), pa.string()))
        for field in kind:
            if field.name not in table.column_names:
                if not field.nullable or field.name in compulsory:
                    raise Refused(f"traces.parquet: column {field.name!r} is absent")
                table = table.append_column(field, pa.nulls(len(table), field.type))
            elif field.name in compulsory and table[field.name].null_count:
                raise Refused(f"traces.parquet: column {field.name!r} has cells without a value")
        traces = table.select(known).cast(kind)
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise Refused(f"traces.parquet cannot be read: {str(error).splitlines()[0]}") from None
    if others := set(traces["method"].to_pylist()) - {submission.method}:
        raise Refused(f"traces.parquet: holds method {min(others)!r}; submission.toml says {submission.method!r}")
    return traces, claimed


def longest(board: Board) -> int:
    """Steps that a search on the board can have at most."""
    return board.budget * STEPS if board.by_epochs else board.budget


# ---------------------------------------------------------------- keeping
def accept(checked: Checked, folder: str | os.PathLike, board: Board, status: str = "recomputed") -> Path:
    """Keep a checked submission below the board's folder, in place of an earlier one of its name; the folder of it.

    Raises UsageError for an unknown status, MetabenchError when it cannot be written.
    """
    if status not in STATUSES:
        raise suggest(status, list(STATUSES), "status")
    if board.path is None:
        raise UsageError(f"board {board.name} has no folder to keep submissions in")
    home = board.path / "submissions"
    place = home / checked.submission.method
    facts = {"status": status, "traces": hashlib.sha256(_packed(checked.traces)).hexdigest()}
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=home) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            shutil.copyfile(Path(folder) / FILES[0], new / FILES[0])
            (new / FILES[1]).write_bytes(_packed(checked.traces))
            (new / STATUS).write_text(json.dumps(facts, indent=1) + "\n")
            if place.exists():
                os.replace(place, Path(temporary) / "old")
            os.replace(new, place)
    except OSError as error:
        raise MetabenchError(f"the submission cannot be kept in {home}: {error.strerror or error}") from None
    return place


def _packed(traces: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(traces, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def accepted(board: Board) -> Iterator[tuple[Submission, pa.Table]]:
    """The board's submissions with their traces, by name.

    Raises MetabenchError for one whose traces are no longer those that were accepted.
    """
    home = board.path / "submissions" if board.path else None
    for folder in sorted(home.iterdir()) if home and home.is_dir() else ():
        if folder.name.startswith("."):
            continue
        submission, path = read(folder)
        try:
            facts = json.loads((folder / STATUS).read_text())
            status, digest = str(facts["status"]), facts["traces"]
        except (OSError, ValueError, KeyError, TypeError):
            raise MetabenchError(f"{folder} was not accepted by `metabench submit`: no readable {STATUS}") from None
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest or status not in STATUSES:
            raise MetabenchError(f"{folder} changed since it was accepted; submit it again")
        traces, _ = read_traces(path, submission, 10**6, longest(board), board.traces_schema)
        yield replace(submission, status=status), traces


# ---------------------------------------------------------------- drafting
def draft(folder: str | os.PathLike, traces: pa.Table, searcher: Searcher, board: Board, table: Table) -> Path:
    """Write a submission of a method's traces into a new folder, for its author to complete; returns the folder.

    Everything that is known is filled in. Raises UsageError when the folder holds something, MetabenchError when it
    cannot be written.
    """
    folder = Path(folder)
    learned = [t for part in ("train", "valid") for t in board.tasks(table, part)]
    spec = f"{type(searcher).__module__}:{type(searcher).__qualname__}"
    doc = " ".join((searcher.__doc__ or "").split("\n\n")[0].split()) or f"{searcher.name}, a searcher."
    lines = [
        "# Say what the method is and who made it; `metabench submit` checks the rest.",
        f"method = {json.dumps(searcher.name)}",
        f"board = {json.dumps(board.name)}",
        f"digest = {json.dumps(board.digest)}",
        f"summary = {json.dumps(doc[:300].replace('<', '').replace('>', ''), ensure_ascii=False)}",
        'authors = ["your name"]',
        *([f"spec = {json.dumps(spec)}"] if SPEC.fullmatch(spec) else []),
        *([f"twin = {json.dumps(searcher.twin)}"] if searcher.twin else []),
        "# code = \"https://…\"",
        "# paper = \"https://…\"",
        "# tasks that it learned from; other data as \"sha256:<digest of a split>\" or \"elsewhere:<what it is>\"",
        f"trained_on = {json.dumps(learned)}",
        "# tasks on which its settings were chosen",
        "tuned_on = []",
    ]  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; a submission is drafted into a new folder")
        (folder / FILES[0]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / FILES[1]).write_bytes(_packed(traces))
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
