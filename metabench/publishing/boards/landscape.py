"""Pictures of what training gave on a task: learning curves of some configurations, and scores over two hyperparameters.

Levels of a landscape are classes ``l0`` (worst) … ``l7`` (best), whose colours are the style sheet's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from metabench.publishing.boards.trained import PICKS, Trained
from metabench.publishing.charts.plots import Axis, Series, axis_title, curve, end_labels
from metabench.publishing.charts.svg import Scale, drawing, element, number, path, tick_label
from metabench.publishing.pages import wording
from metabench.space import Choice, Ordinal, Parameter

LEVELS = 8
#: classes of the picked configurations' curves
_CSS = dict(zip(PICKS, ("c1", "c3", "c2", "reference"), strict=True))
#: points that a landscape shows at most: the first of the table, which a Sobol sequence spreads evenly
MOST = 256
#: cells of the smoothed ground, and the width of its Gaussian kernel on the unit square
_COLUMNS, _ROWS, _WIDTH = 26, 15, 0.07


# ---------------------------------------------------------------- learning curves
def curves(t: Trained, uid: str) -> Markup:
    """Validation score over epochs of the picked configurations: a line a seed, thick their mean; chance dashed."""
    width, height = 440, 340
    series, seeds = [], []
    for pick in t.picks:
        whole = [i for i in range(pick.curves.shape[1]) if np.isfinite(pick.curves[:, i]).all()]
        x = [t.epochs[i] for i in whole]
        mean = pick.curves[:, whole].mean(axis=0).tolist()
        if x:
            series.append(Series(pick.label, _CSS[pick.label], x, mean, mean, mean))
        seeds += [(_CSS[pick.label], _finite(t.epochs, row)) for row in pick.curves]
    chance = t.chance if math.isfinite(t.chance) else None
    left, right, top, bottom = 52.0, width - 8.0, 10.0, height - 42.0
    axis = Axis("epochs", "epochs", "epochs (log scale)", 1, (1, 2, 3, 5, 8, 12, 20, 30, 50, 100, 200))
    x = axis.scale(series, left, right)
    y = _score_scale(series, chance, bottom, top)
    out = []
    for tick in y.ticks():
        out.append(element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", tick_label(tick).replace("-", "−"), x=left - 6, y=y(tick) + 4.5, class_="tick end"))
    for tick in axis.marks(x):
        out.append(element("line", x1=x(tick), x2=x(tick), y1=bottom, y2=bottom + 4, class_="axis"))
        out.append(element("text", tick_label(tick), x=x(tick), y=bottom + 19, class_="tick middle"))
    out.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    out.append(axis_title(axis.title, (left + right) / 2, bottom + 36))
    if chance is not None:
        out.append(element("line", x1=left, x2=right, y1=y(chance), y2=y(chance), class_="floor"))
        above = y(chance) - 5 if y(chance) > top + 18 else y(chance) + 14
        out.append(element("text", "chance", x=right - 4, y=above, class_="floor-label end"))
    for css, points in seeds:
        if len(points) > 1:
            line = element("path", d=path([(x(e), y(v)) for e, v in points]), class_="line thin")
            out.append(element("g", [line], class_=f"series {css}"))
    out += [curve(s, x, y) for s in reversed(series)]
    out += end_labels(series, x, y, right)
    ends = "; ".join(f"{s.method} {wording.num(s.mean[-1])}" for s in series)
    return drawing(
        out,
        (width, height),
        uid=uid,
        title=f"Learning curves on {t.task_id}",
        description=f"Validation {wording.words(t.metric)} after the last epoch: {ends}.",
        class_="chart regret",
    )


def _finite(x: Sequence[int], y: np.ndarray) -> list[tuple[int, float]]:
    return [(a, float(b)) for a, b in zip(x, y, strict=False) if math.isfinite(b)]


def _score_scale(series: Sequence[Series], chance: float | None, bottom: float, top: float) -> Scale:
    """Shows the ends of all curves, chance, and as much of the rest as does not flatten them (drawn at the edge)."""
    ends = [s.mean[-1] for s in series] + ([] if chance is None else [chance])
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = 0.5 * (high - low or 1.0)
    values = [v for s in series for v in s.mean]
    low, high = max(min([low, *values]), low - room), min(max([high, *values]), high + room)
    pad = 0.05 * (high - low or 1.0)
    return Scale(low - pad, high + pad, bottom, top)


# ---------------------------------------------------------------- the landscape
def landscape(t: Trained, uid: str) -> Markup:
    """Configurations over two hyperparameters: dots by the rank of their score, on a ground of the smoothed ranks."""
    across, up = t.axes
    names = list(t.space)
    first = int(t.order[0])
    u = t.unit[:, [names.index(across), names.index(up)]]
    there = np.isfinite(u).all(axis=1)
    shown = np.flatnonzero(there & ((np.arange(len(u)) < MOST) | (np.arange(len(u)) == first)))
    level = _level(t.quantile)
    lanes = _lanes(t.space[up])
    labels = _ticks(t.space[up])
    left = 20.0 + max(32.0, 7.4 * max(len(text) for text, _ in labels))
    width, height = 440 + 100, 340
    right, top, bottom = width - 12.0, 34.0, height - 42.0
    x, y = Scale(0.0, 1.0, left, right), Scale(0.0, 1.0, bottom, top)
    out = [_legend(right), *_ground(u[there], t.quantile[there], (left, right, top, bottom), lanes)]
    for text, at in _ticks(t.space[across]):
        out.append(element("line", x1=x(at), x2=x(at), y1=bottom, y2=bottom + 4, class_="axis"))
        out.append(element("text", text, x=x(at), y=bottom + 19, class_="tick middle"))
    for text, at in labels:
        out.append(element("text", text, x=left - 7, y=y(at) + 4.5, class_="tick end"))
    out.append(axis_title(wording.words(across) + _scale_words(t.space[across]), (left + right) / 2, bottom + 36))
    out.append(element("text", wording.words(up) + _scale_words(t.space[up]), x=12.0, y=18.0, class_="axis-title"))
    spots = {i: (round(x(u[i, 0])), round(y(u[i, 1] + (_jitter(i) / lanes if lanes else 0.0)))) for i in shown.tolist()}
    for k in range(LEVELS):
        d = "".join(f"M{a} {b}h0" for i, (a, b) in spots.items() if level[i] == k)
        if d:
            out.append(element("use", href=f"#{uid}-l{k}", class_="halo"))
            out.append(element("path", d=d, id=f"{uid}-l{k}", class_=f"spot l{k}"))
    if first in spots:
        cx, cy = spots[first]
        out.append(element("circle", cx=cx, cy=cy, r=8, class_="ring"))
        beside = (
            {"x": cx + 13, "class_": "best-label"} if cx < right - 50 else {"x": cx - 13, "class_": "best-label end"}
        )
        out.append(element("text", "best", y=cy + 4.5, **beside))
    best = ", ".join(f"{wording.words(k)} {wording.value(t.best[k])}" for k in (across, up) if k in t.best)
    return drawing(
        out,
        (width, height),
        uid=uid,
        class_="chart landscape",
        title=f"Landscape of {t.task_id}: {wording.words(across)} and {wording.words(up)}",
        description=f"{len(shown)} of {len(u)} configurations, darker where the score ranks higher. Best configuration: {best}.",
    )


def _level(quantile: np.ndarray) -> np.ndarray:
    return np.minimum((np.asarray(quantile) * LEVELS).astype(int), LEVELS - 1)


def _lanes(p: Parameter) -> int:
    """Lanes of a hyperparameter of options; 0 of a number."""
    return len(p.options) if isinstance(p, Choice | Ordinal) else 0


def _jitter(i: int) -> float:
    """A place inside a lane, in (−.36, .36), by the golden ratio: even, and the same whenever it is drawn."""
    return ((i * 0.6180339887498949) % 1.0 - 0.5) * 0.72


def _ticks(p: Parameter) -> list[tuple[str, float]]:
    """(label, place on [0, 1]) of an axis."""
    if isinstance(p, Choice | Ordinal):
        return [(str(option), (i + 0.5) / len(p.options)) for i, option in enumerate(p.options)]
    if getattr(p, "reverse", False):
        values = [v for v in (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999) if p.low <= v <= p.high]
    else:
        values = Scale(p.low, p.high, 0.0, 1.0, log=p.log).ticks()
        if p.dtype == "Int64":
            values = [v for v in values if float(v).is_integer()]
    return [(tick_label(v), float(p.to_unit([v])[0])) for v in values]


def _scale_words(p: Parameter) -> str:
    return " (log scale)" if getattr(p, "log", False) or getattr(p, "reverse", False) else ""


def _ground(u: np.ndarray, quantile: np.ndarray, frame: tuple[float, ...], lanes: int) -> list[Markup]:
    """Cells coloured by the Nadaraya–Watson mean of the quantiles; neighbours of one level in a row are one rectangle."""
    left, right, top, bottom = frame
    rows = lanes or _ROWS
    gx = (np.arange(_COLUMNS) + 0.5) / _COLUMNS
    gy = (np.arange(rows) + 0.5) / rows
    wx = np.exp(-(((gx[:, None] - u[:, 0]) / _WIDTH) ** 2) / 2)  # [columns, configs]
    wy = (
        (np.floor(u[:, 1] * rows)[None] == np.arange(rows)[:, None]).astype(float)
        if lanes
        else np.exp(-(((gy[:, None] - u[:, 1]) / _WIDTH) ** 2) / 2)
    )
    weight = wy @ wx.T  # [rows, columns]
    mean = np.divide((wy * quantile) @ wx.T, weight, out=np.full_like(weight, np.nan), where=weight > 0.05)
    wide, tall = (right - left) / _COLUMNS, (bottom - top) / rows
    marks: dict[int, list[str]] = {}
    for r in range(rows):
        begin = 0
        levels = [-1 if math.isnan(m) else int(_level(np.array([round(m, 6)]))[0]) for m in mean[r]]
        for c in range(1, _COLUMNS + 1):
            if c == _COLUMNS or levels[c] != levels[begin]:
                if levels[begin] >= 0:
                    at = f"M{number(left + begin * wide)} {number(bottom - (r + 1) * tall)}"
                    run = f"h{number((c - begin) * wide)}v{number(tall)}h{number(-(c - begin) * wide)}z"
                    marks.setdefault(levels[begin], []).append(at + run)
                begin = c
    return [element("path", d="".join(marks[k]), class_=f"cell-ground l{k}") for k in sorted(marks)]


def _legend(right: float) -> Markup:
    """The levels' colours from worst to best, at the top right."""
    begin, wide = right - LEVELS * 15.0 - 34.0, 15.0
    marks = [element("text", "worst", x=begin - 6, y=18.0, class_="tick end")]
    marks += [
        element("rect", x=begin + k * wide, y=8.0, width=wide, height=12.0, class_=f"cell l{k}") for k in range(LEVELS)
    ]
    marks.append(element("text", "best", x=begin + LEVELS * wide + 6, y=18.0, class_="tick"))
    return element("g", marks, class_="levels", aria_hidden="true")


