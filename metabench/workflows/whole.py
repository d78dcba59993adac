"""`metabench benchmark`, the whole way: train, join with what is stored, let every method search, write the board."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.boards.board import Board, load_board
from metabench.evaluation import resolve
from metabench.workflows.evaluation import evaluate_on, methods, ranking, say

if TYPE_CHECKING:
    from metabench.table import Table

#: the slice that `metabench benchmark` trains on the spot: bundled data sets that the table starter has not
FRESH = ("mlp-breast_cancer", "mlp-diabetes", "mlp-iris", "mlp-wine")
#: packages whose methods `metabench benchmark` runs; those of others may think for minutes over a search
QUICK = ("optuna", "cmaes")


def run(out: Path, workers: int) -> None:
    """`metabench benchmark`: everything from training to the page, reusing what is done."""
    from metabench.generate import generate
    from metabench.publishing.boards.build import build
    from metabench.table import join, load_table

    began = time.monotonic()
    starter = load_table("starter")
    n = len(starter.configs("mlp"))
    say(f"1/4 training {len(FRESH)} tasks × {n} configurations × 2 seeds with the harness")
    report = generate(out / "table/v1", "mlp", list(FRESH), n_configs=n, n_seeds=2, workers=workers)
    if report.trained:
        say(
            f"    {report.trained:,} networks in {report.seconds:.0f} s: {report.runs_per_second:.0f} runs/s, "
            f"{report.flops / report.seconds / 1e9:.0f} GFLOP/s, {report.diverged} diverged"
        )
    else:
        say(f"    all {report.stored_before:,} networks were trained already")
    fresh = load_table(out / "table/v1")
    table = join([starter, fresh])
    runs = table.runs("mlp", ["task_id"])
    say(f"2/4 joined with table starter: {runs.num_rows:,} runs on {len(runs['task_id'].unique())} tasks")
    board = with_tasks(load_board("search", 1), table, fresh.tasks["family"].tolist())
    say(f"3/4 fitting and searching {len(board.tasks(table, 'test'))} held-out tasks")
    able = [name for name in methods()[0] if set(resolve(name)[0].searcher.requires) <= set(QUICK)]
    done = evaluate_on(board, table, able, "lite", workers, out / "leaderboard")
    say("4/4 writing the leaderboard")
    from metabench.scores import Scores

    assert isinstance(done.scores, Scores)  # version 1 of the board is of an earlier protocol
    build(board.profile("lite"), done.traces, done.scores, table, out / "leaderboard", "metabench benchmark")
    _print(ranking(done.scores))
    print(f"\nleaderboard: {(out / 'leaderboard/site/index.html').resolve()}")
    say(f"done in {(time.monotonic() - began) / 60:.1f} min; a second call reuses everything")
    done.complain()


def with_tasks(board: Board, table: Table, families: Sequence[str]) -> Board:
    """The board frozen on another table, with more families held out: those that no part of its split knows yet."""
    known = {family for part in board.split.values() for family in part}
    test = sorted({*board.split["test"], *(set(families) - known)})
    return replace(board, digest=board.digest_on(table), split={**board.split, "test": tuple(test)})


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(title="valid regret on held-out tasks (smaller is better)", title_justify="left")
    for i, name in enumerate(rows[0]):
        grid.add_column(name, justify="left" if i == 0 else "right")
    digits = {"regret": 3, "rank": 2, "overhead_ms": 1}
    for row in rows:
        grid.add_row(*[f"{v:.{digits[k.split('@')[0]]}f}" if isinstance(v, float) else str(v) for k, v in row.items()])
    Console(width=None if sys.stdout.isatty() else 120).print(grid)
