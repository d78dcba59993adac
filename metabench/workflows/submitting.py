"""Submissions from a board's side: drafted of what was evaluated, checked and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from metabench.boards.board import Board, load_board
from metabench.checkout import REPOSITORY
from metabench.errors import UsageError
from metabench.evaluation import resolve

if TYPE_CHECKING:
    from metabench.boards.submissions import Checked


def draft_submission(folder: Path, spec: str, traces: pa.Table, name: str) -> Path:
    """Write a submission of one evaluated method into a new folder, for its author to complete."""
    from metabench.boards.submissions import draft
    from metabench.table import load_table

    (method,) = resolve(spec)
    board = _takes_submissions(load_board(name))
    mine = traces.filter(pc.equal(traces["method"], method.name))
    return draft(folder, mine, method.searcher, board, load_table(board.dataset, board.dataset_version))


def _takes_submissions(board: Board) -> Board:
    if not board.digest:
        raise UsageError(
            f"board {board.name} takes no submissions: everyone imports its data; `metabench results` writes HPO-B's files"
        )
    return board


@dataclass(frozen=True)
class Submitted:
    """A submission that keeps the rules, and what it was checked against."""

    checked: Checked
    status: str
    #: the folder that keeps it; None if it was only checked
    place: Path | None
    #: where the board's rules and the table's rows were read from, with the reason in brackets where it is not the usual one
    board: str
    table: str
    #: version of the board, and the folder that was checked
    version: int = 0
    folder: Path = Path()


def submit(
    folder: Path,
    name: str | None = None,
    *,
    keep: bool = True,
    reproduce: bool = False,
    workers: int = 1,
    replaces: bool = False,
) -> Submitted:
    """Check a submission and keep it on its board.

    Args:
        folder: The submission; it is read once.
        name: The board, by name or folder. None: the one that the submission names.
        keep: Whether to keep it on the board.
        reproduce: Whether to run its code and compare.
        workers: Processes that run the code.
        replaces: Whether it may take the place of a submission of other authors.

    Returns:
        What was checked, the status it earned, and where board and table lie.

    Raises:
        Refused: The first rule that it breaks.
        UsageError: An unknown board.
    """
    from metabench.boards import submissions
    from metabench.table import load_table

    board = _takes_submissions(load_board(name)) if name else None  # told before the folder is read
    packet = submissions.read(folder)
    board = board or _takes_submissions(load_board(packet.submission.board))
    table = load_table(board.dataset, board.dataset_version)
    checked = submissions.check_packet(packet, board, table)
    status = submissions.reproduce(checked, board, table, workers) if reproduce else submissions.STATUSES[0]
    place = submissions.accept(checked, board, table, status, replaces=replaces) if keep else None
    return Submitted(
        checked,
        status,
        place,
        _from(board.path, "METABENCH_LEADERBOARDS"),
        _from(table.path, "METABENCH_DATASETS"),
        board.version,
        folder,
    )


def last_step(done: Submitted) -> str:
    """What the author does with a checked submission so that the public board takes it."""
    submission = done.checked.submission
    folder = f"leaderboards/{submission.board}/v{done.version}/submissions/{submission.method}"
    return (
        f"fork {REPOSITORY}, run `metabench submit {done.folder}` there, commit {folder} and open a pull request; "
        "Actions checks it again"
    )


def _from(place: object, variable: str) -> str:
    """A place, and the environment variable that led there."""
    listed = [Path(part).resolve() for part in os.environ.get(variable, "").split(os.pathsep) if part]
    if isinstance(place, Path) and any(folder in place.resolve().parents for folder in listed):
        return f"{place} ({variable})"
    return str(place)
