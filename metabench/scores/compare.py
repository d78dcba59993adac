"""Comparisons between methods: Friedman, Wilcoxon–Holm, critical differences, improvement, negative transfer.

The unit of the tests is the task: a method's value there is its mean regret over the seeds (Demšar, JMLR 2006;
García & Herrera, JMLR 2008). Two families of pairs are tested. All k(k − 1)/2 pairs answer whatever may be asked, and
pay for it: of 17 methods' 136 pairs hardly one stands Holm's correction. Whoever asks only how the methods stand to one
of them, the control, pays for k − 1 pairs (Demšar, Sec. 3.2.2); see :func:`against`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from scipy import stats


def wilcoxon(difference: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of paired differences, [n].

    Zeros are dropped (Wilcoxon's own rule). The null distribution is exact also with ties: over all 2ⁿ signs of the
    (mid-)ranks, by convolution; normal with correction for ties beyond 60 differences. 1 when nothing differs.
    """
    d = difference[np.abs(difference) > 1e-12]
    n = len(d)
    if n == 0:
        return 1.0
    ranks = np.rint(2 * stats.rankdata(np.round(np.abs(d), 12))).astype(int)  # doubled: whole numbers
    plus, total = int(ranks[d > 0].sum()), int(ranks.sum())
    least = min(plus, total - plus)
    if n > 60:
        deviation = np.sqrt(np.sum(ranks.astype(float) ** 2) / 4)
        return float(min(1.0, 2 * stats.norm.cdf((least - total / 2) / deviation)))
    count = np.zeros(total + 1)
    count[0] = 1.0
    for r in ranks:
        count[r:] += count[: total + 1 - r].copy()
    return float(min(1.0, 2 * count[: least + 1].sum() / 2.0**n))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p-values, [n] → [n] (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1.0)
    return out


@cache
def _studentised(methods: int, level: float) -> float:
    return float(stats.studentized_range.ppf(1 - level, methods, np.inf))


def nemenyi(methods: int, tasks: int, level: float = 0.05) -> float:
    """Critical difference of average ranks, q √(k(k+1)/(6N)) (Demšar, 2006, Sec. 3.2.2)."""
    return _studentised(methods, level) / np.sqrt(2) * np.sqrt(methods * (methods + 1) / (6 * tasks))


@dataclass(frozen=True)
class Comparison:
    """All methods against each other on the same tasks; pairs are (i, j), i < j, in the order of the methods."""

    #: average rank over tasks, 1 is best, [methods]
    ranks: np.ndarray
    #: Friedman's χ² and its p-value; NaN under three methods or two tasks
    statistic: float
    p: float
    #: Nemenyi critical difference; NaN for a single method
    cd: float
    pairs: list[tuple[int, int]]
    p_pairs: np.ndarray
    p_holm: np.ndarray
    #: maximal runs of methods, adjacent in rank, no two of which differ at level .05 after Holm
    groups: list[list[int]]


def compare(values: np.ndarray, level: float = 0.05) -> Comparison:
    """Compare methods by ``values`` [methods, tasks], smaller is better."""
    methods, tasks = values.shape
    values = np.round(values, 12)
    per_task = stats.rankdata(values, axis=0)
    ranks = per_task.mean(axis=1)
    statistic = p = np.nan
    if methods >= 3 and tasks >= 2:
        tied = (per_task == per_task[0]).all()
        statistic, p = (0.0, 1.0) if tied else map(float, stats.friedmanchisquare(*values))
    pairs = list(combinations(range(methods), 2))
    raw = np.array([wilcoxon(values[i] - values[j]) for i, j in pairs])
    adjusted = holm(raw)
    same = np.ones((methods, methods), dtype=bool)
    for (i, j), q in zip(pairs, adjusted, strict=True):
        same[i, j] = same[j, i] = q >= level
    cd = nemenyi(methods, tasks, level) if methods > 1 else np.nan
    return Comparison(
        ranks, statistic, p, float(cd), pairs, raw, adjusted, _groups(np.argsort(ranks, kind="stable"), same)
    )


@dataclass(frozen=True)
class Against:
    """Every method against a control, each [methods]; NaN at the control itself."""

    #: mean over tasks of a method's value minus the control's
    difference: np.ndarray
    p: np.ndarray
    #: Holm's adjustment over the k − 1 pairs
    p_holm: np.ndarray


def against(values: np.ndarray, control: int) -> Against:
    """Wilcoxon's signed-rank test of each method's ``values`` [methods, tasks] against those of the method ``control``.

    A control that was fixed beforehand (random search) needs no more. The best method may be the control as well: those
    that do not differ from it are then a set that holds the truly best one with the stated confidence, since it would
    have to lose to the one that looks best in a test at the level of one of k − 1 (multiple comparisons with the best,
    Hsu, 1984).
    """
    values = np.round(values, 12)
    others = [i for i in range(len(values)) if i != control]
    difference, p, p_holm = np.full((3, len(values)), np.nan)
    difference[others] = (values[others] - values[control]).mean(axis=1)
    p[others] = [wilcoxon(values[i] - values[control]) for i in others]
    p_holm[others] = holm(p[others])
    return Against(difference, p, p_holm)


def _groups(order: np.ndarray, same: np.ndarray) -> list[list[int]]:
    found: list[list[int]] = []
    end = -1
    for i in range(len(order)):
        j = i
        while j + 1 < len(order) and same[np.ix_(order[i : j + 2], order[i : j + 2])].all():
            j += 1
        if j > i and j > end:
            found.append(order[i : j + 1].tolist())
            end = j
    return found


def improvement(cells: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability that a method does better than another, [methods, tasks, seeds] → [methods, methods].

    Within a task the share of pairs of seeds in which the row's regret is smaller, ties counting half (Agarwal et al.,
    2021); averaged over tasks with ``weights`` [tasks] that sum to 1.
    """
    a, b = cells[:, None, :, :, None], cells[None, :, :, None, :]
    return ((a < b) + 0.5 * (a == b)).mean(axis=(-1, -2)) @ weights


def negative_transfer(method: np.ndarray, twin: np.ndarray, margin: float = 0.01) -> tuple[float, float]:
    """(share of tasks on which a method trails its twin by more than ``margin``, mean trail over its worst tenth).

    Both are regrets [tasks]; the worst tenth has at least one task.
    """
    trail = np.sort(method - twin)[::-1]
    return float(np.mean(trail > margin)), float(trail[: max(1, int(np.ceil(len(trail) / 10)))].mean())
