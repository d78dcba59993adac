"""What carries over from one kind of network to another?

Every workload is left out once: methods learn from the tasks of all others, over the hyperparameters that these share with it,
and search its tasks. Beside them stand the same methods with what they learned from the workload's own other tasks, and from
these and all others together.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import registry
from metabench.errors import UsageError
from metabench.evaluation import resolve
from metabench.evaluation.overhead import spread
from metabench.evaluation.worker import one_thread
from metabench.metatrain import MetaTrain
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import CLASSES, Axis
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import num, signed
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.importance import workloads
from metabench.publishing.reports.parts.searches import Ground, fitted
from metabench.scores.aggregate import Hierarchy
from metabench.search.pools import thinned
from metabench.table.splits import members

METHODS = ("auto", "empirical_gp", "task_gp", "metric_knn", "portfolio")
#: what learns long is fitted to the other workloads alone, with these settings
LONG: dict[str, dict[str, Any]] = {"maml": {"epochs": 50}}
#: of METHODS those that learn from all at once as well: they are fitted anew for every family that is held out
BOTH = ("task_gp", "metric_knn", "portfolio")
#: methods that learn from no other task; the first is what gains are over
NOTHING = ("gp", "default", "random")
MARKS = (1, 2, 3, 5, 10, 25)
#: held-out tasks of a workload, tasks of it that others learn from, and configurations of it that they know
HELD, SOURCES, CONFIGS = 6, 32, 64
#: what a method has learned from: the value in the column ``learned``, in words
LEARNED = {"others": "other workloads", "own": "its workload", "both": "all workloads", "nothing": "nothing"}
ALL = "all"


class Across(Report):
    """Regret on the tasks of every workload, learned from all other workloads or from its own other tasks."""

    name = "across"
    title = "What carries over to another kind of network?"
    label = "Across workloads"
    needs = "table"
    published = "core"
    published_version = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        codes = [resolve(name)[0].fingerprint for name in (*METHODS, *LONG, *NOTHING)]
        return [given.table.digest_of(workloads(given.table)), MARKS, HELD, SOURCES, CONFIGS, LONG, BOTH, codes]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        table, names = given.table, workloads(given.table)
        if len(names) < 2:
            raise UsageError(f"table {table.name} has one workload; this report leaves each of several out")
        found, told = [], []
        for i, workload in enumerate(names):
            given.say(f"across: {workload}, {i + 1} of {len(names)}")
            with warnings.catch_warnings():  # that spaces differ is what this is about
                warnings.filterwarnings("ignore", "the pool's space is not that of the source")
                regret, facts = held_out(table, workload, names)
            found.append(regret)
            told.append(facts)
        cells = pd.concat(found, ignore_index=True)
        return {"workloads": len(names), "tasks": cells["task_id"].nunique()}, {
            "overall": overall(cells),
            "workloads": by_workload(cells),
            "sources": pd.DataFrame(told),
        }

    def page(self, found: Findings) -> Page:
        total, each, sources = (found.frames[k] for k in ("overall", "workloads", "sources"))
        text = f"""{found.facts["tasks"]} tasks of {found.facts["workloads"]} workloads; each workload is left out in turn.
            Figures are interquartile means over workloads. Methods learned from all other workloads. The line “own” is
            {METHODS[0]} that learned from the other tasks of the workload itself. “− its workload
            alone” is the difference to the same method
            that learned from these alone."""
        apart = f"""Regret of {NOTHING[0]}, which learns from no other task, minus that of a method that learned from all other
            workloads: blue is a gain. A row is the mean of few tasks."""
        method = f"""At most {HELD} tasks of a workload (at even distances in the table) are searched, with every seed of the
            table, by looking stored trainings up. From other workloads, methods learn from at most {SOURCES} tasks of each and
            {CONFIGS} of its configurations. The data set of a held-out task is in none of them, so the data are new as well.
            Workloads share the common hyperparameters (learning rate, optimizer, batch size, schedule and theirs). The others of
            the held-out one are searched, but nothing is known of them. From its own workload: all its tasks but those of the
            held-out family, all configurations. From all workloads: both together.

            Valid regret: 0 is the best configuration of the task, 1 the median one. Intervals: bootstrap over workloads, paired
            for differences. Methods have the settings that were chosen for the workload mlp on the board search, not for
            transfer between workloads. Exceptions, because they learn long:
            {", ".join(_settled(*item) for item in LONG.items())}, fitted to the other workloads alone.
            The best methods are named after the results were seen."""
        return Page(
            answer(total),
            [
                Section("Over all workloads", text, [_curves(total)], _grids(total)),
                Section("Each workload", apart, [_matrix(each, mark) for mark in (1, 5)], _each(each, sources)),
            ],
            method,
        )


# ---------------------------------------------------------------- numbers
def others(table, workload: str, names: Sequence[str], families: Sequence[str]) -> MetaTrain:
    """Tasks of all workloads but one, none of which sees rows of ``families``, as one source."""
    theirs = frozenset[str]().union(*map(members, families))
    parts = []
    for name in (n for n in names if n != workload):
        frame = table.tasks[table.tasks["workload"] == name]
        free = [not members(family) & theirs for family in frame["family"]]
        if ids := spread(frame.loc[free, "task_id"].tolist(), SOURCES):
            parts.append(thinned(table.meta_train(name, ids), CONFIGS))
    return MetaTrain.union(parts)


def held_out(table, workload: str, names: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Valid regret at MARKS of every method on the tasks of a workload (a row per task, seed, method, learned and mark), and
    how much of it there was to learn from."""
    frame = table.tasks[table.tasks["workload"] == workload]
    ids = spread(frame["task_id"].tolist(), HELD)
    ground = Ground.of(table, workload, ids, MARKS[-1])
    seeds, at = range(ground.objective.n_seeds), [m - 1 for m in MARKS]
    source = others(table, workload, names, ground.families)
    regret = {(m, "others"): ground.regrets(fitted(m, source), seeds, MARKS[-1])[..., at] for m in METHODS}
    for m, settings in LONG.items():
        with one_thread():
            long = registry.create("metamodels", m, **settings).fit(source)
        regret[m, "others"] = ground.regrets(long, seeds, MARKS[-1])[..., at]
    regret |= {(m, "nothing"): ground.regrets(fitted(m, source), seeds, MARKS[-1])[..., at] for m in NOTHING}
    for m, learned in [*((m, "own") for m in METHODS), *((m, "both") for m in BOTH)]:
        regret[m, learned] = np.full(regret[m, "others"].shape, np.nan)
    for family in dict.fromkeys(ground.families):
        rows = np.flatnonzero([f == family for f in ground.families])
        rest = [not members(f) & members(family) for f in frame["family"]]
        if not any(rest):
            continue
        own = table.meta_train(workload, frame.loc[rest, "task_id"].tolist())
        everything = MetaTrain.union([source, own])
        for m in METHODS:
            regret[m, "own"][rows] = ground.only(rows).regrets(fitted(m, own), seeds, MARKS[-1])[..., at]
        for m in BOTH:
            regret[m, "both"][rows] = ground.only(rows).regrets(fitted(m, everything), seeds, MARKS[-1])[..., at]
    rows = [
        {"workload": workload, "task_id": t, "seed": s, "method": m, "learned": learned, "mark": mark, "regret": cell}
        for (m, learned), cells in regret.items()
        for t, task in zip(ids, cells, strict=True)
        for s, curve in enumerate(task)
        for mark, cell in zip(MARKS, curve, strict=True)
    ]
    shared = len(set(source.space) & set(table.space(workload)))
    return pd.DataFrame(rows), {
        "workload": workload,
        "tasks": len(ids),
        "others": len(source.tasks),
        "shared": shared,
        "hyperparameters": len(table.space(workload)),
        "own": len(frame),
    }


