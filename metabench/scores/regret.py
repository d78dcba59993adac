"""Regret of the incumbents of many searches, on validation and on test scores.

Notation: larger is better (scores are negated where the metric is to be minimised); task t, configuration c, table
seed k, search seed s with k = s modulo the number of table seeds; V[t, c, k] is the validation score and E[t, c, k] the
test score of one training run. The incumbent after n trials is the tried configuration with the best V (the first
of equals); diverged runs are never incumbents. A search without incumbent has regret 1.

**Valid regret** r = (y* − y_inc)/(y* − y_ref), clipped at 1, on the values that the searcher itself saw: y* = max_c
V[t, c, k], y_ref = the median configuration of V[t, ·, k], a diverged one counting as worst. It says how well a
method searches.

**Test regret** says what the user gets: y_inc = E[t, incumbent, k]. The naive y* = max_c E[t, c, k] is the maximum of
hundreds of noisy numbers, thus too high by several standard deviations of the noise. The incumbent's E is not (it was
chosen on V), so the two do not cancel: every method, even one that knows the best configuration, would show the same
large regret, and the measure could not fall under it. Instead y* is *cross-fitted*: the configuration ĉ with the best
mean V over one half A of the table seeds is scored on the other half,

    y*[t, k] = mean over halvings {A, B} with k in B of E[t, ĉ_A, k],

which is unbiased for the test score of the configuration that half of all runs would choose. It lies systematically
under the unknowable best, by little where choosing is easy, and never over it, so test regret may be negative. All
balanced halvings are averaged; with two seeds each half is one seed; with one seed cross-fitting is impossible and test
regret is NaN. The numerator y*[t, k] − y_inc is taken seed by seed: where table seeds are also different data splits,
how hard a split is cancels. The denominator is a number per task, the mean over k of y* − y_ref, and both of these
are taken from validation scores (cross-fitted alike): were it to share the noise of the numerator's y*, the ratio
would be biased downwards. Clipped to [−1, 1].

**Noise floor**: the test regret of the valid oracle, the incumbent of a search that has tried the whole pool. Below it
no method can get by searching better.

**Min–max regret** (max_c V − y_inc)/(max_c V − min_c V), as in HPO-B (Pineda Arango et al., 2021), for comparison; it is
the valid regret of boards with HPO-B's protocol, which rank methods by 1 − regret rounded to eight decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

#: at most so many halvings of the table seeds are averaged
MAX_HALVINGS = 128


@dataclass(frozen=True)
class Regrets:
    """What became of searches, float64 [groups, tasks, seeds, trials] each."""

    #: best validation score so far, larger is better; −inf before the first run that did not diverge
    incumbent: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    minmax: np.ndarray


@dataclass(frozen=True)
class Reference:
    """The scores of all configurations of some tasks, and what regret is measured against.

    ``valid`` and ``test`` are float64 [tasks, configs, table seeds], larger is better, NaN where diverged; ``pool`` is
    bool [tasks, configs], which configurations a task has (None: all), the others being NaN.
    """

    valid: np.ndarray
    test: np.ndarray
    pool: np.ndarray | None = None

    @cached_property
    def _v(self) -> np.ndarray:
        return np.where(np.isfinite(self.valid), self.valid, -np.inf)

    @cached_property
    def best(self) -> np.ndarray:
        """y* of valid regret, [tasks, table seeds]."""
        return self._v.max(axis=1)

    @cached_property
    def median(self) -> np.ndarray:
        """Validation score of the median configuration, [tasks, table seeds]."""
        return median_configuration(self.valid, self.pool)

    @cached_property
    def worst(self) -> np.ndarray:
        """The worst finite validation score, [tasks, table seeds]."""
        return np.nanmin(np.where(np.isfinite(self.valid), self.valid, np.nan), axis=1)

    @cached_property
    def test_best(self) -> np.ndarray:
        """Cross-fitted y* of test regret, [tasks, table seeds]; NaN with a single seed."""
        return crossfit_best(self.valid, self.test)

    @cached_property
    def test_span(self) -> np.ndarray:
        """Denominator of test regret, [tasks]."""
        return (crossfit_best(self.valid, self.valid) - self.median).mean(axis=1)

    def test_regret(self, configs: np.ndarray, tasks: np.ndarray, table_seeds: np.ndarray) -> np.ndarray:
        """Test regret of configurations; the three are broadcast together."""
        return self._test_regret(self.test[tasks, configs, table_seeds], tasks, table_seeds)

    def _test_regret(self, achieved: np.ndarray, tasks: np.ndarray, table_seeds: np.ndarray) -> np.ndarray:
        """Test regret of test scores, NaN where diverged."""
        gap, span = self.test_best[tasks, table_seeds] - achieved, self.test_span[tasks]
        regret = np.clip(_ratio(gap, span), -1.0, 1.0)
        known = np.isfinite(self.test_best[tasks, table_seeds])
        return np.where(known, np.where(np.isfinite(achieved), regret, 1.0), np.nan)

    @cached_property
    def floor(self) -> np.ndarray:
        """Test regret of the valid oracle, [tasks, table seeds]."""
        tasks, seeds = np.ogrid[: self.valid.shape[0], : self.valid.shape[2]]
        return self.test_regret(self._v.argmax(axis=1), tasks, seeds)

    def regrets(self, configs: np.ndarray, seeds: np.ndarray) -> Regrets:
        """Regrets of searches ``configs`` int [groups, tasks, seeds, trials] made with search seeds ``seeds``."""
        k = (np.asarray(seeds) % self.valid.shape[2])[:, None]
        t = np.arange(configs.shape[1])[:, None, None]
        seen = self._v[t, configs, k]
        incumbent = np.maximum.accumulate(seen, axis=-1)
        trial = np.arange(configs.shape[-1])
        first = np.ones(seen.shape, dtype=bool)
        first[..., 1:] = seen[..., 1:] > incumbent[..., :-1]
        chosen = np.take_along_axis(configs, np.maximum.accumulate(np.where(first, trial, 0), axis=-1), axis=-1)
        return self.regrets_of(chosen, seeds)

    def regrets_of(self, chosen: np.ndarray, seeds: np.ndarray) -> Regrets:
        """Regrets of incumbents ``chosen`` int [groups, tasks, seeds, points], −1 where there is none."""
        k = (np.asarray(seeds) % self.valid.shape[2])[:, None]
        t = np.arange(chosen.shape[1])[:, None, None]
        return self.regrets_by(np.where(chosen < 0, -np.inf, self._v[t, chosen, k]), self.test[t, chosen, k], seeds)

    def regrets_by(self, incumbent: np.ndarray, achieved: np.ndarray, seeds: np.ndarray) -> Regrets:
        """Regrets of incumbents by their validation scores (−inf where there is none) and test scores ``achieved``, each
        [groups, tasks, seeds, points]. Where they are of no stored configuration they may fall below 0: down to −1."""
        k = (np.asarray(seeds) % self.valid.shape[2])[:, None]
        t = np.arange(incumbent.shape[1])[:, None, None]
        best, none = self.best[t, k], np.isneginf(incumbent)
        gap = np.where(none, np.inf, best - incumbent)
        valid = np.clip(_ratio(gap, best - self.median[t, k]), -1.0, 1.0)
        minmax = np.clip(_ratio(gap, best - self.worst[t, k]), -1.0, 1.0)
        test = np.where(none, 1.0, self._test_regret(achieved, t, k))
        test = np.where(np.isfinite(self.test_best[t, k]), test, np.nan)
        return Regrets(incumbent, valid, test, minmax)


def _ratio(gap: np.ndarray, span: np.ndarray) -> np.ndarray:
    """gap/span; where at least half of all configurations are best (span 0): 0 without a gap, else 1."""
    gap, span = np.broadcast_arrays(gap, span)
    flat = (gap > 1e-12).astype(np.float64)
    return np.divide(gap, span, out=flat, where=span > 1e-12)


def median_configuration(scores: np.ndarray, pool: np.ndarray | None = None) -> np.ndarray:
    """Score of the median configuration (of two, the worse), [tasks, configs, seeds] → [tasks, seeds].

    Diverged configurations are worst; where they are the majority it is the worst finite score. Those that a task does
    not have (``pool``, bool [tasks, configs]) do not count.
    """
    finite = np.isfinite(scores)
    ordered = np.sort(np.where(finite, scores, -np.inf), axis=1)
    worst = np.min(np.where(finite, scores, np.inf), axis=1)
    # what a task does not have lies below everything else
    absent = np.zeros(len(scores), int) if pool is None else (~pool).sum(axis=1)
    return np.maximum(ordered[np.arange(len(scores)), absent + (scores.shape[1] - absent - 1) // 2], worst)


def crossfit_best(valid: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Test score [tasks, seeds] of the configuration that is best on validation over other seeds.

    Both arguments are [tasks, configs, seeds], larger is better, NaN where diverged.

    A choice must not have diverged with any seed of its half; where it diverges on the other half that seed is left
    out of the mean (a seed without any value takes the mean of the others).
    """
    n_tasks, _, n_seeds = valid.shape
    total, count = np.zeros((n_tasks, n_seeds)), np.zeros((n_tasks, n_seeds))
    rows = np.arange(n_tasks)
    signed = np.where(np.isfinite(valid), valid, -np.inf)
    for half in _halves(n_seeds):
        rest = np.setdiff1d(np.arange(n_seeds), half)
        mean = signed[:, :, half].mean(axis=2)
        scored = test[rows[:, None], mean.argmax(axis=1)[:, None], rest]
        good = np.isfinite(scored) & np.isfinite(mean.max(axis=1))[:, None]
        total[:, rest] += np.where(good, scored, 0.0)
        count[:, rest] += good
    out = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    some = (count > 0).any(axis=1) & (count == 0).any(axis=1)
    for t in np.flatnonzero(some):
        out[t] = np.where(np.isfinite(out[t]), out[t], np.nanmean(out[t]))
    return out


def _halves(n_seeds: int) -> list[np.ndarray]:
    """The halves that choose: both sides of every balanced halving; of a fixed sample where there are many."""
    if n_seeds < 2:
        return []
    everything = frozenset(range(n_seeds))
    small = [frozenset(half) for half in combinations(range(n_seeds), n_seeds // 2)] if n_seeds <= 12 else []
    if len(small) > MAX_HALVINGS or n_seeds > 12:
        rng = np.random.default_rng(n_seeds)
        small = [frozenset(rng.permutation(n_seeds)[: n_seeds // 2].tolist()) for _ in range(MAX_HALVINGS)]
    both = {tuple(sorted(side)) for half in small for side in (half, everything - half)}
    return [np.array(side) for side in sorted(both)]
