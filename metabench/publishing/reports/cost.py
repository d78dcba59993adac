"""What does meta-learning cost, and what does it save?

Costs are training seconds and operations as the table stores them for each configuration, and the seconds that a method
thinks, as the board's traces store them. A search is charged for every training up to the one that first reaches a regret.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from metabench.evaluation.store import content_digest
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import CLASSES, Axis, Line
from metabench.publishing.charts.plots import Series, duration
from metabench.publishing.pages.wording import num, percent
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.parts.searches import (
    Published,
    fitted,
    one_workload,
    published,
    traces_of,
    unfitted,
)
from metabench.scores.aggregate import Hierarchy
from metabench.scores.frames import REFERENCE

#: regrets to be reached; the headline is the middle one
THRESHOLDS = (0.2, 0.1, 0.05)
HEADLINE = 0.1
#: budgets of the curves, in average trainings of the task
BUDGETS = tuple(np.round(np.geomspace(0.5, 50.0, 41), 4).tolist())
SHOWN = 5


class Cost(Report):
    """Training seconds, operations and overhead up to a regret, and the searches after which a table has paid."""

    name = "cost"
    title = "What does meta-learning cost, and what does it save?"
    label = "Cost"

    def inputs(self, given: ReportContext) -> list[Any]:
        return [*super().inputs(given), content_digest(traces_of(given.rules))]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        board, table = given.rules, given.table
        workload = one_workload(board, table)
        done = published(given)
        ids = done.cells.task_ids
        seconds, flops = costs_of_training(table, workload, ids)
        learned = board.tasks(table, "train") + board.tasks(table, "valid")
        spent = table_cost(table, workload, learned)
        given.say(f"cost: {len(done.methods)} methods, {len(ids)} tasks; timing what learning takes")
        learning = {name: seconds_to_learn(name, given) for name in done.methods}
        facts = {
            "workload": workload,
            "tasks": len(ids),
            "families": len(set(done.families)),
            "budget": board.budget,
            "source_tasks": len(learned),
            "table_seconds": spent[0],
            "table_flops": spent[1],
            "training_seconds": float(np.nanmean(seconds)),
            "training_flops": float(np.nanmean(flops)),
        }
        return facts, account(done, seconds, flops, board.seeds, spent, learning)

    def page(self, found: Findings) -> Page:
        f, methods = found.facts, found.frames["methods"]
        at = methods[methods["threshold"] == HEADLINE].pipe(_by_saving)
        best = at.iloc[0]
        times, low, high = (f"{best[c]:.1f}" for c in ("saving", "saving_low", "saving_high"))
        answer = f"""To a regret of {HEADLINE:g}, {best["method"]} spends the least here, {times} times less than random
            search [{low}, {high}]. Training and computing time of the method count: {duration(best["seconds"])} a task on
            average against {duration(best["reference_seconds"])}. {pays(best, f)}"""
        saved = f"""Trainings differ in cost: a method that asks for large networks pays for them here. One average training of
            these tasks takes {duration(f["training_seconds"])} on one core, so a method's own computing time
            weighs heavily. Where training is expensive, operations say more."""
        paid = f"""The rows that methods learn from here ({f["source_tasks"]} tasks) took {f["table_seconds"] / 3600:.2f} core
            hours, {f["table_flops"] / 1e12:,.0f} TFLOP. A table pays once the seconds that searches save over random search,
            each to a regret of {HEADLINE:g}, add up to that. The tasks here are as small as those of the table: where a new
            task costs k times as much to train on, it pays k times sooner. A table that is shared is paid once for everyone."""
        method = f"""Searches: the published ones of the board, {f["tasks"]} held-out tasks, from each method's own first trials,
            up to {f["budget"]} trials. Valid regret: 0 is the best configuration of the task, 1 the median one.

            A trial costs its configuration's mean training seconds in the table, plus the method's computing time before it. A
            search that never reaches the regret is charged all its trials, which flatters it. The table has the share that
            reached it.

            Times less: the geometric mean over families of a task's cost by random search over its cost by the method, with a
            95 % bootstrap interval over families. All other columns are means over families. Learning, once: processor seconds
            to fit the method to the source tasks on the machine that made this page."""
        return Page(
            answer,
            [
                Section("What is saved", saved, [_over(found.frames["curves"], at), _saved(at)], _grids(methods)),
                Section("When the table has paid", paid),
            ],
            method,
        )


def _by_saving(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["saving", "method"], ascending=[False, True], ignore_index=True)


def _over(curves: pd.DataFrame, at: pd.DataFrame) -> Figure:
    drawn = [m for m in at["method"] if m != REFERENCE][:SHOWN]
    css = dict(zip(drawn, CLASSES, strict=False)) | {REFERENCE: "reference"}
    series = []
    for name, mark in css.items():
        part = curves[curves["method"] == name]
        ends = ("low", "high") if mark in ("c1", "reference") else ("regret", "regret")
        series.append(Series(name, mark, *(part[c].tolist() for c in ("trainings", "regret", *ends))))
    svg = drawings.lines(
        series,
        Axis("spent, in average trainings of the task (log scale)", log=True),
        Axis("valid regret", low=0.0),
        uid="spent",
        title="Regret over the cost of training and computing",
        description="; ".join(f"{s.method}: {num(s.mean[-1])} after {s.x[-1]:g} trainings" for s in series),
    )
    text = """Training and the method's own computing time, in units of the task's average training. Bands are 95 % intervals of
        the method in blue and of random search. Before its first training has ended a search has regret 1."""
    return Figure("Regret over cost.", " ".join(text.split()), svg, css)


def _saved(at: pd.DataFrame) -> Figure:
    columns = ("method", "saving", "saving_low", "saving_high")
    lines = [Line(*row) for row in zip(*(at[c] for c in columns), strict=True) if row[0] != REFERENCE]
    svg = drawings.rows(
        lines,
        Axis("times less than random search (log scale)", log=True),
        uid="saved",
        title=f"Seconds to a regret of {HEADLINE:g}: how many times less than random search",
        description="; ".join(f"{line.label} {line.value:.1f}" for line in lines),
        origin=1.0,
    )
    text = "How many times less than random search, with 95 % intervals over families; right of 1 is a saving."
    return Figure(f"Seconds to a regret of {HEADLINE:g}.", text, svg)


def _grids(methods: pd.DataFrame) -> list[Grid]:
    columns = [
        Column("Method", "method"),
        Column("Reached", "reached", percent, ("reached_low", "reached_high")),
        Column("Trials", "trials", lambda v: f"{v:.1f}"),
        Column("Training", "training", duration),
        Column("Own time", "thought", duration),
        Column("GFLOP", "flops", lambda v: f"{v / 1e9:,.1f}"),
        Column("Times less, seconds", "saving", _times, ("saving_low", "saving_high")),
        Column("Times less, operations", "saving_flops", _times, ("saving_flops_low", "saving_flops_high")),
        Column("Learning, once", "learning", duration),
        Column("Table pays after", "tasks_to_pay", lambda v: f"{v:,.0f} tasks"),
    ]
    return [
        Grid(
            f"To a regret of {threshold:g}: means over families of tasks",
            columns,
            methods[methods["threshold"] == threshold].pipe(_by_saving),
            folded=threshold != HEADLINE,
        )
        for threshold in (HEADLINE, *(t for t in THRESHOLDS if t != HEADLINE))
    ]


def _times(value: float) -> str:
    return f"{value:.2f}"


def pays(row: pd.Series, facts: Mapping[str, Any]) -> str:
    """When generating the table has paid, in a sentence."""
    n = row["tasks_to_pay"]
    cost = f"Training the table that it learned from took {facts['table_seconds'] / 3600:.2f} core hours"
    if not np.isfinite(n):
        return f"{cost}, which it does not win back by training less."
    return f"{cost}: that has paid after {n:,.0f} searches on tasks of this size."


# ---------------------------------------------------------------- numbers
def costs_of_training(table, workload: str, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean seconds and operations of a training, float64 [tasks, configs] each."""
    where = {t: i for i, t in enumerate(ids)}
    rows = table.runs(workload, ["task_id", "config_id", "flops"], ids).to_pandas()
    shape = (len(ids), len(table.configs(workload)))
    total, count = np.zeros(shape), np.zeros(shape)
    at = rows["task_id"].astype(str).map(where).to_numpy(), rows["config_id"].to_numpy()
    np.add.at(total, at, rows["flops"].to_numpy(dtype=float))
    np.add.at(count, at, 1)
    return table.seconds(workload, ids), np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)


