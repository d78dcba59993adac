"""Drawings of the reports: lines with bands, clouds of points, rows with intervals, matrices. Byte-stable SVG that wears
the site's classes, so that colours and dashes follow its style sheet, in the dark too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from metabench.publishing.charts.plots import Series, axis_title, curve, end_labels
from metabench.publishing.charts.svg import Scale, drawing, element, number, tick_label

#: shades of a matrix's cells
LEVELS = 16
#: classes of marks, in the order in which they are dealt
CLASSES = ("c1", "c2", "c3", "c4", "c5", "reference")


@dataclass(frozen=True)
class Axis:
    """An axis: its title, and where it begins and ends (None: with the data). ``ticks``: value → label (None: round ones)."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Mapping[float, str] | None = None

    def scale(self, values: Sequence[float], start: float, end: float) -> Scale:
        """The scale that shows all finite ``values``, with a little room where the axis does not say its end."""
        shown = [v for v in values if math.isfinite(v) and (v > 0 or not self.log)] or [1.0]
        low, high = min(shown), max(shown)
        room = (high / low) ** 0.04 if self.log else (high - low) * 0.04
        less, more = (low / room, high * room) if self.log else (low - room, high + room)
        low = less if self.low is None else self.low
        high = more if self.high is None else self.high
        if not high > low:
            low, high = (low / 2, low * 2) if self.log else (low - 0.5, low + 0.5)
        return Scale(low, high, start, end, log=self.log)

    def marks(self, scale: Scale) -> dict[float, str]:
        """Tick → label."""
        if self.ticks is not None:
            return {t: label for t, label in self.ticks.items() if scale.low <= t <= scale.high}
        # what is too long for the margin of a phone is written in powers of ten
        plain = {t: t == 0 or 9e-5 < abs(t) < 1e4 for t in scale.ticks()}
        return {
            t: tick_label(t) if p else re.sub(r"e([+-])0*", r"e\1", f"{t:.0e}").replace("+", "")
            for t, p in plain.items()
        }


def frame(x: Scale, y: Scale, across: Axis, up: Axis) -> list[Markup]:
    """Grid, ticks and titles of a panel; the vertical axis has its title above it."""
    out = []
    for tick, label in up.marks(y).items():
        out.append(element("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", label.replace("-", "−"), x=x.start - 6, y=y(tick) + 4.5, class_="tick end"))
    for tick, label in across.marks(x).items():
        out.append(element("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis"))
        out.append(element("text", label.replace("-", "−"), x=x(tick), y=y.start + 20, class_="tick middle"))
    out.append(element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    out.append(axis_title(across.title, (x.start + x.end) / 2, y.start + 40))
    out.append(element("text", up.title, x=x.start - 44, y=y.end - 12, class_="axis-title"))
    return out


@dataclass(frozen=True)
class Cloud:
    """Points of one class: their names, which pointing at them shows, and where they stand."""

    name: str
    css: str
    labels: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]


def lines(
    series: Sequence[Series],
    x_axis: Axis,
    y_axis: Axis,
    *,
    uid: str,
    title: str,
    description: str,
    levels: Mapping[str, float] | None = None,
    cloud: Cloud | None = None,
    named: bool = True,
) -> Markup:
    """Curves with their bands and, dashed, ``levels`` (label → value), over a ``cloud`` of single points; names stand at the
    curves' ends where there is room."""
    width, height = 440, 340
    left, right, top, bottom = 52.0, width - 8.0, 30.0, height - 46.0
    levels = levels or {}
    seen = cloud or Cloud("", "", (), (), ())
    x = x_axis.scale([*(v for s in series for v in s.x), *seen.x], left, right)
    y = y_axis.scale([*(v for s in series for v in (*s.mean, *s.low, *s.high)), *levels.values(), *seen.y], bottom, top)
    out = frame(x, y, x_axis, y_axis)
    if cloud:
        out.append(_dots(cloud, x, y, 1.8))
    for name, level in levels.items():
        out.append(element("line", x1=left, x2=right, y1=y(level), y2=y(level), class_="floor"))
        out.append(element("text", name, x=left + 4, y=y(level) - 5, class_="floor-label"))
    out += [curve(s, x, y) for s in series]
    if named:
        out += end_labels(series, x, y, right)
    kind = "chart regret report" if named else "chart report"
    return drawing(out, (width, height), uid=uid, title=title, description=description, class_=kind)


