"""Places without false precision: tiers, rank intervals, the probability of being first.

**Tiers.** Methods are taken in the order of their mean (equal ones by name). The best that has no tier yet opens one, and
every remaining method joins it unless it is shown to be worse than the opener by at least the margin, .02. "Shown" means
that the lower bound of its difference, from intervals that hold for all pairs at once with 95 %, reaches the margin. Tiers
do not depend on the order in which methods are given. A method outside the first tier is worse than the leading one by
at least the margin; two methods of a tier may differ, but neither is shown to trail the opener by as much.

**Ranks.** A method's rank is at least 1 + the number of methods shown to be better and at most k − the number shown to be
worse, by intervals that hold at once for all its differences with 95 % (Mogstad et al., Review of Economic Studies 2024).
The interval holds the true rank with at least 95 %, and with more where methods are close.

**P(first).** The probability that a method is truly the best, given the data. Methods that are shown to be worse than the
leading one have none. The true means of the others have a normal prior, over whose width is averaged by its likelihood;
the observed means are normal about them with the covariance of the paired family means. Without the prior the leading
one of many similar methods seems surer than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import helmert

from metabench.scores.bootstrap import FamilyBootstrap
from metabench.scores.contrasts import MARGIN, Pairs

#: draws for P(first), and widths of the prior that are averaged over, in standard errors
DRAWS, WIDTHS = 20_000, np.linspace(0.05, 20, 400)


def tiers(means: np.ndarray, names: Sequence[str], pairs: Pairs, margin: float = MARGIN) -> np.ndarray:
    """The tier of every method.

    Args:
        means: mean regret of each method, float64 [methods], smaller is better.
        names: their names, which decide between equal means.
        pairs: differences between all of them.
        margin: smallest difference that counts.

    Returns:
        int [methods]; 1 is the leading tier.
    """
    trail = np.full((len(means), len(means)), -np.inf)  # [worse, better]: least difference that is shown
    for (i, j), low, high in zip(pairs.index, pairs.joint_low, pairs.joint_high, strict=True):
        trail[i, j], trail[j, i] = low, -high
    out = np.zeros(len(means), dtype=int)
    remaining = sorted(range(len(means)), key=lambda i: (round(float(means[i]), 12), names[i]))
    tier = 0
    while remaining:
        tier += 1
        opener = remaining[0]
        joined = [i for i in remaining if i == opener or trail[i, opener] < margin]
        out[joined] = tier
        remaining = [i for i in remaining if i not in joined]
    return out


def rank_intervals(values: np.ndarray, bootstrap: FamilyBootstrap) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest rank that each method may truly have, 95 % for each method.

    Args:
        values: float64 [methods, tasks], smaller is better.
        bootstrap: the families.

    Returns:
        low and high, int [methods]; 1 is best.
    """
    families = bootstrap.means(values)
    k = len(families)
    low, high = np.ones(k, dtype=int), np.full(k, k)
    for i in range(k if k > 1 else 0):
        below, above = bootstrap.simultaneous(families[i] - np.delete(families, i, axis=0))
        low[i] += int((below > 0).sum())
        high[i] -= int((above < 0).sum())
    return low, high


def first(values: np.ndarray, bootstrap: FamilyBootstrap, seed: int = 0) -> np.ndarray:
    """Probability that each method is truly the best.

    Args:
        values: float64 [methods, tasks], smaller is better.
        bootstrap: the families.
        seed: seed of the draws.

    Returns:
        float64 [methods], sums to 1; 0 for a method that is shown to be worse than the leading one.
    """
    families = bootstrap.means(values)
    out = np.zeros(len(families))
    leader = int(families.mean(axis=1).argmin())
    low, _ = bootstrap.simultaneous(families - families[leader])
    able = np.flatnonzero(low <= 0)
    k = len(able)
    if k == 1:
        out[able] = 1.0
        return out
    basis = helmert(k)  # what is common to all methods of a family says nothing of their order
    relative = basis @ families[able]
    scale, axes = np.linalg.eigh(np.cov(relative).reshape(k - 1, k - 1) / bootstrap.n)
    scale, seen = np.maximum(scale, 1e-18), axes.T @ relative.mean(axis=1)
    widths = (WIDTHS * np.sqrt(scale.mean())) ** 2
    spread = scale + widths[:, None]
    likelihood = -0.5 * (seen**2 / spread + np.log(spread)).sum(axis=1)
    chance = np.exp(likelihood - likelihood.max())
    rng = np.random.default_rng([seed, 0xF125])
    width = rng.choice(widths, size=(DRAWS, 1), p=chance / chance.sum())
    shrink = width / (width + scale)
    drawn = (shrink * seen + np.sqrt(shrink * scale) * rng.normal(size=(DRAWS, k - 1))) @ axes.T @ basis
    best = drawn <= drawn.min(axis=1, keepdims=True) + 1e-15
    out[able] = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return out
