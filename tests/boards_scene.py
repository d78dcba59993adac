"""A board with one accepted submission, small enough to be attacked hundreds of times."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fakes import First, board_for, signed
from published import planted_table

from metabench.boards.submissions import accept, check, draft
from metabench.evaluation import evaluate


class Mine(First):
    """The first untried candidate."""

    name = "mine"


def scene(folder: Path):
    """Board, table, the author's folder and the accepted one."""
    table = planted_table(tasks=8, configs=32)
    board = dataclasses.replace(board_for(table, budget=4, seeds=1, starts=("own",)), path=folder / "board")
    mine = signed(draft(folder / "mine", evaluate(Mine, board, table), Mine(), board, table))
    return board, table, mine, accept(check(mine, board, table), board, table)