def points(
    clouds: Sequence[Cloud],
    x_axis: Axis,
    y_axis: Axis,
    *,
    uid: str,
    title: str,
    description: str,
    radius: float = 3.2,
    diagonal: bool = False,
    zero: bool = False,
    named: bool = False,
) -> Markup:
    """Points in the plane, with their names beside them if they are ``named``; ``diagonal`` draws where both are equal,
    ``zero`` the line y = 0."""
    width, height = 440, 340
    left, right, top, bottom = 52.0, width - 8.0, 30.0, height - 46.0
    x = x_axis.scale([v for c in clouds for v in c.x], left, right)
    y = y_axis.scale([v for c in clouds for v in c.y], bottom, top)
    out = frame(x, y, x_axis, y_axis)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        out.append(element("line", x1=x(low), y1=y(low), x2=x(high), y2=y(high), class_="floor"))
    if zero:
        out.append(element("line", x1=left, x2=right, y1=y(0.0), y2=y(0.0), class_="floor"))
    for cloud in clouds:
        out.append(_dots(cloud, x, y, radius))
        if named:
            out += _names(cloud, x, y)
    return drawing(out, (width, height), uid=uid, title=title, description=description, class_="chart report")


def _names(cloud: Cloud, x: Scale, y: Scale) -> list[Markup]:
    """Names beside points: on the first side on which none touches a point or an earlier name."""
    spots = [(x(a), y(b)) for a, b in zip(cloud.x, cloud.y, strict=True)]
    taken = [(px - 5, py - 5, px + 5, py + 5) for px, py in spots]
    out = []
    for label, (px, py) in zip(cloud.labels, spots, strict=True):
        wide = 7.6 * len(label)  # of the widest fonts that pages fall back to
        sides = [
            (px + 8, py + 4.0, "", (px + 7, py - 6, px + 9 + wide, py + 6)),
            (px - 8, py + 4.0, " end", (px - 9 - wide, py - 6, px - 7, py + 6)),
            (px, py - 9, " middle", (px - wide / 2, py - 20, px + wide / 2, py - 8)),
            (px, py + 17, " middle", (px - wide / 2, py + 7, px + wide / 2, py + 19)),
        ]
        free = [
            s for s in sides if s[3][0] > x.start and s[3][2] < x.end + 8 and not any(_touch(s[3], t) for t in taken)
        ]
        if free:  # a name that fits nowhere is left to the point's title
            taken.append(free[0][3])
            out.append(element("text", label, x=free[0][0], y=free[0][1], class_=f"point-label{free[0][2]}"))
    return out


