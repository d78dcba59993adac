"""What evaluating methods on a board would cost, from what the boards' published traces say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metabench.boards.board import Board, board_names, load_board
from metabench.errors import UsageError
from metabench.evaluation import CellStore, plan, resolve
from metabench.evaluation.cost import Cost, costs
from metabench.evaluation.traces import Traces

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from metabench.table import Table

TRACES = "traces.parquet"


@dataclass(frozen=True)
class Planned:
    """What an evaluation would compute, by method."""

    costs: tuple[Cost, ...]
    workers: int

    @property
    def missing(self) -> int:
        """Cells that would be computed."""
        return sum(c.missing for c in self.costs)

    @property
    def unknown(self) -> list[str]:
        """Methods with missing cells of which no trace says how long they think or learn."""
        return [c.method for c in self.costs if c.thought is None or c.learned is None]

    @property
    def core_seconds(self) -> float:
        """Of all methods whose time is known."""
        return sum((c.thought or 0.0) + (c.learned or 0.0) + c.training for c in self.costs)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each method, and one for all."""
        head: list[tuple[Any, ...]] = [
            (c.method, c.cells, c.missing, c.fits, c.learned, c.thought, c.training, c.bytes) for c in self.costs
        ]
        sums = [sum(row[i] or 0 for row in head) for i in range(1, 8)]
        folded = any(c.fits for c in self.costs)
        return [
            {
                "method": name,
                "cells": cells,
                "missing": missing,
                **({"fits": fits, "fits_s": None if learned is None else round(learned, 1)} if folded else {}),
                "own_s": None if own is None else round(own, 1),
                "training_s": round(training, 1),
                "kB": round(size / 1e3, 1),
            }
            for name, cells, missing, fits, learned, own, training, size in [*head, ("all", *sums)]
        ]

    def __str__(self) -> str:
        minutes = self.core_seconds / 60
        told = f"{self.missing:,} of {sum(c.cells for c in self.costs):,} cells are missing: about {minutes:.1f} core minutes"
        if self.workers > 1:
            told += f", {minutes / self.workers:.1f} with {self.workers} workers"
        if self.unknown:
            told += f"; how long {', '.join(self.unknown)} will think no trace says"
        return f"{told}; {sum(c.bytes for c in self.costs) / 1e6:.1f} MB"


def planned(
    board: Board,
    profile: str,
    table: Table,
    methods: Iterable[Any],
    cells: str | os.PathLike | None,
    workers: int,
    pilots: Sequence[pa.Table] = (),
) -> Planned:
    """The plan of an evaluation; methods that lack a package are left out. Nothing is run and nothing is written.

    ``cells`` is the folder of stored cells; ``pilots`` are searches that were made to learn what others will take. Raises
    UsageError for unknown methods and for a board of the prediction track.
    """
    if board.track == "predict":
        raise UsageError(f"board {board.name} is of the prediction track: what it costs is not planned")
    narrowed = board.settled(table).profile(profile)
    resolved = [m for m in resolve(methods) if not m.lacks]
    published = published_traces(board)
    groups = plan(resolved, narrowed, table)
    stored = CellStore(cells, board.traces_schema).read(
        {k: (g.method, g.start, g.task_id, seed) for g in groups for seed, k in g.keys.items()}
    )
    known = {*published["cell"].to_pylist(), *stored["cell"].to_pylist()}
    records = [published, stored, *pilots, *_elsewhere(board)]
    return Planned(tuple(costs(resolved, groups, narrowed, table, known, records)), workers)


def published_traces(board: Board) -> pa.Table:
    """The traces in the board's folder, with what their file says of the methods; none where there is no such file."""
    path = board.path and board.path / TRACES
    if not path or not path.exists():
        return board.traces_schema.empty_table()
    return Traces.read(path, board.traces_schema).arrow()


def _elsewhere(board: Board) -> Sequence[pa.Table]:
    """Published traces of the boards of the same kind, of those with the same workload if there are any."""
    boards = [load_board(name) for name in board_names()]
    alike = [b for b in boards if (b.track, b.objective) == (board.track, board.objective)]
    return [published_traces(b) for b in [b for b in alike if b.workload == board.workload] or alike]