def overall(cells: pd.DataFrame) -> pd.DataFrame:
    """Regret over all workloads of every method, learned and mark, and its paired differences: ``gain`` to NOTHING's first,
    ``behind`` to the same method that learned from its own workload alone; each with its interval."""
    # seeds first: tables have more of them for some workloads than for others
    over = cells.groupby(["workload", "task_id", "method", "learned", "mark"], sort=False)["regret"].mean()
    wide = over.unstack(["method", "learned", "mark"])
    hierarchy = Hierarchy.build(wide.index.get_level_values("workload").tolist(), 1)
    rows = []
    for method, learned in dict.fromkeys(zip(cells["method"], cells["learned"], strict=True)):
        for mark in MARKS:
            here = wide[method, learned, mark].to_numpy()[:, None]
            row: dict[str, Any] = {"method": method, "learned": learned, "mark": mark}
            compared = {"regret": here, "gain": here - wide[NOTHING[0], "nothing", mark].to_numpy()[:, None]}
            if learned in ("others", "both") and method in METHODS:
                compared["behind"] = here - wide[method, "own", mark].to_numpy()[:, None]
            for column in ("regret", "gain", "behind"):
                values = compared.get(column, np.full(here.shape, np.nan))
                ends = zip((column, f"{column}_low", f"{column}_high"), _estimate(hierarchy, values), strict=True)
                row |= dict(ends)
            rows.append(row)
    return pd.DataFrame(rows)


def _estimate(hierarchy: Hierarchy, values: np.ndarray) -> tuple[float, float, float]:
    if not np.isfinite(values).all():
        return np.nan, np.nan, np.nan
    low, high = map(float, hierarchy.interval(values))
    return float(hierarchy.estimate(values)), low, high


