"""How does the best learning rate move with batch size and with the size of the data (:mod:`metabench.explain`)?

Goyal et al. (2017, arXiv:1706.02677) scale the rate in proportion to the batch with SGD; Malladi et al. (2022,
arXiv:2205.10287) by its square root with Adam. Here both are exponents that are measured: 1 is proportional, 0 is no trend.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import explain
from metabench.errors import UsageError
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import CLASSES, Axis, Line
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.wording import pnumber
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, ReportContext, Section
from metabench.publishing.reports.importance import workloads
from metabench.scores.compare import holm

RATE = "learning_rate"
AGAINST = {"batch_size": "batch size", "n_train": "training rows"}
#: optimizers together whose rates mean alike: name → options of the hyperparameter ``optimizer``
GROUPS = {"sgd": ("sgd", "nesterov", "momentum"), "adam": ("adam", "adamw", "nadam", "amsgrad")}
LEVEL = 0.05
#: how the rate is said to go with the batch size → exponent
RULES = {"linear rule": 1.0, "root rule": 0.5}


class LearningRate(Report):
    """Exponents of the best learning rate over batch size and training rows, by optimizer."""

    name = "learning_rate"
    title = "How does the best learning rate move?"
    label = "Learning rate"
    needs = "table"
    published = "core"
    published_version = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        return [[[w, given.table.digest_of([w])] for w in workloads(given.table)], GROUPS]

    def compute(self, given: ReportContext) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        slopes, lines, absent = [], [], []
        for workload in workloads(given.table):
            if RATE not in given.table.space(workload):
                continue
            for group, options in groups(given.table, workload).items():
                for against in AGAINST:
                    chosen = {"optimizer": options} if options else None
                    try:
                        found = explain.optimum(given.table, workload, RATE, against, given=chosen)
                    except UsageError as error:
                        absent.append(
                            {"workload": workload, "optimizers": group, "against": against, "why": str(error)}
                        )
                        continue
                    head = {"workload": workload, "optimizers": group, "against": against}
                    slopes.append(
                        head
                        | {
                            "slope": found.slope,
                            "low": found.slope_low,
                            "high": found.slope_high,
                            "p": found.p,
                            "unit": found.unit,
                            "tasks": found.points["task_id"].nunique(),
                            "families": found.points["family"].nunique(),
                            "sentence": found.sentence,
                        }
                    )
                    lines.append(found.line.assign(**head))
            given.say(f"learning_rate: {workload}")
        if not slopes:
            raise UsageError(f"table {given.table.name} has no workload on which the best {RATE} can be followed")
        frame = pd.DataFrame(slopes)
        known = frame["p"].notna().to_numpy()
        frame["p_holm"] = np.nan
        frame.loc[known, "p_holm"] = holm(frame.loc[known, "p"].to_numpy())
        columns = ["workload", "optimizers", "against", "why"]
        return {"configurations": {w: len(given.table.configs(w)) for w in dict.fromkeys(frame["workload"])}}, {
            "slopes": frame,
            "lines": pd.concat(lines, ignore_index=True),
            **({"absent": pd.DataFrame(absent, columns=columns)} if absent else {}),
        }

    def page(self, found: Findings) -> Page:
        slopes, lines = found.frames["slopes"], found.frames["lines"]
        answer = " ".join(told(slopes[slopes["against"] == a], words) for a, words in AGAINST.items())
        text = """An exponent of 1 says that the best rate grows in proportion, ½ with the root, 0 not at all. Exponents whose
            interval excludes 0 are trends. Where many are tested, use Holm's p."""
        method = """Within each task the best rate is the mean (of logarithms) over the best tenth of the configurations of a
            batch size, or of all. Over batch sizes the slope of its logarithm is found within each task and averaged over
            families; over training rows it is a line through the families' means. Intervals: bootstrap over families; p by the
            same.

            By optimizer: sgd is SGD with and without (Nesterov) momentum, adam its relatives; all: every configuration. Holm's
            p is over all rows of both tables. Training is for a fixed number of epochs, so that larger batches take fewer
            steps, and larger data sets more."""
        sections = [
            Section(
                f"With {words}",
                text if against == "batch_size" else "",
                [
                    _exponents(slopes[slopes["against"] == against], words),
                    *_lines(lines[lines["against"] == against], against, words),
                ],
                [_grid(slopes[slopes["against"] == against], words)],
            )
            for against, words in AGAINST.items()
        ]
        return Page(answer, sections, method)


