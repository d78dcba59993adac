"""How many source tasks are needed before a meta-model is worth having?

Methods are fitted to nested random subsets of the board's meta-training tasks, and search its held-out tasks. None of them
sees meta-validation tasks here, so that the number of tasks is all that they learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metabench.metatrain import MetaTrain
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import CLASSES, Axis
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import num
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.searches import Ground, fitted, one_workload, twin_of
from metabench.scores.aggregate import Hierarchy

#: method → random orders of the source families; each is one more draw of every subset
METHODS = {"empirical_gp": 6, "metric_knn": 4, "portfolio": 6, "xgb_rank": 3}
#: sizes of the subsets, in tasks; then all
SIZES = (1, 2, 4, 8, 16, 32)
MARKS = (1, 5, 10)
#: where 0 tasks stand on the log scale
NONE = 0.5
#: a subset is as good as all when its regret is no more than this behind
MARGIN = 0.02


class Sources(Report):
    """Regret after 1, 5 and 10 trials against the number of source tasks."""

    name = "sources"
    title = "How many source tasks are needed?"
    label = "Source tasks"
    published_version = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        return [*super().inputs(given), METHODS, SIZES, MARKS, [_code(m) for m in METHODS]]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        board, table = given.rules, given.table
        workload = one_workload(board, table)
        ids = board.tasks(table, "test")
        ground = Ground.of(table, workload, ids, board.budget)
        whole = replace(board.source(table, calibrated=False), valid=None)
        cells = {name: regrets(name, ground, whole, draws, given.say) for name, draws in METHODS.items()}
        twins = {name: twin_of(name) for name in METHODS}
        none = {twin: _search(twin, whole, ground, range(max(METHODS.values()))) for twin in sorted({*twins.values()})}
        sizes = [*sizes_below(len(whole.tasks)), len(whole.tasks)]
        curves = summarise(cells, sizes, {m: none[t] for m, t in twins.items() if t}, ground.families)
        facts = {
            "workload": workload,
            "sources": len(whole.tasks),
            "source_families": len({t.family for t in whole.tasks}),
            "tasks": len(ids),
            "families": len(set(ground.families)),
            "twins": {m: t for m, t in twins.items() if t},
        }
        return facts, {"curves": curves, "needed": needed(curves, twins)}

    def page(self, found: Findings) -> Page:
        f, curves, enough = found.facts, found.frames["curves"], found.frames["needed"]
        text = f"""{f["tasks"]} held-out tasks of {f["workload"]}; subsets of {f["sources"]} source tasks in
            {f["source_families"]} families. Left, at 0, stands each method's twin, which learns from no other task."""
        method = f"""Subsets: meta-training tasks in a random order, those of one family side by side; in one order every subset
            holds the smaller ones. Orders: {", ".join(f"{m} {n}" for m, n in METHODS.items())}. Each order is searched with one
            seed (its number modulo the table's seeds).

            Valid regret: 0 is the best configuration of the task, 1 the median one; seeds and orders are averaged, then tasks,
            then the interquartile mean over families is taken. Intervals: bootstrap over held-out families, paired for
            differences. The deviation is that of the whole figure over random orders: what luck in the choice of tasks does.

            Better than its twin: the smallest number of tasks from which on, there and with every larger one, the interval of
            the difference lies under 0. As good as all: from there on regret is at most {MARGIN:g} behind that with all tasks.

            Methods have the settings that were chosen for all source tasks; no meta-validation task is used."""
        return Page(
            told(enough, curves, f),
            [
                Section(
                    "Regret against the number of source tasks",
                    text,
                    [_figure(curves[curves["mark"] == mark], mark) for mark in MARKS],
                    _grids(curves, enough),
                )
            ],
            method,
        )