def by_workload(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of every workload, method, learned and mark."""
    keys = ["workload", "method", "learned", "mark"]
    return cast(pd.DataFrame, cells.groupby(keys, sort=False, as_index=False)["regret"].mean())


# ---------------------------------------------------------------- words
def answer(total: pd.DataFrame) -> str:
    """The best that learned from other workloads, that learned nothing, that learned from the workload itself and from all."""
    parts = []
    for mark in (1, 5, 25):
        at = total[total["mark"] == mark].set_index("method")
        best, nothing = (
            at[at["learned"] == k].sort_values("regret", kind="stable").iloc[0] for k in ("others", "nothing")
        )
        own, both = (at[at["learned"] == k]["regret"].min() for k in ("own", "both"))
        parts.append(
            f"""After {mark} trial{"s" * (mark > 1)} the best method that learned from other kinds of network alone
            ({best.name}) has regret {num(best["regret"])}. The best one without learning ({nothing.name}) has
            {num(nothing["regret"])}. Learning from the workload's own other tasks gives {num(own)}, from all tasks
            {num(both)}."""
        )
    return " ".join(parts)


def _curves(total: pd.DataFrame) -> Figure:
    drawn = (
        {(m, "others"): m for m in METHODS[:3]} | {(METHODS[0], "own"): "own"} | {(NOTHING[0], "nothing"): NOTHING[0]}
    )
    drawn |= {(NOTHING[-1], "nothing"): NOTHING[-1]}
    series, legend = [], {}
    for ((method, learned), label), css in zip(drawn.items(), CLASSES, strict=False):
        part = total[(total["method"] == method) & (total["learned"] == learned)]
        ends = ("regret_low", "regret_high") if css == "c1" else ("regret", "regret")
        series.append(Series(label, css, part["mark"].tolist(), *(part[c].tolist() for c in ("regret", *ends))))
        legend[label] = css
    svg = drawings.lines(
        series,
        Axis("trials (log scale)", log=True, ticks={float(m): str(m) for m in MARKS}),
        Axis("valid regret", low=0.0),
        uid="across",
        title="Valid regret on a workload that was left out",
        description="; ".join(
            f"{s.method}: {num(s.mean[0])} after 1 trial, {num(s.mean[-1])} after {MARKS[-1]}" for s in series
        ),
    )
    return Figure(
        "Regret on a workload that was left out.",
        "The band is a 95 % interval over workloads, of the method in blue.",
        svg,
        legend,
    )


def _settled(method: str, settings: dict[str, Any]) -> str:
    return f"{method} has {', '.join(f'{k} {v}' for k, v in settings.items())}"


def _matrix(each: pd.DataFrame, mark: int) -> Figure:
    at = each[each["mark"] == mark]
    base = at[at["method"] == NOTHING[0]].set_index("workload")["regret"]
    wide = at[at["learned"] == "others"].pivot_table(index="workload", columns="method", values="regret")[
        [*METHODS, *LONG]
    ]
    gains = (-wide.sub(base, axis=0)).loc[base.index]
    svg = drawings.matrix(
        gains.index.tolist(),
        gains.to_numpy().tolist(),
        uid=f"gains-{mark}",
        title=f"Gain over {NOTHING[0]} after {mark} trials on each workload",
        description="; ".join(f"{name}: {signed(value)}" for name, value in gains[METHODS[0]].items()),
        columns=gains.columns.tolist(),
    )
    return Figure(f"Gain over {NOTHING[0]} after {mark} trial{'s' * (mark > 1)}.", "", svg)


def _grids(total: pd.DataFrame) -> list[Grid]:
    columns = [
        Column("Method", "method"),
        Column("Learned from", "from"),
        Column("Trials", "mark", str),
        Column("Valid regret", "regret", num, ("regret_low", "regret_high")),
        Column(f"− {NOTHING[0]}", "gain", signed, ("gain_low", "gain_high")),
        Column("− its workload alone", "behind", signed, ("behind_low", "behind_high")),
    ]
    told = total.assign(**{"from": [LEARNED[x] for x in total["learned"]]})
    first = told[told["mark"].isin((1, 5, 25))]
    return [Grid("After 1, 5 and 25 trials", columns, first), Grid("All trials", columns, told, folded=True)]


def _each(each: pd.DataFrame, sources: pd.DataFrame) -> list[Grid]:
    known = [
        Column("Workload", "workload"),
        Column("Tasks searched", "tasks", str),
        Column("Tasks of other workloads", "others", str),
        Column("Hyperparameters", "hyperparameters", str),
        Column("of them known elsewhere", "shared", str),
        Column("Own tasks", "own", str),
    ]
    wide = each.pivot_table(index=["workload", "method", "learned"], columns="mark", values="regret", sort=False)
    told = wide.reset_index().rename(columns=lambda c: f"at_{c}" if isinstance(c, int) else c)
    told["from"] = [LEARNED[x] for x in told["learned"]]
    marks = [Column(f"at {m}", f"at_{m}", num) for m in MARKS]
    columns = [Column("Workload", "workload"), Column("Method", "method"), Column("Learned from", "from"), *marks]
    return [Grid("What there is to learn from", known, sources), Grid("Valid regret", columns, told, folded=True)]
