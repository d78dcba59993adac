"""Negative transfer with its null: how often a method trails its twin, beside the twin against itself.

On single tasks a method trails its twin by chance alone. So the share of tasks on which it trails by more than .01, less
the share on which it leads by as much, is compared with the same of the twin's own searches: one half of them against the
other. Both comparisons take the mean of half the searches on each side, over the same random halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metabench.errors import UsageError
from metabench.scores.bootstrap import FamilyBootstrap

#: a difference in regret that counts on one task; random halves of the searches
MARGIN, HALVES = 0.01, 64


@dataclass(frozen=True)
class Transfer:
    """A method against its twin; shares are of tasks, averaged over families like the headline."""

    #: share on which the method trails, and leads, by more than the margin
    trailing: float
    leading: float
    #: trailing − leading, with a 95 % interval over families; above 0 transfer hurts more often than it helps
    net: float
    low: float
    high: float
    #: share on which the twin trails itself; its net share is 0 by construction
    null: float
    #: share on which the method trails beyond that of the twin, with a 95 % interval
    excess: float
    excess_low: float
    excess_high: float


def halvings(searches: int, columns: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random disjoint halves of the searches, each with as many of every replicate.

    Args:
        searches: number of searches of a task.
        columns: number of replicates; search s belongs to replicate s modulo ``columns``.
        seed: seed of the draws.

    Raises:
        UsageError: when some replicate has fewer than two searches.
    """
    groups = [np.arange(c, searches, columns) for c in range(columns)]
    if min(map(len, groups)) < 2:
        raise UsageError(f"{searches} searches are too few to compare a method with itself: two for each replicate")
    rng, out = np.random.default_rng([seed, 0x7313]), []
    for _ in range(HALVES):
        mixed = [rng.permutation(group) for group in groups]
        out.append(
            tuple(np.concatenate([m[at : at + len(m) // 2] for m in mixed]) for at in (0, min(map(len, groups)) // 2))
        )
    return out


def negative_transfer(
    method: np.ndarray, twin: np.ndarray, bootstrap: FamilyBootstrap, columns: int = 2, seed: int = 0
) -> Transfer:
    """Compare a method with its twin.

    Args:
        method: regret (or area) of the method's searches, float64 [tasks, searches], smaller is better.
        twin: the same of the method that does not transfer.
        bootstrap: the families.
        columns: number of replicates that the searches alternate between.
        seed: seed of the halves.

    Raises:
        UsageError: when there are too few searches.
    """
    trail, lead, null = np.zeros((3, len(method)))
    halves = halvings(method.shape[1], columns, seed)
    for a, b in halves:
        for one, other in ((a, b), (b, a)):
            gap = method[:, one].mean(axis=1) - twin[:, other].mean(axis=1)
            itself = twin[:, one].mean(axis=1) - twin[:, other].mean(axis=1)
            trail += gap > MARGIN
            lead += gap < -MARGIN
            null += itself > MARGIN
    trail, lead, null = (bootstrap.means(share / (2 * len(halves))) for share in (trail, lead, null))
    low, high = bootstrap.interval(trail - lead)
    excess_low, excess_high = bootstrap.interval(trail - null)
    return Transfer(
        float(trail.mean()),
        float(lead.mean()),
        float((trail - lead).mean()),
        float(low),
        float(high),
        float(null.mean()),
        float((trail - null).mean()),
        float(excess_low),
        float(excess_high),
    )