def table_cost(table, workload: str, ids: list[str]) -> tuple[float, float]:
    """Seconds and operations that the rows of some tasks took to train."""
    rows = table.runs(workload, ["seconds", "flops"], ids)
    return float(pc.sum(rows["seconds"]).as_py() or 0.0), float(pc.sum(rows["flops"]).as_py() or 0.0)


def seconds_to_learn(name: str, given: ReportContext) -> float:
    """Processor seconds that fitting a method to the board's source tasks takes; NaN for one that is not built in, or
    cannot run here."""
    from metabench.errors import UsageError

    try:
        unfitted(name)
    except UsageError:
        return float("nan")
    source = given.rules.source(given.table)
    began = time.process_time()
    fitted(name, source)
    return time.process_time() - began


def account(
    done: Published,
    seconds: np.ndarray,
    flops: np.ndarray,
    seeds: int,
    spent: tuple[float, float],
    learning: dict[str, float],
) -> dict[str, pd.DataFrame]:
    """The frames ``methods`` (a row for each threshold and method) and ``curves`` (regret over what was spent).

    ``seconds`` and ``flops`` are what a training costs, [tasks, configs]; ``spent`` what the table cost.
    """
    regret = done.regrets()
    tasks = np.arange(regret.shape[1])[None, :, None, None]
    training = np.nan_to_num(seconds)[tasks, done.cells.configs].cumsum(axis=-1)
    operations = np.nan_to_num(flops)[tasks, done.cells.configs].cumsum(axis=-1)
    thought = done.cells.overhead.cumsum(axis=-1)
    mean = Hierarchy.build(done.families, seeds, cut=0.0)
    base = done.methods.index(REFERENCE) if REFERENCE in done.methods else None
    rows = []
    for threshold in THRESHOLDS:
        reached = regret[..., -1] <= threshold
        last = np.where(reached, (regret <= threshold).argmax(axis=-1), regret.shape[-1] - 1)

        def until(total: np.ndarray, last: np.ndarray = last) -> np.ndarray:
            return np.take_along_axis(total, last[..., None], axis=-1)[..., 0]

        cost, work = until(training) + until(thought), until(operations)
        for g, method in enumerate(done.methods):
            share = reached[g].astype(float)
            low, high = mean.interval(share)
            row = {
                "threshold": threshold,
                "method": method,
                "reached": float(mean.estimate(share)),
                "reached_low": float(low),
                "reached_high": float(high),
                "trials": float(mean.estimate(last[g] + 1.0)),
                "training": float(mean.estimate(until(training)[g])),
                "thought": float(mean.estimate(until(thought)[g])),
                "seconds": float(mean.estimate(cost[g])),
                "flops": float(mean.estimate(work[g])),
                "learning": learning.get(method, np.nan),
            }
            if base is not None:
                row |= _ratio("saving", cost[base], cost[g], mean) | _ratio("saving_flops", work[base], work[g], mean)
                row["reference_seconds"] = float(mean.estimate(cost[base]))
                saved = row["reference_seconds"] - row["seconds"]
                row["tasks_to_pay"] = (spent[0] + np.nan_to_num(row["learning"])) / saved if saved > 0 else np.nan
            rows.append(row)
    return {"methods": pd.DataFrame(rows), "curves": _curves(done, regret, training + thought, seconds, seeds)}