# ---------------------------------------------------------------- both, as a picture
def figure(t: Trained, style: str) -> Markup:
    """Learning curves and landscape side by side as one self-contained drawing with its own style."""
    size, top = (1160, 420), 62.0
    body = [
        element("style", Markup(style)),
        element("rect", width=size[0], height=size[1], class_="paper"),
        element(
            "text", f"{t.task_id}: what {len(t.mean):,} configurations reached", x=16.0, y=26.0, class_="figure-title"
        ),
        element(
            "text", "Learning curves of the best and of typical configurations", x=16.0, y=50.0, class_="panel-title"
        ),
        element("text", "Scores over the two hyperparameters that matter most", x=596.0, y=50.0, class_="panel-title"),
        _placed(curves(t, "curves"), 8.0, top, 440, 340),
        _placed(landscape(t, "landscape"), 596.0, top, 540, 340),
    ]
    title = f"Learning curves and landscape of {t.task_id}"
    return drawing(
        body, size, uid="task", title=title, description="Two panels, each with its own words.", class_="chart"
    )


def _placed(svg: Markup, x: float, y: float, width: int, height: int) -> Markup:
    """A drawing at a place inside another."""
    at = f'x="{number(x)}" y="{number(y)}" width="{width}" height="{height}" overflow="visible"'
    return Markup(f"<svg {at}") + Markup(str(svg).removeprefix("<svg"))
