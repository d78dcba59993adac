"""Replicates A and B: what a search sees, what its incumbents are scored on, and the utility that follows.

The seeds of a task are cut into two disjoint halves. A search sees the mean validation score over one half; the test
scores of its incumbents are read from the other half. So no seed both chooses and scores, and the luck of the runs
that a search saw does not enter its result.

With y the mean test score of the incumbent over the scoring half, y_ref that of the median configuration and y* the
expected test score of the task's reference configuration (:mod:`metabench.scores.star`), one search has the utility

    u = max(0, (y − y_ref) / (y* − y_ref)),

and the regret of any set of searches is 1 − mean u. How hard the seeds of a
half are for all configurations (the median over configurations of the half's mean less the mean over all seeds) is taken
off y. y_ref is the median of the means over all seeds: a median of single runs would lie lower, since noise blurs a
skewed distribution. Nothing that is averaged is clipped above: a lucky
half may exceed y*, as often as an unlucky one falls short of it.

Larger is better throughout; scores are negated where the metric is minimised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.scores.regret import median_configuration


def halves(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """The seeds of replicate A and of replicate B: the first and the second half.

    Args:
        seeds: number of seeds of a task, even and at least 2.

    Returns:
        Two disjoint int arrays [seeds / 2].

    Raises:
        UsageError: when the number is odd or below 2.
    """
    if seeds < 2 or seeds % 2:
        raise UsageError(f"a task has {seeds} seeds; two replicates need an even number of at least 2")
    return np.arange(seeds // 2), np.arange(seeds // 2, seeds)


@dataclass(frozen=True)
class Replicates:
    """What searches see and what scores them; search seed s uses column ``s`` modulo the number of columns.

    ``seen`` is float64 [tasks, configs, columns], validation scores; NaN where a configuration diverged with one of the
    seeds, so that it is never an incumbent. ``scored`` is float64 [tasks, configs, columns], test scores less those of
    the median configuration, from seeds that the column's search does not see. ``median`` is float64 [tasks], the median
    configuration's mean test score over all seeds.
    """

    seen: np.ndarray
    scored: np.ndarray
    median: np.ndarray
    #: which configurations a task has, bool [tasks, configs]; None: all
    pool: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        valid: np.ndarray,
        test: np.ndarray,
        seeds: np.ndarray,
        one_run: bool = False,
        pool: np.ndarray | None = None,
    ) -> Replicates:
        """Build the replicates of a table.

        Args:
            valid: validation scores, float64 [tasks, configs, seeds], NaN where a run diverged.
            test: test scores, likewise. A run that diverged there counts as the median configuration.
            seeds: how many of the seeds each task has, int [tasks]; those beyond are not read.
            one_run: searches see one noisy run instead of a replicate's mean (the second track). Columns are then the
                seeds, taken from A and B in turn, and are repeated for tasks with fewer seeds than others.
            pool: which configurations a task has, bool [tasks, configs]; None: all. The others count in no median.

        Returns:
            The replicates; without ``one_run`` column 0 sees A and is scored on B, column 1 the other way round.

        Raises:
            UsageError: when a task has an odd number of seeds, fewer than 2, or more than are given.
            MetabenchError: when no configuration of a task has a score with some half of its seeds.
        """
        tasks, configs, given = valid.shape
        columns = int(max(seeds)) if one_run else 2
        seen, scored = np.empty((2, tasks, configs, columns))
        median = np.empty(tasks)
        for t, n in enumerate(seeds):
            sides = halves(int(n))
            if n > given:
                raise UsageError(f"task {t} is to have {n} seeds, the scores have {given}")
            there = np.ones(configs, dtype=bool) if pool is None else pool[t]
            scored[t] = 0.0
            on_test, median[t] = _scored(test[t, there, :n], sides)
            for half, side in zip("AB", sides, strict=True):
                if not np.isfinite(valid[t][:, side]).all(axis=1).any():
                    raise MetabenchError(f"task {t}: every configuration diverged with some seed of replicate {half}")
            for j in range(columns):
                side = sides[j % 2]
                if one_run:
                    side = side[[(j // 2) % len(side)]]
                seen[t, :, j] = np.where(there, valid[t][:, side].mean(axis=1), np.nan)
                scored[t, there, j] = on_test[1 - j % 2]
        return cls(seen, scored, median, pool)

    def incumbents(self, configs: np.ndarray) -> np.ndarray:
        """The best configuration after each trial by what the search saw; the first of equals.

        Args:
            configs: the configurations in the order they were tried, int [..., tasks, searches, trials].

        Returns:
            int array of the same shape, −1 before the first configuration that did not diverge.
        """
        seen = self._at(np.where(np.isfinite(self.seen), self.seen, -np.inf), configs)
        best = np.maximum.accumulate(seen, axis=-1)
        first = np.isfinite(seen)
        first[..., 1:] &= seen[..., 1:] > best[..., :-1]
        at = np.maximum.accumulate(np.where(first, np.arange(seen.shape[-1]), -1), axis=-1)
        return np.where(at < 0, -1, np.take_along_axis(configs, np.maximum(at, 0), axis=-1))

    def utilities(self, configs: np.ndarray, star: np.ndarray) -> np.ndarray:
        """Utility of every search's incumbent after each trial.

        Args:
            configs: int [methods, tasks, searches, trials].
            star: expected test score of each task's reference configuration, float64 [tasks].

        Returns:
            float64 of the shape of ``configs``: 0 the median configuration or worse, 1 the reference.

        Raises:
            MetabenchError: when a task's reference is not better than its median configuration.
        """
        return np.maximum(0.0, self.gains(configs) / self.span(star)[:, None, None])

    def span(self, star: np.ndarray) -> np.ndarray:
        """y* − y_ref of every task, float64 [tasks]. Raises MetabenchError where it is not positive."""
        span = np.asarray(star, dtype=float) - self.median
        if not (span > 0).all():
            t = int(np.flatnonzero(~(span > 0))[0])
            raise MetabenchError(f"task {t}: its reference is not better than the median configuration")
        return span

    def gains(self, configs: np.ndarray) -> np.ndarray:
        """Test score of every incumbent less that of the median configuration, in units of the metric; 0 without one."""
        chosen = self.incumbents(configs)
        return np.where(chosen < 0, 0.0, self._at(self.scored, np.maximum(chosen, 0)))

    def seen_regret(self, configs: np.ndarray) -> np.ndarray:
        """Validation regret as the search saw it: 1 − (v − median)/(best − median) of its own column, 1 without incumbent.

        It holds the luck of the runs that the search chose on, and is shown beside the regret on test scores.
        """
        chosen = self.incumbents(configs)
        middle = median_configuration(self.seen, self.pool)
        span = np.nanmax(self.seen, axis=1) - middle
        t, k = self._places(configs)
        gain = self._at(self.seen, np.maximum(chosen, 0)) - middle[t, k]
        scale = np.where(span > 0, span, 1.0)[t, k]
        return 1.0 - np.where(chosen < 0, 0.0, np.maximum(0.0, gain / scale))

    def _places(self, configs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tasks, searches = configs.shape[-3:-1]
        return np.arange(tasks)[:, None, None], (np.arange(searches) % self.seen.shape[2])[:, None]

    def _at(self, values: np.ndarray, configs: np.ndarray) -> np.ndarray:
        t, k = self._places(configs)
        return values[t, configs, k]


def _scored(test: np.ndarray, sides: tuple[np.ndarray, np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Test scores [configs, seeds] → mean over each side less the median configuration's, [configs] each, and the latter."""
    seeds = test - median_configuration(test[None])[0]
    filled = np.where(np.isfinite(test), seeds, 0.0)  # a run that diverged counts as the median configuration
    complete = np.isfinite(test).all(axis=1)
    mean = filled.mean(axis=1)
    middle = median_configuration(np.where(complete, mean, np.nan)[None, :, None])[0, 0]
    out = []
    for side in sides:
        apart = filled[:, side].mean(axis=1) - mean
        hardness = np.median(apart[complete]) if complete.any() else 0.0
        out.append(mean + apart - hardness - middle)
    return out, float(median_configuration(test[None])[0].mean() + middle)
