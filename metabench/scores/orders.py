"""Random search exactly: the expectation over all orders in which a pool can be tried.

After n trials without replacement the incumbent is the r-th best of N configurations (r = 0 the best) with probability
C(N − 1 − r, n − 1) / C(N, n). Equal scores are equally likely to come first, so they share the mean of their values.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from metabench.errors import UsageError
from metabench.scores.replicates import Replicates


def chances(pool: int, trials: int) -> np.ndarray:
    """Probability that the best of the first n of ``pool`` configurations is the r-th best.

    Args:
        pool: number of configurations.
        trials: largest number of trials, at most ``pool``.

    Returns:
        float64 [trials, pool]; row n − 1 belongs to n trials and sums to 1.

    Raises:
        UsageError: when there are more trials than configurations.
    """
    if not 1 <= trials <= pool:
        raise UsageError(f"{trials} trials cannot be made in a pool of {pool} configurations")
    n, r = np.arange(1, trials + 1)[:, None], np.arange(pool)[None]
    possible = pool - 1 - r >= n - 1
    rest = np.where(possible, pool - 1 - r, n - 1)

    def log_choose(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    return np.where(possible, np.exp(log_choose(rest, n - 1) - log_choose(np.full_like(n, pool), n)), 0.0)


def expected(seen: np.ndarray, values: np.ndarray, trials: int) -> np.ndarray:
    """Expected value of the incumbent of random search after 1 … ``trials`` trials.

    Args:
        seen: scores that choose, float64 [..., configs], larger is better, NaN where diverged: never an incumbent.
        values: what an incumbent is worth, float64 of the same shape; a search without incumbent is worth 0.
        trials: number of trials, at most the number of configurations.

    Returns:
        float64 [..., trials].

    Raises:
        UsageError: when there are more trials than configurations.
    """
    chance = chances(seen.shape[-1], trials)
    out = np.empty((*seen.shape[:-1], trials))
    for at in np.ndindex(seen.shape[:-1]):
        ran = np.isfinite(seen[at])
        score = np.where(ran, seen[at], -np.inf)
        order = np.argsort(-score, kind="stable")
        worth = np.where(ran, values[at], 0.0)[order]
        _, group = np.unique(-score[order], return_inverse=True)
        worth = (np.bincount(group, worth) / np.bincount(group))[group]
        out[at] = chance @ worth
    return out


def random_regret(replicates: Replicates, star: np.ndarray, trials: int) -> np.ndarray:
    """Expected regret of random search on every task and replicate.

    Args:
        replicates: what searches see and what scores them.
        star: expected test score of each task's reference, float64 [tasks].
        trials: number of trials; a task with a smaller pool keeps the regret of having tried all of it.

    Returns:
        float64 [tasks, columns, trials].

    Raises:
        MetabenchError: as :meth:`metabench.scores.replicates.Replicates.span` does.
    """
    span, (tasks, configs, columns) = replicates.span(star), replicates.seen.shape
    out = np.empty((tasks, columns, trials))
    for t in range(tasks):
        there = np.flatnonzero(np.ones(configs, dtype=bool) if replicates.pool is None else replicates.pool[t])
        worth = np.maximum(0.0, replicates.scored[t, there].T / span[t])
        utility = expected(replicates.seen[t, there].T, worth, min(trials, len(there)))
        out[t] = 1.0 - np.pad(utility, ((0, 0), (0, trials - utility.shape[1])), mode="edge")
    return out
