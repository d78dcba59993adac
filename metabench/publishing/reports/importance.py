"""Which hyperparameters matter, workload by workload: functional ANOVA (:mod:`metabench.explain`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import explain
from metabench.evaluation.overhead import spread
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis, Line
from metabench.publishing.pages.wording import num, percent
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section

#: tasks of a workload that are looked at (at even distances in the table), and hyperparameters that a picture shows
TASKS, SHOWN, PAIRS = 40, 10, 5
#: R² on unseen configurations under which shares are weak evidence
WEAK = 0.1


class Importance(Report):
    """Shares of the variance of scores that hyperparameters explain, alone and in pairs, over the tasks of each workload."""

    name = "importance"
    title = "Which hyperparameters matter?"
    label = "Importance"
    needs = "table"
    published = "core"
    published_version = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        table = given.table
        return [[[w, table.digest_of([w])] for w in workloads(table)], TASKS]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        shares, about = [], []
        for workload in workloads(given.table):
            ids = spread(given.table.tasks.loc[given.table.tasks["workload"] == workload, "task_id"].tolist(), TASKS)
            given.say(f"importance: {len(ids)} tasks of {workload}")
            found = explain.importance(given.table, workload, ids)
            told = explain.summary(found)
            shares.append(told.assign(workload=workload, rank=_ranks(told)))
            single = found[found["interacts_with"] == ""]
            main = single.groupby("task_id")["share"].sum().mean()
            about.append(
                {
                    "workload": workload,
                    "tasks": len(ids),
                    "families": found["family"].nunique(),
                    "main": main,
                    "r2": single.groupby("task_id")["r2"].first().mean(),
                    "configurations": len(given.table.configs(workload)),
                }
            )
        first = ["workload", "hyperparameter", "interacts_with"]
        frame = pd.concat(shares, ignore_index=True)
        frame = frame[first + [c for c in frame if c not in first]]
        return {"workloads": len(about)}, {"workloads": pd.DataFrame(about), "shares": frame}

    def page(self, found: Findings) -> Page:
        frame, about = found.frames["shares"], found.frames["workloads"]
        tops = {str(w): _single(part).head(3) for w, part in frame.groupby("workload", sort=False)}
        answer = f"""Hyperparameters that explain most of the variance of ranks alone: {leaders(tops)}.
            {doubt(about)}"""
        method = f"""The method is functional ANOVA (Hutter, Hoos & Leyton-Brown, ICML 2014). A random forest is fitted to the
            normal scores of the configurations of a task. Its variance over the space
            is split exactly into what each hyperparameter explains
            alone, what each pair explains beyond, and the rest. Diverged runs rank last.

            Shares are means over families of tasks, with 95 % bootstrap intervals over families; at most {TASKS} tasks of a
            workload, at even distances in the table. They are shares of what the forest explains. R² on configurations
            that it has not seen says how much that is. Importance over a whole space mostly reflects its bad regions; near the
            optimum others may matter more."""
        figures = [
            _figure(row, _single(frame[frame["workload"] == row.workload]).head(SHOWN))
            for row in cast(Any, about).itertuples()
        ]
        firsts_of = {w: ", ".join(top["hyperparameter"]) for w, top in tops.items()}
        over = [
            Column("Workload", "workload"),
            Column("Explain most, alone", "firsts"),
            Column("All alone together", "main", percent),
            Column("R²", "r2", num),
            Column("Tasks", "tasks", str),
            Column("Configurations", "configurations", lambda n: f"{n:,}"),
        ]
        grids = [Grid("Every workload", over, about.assign(firsts=[firsts_of[w] for w in about["workload"]]))]
        grids += [grid for w in tops for grid in _grids(w, frame[frame["workload"] == w])]
        text = """Bars: what a hyperparameter explains alone, with 95 % intervals over families of tasks. R²: how much of the
            scores the forest explains on configurations that it has not seen; shares are of what it explains."""
        return Page(answer, [Section("By workload", text, figures, grids)], method)


def leaders(tops: Mapping[str, pd.DataFrame]) -> str:
    """Hyperparameters that come first somewhere, each with its workloads and shares, those of most workloads first."""
    found: dict[str, list[str]] = {}
    for workload, top in tops.items():
        found.setdefault(top["hyperparameter"].iloc[0], []).append(f"{workload} ({percent(top['share'].iloc[0])})")
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return "; ".join(f"{name} on {', '.join(where)}" for name, where in ordered)


def doubt(about: pd.DataFrame) -> str:
    """Which workloads' shares are weak evidence, in a sentence."""
    weak = about.loc[about["r2"] < WEAK, "workload"].tolist()
    return (
        f"Of {', '.join(weak)} the forest predicts next to nothing (R² under {WEAK:g}): weak evidence." if weak else ""
    )


def _single(part: pd.DataFrame) -> pd.DataFrame:
    return part[part["interacts_with"] == ""].sort_values("share", ascending=False, kind="stable")


def _figure(row: Any, top: pd.DataFrame) -> Figure:
    lines = [Line(r.hyperparameter, r.share, r.low, r.high) for r in cast(Any, top).itertuples()]
    svg = drawings.rows(
        lines,
        Axis("share of the variance", low=0.0),
        uid=f"importance-{row.workload}",
        title=f"Importance of hyperparameters of {row.workload}",
        description="; ".join(f"{line.label} {percent(line.value)}" for line in lines),
        origin=0.0,
        bars=True,
    )
    text = f"""{row.tasks} task{"s" * (row.tasks > 1)} of {row.families} {"families" if row.families > 1 else "family"},
        {row.configurations:,} configurations. All alone together {percent(row.main)}; R² = {num(row.r2)}."""
    return Figure(f"{row.workload}.", " ".join(text.split()), svg)


def _grids(workload: str, part: pd.DataFrame) -> list[Grid]:
    single = [
        Column("Hyperparameter", "hyperparameter"),
        Column("Alone", "share", percent, ("low", "high")),
        Column("In any interaction", "total", percent, ("total_low", "total_high")),
    ]
    pairs = [
        Column("Hyperparameter", "hyperparameter"),
        Column("and", "interacts_with"),
        Column("Beyond both alone", "share", percent, ("low", "high")),
    ]
    both = part[part["interacts_with"] != ""].sort_values("share", ascending=False, kind="stable").head(PAIRS)
    return [
        Grid(f"{workload}: all hyperparameters", single, _single(part), folded=True),
        Grid(f"{workload}: the pairs that interact most", pairs, both, folded=True),
    ]


# ---------------------------------------------------------------- numbers
def workloads(table) -> list[str]:
    """The table's workloads that have tasks and runs."""
    present = set(table.tasks["workload"])
    return [w for w in table.workloads if w in present and table.runs(w, ["seed"]).num_rows]


def _ranks(told: pd.DataFrame) -> np.ndarray:
    """1, 2, … among single hyperparameters and among pairs, by share."""
    return (
        told.groupby(told["interacts_with"] == "")["share"].rank(ascending=False, method="first").astype(int).to_numpy()
    )