def _figure(part: pd.DataFrame, mark: int) -> Figure:
    css = dict(zip(METHODS, CLASSES, strict=False))
    series = []
    for name in dict.fromkeys(part["method"]):
        mine = part[part["method"] == name]
        ends = ("low", "high") if css[name] == "c1" else ("regret", "regret")
        x = [max(float(t), NONE) for t in mine["tasks"]]
        series.append(Series(name, css[name], x, *(mine[c].tolist() for c in ("regret", *ends))))
    ticks = {NONE: "0", **{float(s): str(s) for s in sorted({*part["tasks"]} - {0})}}
    svg = drawings.lines(
        series,
        Axis("source tasks (log scale)", log=True, ticks=ticks),
        Axis("valid regret", low=0.0),
        uid=f"at-{mark}",
        title=f"Valid regret after {mark} trials against the number of source tasks",
        description="; ".join(f"{s.method}: {num(s.mean[0])} without, {num(s.mean[-1])} with all" for s in series),
    )
    text = (
        "Interquartile mean over families, and over random subsets; the band is a 95 % interval of the method in blue."
    )
    return Figure(f"After {mark} trial{'s' * (mark > 1)}.", text, svg, css)


def _grids(curves: pd.DataFrame, enough: pd.DataFrame) -> list[Grid]:
    short = [
        Column("Method", "method"),
        Column("Twin", "twin"),
        Column("Trials", "mark", str),
        Column("Better than its twin from", "better", _count),
        Column("As good as all from", "enough", _count),
    ]
    long = [
        Column("Method", "method"),
        Column("Source tasks", "tasks", str),
        Column("Trials", "mark", str),
        Column("Valid regret", "regret", num, ("low", "high")),
        Column("Deviation over subsets", "deviation", num),
        Column("− its twin", "gain", num, ("gain_low", "gain_high")),
        Column("− with all", "behind", num, ("behind_low", "behind_high")),
    ]
    return [Grid("After how many source tasks", short, enough), Grid("All figures", long, curves, folded=True)]


def _count(n: float) -> str:
    return f"{n:.0f}"


def _code(name: str) -> str:
    from metabench.evaluation import resolve

    return resolve(name)[0].fingerprint


