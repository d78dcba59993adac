"""The traces of a submission as Arrow columns: unpacked by a child process, and of the types that the board's traces have."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from metabench import schema
from metabench.boards.board import Board
from metabench.boards.submissions.folder import LARGEST
from metabench.boards.submissions.form import Refused, Submission
from metabench.registry import suggest
from metabench.untrusted import one_line, parquet, printable

NAME = "traces.parquet"
#: bytes of the columns in memory, of the child's memory, seconds
UNPACKED, MEMORY, SECONDS = 512 << 20, 3 << 30, 60.0
#: steps that a search may make for a full training's epochs, where these are counted
STEPS = 1000
#: bytes of a text: of a name, and of a live configuration
TEXT, CONFIGURATION = 300, 20_000
#: columns that must be there: of traces that index a table, and of live ones
_COMPULSORY = (
    ("method", "start", "task_id", "seed", "config_ids", "overhead"),
    tuple(name for name in schema.LIVE.names if name != "cell"),
)


def read_traces(
    content: bytes, submission: Submission, cells: int, trials: int, kind: pa.Schema
) -> tuple[pa.Table, list | None]:
    """Traces of a Parquet file that nobody vouches for.

    Args:
        content: The file.
        submission: What submission.toml says; the traces are of its method alone.
        cells: Most rows.
        trials: Most trials of a row.
        kind: Their schema, TRACES or LIVE.

    Returns:
        The traces, and the claimed score of every trial if the file has a column ``scores``.

    Raises:
        Refused: The file breaks a rule; in one line.
    """
    table = _unpacked(content, cells)
    _check_columns(table.schema, kind)
    try:
        claimed = table["scores"].cast(pa.list_(pa.float64())) if "scores" in table.column_names else None
        if "cell" not in table.column_names:
            table = table.append_column("cell", pa.array([""] * len(table), pa.string()))
        compulsory = _COMPULSORY[kind is schema.LIVE]
        for field in kind:
            if field.name not in table.column_names:
                if not field.nullable or field.name in compulsory:
                    raise Refused(f"{NAME}: column {field.name!r} is absent")
                table = table.append_column(field, pa.nulls(len(table), field.type))
            elif field.name in compulsory and table[field.name].null_count:
                raise Refused(f"{NAME}: column {field.name!r} has cells without a value")
        traces = table.select(kind.names).cast(kind).combine_chunks()
        traces.validate(full=True)
    except (pa.ArrowException, NotImplementedError, ValueError, OverflowError) as error:
        raise Refused(f"{NAME} cannot be read: {one_line(error, 200)}") from None
    _check_values(traces, trials)
    if others := set(traces["method"].to_pylist()) - {submission.method}:
        raise Refused(f"{NAME}: holds method {printable(min(others))!r}; submission.toml says {submission.method!r}")
    return traces, None if claimed is None else claimed.to_pylist()


def longest(board: Board) -> int:
    """Steps that a search on the board can have at most."""
    return board.budget * STEPS if board.by_epochs else board.budget


def _unpacked(content: bytes, cells: int) -> pa.Table:
    """The file as it is, read by a child process from a copy that nobody else can change."""
    with tempfile.TemporaryDirectory(prefix="metabench-") as folder:
        path = Path(folder, NAME)
        path.write_bytes(content)
        try:
            table = parquet(
                path, rows=cells, values=UNPACKED, memory=MEMORY, seconds=SECONDS, most=LARGEST[NAME], error=Refused
            )
        except Refused as error:
            raise Refused(str(error).replace(str(path), NAME)) from None
    try:
        table.validate(full=True)
        [str(name) for name in table.column_names]  # raises where one is no UTF-8
    except (pa.ArrowException, ValueError) as error:
        raise Refused(f"{NAME} cannot be read: {one_line(error, 200)}") from None
    return table


def _check_columns(found: pa.Schema, kind: pa.Schema) -> None:
    """Each column is known, there once, and of a type that holds what it should, however wide."""
    known = {field.name: pa.types.is_list(field.type) for field in kind} | {"scores": True}
    seen: set[str] = set()
    for field in found:
        name = printable(field.name)
        if field.name not in known:
            raise Refused(f"{NAME}: {suggest(name, list(known), 'column')}")
        if field.name in seen:
            raise Refused(f"{NAME}: column {name!r} is there twice")
        seen.add(field.name)
        is_list = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        if pa.types.is_nested(field.type.value_type if is_list else field.type) or is_list != known[field.name]:
            raise Refused(f"{NAME}: column {name!r} is {printable(field.type)}")


def _check_values(traces: pa.Table, trials: int) -> None:
    """Lists and texts are of a bounded length, and nothing in a list is missing."""
    for field in traces.schema:
        column, most = traces[field.name].combine_chunks(), TEXT
        if pa.types.is_list(field.type):
            length = pc.max(pc.list_value_length(column)).as_py() or 0
            if length > trials:
                raise Refused(f"{NAME} claims {length:,} trials in a cell; this board has at most {trials:,} trials")
            column, most = column.flatten(), CONFIGURATION
            if column.null_count:
                raise Refused(f"{NAME}: column {field.name!r} has trials without a value")
        if pa.types.is_string(column.type) and (longest := pc.max(pc.binary_length(column)).as_py() or 0) > most:
            raise Refused(
                f"{NAME}: column {field.name!r} holds a text of {longest:,} bytes; at most {most:,} are taken"
            )
