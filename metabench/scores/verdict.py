"""The verdict of a board under protocol 3: what is reported of searches, from their regret alone.

Searches → tasks → families: regret is averaged over a task's searches, tasks of a family, and families, each equally.
The headline is the area under regret over log(trials) (:mod:`metabench.scores.area`). A board is saturated when the leading
tier has a mean regret under .01 after five trials; methods are then ranked on trials 1–3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.scores import area
from metabench.scores.bootstrap import RESAMPLES, FamilyBootstrap
from metabench.scores.contrasts import MARGIN, Pairs, contrasts, detectable, differences
from metabench.scores.halfboards import leading, split_half
from metabench.scores.tiers import first, rank_intervals, tiers
from metabench.scores.twins import negative_transfer

#: a board is saturated under this regret after so many trials, and ranked on the area up to that trial
SATURATED, AFTER, SATURATED_AREA = 0.01, 5, 3
#: controls of every board, unless its rules name others
CONTROLS = ("random", "portfolio")
#: among how many of the best methods the share of decided pairs is reported
BEST = 10


@dataclass(frozen=True)
class Verdict:
    """Everything that a board of protocol 3 reports. Regret: 0 the reference, 1 the median configuration."""

    #: method, tier, rank_low, rank_high, p_first, area_<n> with _low and _high for each area; best first
    methods: pd.DataFrame
    #: method, trial, regret, low, high (95 % over families)
    curves: pd.DataFrame
    #: method, control, difference, low, high, p: every method against every control, in the headline area, each by itself
    controls: pd.DataFrame
    #: the contrasts that the board names, with p_holm over all of them
    contrasts: pd.DataFrame
    #: method_a, method_b, difference, low, high, joint_low, joint_high: all pairs in the headline area
    pairs: pd.DataFrame
    #: method, twin and the fields of :class:`metabench.scores.twins.Transfer`
    transfer: pd.DataFrame
    #: split_half (_low, _high), over the leading half of the methods; detectable, the median over their pairs;
    #: pairs, differ, equal, decided among the ten best
    power: dict[str, float]
    #: trials of the area that ranks the methods
    headline: int
    saturated: bool

    def __str__(self) -> str:
        name = f"area_{self.headline}"
        columns = ["method", "tier", name, f"{name}_low", f"{name}_high", "rank_low", "rank_high", "p_first"]
        lines = [self.methods[columns].to_string(index=False, float_format=lambda x: f"{x:.3f}")]
        if self.saturated:
            lines.append(f"saturated: ranked on the area over trials 1–{self.headline}")
        power = self.power
        lines.append(
            f"Split-half Spearman among the leading half: {power['split_half']:.2f}. Detectable difference at 80 %: "
            f"{power['detectable']:.3f}. Decided among the {BEST} best: {power['decided']:.0f} of {power['pairs']:.0f} pairs."
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class Searches:
    """Regret of all searches of a board.

    ``regret`` maps methods to float64 [tasks, searches, trials]; a method that is known exactly (random search, see
    :mod:`metabench.scores.orders`) has the same values in each search. ``families`` names the family of each task.
    ``columns`` is the number of replicates that searches alternate between.
    """

    regret: Mapping[str, np.ndarray]
    families: Sequence[str]
    columns: int = 2

    def __post_init__(self):
        shapes = {values.shape for values in self.regret.values()}
        if len(shapes) != 1:
            raise UsageError(f"methods have searches of different shapes: {sorted(shapes)}")
        ((tasks, _, _),) = shapes
        if tasks != len(self.families):
            raise UsageError(f"{tasks} tasks were searched, {len(self.families)} have a family")

    @cached_property
    def names(self) -> list[str]:
        """The methods, in the order of their names."""
        return sorted(self.regret)

    @property
    def budget(self) -> int:
        """Trials of a search."""
        return next(iter(self.regret.values())).shape[2]

    def areas(self, trials: int) -> np.ndarray:
        """Mean area of each method and task, float64 [methods, tasks]."""
        return np.array([area.log_area(self.regret[m], trials).mean(axis=1) for m in self.names])


def verdict(
    searches: Searches,
    *,
    controls: Sequence[str] = CONTROLS,
    named: Sequence[tuple[str, str]] = (),
    twins: Mapping[str, str] | None = None,
    marks: Sequence[int] = area.MARKS,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Verdict:
    """Judge the methods of a board.

    Args:
        searches: regret of all searches.
        controls: methods that all are compared with.
        named: contrasts (method, control) that were named in advance, at most ten.
        twins: method → the method that does the same without transfer.
        marks: trials of the curves; those beyond the budget fall away.
        margin: smallest difference that counts.
        resamples: resamples of families.
        seed: seed of everything random.

    Returns:
        The verdict; it does not depend on the order of methods or tasks beyond rounding.

    Raises:
        UsageError: for fewer than two families, more than ten contrasts, or a method that is compared with its twin on too
            few searches.
    """
    names, bootstrap = searches.names, FamilyBootstrap.build(searches.families, resamples, seed)
    trials = area.areas_of(searches.budget)
    values = {n: searches.areas(n) for n in trials}
    headline, saturated = trials[0], False
    pairs = Pairs.of(values[headline], bootstrap)
    tier = tiers(bootstrap.means(values[headline]).mean(axis=1), names, pairs, margin)
    if searches.budget >= AFTER:
        late = np.array([bootstrap.means(searches.regret[m][..., AFTER - 1].mean(axis=1)).mean() for m in names])
        saturated = bool(late[tier == 1].mean() < SATURATED)
    if saturated:
        headline = SATURATED_AREA
        values[headline] = searches.areas(headline)
        pairs = Pairs.of(values[headline], bootstrap)
        tier = tiers(bootstrap.means(values[headline]).mean(axis=1), names, pairs, margin)
    ranked = values[headline]
    means = bootstrap.means(ranked).mean(axis=1)
    low, high = rank_intervals(ranked, bootstrap)
    frame = pd.DataFrame({"method": names, "tier": tier, "rank_low": low, "rank_high": high})
    frame["p_first"] = first(ranked, bootstrap, seed)
    for n, mine in values.items():
        families = bootstrap.means(mine)
        frame[f"area_{n}"] = families.mean(axis=1)
        frame[f"area_{n}_low"], frame[f"area_{n}_high"] = bootstrap.interval(families)
    order = sorted(range(len(names)), key=lambda i: (tier[i], round(float(means[i]), 12), names[i]))
    best = leading(means)
    half, half_low, half_high = split_half(ranked[best], bootstrap, seed=seed)
    power = {"split_half": half, "split_half_low": half_low, "split_half_high": half_high}
    power["detectable"] = float(np.median(detectable(ranked[best], bootstrap))) if len(best) > 1 else float("nan")
    power |= pairs.decided(leading(means, min(1.0, BEST / len(names)))[:BEST].tolist(), margin)
    against = [(m, c) for c in controls for m in names if m != c and c in names]
    return Verdict(
        methods=frame.iloc[order].reset_index(drop=True),
        curves=_curves(searches, bootstrap, [m for m in marks if m <= searches.budget]),
        controls=pd.DataFrame(
            differences(ranked, names, against, bootstrap),
            columns=["method", "control", "difference", "low", "high", "p"],
        ),
        contrasts=contrasts(ranked, names, named, bootstrap),
        pairs=_pairs(pairs, names),
        transfer=_transfer(searches, twins or {}, headline, bootstrap, seed),
        power=power,
        headline=headline,
        saturated=saturated,
    )


def _curves(searches: Searches, bootstrap: FamilyBootstrap, marks: Sequence[int]) -> pd.DataFrame:
    rows = []
    for method in searches.names:
        families = bootstrap.means(searches.regret[method].mean(axis=1).T)  # [trials, families]
        low, high = bootstrap.interval(families)
        rows += [(method, m, families[m - 1].mean(), low[m - 1], high[m - 1]) for m in marks]
    return pd.DataFrame(rows, columns=["method", "trial", "regret", "low", "high"])


def _pairs(pairs: Pairs, names: Sequence[str]) -> pd.DataFrame:
    columns = {"method_a": [names[i] for i, _ in pairs.index], "method_b": [names[j] for _, j in pairs.index]}
    fields = ("difference", "low", "high", "joint_low", "joint_high")
    return pd.DataFrame(columns | {name: getattr(pairs, name) for name in fields})


def _transfer(
    searches: Searches, twins: Mapping[str, str], headline: int, bootstrap: FamilyBootstrap, seed: int
) -> pd.DataFrame:
    rows = []
    for method, twin in sorted(twins.items()):
        if method in searches.regret and twin in searches.regret:
            own, others = (area.log_area(searches.regret[m], headline) for m in (method, twin))
            rows.append(
                {"method": method, "twin": twin}
                | asdict(negative_transfer(own, others, bootstrap, searches.columns, seed))
            )
    fields = ["trailing", "leading", "net", "low", "high", "null", "excess", "excess_low", "excess_high"]
    return pd.DataFrame(rows, columns=["method", "twin", *fields])
