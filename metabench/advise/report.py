"""The page of a tuning: one file, no network, no script; charts are drawings in the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from metabench import direction
from metabench.publishing.charts.plots import axis_title
from metabench.publishing.charts.svg import Scale, drawing, element, path, tick_label
from metabench.publishing.pages.render import render

if TYPE_CHECKING:
    from metabench.advise.tune import Tuning

_PACKAGE = "metabench.advise"
_SIZE = (560, 320)


def page(tuning: Tuning) -> str:
    """The whole page as text."""
    from metabench.advise.recommend import facts
    from metabench.advise.words import classes, use

    best = tuning.best
    return render(
        "tune.html.j2",
        package=_PACKAGE,
        task=facts(tuning.task),
        name=tuning.task.dataset,
        best=best,
        classes=classes(tuning.task),
        use=use(tuning.task),
        number=tuning.trials.index(best) + 1,
        trials=tuning.trials,
        others=tuning.others,
        kept=tuning.kept,
        comparison=tuning.comparison(),
        notes=tuning.notes,
        model=tuning.model.record,
        progress=progress_chart(tuning),
        wall=tuning.wall,
        engine=tuning.engine,
        learned=tuning.learned,
        guess=tuning.guess,
        refitted=tuning.refitted,
        splits=tuning.repeats,
        curves=curves_chart(tuning),
        config=tuning.counting(best),
        columns=list(tuning.model.space.for_task(tuning.task.kind)),
    )


def progress_chart(tuning: Tuning) -> Markup:
    """Validation score of every trial, and the best so far."""
    arms = [("c1", "tuned", tuning.trials), ("c2", "random search", [t for t in tuning.others if t.arm == "random"])]
    arms = [(css, name, trials) for css, name, trials in arms if trials]
    scores = [t.score for _, _, trials in arms for t in trials if math.isfinite(t.score)]
    sign = direction.sign(tuning.task.direction)
    x, y = Scale(1, max(2, max(len(trials) for _, _, trials in arms)), 60.0, 440.0), _vertical(scores)
    out = [*_frame(x, y, "trials", range(1, int(x.high) + 1))]
    ends: list[float] = []
    for css, name, trials in arms:
        marks, line, reached = [], [], -math.inf
        for i, trial in enumerate(trials, 1):
            if math.isfinite(trial.score):
                reached = max(reached, sign * trial.score)
                marks.append(element("circle", cx=x(i), cy=y(trial.score), r=3.5, class_="dot"))
            if math.isfinite(reached):
                line.append((x(i), y(sign * reached)))
        marks.append(element("path", d=path(line), class_="line"))
        # beside the line's end, and beside no other label
        end = line[-1][1] + 4 if line else 30.0
        end = ends[0] + 18 if ends and abs(end - ends[0]) < 18 else end
        ends.append(end)
        label = element("text", name, x=452.0, y=end, class_="end-label")
        out.append(element("g", [*marks, label], class_=css))
    title = f"Validation {tuning.task.metric.replace('_', ' ')} over the trials"
    description = "Points are trials, lines the best so far: " + "; ".join(
        f"{name} reached {sign * max((sign * t.score for t in trials if math.isfinite(t.score)), default=math.nan):.4f}"
        for _, name, trials in arms
    )
    return drawing(out, _SIZE, uid="progress", title=title, description=description, class_="chart")


def curves_chart(tuning: Tuning) -> Markup:
    """Learning curves of the tuned trials, the best one marked."""
    shown = [t for t in tuning.trials if t.epochs]
    values = sorted(v for t in shown for v in t.valid if math.isfinite(v))
    # a curve that starts far off would flatten all others
    few = len(values) // 20
    shown_values = values[few:] if tuning.task.direction == "max" else values[: len(values) - few]
    x = Scale(1, max([2, *(t.epochs[-1] for t in shown)]), 60.0, 540.0, log=True)
    y = _vertical(shown_values)
    out = [*_frame(x, y, "epochs (log scale)", [e for e in (1, 2, 5, 10, 20, 50) if e <= x.high])]
    for trial in sorted(shown, key=lambda t: t is tuning.best):
        points = [(x(e), y(v)) for e, v in zip(trial.epochs, trial.valid, strict=True)]
        mark = element(
            "path", [element("title", f"trial {tuning.trials.index(trial) + 1}")], d=path(points), class_="line"
        )
        out.append(element("g", [mark], class_="c1" if trial is tuning.best else "other"))
    title = f"Validation {tuning.task.metric.replace('_', ' ')} while training"
    best = tuning.trials.index(tuning.best) + 1
    description = f"One line for each of {len(shown)} trials; the thick one is the best, trial {best}."
    return drawing(out, _SIZE, uid="curves", title=title, description=description, class_="chart")


def _vertical(scores: Sequence[float]) -> Scale:
    low, high = min(scores), max(scores)
    margin = 0.06 * (high - low) or 0.05
    return Scale(low - margin, high + margin, 270.0, 16.0)


def _frame(x: Scale, y: Scale, title: str, ticks: Sequence[float]) -> list[Markup]:
    out = []
    for tick in y.ticks():
        out.append(element("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", tick_label(tick), x=x.start - 6, y=y(tick) + 4.5, class_="tick end"))
    ticks = list(ticks)
    for tick in ticks[:: 1 + len(ticks) // 12]:
        out.append(element("text", tick_label(tick), x=x(tick), y=y.start + 19, class_="tick middle"))
    out.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    return [*out, axis_title(title, (x.start + x.end) / 2, y.start + 40)]