def _touch(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _dots(cloud: Cloud, x: Scale, y: Scale, radius: float) -> Markup:
    marks = []
    for label, at, up in zip(cloud.labels, cloud.x, cloud.y, strict=True):
        if math.isfinite(at) and math.isfinite(up):
            words = [element("title", label)] if label else []
            marks.append(element("circle", words, cx=x(at), cy=y(up), r=radius, class_="dot"))
    return element("g", marks, class_=f"series cloud {cloud.css}")


@dataclass(frozen=True)
class Line:
    """A row of :func:`rows`: a value with its interval; an interval without ends is not drawn."""

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    css: str = "c1"


def rows(
    listed: Sequence[Line],
    axis: Axis,
    *,
    uid: str,
    title: str,
    description: str,
    origin: float | None = None,
    bars: bool = False,
    side: float = 168.0,
    step: float = 22.0,
) -> Markup:
    """Rows one below the other: a dot with its interval, or a bar from ``origin``; labels stand left, ``side`` wide."""
    top = 12.0
    width, bottom = 520, top + step * len(listed)
    x = axis.scale(
        [v for r in listed for v in (r.value, r.low, r.high)] + ([] if origin is None else [origin]), side, width - 12.0
    )
    out = []
    for tick, label in axis.marks(x).items():
        out.append(element("line", x1=x(tick), x2=x(tick), y1=top - 4, y2=bottom, class_="grid"))
        out.append(element("text", label.replace("-", "−"), x=x(tick), y=bottom + 18, class_="tick middle"))
    if origin is not None:
        out.append(element("line", x1=x(origin), x2=x(origin), y1=top - 6, y2=bottom + 4, class_="axis"))
    for i, row in enumerate(listed):
        y = top + step * (i + 0.5)
        marks = [element("text", row.label, x=side - 8, y=y + 4.5, class_="row-label end")]
        if math.isfinite(row.value):
            if bars:
                start, end = sorted((x(origin or 0.0), x(row.value)))
                marks.append(element("rect", x=start, y=y - 6, width=max(end - start, 1.0), height=12.0, class_="bar"))
            if math.isfinite(row.low):
                marks.append(element("line", x1=x(row.low), x2=x(row.high), y1=y, y2=y, class_="whisker"))
            if not bars:
                marks.append(element("circle", cx=x(row.value), cy=y, r=4.2, class_="dot"))
        out.append(element("g", marks, class_=f"series {row.css}"))
    out.append(axis_title(axis.title, (side + width - 12) / 2, bottom + 38))
    size = (width, round(bottom + 46))
    return drawing(out, size, uid=uid, title=title, description=description, class_="chart report rows")


def matrix(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    uid: str,
    title: str,
    description: str,
    columns: Sequence[str] | None = None,
    most: float = 1.0,
) -> Markup:
    """Values −``most`` … ``most`` as cells of ``names`` × ``columns`` (None: names again): blue above 0, orange below.

    Small matrices are labelled on both sides and show their figures; of a large one the rows' names stand at the side.
    """
    square = columns is None
    columns = list(names if columns is None else columns)
    n, m = len(names), len(columns)
    figures = m <= 14
    side, head = (150.0, 16.0) if square and not figures else (150.0, 100.0)
    cell = min(46.0 if figures else 26.0, (880.0 if n > 24 else 520.0) / m)
    tall = 26.0 if figures and not square else cell
    size = max(min(tall * 0.92, 12.0), 3.0)
    out = [_cells(values, side, head, cell, tall, most)]
    for i, name in enumerate(names):
        style = f"font-size:{number(size)}px"
        out.append(
            element(
                "text", name, x=side - 5, y=head + tall * (i + 0.5) + size * 0.36, class_="cell-label end", style=style
            )
        )
    if figures:
        for j, name in enumerate(columns):
            x = side + cell * (j + 0.5)
            turn = f"rotate(-38 {number(x)} {number(head - 8)})"
            out.append(element("text", name, x=x, y=head - 8, class_="cell-label", transform=turn))
        for i, row in enumerate(values):
            for j, v in enumerate(row):
                if math.isfinite(v):
                    text = f"{v:.2f}".replace("-", "−")
                    x, y = side + cell * (j + 0.5), head + tall * (i + 0.5) + 4
                    out.append(element("text", text, x=x, y=y, class_="cell-value middle"))
    shape = (round(side + cell * m + 30), round(head + tall * n + 12))
    kind = "figures" if figures else "dense"
    return drawing(out, shape, uid=uid, title=title, description=description, class_=f"chart report matrix {kind}")


def _cells(
    values: Sequence[Sequence[float]], side: float, head: float, cell: float, tall: float, most: float
) -> Markup:
    """The cells as a path of horizontal strokes for each level of opacity: few bytes however many cells there are."""
    levels: dict[tuple[str, int], list[str]] = {}
    for i, row in enumerate(values):
        shades = [_shade(v, most) for v in row]
        start = 0
        for j in range(1, len(shades) + 1):
            if j == len(shades) or shades[j] != shades[start]:
                if shades[start][1]:
                    levels.setdefault(shades[start], []).append(f"M{start} {i}.5h{j - start}")
                start = j
    marks = [
        element(
            "path", d="".join(parts), class_=f"cell {kind}", style=f"stroke-opacity:{number(100 * level / LEVELS)}%"
        )
        for (kind, level), parts in sorted(levels.items())
    ]
    place = f"translate({number(side)} {number(head)}) scale({number(cell)} {number(tall)})"
    return element("g", marks, transform=place, shape_rendering="crispEdges")


def _shade(value: float, most: float) -> tuple[str, int]:
    if not math.isfinite(value):
        return "up", 0
    return ("up" if value >= 0 else "down"), round(min(abs(value) / most, 1.0) * LEVELS)
