"""Would the order of the methods come out again? Rank correlation between halves of the families."""

from __future__ import annotations

import numpy as np
from scipy import stats

from metabench.scores.bootstrap import FamilyBootstrap

SPLITS = 500


def leading(means: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Positions of the leading share of the methods (rounded up) by mean regret [methods], best first."""
    return np.argsort(means, kind="stable")[: int(np.ceil(share * len(means)))]


def split_half(
    values: np.ndarray, bootstrap: FamilyBootstrap, splits: int = SPLITS, seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's correlation of the methods' means between two random halves of the families.

    Args:
        values: float64 [methods, tasks]; to judge the leaders give the leaders alone.
        bootstrap: the families; each half holds as many, of an odd number one is left out.
        splits: number of random splits.
        seed: seed of the splits.

    Returns:
        Mean over splits, and the 5 % and 95 % quantiles; NaN for fewer than three methods or four families.
        Leaders that were chosen by the mean over all families correlate less than the same methods would had they been
        chosen otherwise: the figure is on the safe side.
    """
    if len(values) < 3 or bootstrap.n < 4:
        return float("nan"), float("nan"), float("nan")
    families = bootstrap.means(values)
    rng = np.random.default_rng([seed, 0x5B11])
    half, found = bootstrap.n // 2, []
    for _ in range(splits):
        order = rng.permutation(bootstrap.n)
        a, b = (stats.rankdata(families[:, part].mean(axis=1)) for part in (order[:half], order[half : 2 * half]))
        found.append(np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else 0.0)
    return float(np.mean(found)), float(np.quantile(found, 0.05)), float(np.quantile(found, 0.95))
