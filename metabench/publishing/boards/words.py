"""The question of a board, and how to cite it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import metabench
from metabench import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metabench.boards.board import Board

#: as CITATION.cff has it
AUTHORS, YEAR = "{The metabench developers}", 2026


def question(board: Board) -> str:
    """What a board asks, in a line, from its rules."""
    if board.protocol == "hpob":
        return "Which method searches best by HPO-B's own protocol, on its own data?"
    if board.track == "predict":
        return f"How well do surrogates predict all configurations after {listed(board.observed)} observed trials?"
    if board.design is not None:
        return f"Which method searches best in {board.budget} trials, when every task is held out in turn?"
    if board.by_epochs:
        return "Which method searches best with a budget of epochs, when trainings may pause and resume?"
    if board.is_live:
        return "Which method searches best when any configuration may be tried, and every trial is really trained?"
    if board.shift:
        return f"Does learning from {listed(board.shift.train)} help to search {listed(board.shift.test)}?"
    trials = f"{'one to ' if board.budget < 10 else ''}{board.budget} trials"
    several = board.workload not in registry.names("workloads")
    where = ", on several kinds of networks" if several else ""
    return f"Which method searches best in {trials} on data sets that it never saw{where}?"


def listed(values: Sequence) -> str:
    """``a, b and c``."""
    words = [str(v).replace("_", " ") for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def bibtex(board: Board) -> str:
    """The entry that cites a board."""
    return "\n".join(
        (
            f"@software{{metabench_{board.name.replace('-', '_')}_v{board.version},",
            f"  author  = {{{AUTHORS}}},",
            f"  title   = {{metabench: board {board.name}, version {board.version}}},",
            f"  year    = {{{YEAR}}},",
            f"  version = {{{metabench.__version__}}},",
            f"  note    = {{table {board.dataset} v{board.dataset_version}, digest {board.digest[:16]}}},",
            "}",
        )
    )