def told(slopes: pd.DataFrame, words: str) -> str:
    """What is certain of one scale, after Holm's correction, in a sentence."""
    sure = slopes[(slopes["p_holm"] < LEVEL) & ((slopes["low"] > 0) | (slopes["high"] < 0))]
    if sure.empty:
        return f"With {words} no trend of the best learning rate is shown in {len(slopes)} rows."
    parts = []
    for row in cast(Any, sure).itertuples():
        group = "all optimizers" if row.optimizers == "all" else row.optimizers
        parts.append(
            f"{row.slope:.2f} [{row.low:.2f}, {row.high:.2f}] on {row.workload} with {group}{_laws(row, words)}"
        )
    return f"With {words} the best learning rate moves significantly. Exponents: {'; '.join(parts)}.".replace("-", "−")


def _laws(row: Any, words: str) -> str:
    """Which of the two rules that are taught for batch sizes an interval leaves out."""
    if words != AGAINST["batch_size"]:
        return ""
    out = [name for name, exponent in RULES.items() if not row.low <= exponent <= row.high]
    return f" (leaves out the {' and the '.join(out)})" if out else ""


def _exponents(slopes: pd.DataFrame, words: str) -> Figure:
    lines = [Line(f"{r.workload}, {r.optimizers}", r.slope, r.low, r.high) for r in cast(Any, slopes).itertuples()]
    svg = drawings.rows(
        lines,
        Axis("exponent"),
        uid=f"exponents-{words.replace(' ', '-')}",
        title=f"Exponents of the best learning rate over {words}",
        description="; ".join(f"{line.label} {line.value:.2f}" for line in lines),
        origin=0.0,
        side=190.0,
    )
    return Figure("Exponents.", "95 % intervals over families; 1 is proportional, 0 is no trend.", svg)


def _lines(lines: pd.DataFrame, against: str, words: str) -> list[Figure]:
    figures = []
    for workload, part in lines.groupby("workload", sort=False):
        groups = list(dict.fromkeys(part["optimizers"]))
        css = dict(zip(groups, CLASSES, strict=False))
        series = []
        for group in groups:
            mine = part[part["optimizers"] == group]
            low, high = mine["low"].fillna(mine["value"]), mine["high"].fillna(mine["value"])
            series.append(Series(group, css[group], *(c.tolist() for c in (mine["x"], mine["value"], low, high))))
        log = max(max(s.x) for s in series) >= 8 * min(min(s.x) for s in series)
        svg = drawings.lines(
            series,
            Axis(words + (" (log scale)" if log else ""), log=log),
            Axis("best learning rate (log scale)", log=True),
            uid=f"line-{workload}-{against}",
            title=f"The best learning rate of {workload} over {words}",
            description="; ".join(f"{s.method}: from {s.mean[0]:.3g} to {s.mean[-1]:.3g}" for s in series),
        )
        figures.append(Figure(f"{workload}.", "Mean over families with 95 % band, by optimizer.", svg, css))
    return figures


def _grid(slopes: pd.DataFrame, words: str) -> Grid:
    columns = [
        Column("Workload", "workload"),
        Column("Optimizers", "optimizers"),
        Column("Exponent", "slope", lambda v: f"{v:.2f}".replace("-", "−"), ("low", "high")),
        Column("p", "p", pnumber),
        Column("p, Holm", "p_holm", pnumber),
        Column("Tasks", "tasks", str),
        Column("Families", "families", str),
    ]
    return Grid(f"Exponents over {words}", columns, slopes)


# ---------------------------------------------------------------- numbers
def groups(table, workload: str) -> dict[str, tuple[str, ...]]:
    """Groups of optimizers that the workload has options of; ``all`` has none to keep."""
    space = table.space(workload)
    if "optimizer" not in space:
        return {"all": ()}
    options = set(space["optimizer"].options)
    found = {name: tuple(o for o in listed if o in options) for name, listed in GROUPS.items()}
    return {"all": ()} | {name: kept for name, kept in found.items() if kept and set(kept) != options}
