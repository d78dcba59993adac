"""The reference configuration of a task, against which regret is measured: found by racing on seeds of its own.

The maximum of many noisy scores lies above every expected score. A race spends seeds where they decide instead: all
configurations are trained with few seeds, and the best of each round with more (ROUNDS; sequential halving with fixed
rungs, Karnin et al., 2013). The winner is the reference, and its expected score y* is the mean over seeds that chose
nothing. The race also tells how far y* may lie under the unknown best. It depends on no method that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from metabench.direction import sign as sign_of
from metabench.search.continuous import Trial, row
from metabench.search.live import Live

#: (configurations, seeds) of each round: how many of the best go on, and the seeds that they have after it; None: all
ROUNDS = ((None, 2), (128, 5), (32, 10), (8, 20))
#: the first seed of a race, and the first of those that only score the winner; no table has a run with either
FIRST_SEED, SCORING_SEED, SCORING = 10_000, 20_000, 10
#: draws from the posterior that the shortfall is the mean of
DRAWS = 2_000


@dataclass(frozen=True)
class Reference:
    """The winner of a race."""

    config_id: int
    #: y*: mean test score over the SCORING seeds that chose nothing, raw, and its standard error
    score: float
    standard_error: float
    #: expected distance to the best expected validation score of all configurations, in the metric's units
    shortfall: float
    #: trainings that it took
    runs: int


def race(
    answer: Callable[[Sequence[int], Sequence[int]], np.ndarray],
    n_configs: int,
    direction: str = "max",
    rounds: Sequence[tuple[int | None, int]] = ROUNDS,
    on_test: Callable[[int, Sequence[int]], np.ndarray] | None = None,
) -> Reference:
    """Find the reference configuration.

    Args:
        answer: (configurations, seeds) → raw validation scores, float64 [configurations, seeds], NaN where a run diverged.
        n_configs: how many configurations there are.
        direction: max or min, which way the score improves.
        rounds: (how many of the best go on, seeds that they have then).
        on_test: (configuration, seeds) → raw test scores, float64 [seeds]; by default what ``answer`` gives.

    Returns:
        the winner and its expected score.

    Raises:
        ValueError: all runs of the first round diverged.
    """
    sign = sign_of(direction)
    most = rounds[-1][1]
    scores = np.full((n_configs, most), np.nan)
    alive, before, runs = np.arange(n_configs), 0, 0
    for size, seeds in rounds:
        if size is not None:
            alive = alive[np.argsort(-_means(scores[alive, :before]), kind="stable")[:size]]
        fresh = range(FIRST_SEED + before, FIRST_SEED + seeds)
        found = sign * np.asarray(answer(alive.tolist(), list(fresh)), dtype=float)
        if before == 0 and not np.isfinite(found).any():
            raise ValueError("all runs of the first round diverged")
        scores[alive, before:seeds] = np.where(np.isfinite(found), found, -np.inf)
        before, runs = seeds, runs + found.size
    winner = int(alive[np.argmax(_means(scores[alive]))])
    last = list(range(SCORING_SEED, SCORING_SEED + SCORING))
    held = np.asarray(answer([winner], last)[0] if on_test is None else on_test(winner, last), dtype=float)
    error = float(np.std(held, ddof=1) / np.sqrt(SCORING))
    return Reference(winner, float(held.mean()), error, shortfall(scores, winner), runs + SCORING)


def _means(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds; −inf where one of them diverged."""
    return np.where(np.isfinite(scores).all(axis=1), np.where(np.isfinite(scores), scores, 0.0).mean(axis=1), -np.inf)


def shortfall(scores: np.ndarray, winner: int, draws: int = DRAWS) -> float:
    """Expected distance of a configuration to the best expected score, by empirical Bayes (Efron & Morris, 1973).

    Expected scores of the better half of the configurations are taken as normal, and so is the noise of a run. The seeds'
    own effects are those on the configurations that have all seeds.

    Args:
        scores: larger is better, float64 [configurations, seeds]; NaN where a configuration was not run with a seed, −inf
            where it diverged.
        winner: the configuration in question.
        draws: draws from the posterior.

    Returns:
        the distance, in the unit of the scores; 0 where the race tells all configurations apart.
    """
    whole = np.isfinite(scores).all(axis=1)
    y = scores - scores[whole].mean(axis=0)
    seen = np.isfinite(y) & ~np.isneginf(scores).any(axis=1, keepdims=True)
    n = seen.sum(axis=1)
    usable = np.flatnonzero(n >= 2)
    mean = np.where(seen, y, 0.0).sum(axis=1)[usable] / n[usable]
    spread = np.where(seen, y, 0.0)[usable] - np.where(seen[usable], mean[:, None], 0.0)
    noise = float((spread**2).sum() / max((n[usable] - 1).sum(), 1))
    order = np.argsort(-mean, kind="stable")[: max(len(usable) // 2, 2)]
    mean, count, own = mean[order], n[usable][order], usable[order]
    prior = max(float(mean.var(ddof=1) - (noise / count).mean()), 1e-12 * max(noise, 1e-12))
    weight = prior / (prior + noise / count)
    expected = mean.mean() + weight * (mean - mean.mean())
    std = np.sqrt(prior * (1.0 - weight))
    rng = np.random.default_rng(0)
    drawn = expected + std * rng.normal(size=(draws, len(own)))
    at = np.flatnonzero(own == winner)
    return float((drawn.max(axis=1) - drawn[:, at[0]]).mean()) if len(at) else float("nan")


def references(table, workload: str, task_ids: Sequence[str], objective=None) -> dict[str, Reference]:
    """Race on tasks of a table with its configurations; each run is really trained.

    Args:
        table: where the configurations are.
        workload: what is trained.
        task_ids: tasks of the table.
        objective: what answers trials; by default :class:`metabench.search.live.Live`.

    Returns:
        task → Reference.
    """
    objective = objective or Live.from_table(table, workload, task_ids, n_seeds=None)
    space, configs = table.space(workload), table.configs(workload)
    direction = table.tasks.set_index("task_id")["direction"]
    rows = [row(space, configs, i) for i in range(len(configs))]

    def outcomes(task_id: str, chosen: Sequence[int], seeds: Sequence[int]) -> list:
        return objective.answer([Trial(task_id, seed, rows[i]) for i in chosen for seed in seeds])

    def one(task_id: str) -> Reference:
        def answer(chosen: Sequence[int], seeds: Sequence[int]) -> np.ndarray:
            return np.array([o.valid for o in outcomes(task_id, chosen, seeds)], float).reshape(len(chosen), len(seeds))

        def on_test(winner: int, seeds: Sequence[int]) -> np.ndarray:
            return np.array([o.test for o in outcomes(task_id, [winner], seeds)], float)

        return race(answer, len(rows), direction[task_id], on_test=on_test)

    return {t: one(t) for t in task_ids}


__all__ = ["Reference", "race", "references", "shortfall"]