def told(enough: pd.DataFrame, curves: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """The answer for the first method: from how many tasks it beats its twin and more do not help, and by how much."""
    name = enough["method"].iloc[0]
    mine = enough[enough["method"] == name]
    better = [_since(r["better"], r["mark"]) for r in mine.to_dict("records")]
    close = [_since(r["enough"], r["mark"]) for r in mine.to_dict("records")]
    at = curves[(curves["method"] == name) & (curves["mark"] == MARKS[-1])].set_index("tasks")
    ends = [
        f"{num(at.loc[n, 'regret'])} [{num(at.loc[n, 'low'])}, {num(at.loc[n, 'high'])}] with {words}"
        for n, words in ((0, "none"), (1, "one"), (facts["sources"], f"all {facts['sources']}"))
        if n in at.index
    ]
    return f"""{name} beats {mine["twin"].iloc[0]}, its twin without transfer: {"; ".join(better)}. It is within
        {MARGIN:g} of the regret with all {facts["sources"]}: {"; ".join(close)}. Regret after {MARKS[-1]} trials is
        {", ".join(ends)}."""


def _since(tasks: float, mark: int) -> str:
    """From how many source tasks on something holds after some trials."""
    if not np.isfinite(tasks):
        return f"for certain with no number of source tasks after {mark}"
    plural = f"source task{'s' * (tasks > 1)} on after {mark} trial{'s' * (mark > 1)}"
    return f"from {tasks:.0f} {plural}"


# ---------------------------------------------------------------- numbers
def sizes_below(n: int) -> list[int]:
    """SIZES of proper subsets of ``n`` tasks."""
    return [s for s in SIZES if s < n]


def orders(families: Sequence[str], n: int, seed: int = 0) -> list[np.ndarray]:
    """``n`` random orders of the tasks (positions), those of one family side by side."""
    names = list(dict.fromkeys(families))
    family = np.asarray(families)
    out = []
    for i in range(n):
        shuffled = np.random.default_rng([seed, i]).permutation(len(names))
        out.append(np.concatenate([np.flatnonzero(family == names[f]) for f in shuffled]))
    return out


def regrets(name: str, ground: Ground, whole: MetaTrain, draws: int, say) -> np.ndarray:
    """Valid regret at MARKS, [sizes, tasks, draws, marks], of a method fitted to nested subsets of the source."""
    n, families = len(whole.tasks), [t.family for t in whole.tasks]
    sizes = [*sizes_below(n), n]
    out = np.empty((len(sizes), len(ground.task_ids), draws, len(MARKS)))
    for d, order in enumerate(orders(families, draws)):
        say(f"sources: {name}, order {d + 1} of {draws}")
        for i, size in enumerate(sizes):
            if size == n and d >= ground.objective.n_seeds:  # the same tasks and the same seed as before
                out[i, :, d] = out[i, :, d % ground.objective.n_seeds]
            else:
                source = whole.select(range(n) if size == n else sorted(order[:size].tolist()))
                out[i, :, d] = _search(name, source, ground, [d])[:, 0]
    return out


def _search(name: str, source: MetaTrain, ground: Ground, seeds: Sequence[int]) -> np.ndarray:
    """Valid regret at MARKS [tasks, seeds, marks] of a method fitted to a source; seeds beyond the table's repeat."""
    k = ground.objective.n_seeds
    found = ground.regrets(fitted(name, source), sorted({s % k for s in seeds}), MARKS[-1])[..., [m - 1 for m in MARKS]]
    return found[:, [sorted({s % k for s in seeds}).index(s % k) for s in seeds]]


def summarise(
    cells: dict[str, np.ndarray], sizes: Sequence[int], twins: dict[str, np.ndarray], families: Sequence[str]
) -> pd.DataFrame:
    """Regret with intervals for each method, number of source tasks (0: its twin) and mark, and the paired differences
    ``gain`` to its twin and ``behind`` to all tasks.

    ``cells`` are [sizes, tasks, draws, marks]; ``twins`` [tasks, draws or more, marks].
    """
    rows = []
    for name, found in cells.items():
        draws = found.shape[2]
        hierarchy = Hierarchy.build(families, draws)
        twin = twins[name][:, :draws] if name in twins else np.full(found.shape[1:], np.nan)
        for m, mark in enumerate(MARKS):
            for size, here in zip((0, *sizes), (twin, *found), strict=True):
                if not np.isfinite(here).all():
                    continue
                value = here[..., m]
                single = np.array([hierarchy.estimate(np.repeat(value[:, [d]], draws, axis=1)) for d in range(draws)])
                row = {
                    "method": name,
                    "tasks": size,
                    "mark": mark,
                    "draws": draws,
                    "deviation": float(single.std(ddof=1)),
                }
                for column, cell in (
                    ("regret", value),
                    ("gain", value - twin[..., m]),
                    ("behind", value - found[-1][..., m]),
                ):
                    low, high = hierarchy.interval(cell)
                    ends = (
                        (column, "low", "high") if column == "regret" else (column, f"{column}_low", f"{column}_high")
                    )
                    row |= dict(zip(ends, (float(hierarchy.estimate(cell)), float(low), float(high)), strict=True))
                rows.append(row)
    return pd.DataFrame(rows)


def needed(curves: pd.DataFrame, twins: Mapping[str, str | None]) -> pd.DataFrame:
    """The numbers of tasks from which on a method is better than its twin (NaN: never for certain) and as good as with all."""
    rows = []
    for (name, mark), part in curves.groupby(["method", "mark"], sort=False):
        ordered = part[part["tasks"] > 0].sort_values("tasks")
        better = ordered["gain_high"].to_numpy() < 0
        close = ordered["behind"].to_numpy() <= MARGIN
        tasks = ordered["tasks"].to_numpy()
        rows.append(
            {
                "method": name,
                "twin": twins[str(name)] or "–",
                "mark": mark,
                "better": _from(better, tasks),
                "enough": _from(close, tasks),
            }
        )
    return pd.DataFrame(rows)


def _from(holds: np.ndarray, tasks: np.ndarray) -> float:
    """The first number from which on something holds to the end; NaN if it does not hold at the end."""
    first = len(holds)
    while first and holds[first - 1]:
        first -= 1
    return float(tasks[first]) if first < len(tasks) else np.nan
