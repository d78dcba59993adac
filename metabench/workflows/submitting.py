"""Submissions from a board's side: drafted of what was evaluated, checked and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from metabench.boards.board import Board, load_board
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


def submit(
    folder: Path, name: str | None = None, *, keep: bool = True, reproduce: bool = False, workers: int = 1
) -> tuple[Checked, str, Path | None]:
    """Check a submission and keep it on its board: what was checked, its status, and where it is kept.

    Raises Refused at the first rule that it breaks; UsageError for an unknown board.
    """
    from metabench.boards import submissions
    from metabench.table import load_table

    board = _takes_submissions(load_board(name or submissions.read(folder)[0].board))
    table = load_table(board.dataset, board.dataset_version)
    checked = submissions.check(folder, board, table)
    status = submissions.reproduce(checked, board, table, workers) if reproduce else submissions.STATUSES[0]
    return checked, status, submissions.accept(checked, folder, board, status) if keep else None
