"""Simulated tables and searches of known truth, on which the statistics of protocol 3 are checked.

:func:`searches` draws regret with effects of methods, families, tasks and searches; what the methods' regret is over all
families that there could be is known. :func:`table` draws validation and test scores about known expectations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.scores.verdict import Searches


def family_names(families: int, tasks: int) -> list[str]:
    """Families of ``tasks`` tasks, some families having several: the first third of the extra tasks go to one family."""
    extra = max(0, tasks - families)
    names = [f"f{i:03d}" for i in range(families)]
    return [*names, *(names[(j // 3) % families] for j in range(extra))][:tasks]


@dataclass(frozen=True)
class Effects:
    """How searches are simulated; standard deviations in units of regret.

    ``means`` is each method's true regret, float64 [methods], at all trials; ``family``, ``task`` and ``search`` are the
    deviations of what a method does on a family, on a task of it, and in one search. ``shared`` is common to all methods
    of a task. ``skewed`` draws all but the searches' from a centred exponential distribution instead of a normal one.
    """

    means: np.ndarray
    families: int = 60
    tasks: int = 80
    searches: int = 10
    family: float = 0.05
    task: float = 0.05
    search: float = 0.10
    shared: float = 0.15
    skewed: bool = False

    def draw(self, rng: np.random.Generator, trials: int = 1) -> Searches:
        """Simulate one board whose searches have ``trials`` trials of equal regret."""
        names = family_names(self.families, self.tasks)
        where = np.unique(names, return_inverse=True)[1]
        k = len(self.means)

        def noise(*shape: int) -> np.ndarray:
            return rng.exponential(size=shape) - 1.0 if self.skewed else rng.normal(size=shape)

        level = self.means[:, None] + self.family * noise(k, self.families)[:, where] + self.task * noise(k, self.tasks)
        level = level + self.shared * noise(self.families)[where]
        cells = level[..., None] + self.search * rng.normal(size=(k, self.tasks, self.searches))
        whole = np.repeat(cells[..., None], trials, axis=-1)
        return Searches({f"m{i:02d}": cell for i, cell in enumerate(whole)}, names)


@dataclass(frozen=True)
class Table:
    """Scores about known expectations: arrays [tasks, configs(, seeds)], larger is better."""

    valid: np.ndarray
    test: np.ndarray
    expected_valid: np.ndarray
    expected_test: np.ndarray

    def true_utility(self, config: np.ndarray, star: np.ndarray) -> np.ndarray:
        """Utility of configurations by their expected test scores, int [..., tasks, searches, trials] → float64.

        ``star`` is the expected test score that counts as 1, [tasks].
        """
        middle = np.median(self.expected_test, axis=1)[:, None, None]
        score = self.expected_test[np.arange(len(star))[:, None, None], config]
        return np.maximum(0.0, (score - middle) / (star[:, None, None] - middle))


def table(
    rng: np.random.Generator,
    tasks: int = 20,
    configs: int = 128,
    seeds: int = 10,
    noise: float = 0.2,
    between: float = 0.05,
    split: float = 0.1,
    same_run: float = 0.5,
    diverged: float = 0.0,
) -> Table:
    """Simulate a table.

    Args:
        rng: source of randomness.
        tasks: number of tasks.
        configs: configurations of the pool.
        seeds: runs of each configuration.
        noise: deviation of one run from its expectation; best less median expectation is about 1.
        between: deviation of the expected test score from the expected validation score.
        split: deviation of a seed, common to all configurations.
        same_run: correlation of the deviations of validation and test scores in one run.
        diverged: share of runs that diverge.

    Returns:
        The scores and their expectations.
    """
    expected = 0.4 * (1.0 - rng.gamma(1.5, 0.5, size=(tasks, configs)))
    expected = expected / (expected.max(axis=1, keepdims=True) - np.median(expected, axis=1)[:, None])
    on_test = expected + between * rng.normal(size=expected.shape)
    own = rng.normal(size=(2, tasks, configs, seeds))
    own[1] = same_run * own[0] + np.sqrt(1 - same_run**2) * own[1]
    hard = split * rng.normal(size=(2, tasks, 1, seeds))
    valid, test = (mean[..., None] + noise * o + h for mean, o, h in zip((expected, on_test), own, hard, strict=True))
    lost = rng.random(valid.shape) < diverged
    return Table(np.where(lost, np.nan, valid), np.where(lost, np.nan, test), expected, on_test)
