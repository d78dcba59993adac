"""What :mod:`metabench.explain` finds, as a page in one file: no network, no script, light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, cast

import numpy as np
import pandas as pd
from markupsafe import Markup

from metabench.explain import Optimum, Why
from metabench.explain.cases import TARGETS
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis, Cloud, Line
from metabench.publishing.charts.plots import Series
from metabench.publishing.pages.render import render, static
from metabench.publishing.pages.wording import num, percent, signed, words
from metabench.publishing.reports.base import Column, Figure, Grid, Page, Section, paragraphs
from metabench.space import Choice, Ordinal, Parameter, Space

#: hyperparameters and pairs that pictures show
SHOWN, PAIRS, CURVES = 12, 10, 6
#: parts that a number's scale is shown in on both axes of a picture of two
PARTS = 8

FANOVA = """Functional ANOVA (Hutter, Hoos & Leyton-Brown, ICML 2014): on each task a random forest is fitted to the
    configurations' {target}, and its variance over the space is split, exactly, into what each hyperparameter explains alone,
    what each pair explains beyond, and the rest. A conditional hyperparameter counts where it is active; that another one
    switches it off counts for that one."""
INTERVALS = """Means over families of data sets; intervals are 95 % bootstrap intervals over families. All tasks share their
    configurations, whose choice is not in these intervals. Importance over a whole space is largely that of leaving its bad
    regions."""


def page_of(title: str, told: str, command: str, page: Page) -> str:
    """The page as text, style sheet inside."""
    sheet = resources.files("metabench.publishing.reports").joinpath("static/report.css").read_text(encoding="utf-8")
    return render(
        "explained.html.j2",
        package="metabench.publishing.reports",
        title=title,
        told=told,
        command=command,
        page=page,
        style=Markup(static("style.css") + sheet),
        paragraphs=paragraphs,
    )


# ---------------------------------------------------------------- what matters
def importance(
    space: Space, summary: pd.DataFrame, effects: Mapping[str, pd.DataFrame], r2: float, target: str
) -> Page:
    """Which hyperparameters matter, which pairs interact, and how the score moves with those that matter most."""
    single = summary[summary["interacts_with"] == ""]
    pairs = summary[summary["interacts_with"] != ""].head(PAIRS)
    first = ", ".join(f"{r.hyperparameter} {percent(r.share)}" for r in cast(Any, single.head(3)).itertuples())
    pair = pairs.iloc[0]
    answer = f"""Alone, {first} of the variance over the space; the strongest interaction is {pair["hyperparameter"]} with
        {pair["interacts_with"]}, {percent(pair["share"])}. The forests explain R² = {num(r2)} of configurations that they have
        not seen."""
    alone = [Line(r.hyperparameter, r.share, r.low, r.high) for r in cast(Any, single.head(SHOWN)).itertuples()]
    both = [
        Line(f"{r.hyperparameter} × {r.interacts_with}", r.share, r.low, r.high, "c2")
        for r in cast(Any, pairs).itertuples()
    ]
    sections = [
        Section(
            "What matters",
            "",
            [
                Figure("Alone.", "What each explains of the variance by itself.", _bars(alone, "importance", 140.0)),
                Figure(
                    "In pairs.", "What two explain together beyond what each does alone.", _bars(both, "pairs", 250.0)
                ),
            ],
            [_shares(single, pairs)],
        ),
        Section(
            "How the score moves",
            """Expected target at each value, all others averaged over the space, around the task's mean (0). A conditional
            hyperparameter is shown where it is active.""",
            [effect_figure(n, space[n], effects[n]) for n in single["hyperparameter"].head(CURVES) if n in effects],
        ),
    ]
    return Page(answer, sections, f"{FANOVA.format(target=TARGETS[target])}\n\n{INTERVALS}")


def _bars(lines: Sequence[Line], uid: str, side: float) -> Markup:
    return drawings.rows(
        lines,
        Axis("share of the variance", low=0.0),
        uid=uid,
        title="Shares of the variance",
        origin=0.0,
        bars=True,
        description="; ".join(f"{line.label} {percent(line.value)}" for line in lines),
        side=side,
    )


def _shares(single: pd.DataFrame, pairs: pd.DataFrame) -> Grid:
    frame = pd.concat([single, pairs], ignore_index=True)
    names = [f"{a} × {b}" if b else a for a, b in zip(frame["hyperparameter"], frame["interacts_with"], strict=True)]
    columns = [
        Column("Hyperparameter", "name"),
        Column("Alone, or a pair beyond both", "share", percent, ("low", "high")),
        Column("In any interaction", "total", percent, ("total_low", "total_high")),
        Column("Tasks", "tasks", str),
    ]
    return Grid("All shares", columns, frame.assign(name=names), folded=True)


# ---------------------------------------------------------------- effects
def effect(space: Space, names: Sequence[str], frame: pd.DataFrame, target: str) -> Page:
    """How the score moves with one hyperparameter or with two."""
    best: Any = frame.loc[cast(int, frame["effect"].idxmax())]
    at = " and ".join(f"{n} {_value(best[c])}" for n, c in zip(names, ("value", "other_value")))
    answer = (
        f"On average over the space, and over {int(best['tasks'])} tasks, the best is {at}: {signed(best['effect'])}."
    )
    one = len(names) == 1
    figures = [effect_figure(names[0], space[names[0]], frame) if one else surface(space, names, frame)]
    columns = [
        Column(n, c, _value) for n, c in zip(names, ("value", "other_value")) if not isinstance(space[n], Choice)
    ]
    columns = [Column(n, c) for n, c in zip(names, ("value", "other_value")) if isinstance(space[n], Choice)] + columns
    grid = Grid("All values", [*columns, Column("Effect", "effect", signed, ("low", "high"))], frame, folded=True)
    text = f"Expected {TARGETS[target]}, all other hyperparameters averaged over the space, around the task's mean (0)."
    return Page(
        answer, [Section("Effect", text, figures, [grid])], f"{FANOVA.format(target=TARGETS[target])}\n\n{INTERVALS}"
    )


def effect_figure(name: str, p: Parameter, frame: pd.DataFrame) -> Figure:
    """Partial dependence on one hyperparameter: a line with its band, or a row for each option."""
    uid, title = f"effect-{name}", f"Effect of {name}"
    low, high = (frame[c].fillna(frame["effect"]).tolist() for c in ("low", "high"))
    if isinstance(p, Choice):
        listed = [Line(str(v), e, a, b) for v, e, a, b in zip(frame["value"], frame["effect"], low, high)]
        listed.sort(key=lambda line: -line.value)
        described = "; ".join(f"{line.label} {line.value:.2f}" for line in listed)
        svg = drawings.rows(listed, Axis("effect"), uid=uid, title=title, description=described, origin=0.0)
    else:
        log = isinstance(p, Ordinal) or p.log
        x, y = frame["value"].astype(float).tolist(), frame["effect"].tolist()
        svg = drawings.lines(
            [Series(name, "c1", x, y, low, high)],
            Axis(words(name) + " (log scale)" * log, log=log, ticks=_ticks(p)),
            Axis("effect"),
            uid=uid,
            title=title,
            named=False,
            description=f"Best at {x[int(np.argmax(y))]:.3g}, from {min(y):.2f} to {max(y):.2f}.",
        )
    return Figure(f"{words(name)}.", "", svg)


def surface(space: Space, names: Sequence[str], frame: pd.DataFrame) -> Figure:
    """Partial dependence on two hyperparameters as a matrix; long scales in PARTS parts."""
    wide = frame.pivot_table(index="value", columns="other_value", values="effect", sort=False)
    values, rows = _merged(wide.to_numpy(), list(wide.index))
    values, columns = _merged(values.T, list(wide.columns))
    most = float(np.abs(values).max()) or 1.0
    svg = drawings.matrix(
        rows,
        values.T.tolist(),
        uid="surface",
        title=f"{names[0]} (rows) and {names[1]} (columns)",
        most=most,
        columns=columns,
        description=f"Effects from {values.min():.2f} to {values.max():.2f}.",
    )
    return Figure(
        f"{words(names[0])} (rows) and {words(names[1])} (columns).",
        "Blue is better than the task's mean.",
        svg,
        wide=True,
    )


def _merged(values: np.ndarray, labels: list[Any]) -> tuple[np.ndarray, list[str]]:
    """Rows of a matrix, neighbours averaged where there are too many, and what to call them."""
    if len(labels) <= 12:
        return values, [_value(v) for v in labels]
    parts = np.array_split(np.arange(len(labels)), PARTS)
    return np.stack([values[p].mean(axis=0) for p in parts]), [_value(labels[p[len(p) // 2]]) for p in parts]


# ---------------------------------------------------------------- optima
def optima(space: Space, found: Sequence[Optimum], given: str) -> Page:
    """How the best values of hyperparameters move."""
    sections = []
    for o in found:
        line, points = o.line, o.points
        low, high = (line[c].fillna(line["value"]).tolist() for c in ("low", "high"))
        ticks = _ticks(space[o.against]) if o.against in space else None
        x_axis = Axis(words(o.against) + " (log scale)" * o.log_x, log=o.log_x, ticks=ticks)
        y_axis = Axis(f"best {words(o.hyperparameter)}" + " (log scale)" * o.log_value, log=o.log_value)
        cloud = Cloud("tasks", "other", points["task_id"].tolist(), points["x"].tolist(), points["best"].tolist())
        series = Series("mean over families", "c1", line["x"].tolist(), line["value"].tolist(), low, high)
        svg = drawings.lines(
            [series],
            x_axis,
            y_axis,
            uid=f"best-{o.hyperparameter}-{o.against}",
            named=False,
            title=f"Best {o.hyperparameter} over {o.against}",
            description=o.sentence,
            cloud=cloud,
        )
        text = "Points are tasks, the line their mean over families with its 95 % band."
        sections.append(
            Section(f"{words(o.hyperparameter)} with {words(o.against)}", o.sentence, [Figure("", text, svg)])
        )
    method = """Where the best values of a task lie is told by the centre of its best tenth of configurations on the
        hyperparameter's scale; it is drawn towards the middle of the range, so that trends are rather understated.
        Over another hyperparameter the best tenth is taken among the configurations of each of its values, and families and
        configurations are resampled together; over a fact of the tasks a line is drawn through the families, which are
        resampled. A slope on two logarithmic scales is an exponent. With no trend, none is claimed."""
    method += f"\n\nOf configurations with {given} only." if given else ""
    return Page(" ".join(o.sentence for o in found[:3]).replace("-", "−"), sections, method)


# ---------------------------------------------------------------- why
def why(found: Why, name: str) -> Page:
    """Why a configuration is recommended."""
    up, down = (found.contributions.query(f"points {sign} 0.0005") for sign in (">", "<"))
    told = pd.concat([up.head(3), down.head(1)])
    said = [f"{r.hyperparameter} = {_value(r.value)} ({_points(r.points)})" for r in cast(Any, told).itertuples()]
    answer = f"""It is expected to beat {percent(found.expected)} of all configurations, where an average one beats
        {percent(found.base)}. What says so most, in points: {", ".join(said)}."""
    lines = [
        Line(f"{r.hyperparameter} = {_value(r.value)}", 100 * r.points, css="c1" if r.points >= 0 else "c2")
        for r in cast(Any, found.contributions).itertuples()
        if r.value is not None
    ]
    svg = drawings.rows(
        lines,
        Axis("points"),
        uid="why",
        origin=0.0,
        bars=True,
        side=240.0,
        title="What each value adds",
        description="; ".join(f"{line.label} {line.value:+.1f}" for line in lines),
    )
    sections = [
        Section("What each value adds", "", [Figure("Shapley values.", "They add up to what is expected.", svg)])
    ]
    if found.nearest:
        frame = pd.DataFrame(
            [
                {
                    "task": n.task_id,
                    "distance": n.distance,
                    "score": n.score,
                    "metric": words(n.metric),
                    "alike": ", ".join(f"{words(f)} {_value(a)} / {_value(b)}" for f, a, b in n.why),
                }
                for n in found.nearest
            ]
        )
        columns = [
            Column("Task", "task"),
            Column("Distance", "distance", num),
            Column("Its best score", "score", num),
            Column("Metric", "metric"),
            Column("Alike in (here / there)", "alike"),
        ]
        best = pd.DataFrame([{"task": n.task_id, **{k: _value(v) for k, v in n.config.items()}} for n in found.nearest])
        configs = [Column(words(c), c) for c in map(str, best)]
        grids = [Grid("Nearest tasks", columns, frame)]
        grids.append(Grid("Their best configurations", configs, best.fillna("–"), folded=True))
        sections.append(Section("Known tasks that are most like it", "", (), grids))
    method = f"""What {name} expects over the space, on this task, is learned by boosted trees (R² = {num(found.fidelity)} on
        configurations that they did not learn from), whose Shapley values are exact (Lundberg et al., 2020). They are points of
        the expected share of all configurations that one beats, around the mean over the space. What an inactive
        hyperparameter would add is counted for the one that makes it inactive."""
    return Page(answer, sections, method)


# ---------------------------------------------------------------- values
def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return "–" if not math.isfinite(value) else f"{value:.3g}".replace("-", "−")
    return str(value)


def _ticks(p: Parameter) -> dict[float, str] | None:
    return {float(o): str(o) for o in p.options} if isinstance(p, Ordinal) else None
