"""How well could any method search these tasks? Bounds on valid regret, made with what no method may know.

Valid regret is measured on the scores that a search sees, and these are noisy: the best of hundreds of runs owes some of
its lead to luck that nothing foretells. So regret after a few trials has a floor above 0, whatever was learned.

``list``: one list of configurations for all tasks, chosen greedily on these very scores. A method that tries the same
first configurations everywhere does hardly better.

``rerun``: the order of all configurations on the task itself, run with the other seeds.

``expectation``: the order of their expected scores, known exactly. No other one is better, but by luck: how a run departs
from its expectation tells nothing of another one. Expectations are not known, so tasks are simulated that are like these
(:func:`simulate`). ``simulated rerun`` is ``rerun`` on the simulated tasks: as far as the two agree, the simulation is to
be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metabench import direction
from metabench.errors import UsageError
from metabench.scores.aggregate import Hierarchy
from metabench.scores.posterior import draw_expectations, grid
from metabench.scores.regret import Reference
from metabench.search.pools import Pools

if TYPE_CHECKING:
    from metabench.boards.board import Board

#: simulated seeds of every task
SIMULATIONS = 40


def board_ceilings(board: Board, table, **settings) -> pd.DataFrame:
    """:func:`ceilings` of a board's meta-test tasks at its marks.

    Raises UsageError for a board of several workloads, with pools of single tasks, or that counts epochs.
    """
    board.check(table)
    task_ids = board.tasks(table, "test") if len(board.parts(table)) == 1 else []
    if not task_ids or board.by_epochs or Pools.of(table, board.workload, task_ids) is not None:
        raise UsageError(f"board {board.name}: bounds are for one workload whose tasks share a pool, and count trials")
    infos = [table.task_info(t) for t in task_ids]
    sign = np.array([direction.sign(info.direction) for info in infos])[:, None, None]
    valid = sign * table.final(board.workload, task_ids, "valid_score")
    return ceilings(valid, [info.family for info in infos], board.marks, **settings)


def ceilings(
    valid: np.ndarray, families: Sequence[str], marks: Sequence[int], *, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """The bounds at ``marks`` trials: columns bound, mark, valid_regret, low, high (interquartile mean over families).

    ``valid`` is float64 [tasks, configs, seeds], larger is better, NaN where diverged. Raises UsageError for a table with
    a single seed, which tells nothing of noise.
    """
    tasks, configs, seeds = valid.shape
    if seeds < 2:
        raise UsageError("bounds need the noise of scores, and with a single seed it is not known")
    real, trials = Reference(valid, valid), min(max(marks), configs)
    hierarchy = Hierarchy.build(families, seeds, resamples, seed)
    everywhere = np.ones((configs, seeds), dtype=int)[:trials]
    listed = _greedy(_single(real), hierarchy.weights.sum(0).reshape(tasks, seeds), trials)
    bounds = {
        "list": (real, np.broadcast_to((everywhere * listed[:, None]).T, (tasks, seeds, trials))),
        "rerun": (real, _others(valid, trials)),
    }
    rng = np.random.default_rng([seed, 0xCE11])
    expected, scores, again = simulate(valid, SIMULATIONS, rng)
    simulated = Reference(scores, scores)
    bounds["simulated rerun"] = simulated, _order(again, trials)
    bounds["expectation"] = simulated, _order(expected, trials)
    rows = []
    for name, (reference, order) in bounds.items():
        regret = reference.regrets(order[None], np.arange(order.shape[1])).valid[0]
        within = hierarchy if order.shape[1] == seeds else Hierarchy.build(families, order.shape[1], resamples, seed)
        for mark in (m for m in marks if m <= trials):
            cells = regret[..., mark - 1]
            low, high = within.interval(cells)
            rows.append((name, mark, float(within.estimate(cells)), float(low), float(high)))
    return pd.DataFrame(rows, columns=["bound", "mark", "valid_regret", "low", "high"])


def _single(reference: Reference) -> np.ndarray:
    """Valid regret of every configuration alone, [tasks, configs, seeds]."""
    tasks, configs, seeds = reference.valid.shape
    chosen = np.broadcast_to(np.arange(configs), (1, tasks, seeds, configs))
    return np.moveaxis(reference.regrets_of(chosen, np.arange(seeds)).valid[0], -1, 1)


def _greedy(regret: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """``n`` configurations, each of which lowers the mean least regret so far the most, int [n]."""
    least = np.ones((regret.shape[0], regret.shape[2]))
    order: list[int] = []
    for _ in range(n):
        mean = np.einsum("tk,tck->c", weights, np.minimum(regret, least[:, None]))
        mean[order] = np.inf
        order.append(int(mean.argmin()))
        least = np.minimum(least, regret[:, order[-1]])
    return np.array(order)


def _others(valid: np.ndarray, n: int) -> np.ndarray:
    """The best ``n`` by the mean of the other seeds, int [tasks, seeds, n]; where one diverged it is worst."""
    finite = np.where(np.isfinite(valid), valid, -np.inf)
    means = [np.delete(finite, k, axis=2).mean(axis=2) for k in range(valid.shape[2])]
    return _order(np.stack(means, axis=2), n)


def _order(values: np.ndarray, n: int) -> np.ndarray:
    """The best ``n`` configurations by values [tasks, configs, seeds], int [tasks, seeds, n]."""
    return np.moveaxis(np.argsort(-values, axis=1, kind="stable")[:, :n], 1, 2)


def simulate(valid: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``n`` tasks like each of these: expectations, scores, and scores of a rerun, each [tasks, configs, n].

    Scores are normal about their expectations. The variance is that between seeds, without what all configurations share,
    averaged over neighbours in rank: near a ceiling there is less of it. How expectations are distributed is estimated by
    nonparametric maximum likelihood (Kiefer & Wolfowitz, 1956; Koenker & Mizera, JASA 2014); a configuration's is drawn
    given its observed mean.

    That goes for the better half of a task's configurations, which alone matter. The others never get ahead of them;
    those that diverged with any seed have NaN for scores.
    """
    expected, scores, again = (np.full((*valid.shape[:2], n), fill) for fill in (-np.inf, np.nan, -np.inf))
    for t, task in enumerate(valid):
        ran = np.flatnonzero(np.isfinite(task).all(axis=1))
        worse, top = np.split(ran[np.argsort(task[ran].mean(axis=1), kind="stable")], [len(ran) // 2])
        if len(top) == 0:
            continue
        centred = task[top] - np.median(task[top], axis=0)  # a seed may be an easier split for all
        top, centred = top[(order := np.argsort(centred.mean(axis=1), kind="stable"))], centred[order]
        mean, noise = centred.mean(axis=1), _smooth(centred.var(axis=1, ddof=1))
        variance = np.interp(grid(mean), mean, noise)[None] / task.shape[1]
        drawn = draw_expectations(mean, variance, n, rng)
        deviation = np.sqrt(np.interp(drawn, mean, noise))
        expected[t, top] = drawn
        scores[t, top], again[t, top] = (drawn + deviation * rng.normal(size=drawn.shape) for _ in range(2))
        scores[t, worse] = scores[t, top].min(axis=0)
    return expected, scores, again


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of each value and its neighbours, an eighth of all to either side, [n]."""
    window = np.ones(2 * max(len(values) // 8, 4) + 1)
    padded = len(window) // 2
    total, count = (np.convolve(v, window)[padded : padded + len(values)] for v in (values, np.ones(len(values))))
    return total / count
