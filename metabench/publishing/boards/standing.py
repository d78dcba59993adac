"""What a board's data decide: the group of each method, and how many pairs of methods differ significantly.

Boards of protocol 3 have tiers. On earlier ones a group says what the test against random search shows, a control that was
fixed in advance; a test against whichever method leads would find too much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metabench.scores.frames import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

#: level of significance
LEVEL = 0.05
#: group of a board without tiers → its label
AGAINST_RANDOM = {1: "better than random", 2: "no difference shown", 3: "worse than random"}


@dataclass(frozen=True)
class Standing:
    """Groups at one amount of a budget."""

    #: method → its group; 1 leads
    groups: Mapping[str, int]
    decided: int
    pairs: int
    #: the method that is shown to be better than every other one; None where the data do not show one
    winner: str | None
    tiers: bool = False

    def label(self, method: str) -> str:
        group = self.groups[method]
        return f"tier {group}" if self.tiers else AGAINST_RANDOM[group]

    def members(self, group: int = 1) -> list[str]:
        """Methods of a group, in the order in which they were given."""
        return [m for m, g in self.groups.items() if g == group]


def tested(methods: list[str], controls: pd.DataFrame, pairs: pd.DataFrame) -> Standing:
    """The standing by tests of differences.

    Args:
        methods: names, best first.
        controls: control, method, difference (method − control, smaller is better), p_holm; of one start and mark.
        pairs: method_a, method_b, difference (a − b), p_holm; of the same.

    Returns:
        The groups; a method without a test against random search is in the second.
    """
    groups = dict.fromkeys(methods, 2)
    beside: Any = controls[controls["control"] == REFERENCE].itertuples()
    for row in beside:
        if row.method in groups and row.p_holm < LEVEL:
            groups[row.method] = 1 if row.difference < 0 else 3
    clear = pairs[pairs["p_holm"] < LEVEL]
    wins = [
        a if d < 0 else b for a, b, d in zip(clear["method_a"], clear["method_b"], clear["difference"], strict=True)
    ]
    winner = next((m for m in methods if len(methods) > 1 and wins.count(m) == len(methods) - 1), None)
    return Standing(groups, len(clear), len(pairs), winner)


def judged(methods: pd.DataFrame, pairs: pd.DataFrame) -> Standing:
    """The standing by the tiers of a board of protocol 3; a pair is decided if its joint interval excludes 0.

    Args:
        methods: method, tier; best first.
        pairs: joint_low, joint_high.
    """
    groups = dict(zip(methods["method"], methods["tier"].astype(int), strict=True))
    decided = int(((pairs["joint_low"] > 0) | (pairs["joint_high"] < 0)).sum())
    first = [m for m, tier in groups.items() if tier == 1]
    return Standing(groups, decided, len(pairs), first[0] if len(first) == 1 < len(groups) else None, tiers=True)
