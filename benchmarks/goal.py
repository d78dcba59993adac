"""Whether a meta-model beats `empirical_gp` after a portfolio of three over the first ten trials, on a board's held-out tasks.

    python benchmarks/goal.py search
    python benchmarks/goal.py workloads

Published searches from each method's own start; those of the opponent are made where the board has none. Prints, for every
meta-model, mean valid regret over trials 1 to 10 (and 1 to 5) less the opponent's with its 95 % interval over families, not
corrected for the number of methods looked at, and the share of tasks on which it trails `gp` by more than .01 after 5, 10 and
25 trials.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench import load_board, load_table, registry
from metabench.evaluation.run import evaluate
from metabench.evaluation.store import completed
from metabench.publishing.reports.parts.intervals import mean_over_families
from metabench.publishing.reports.parts.searches import reference, traces_of
from metabench.scores.paths import gather

OPPONENT, START, TWIN, MARGIN, SPANS, MARKS = "empirical_gp", "portfolio3", "gp", 0.01, (10, 5), (5, 10, 25)


def regrets(traces, board, table) -> tuple[dict[str, np.ndarray], list[str]]:
    """Valid regret of every method, float64 [tasks, seeds, trials], and the families of the tasks."""
    found: dict[str, list[np.ndarray]] = {}
    families = []
    for part in board.parts(table):
        ids = part.tasks(table, "test")
        seen = reference(table, part.workload, ids)
        mine = completed(traces.filter(pc.is_in(traces["task_id"].cast("string"), pa.array(ids))))
        cells = gather(mine, ids, part, n_configs=seen.valid.shape[1])
        for (method, _), cell in zip(cells.groups, seen.regrets(cells.configs, cells.seeds).valid, strict=True):
            found.setdefault(method, []).append(cell)
        families += [table.task_info(t).family for t in ids]
    return {m: np.concatenate(parts) for m, parts in found.items()}, families


def main(name: str) -> None:
    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    own, families = regrets(traces_of(board), board, table)
    started = replace(board, starts=(START,))
    other = regrets(evaluate([OPPONENT], started, table), started, table)[0][OPPONENT]
    for method in (m for m in own if m in registry.names("metamodels")):
        told = [method.ljust(17)]
        for last in SPANS:
            gap = (own[method] - other)[..., :last].mean(axis=(1, 2))
            found = mean_over_families(gap, families)
            told.append(f"1-{last} {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
        behind = (own[method] - own[TWIN]).mean(axis=1)
        told.append("trails " + "/".join(f"{(behind[:, m - 1] > MARGIN).mean():.0%}" for m in MARKS))
        print("  ".join(told), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
