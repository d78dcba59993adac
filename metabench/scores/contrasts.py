"""Paired differences between methods, over families of data sets.

Contrasts with controls that a board names in advance are tested with Holm's correction over all of them. Differences of
all pairs come with intervals that hold at once; they carry tiers and ranks (:mod:`metabench.scores.tiers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from metabench.errors import UsageError
from metabench.scores.bootstrap import FamilyBootstrap
from metabench.scores.compare import holm

#: differences below this are of no practical interest
MARGIN = 0.02
#: how many contrasts a board may name
MOST_CONTRASTS = 10


def contrasts(
    values: np.ndarray, methods: Sequence[str], pairs: Sequence[tuple[str, str]], bootstrap: FamilyBootstrap
) -> pd.DataFrame:
    """Test the differences that were named in advance.

    Args:
        values: regret (or area) of each method and task, float64 [methods, tasks], smaller is better.
        methods: their names.
        pairs: (method, control), at most ten. Those with a method that is not among ``methods`` have no result, but
            count in Holm's correction, because they were named.
        bootstrap: the families.

    Returns:
        method, control, difference (method − control), low, high (95 %, each by itself), p, p_holm; NaN without a result.

    Raises:
        UsageError: for more than ten pairs, or a pair that is named twice.
    """
    if len(pairs) > MOST_CONTRASTS or len(set(pairs)) < len(pairs):
        raise UsageError(f"{len(pairs)} contrasts; at most {MOST_CONTRASTS} different ones may be named")
    frame = pd.DataFrame(differences(values, methods, pairs, bootstrap))
    if len(frame):
        frame["p_holm"] = holm(frame["p"].fillna(1.0).to_numpy())
        frame.loc[frame["p"].isna(), "p_holm"] = np.nan
    return frame.reindex(columns=["method", "control", "difference", "low", "high", "p", "p_holm"])


def differences(
    values: np.ndarray, methods: Sequence[str], pairs: Sequence[tuple[str, str]], bootstrap: FamilyBootstrap
) -> list[dict]:
    """Difference of each pair with its 95 % interval and p-value, without correction; NaN where a method is absent.

    Args, of :func:`contrasts`.
    """
    at, rows = {name: i for i, name in enumerate(methods)}, []
    for method, control in pairs:
        row = {"method": method, "control": control} | dict.fromkeys(("difference", "low", "high", "p"), np.nan)
        if method in at and control in at:
            means = bootstrap.means(values[at[method]] - values[at[control]])
            low, high = bootstrap.interval(means)
            row |= {"difference": float(means.mean()), "low": float(low), "high": float(high)}
            row["p"] = float(bootstrap.p_value(means))
        rows.append(row)
    return rows


@dataclass(frozen=True)
class Pairs:
    """All pairs of methods i < j: difference i − j of the mean over families, float64 [pairs] each."""

    index: list[tuple[int, int]]
    difference: np.ndarray
    #: 95 % interval of each pair by itself
    low: np.ndarray
    high: np.ndarray
    #: intervals that hold for all pairs at once with 95 %
    joint_low: np.ndarray
    joint_high: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, bootstrap: FamilyBootstrap) -> Pairs:
        """Compare all methods by ``values`` float64 [methods, tasks], smaller is better."""
        index = list(combinations(range(len(values)), 2))
        families = bootstrap.means(values)
        means = np.array([families[i] - families[j] for i, j in index]).reshape(len(index), bootstrap.n)
        if not index:
            return cls(index, *np.empty((5, 0)))
        low, high = bootstrap.interval(means)
        return cls(index, means.mean(axis=1), low, high, *bootstrap.simultaneous(means))

    def decided(self, among: Sequence[int], margin: float = MARGIN) -> dict[str, int]:
        """How many pairs among some methods are decided, by intervals that each hold with 95 %.

        Args:
            among: positions of the methods.
            margin: difference that is of no practical interest.

        Returns:
            pairs; ``differ``, whose interval excludes 0; ``equal``, whose interval lies within ± ``margin`` (some of them
            may differ as well); ``decided``, at least one of both.
        """
        inside = np.array([i in among and j in among for i, j in self.index], dtype=bool)
        differ = ((self.low > 0) | (self.high < 0)) & inside
        equal = (self.low > -margin) & (self.high < margin) & inside
        counts = {"pairs": inside, "differ": differ, "equal": equal, "decided": differ | equal}
        return {name: int(which.sum()) for name, which in counts.items()}


def detectable(values: np.ndarray, bootstrap: FamilyBootstrap, power: float = 0.8, level: float = 0.05) -> np.ndarray:
    """Difference of two methods that a two-sided test finds with this probability, for every pair.

    Args:
        values: float64 [methods, tasks].
        bootstrap: the families.
        power: probability to find the difference.
        level: level of the test.

    Returns:
        float64 [pairs], (t at ``level`` + t at ``power``) standard errors of the paired difference.
    """
    families = bootstrap.means(values)
    errors = [bootstrap.error(families[i] - families[j]) for i, j in combinations(range(len(values)), 2)]
    return (stats.t.ppf(1 - level / 2, bootstrap.n - 1) + stats.t.ppf(power, bootstrap.n - 1)) * np.array(errors)