def _ratio(name: str, base: np.ndarray, mine: np.ndarray, mean: Hierarchy) -> dict[str, float]:
    """Geometric mean over families of base over mine, both costs [tasks, seeds]: of a task's mean over seeds."""
    ratio = np.log(base.mean(axis=1, keepdims=True) / mine.mean(axis=1, keepdims=True))
    cells = np.repeat(ratio, mine.shape[1], axis=1)
    low, high = mean.interval(cells)
    return {
        name: float(np.exp(mean.estimate(cells))),
        f"{name}_low": float(np.exp(low)),
        f"{name}_high": float(np.exp(high)),
    }


def _curves(done: Published, regret: np.ndarray, spent: np.ndarray, seconds: np.ndarray, seeds: int) -> pd.DataFrame:
    """Regret after BUDGETS, in units of the mean training of each task: the incumbent of what was finished by then; 1 before
    the first training is."""
    hierarchy = Hierarchy.build(done.families, seeds)
    unit = np.nanmean(seconds, axis=1)[None, :, None, None]
    relative = spent / unit
    rows = []
    for budget in BUDGETS:
        finished = (relative <= budget).sum(axis=-1)
        at = np.take_along_axis(regret, np.maximum(finished - 1, 0)[..., None], axis=-1)[..., 0]
        here = np.where(finished > 0, at, 1.0)
        low, high = hierarchy.interval(here)
        for g, method in enumerate(done.methods):
            value = float(hierarchy.estimate(here)[g])
            rows.append(
                {"method": method, "trainings": budget, "regret": value, "low": float(low[g]), "high": float(high[g])}
            )
    return pd.DataFrame(rows).sort_values(["method", "trainings"], ignore_index=True)
