"""The leaderboard's charts as SVG: regret over trials (epochs, seconds), critical differences, rank against
overhead.

Colours, dashes and text sizes come from the page's style sheet through classes: ``c1`` … ``c5`` are the highlighted
methods, ``reference`` the one that all should beat, ``other`` the rest. ``data-method`` lets the page's script find a
method's marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from metabench.publishing.charts.svg import Scale, drawing, element, path, spread, tick_label

#: text height in user units that labels are kept apart by
LINE = 17.0


@dataclass(frozen=True)
class Series:
    """One method's curve: ``mean`` with its 95 % interval ``low`` … ``high`` at ``x``, all of one length.

    A curve whose interval has no width anywhere is drawn without a band.
    """

    method: str
    css: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """What curves are over, on a log scale."""

    #: one word: ``trials``
    over: str
    #: what its numbers count
    units: str
    title: str
    #: where it begins, and the ticks that may stand on it; None: with the curves, and round numbers
    low: float | None = None
    ticks: tuple[float, ...] | None = None

    def scale(self, series: Sequence[Series], start: float, end: float) -> Scale:
        last = max((max(s.x) for s in series), default=1)
        low = min((min(s.x) for s in series), default=1) if self.low is None else self.low
        return Scale(low, max(last, 2 * low), start, end, log=True)

    def marks(self, scale: Scale) -> Sequence[float]:
        """Where ticks stand on the scale."""
        return scale.ticks() if self.ticks is None else [t for t in self.ticks if t <= scale.high]


#: classes of what lies behind the highlighted curves, without a name at its end
GROUND = ("other", "tier")
TRIALS = Axis("trials", "trials", "trials (log scale)", 1, (1, 2, 3, 5, 10, 25, 50, 100, 250, 500, 1000))
EPOCHS = Axis("epochs", "full trainings", "epochs, in full trainings (log scale)")
SECONDS = Axis("seconds", "seconds", "seconds of training and computing (log scale)")


def regret_panel(
    series: Sequence[Series],
    *,
    uid: str,
    title: str,
    description: str,
    log: bool,
    floor: float | None = None,
    axis: Axis = TRIALS,
) -> Markup:
    """Regret over trials (log axis): lines with 95 % bands, the noise ``floor`` as a dashed line.

    Labels stand right of the 440-unit wide drawing, in the page's margin; narrow pages hide them.
    """
    width, height = 440, 340
    body = panel_content(series, (0.0, 0.0), (width, height), log=log, floor=floor, axis=axis)
    return drawing(body, (width, height), uid=uid, title=title, description=description, class_="chart regret")


def panel_content(
    series: Sequence[Series],
    origin: tuple[float, float],
    size: tuple[float, float],
    *,
    log: bool,
    floor: float | None,
    axis: Axis = TRIALS,
) -> list[Markup]:
    """The marks of one regret panel inside the rectangle ``size`` at ``origin``."""
    left, right = origin[0] + 52.0, origin[0] + size[0] - 8.0
    top, bottom = origin[1] + 10.0, origin[1] + size[1] - 42.0
    x = axis.scale(series, left, right)
    y = regret_scale(series, floor, bottom, top, log)
    clipped = any(m < y.low for s in series for m in s.mean) or (floor is not None and floor < y.low)
    out = [*_grid(x, y, axis.marks(x), clipped), axis_title(axis.title, (left + right) / 2, bottom + 36)]
    ordered = sorted(series, key=lambda s: s.css not in GROUND)  # the highlighted ones are drawn last, on top
    out += [curve(s, x, y) for s in ordered]
    if floor is not None:
        level = y(floor)
        out.append(element("line", x1=left, x2=right, y1=level, y2=level, class_="floor"))
        out.append(element("text", "noise floor", x=left + 4, y=min(level + 14, bottom - 4), class_="floor-label"))
    return [*out, *end_labels(series, x, y, right)]


def below_zero(series: Sequence[Series], floor: float | None) -> bool:
    """Does regret go below 0, as that of noisy test scores does, so that a log scale would not show it?"""
    return any(m < 0 for s in series for m in s.mean) or (floor is not None and floor <= 0)


def regret_scale(series: Sequence[Series], floor: float | None, bottom: float, top: float, log: bool) -> Scale:
    """The vertical scale that shows every mean. A log scale starts at a round number under the smallest positive one,
    but not under .001 (.01 beside a noise floor); what lies below, as test regret may, is drawn at its lower edge."""
    shown = [m for s in series for m in s.mean if math.isfinite(m)] + ([] if floor is None else [floor])
    high = max([*shown, 1e-3])
    if not log:
        low = min([*shown, 0.0])
        return Scale(low * 1.04, high * 1.04, bottom, top)
    smallest = min([v for v in shown if v > 0], default=high)
    least = [v for v in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if floor is None or v >= 0.01]
    low = max((v for v in least if v <= smallest), default=least[0])
    return Scale(min(low, high / 2), high * 1.08, bottom, top, log=True)


def _grid(x: Scale, y: Scale, x_ticks: Sequence[float], clipped: bool) -> list[Markup]:
    out = []
    lowest = [y.low] if y.log and clipped and y.low not in y.ticks() else []
    for tick in [*lowest, *y.ticks()]:
        label = f"≤ {tick_label(tick)}" if y.log and clipped and tick == y.low else tick_label(tick)
        out.append(element("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", label, x=x.start - 6, y=y(tick) + 4.5, class_="tick end"))
    for tick in x_ticks:
        out.append(element("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis"))
        out.append(element("text", tick_label(tick), x=x(tick), y=y.start + 19, class_="tick middle"))
    return [*out, element("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis")]


def axis_title(text: str, x: float, y: float) -> Markup:
    """The title of a horizontal axis, its middle at (x, y)."""
    return element("text", text, x=x, y=y, class_="axis-title middle")


def curve(s: Series, x: Scale, y: Scale) -> Markup:
    """One method's line with its band."""
    marks = [element("title", s.method)]
    if list(s.low) != list(s.high):
        upper = [(x(t), y(v)) for t, v in zip(s.x, s.high, strict=True)]
        lower = [(x(t), y(v)) for t, v in zip(s.x, s.low, strict=True)]
        marks.append(element("path", d=path([*upper, *reversed(lower)], close=True), class_="band"))
    line = [(x(t), y(v)) for t, v in zip(s.x, s.mean, strict=True)]
    marks.append(element("path", d=path(line), class_="line"))
    return element("g", marks, class_=f"series {s.css}", data_method=s.method)


def end_labels(series: Sequence[Series], x: Scale, y: Scale, right: float) -> list[Markup]:
    """Names of the highlighted methods at the ends of their curves, moved apart where they would collide."""
    named = [s for s in series if s.css not in GROUND]
    ends = [y(s.mean[-1]) for s in named]
    placed = spread(ends, LINE, y.end + 6, y.start - 2)
    out = []
    for s, end, at in zip(named, ends, placed, strict=True):
        begin = x(s.x[-1])
        leader = element("path", d=path([(begin + 2, end), (right + 10, at)]), class_="leader")
        label = element("text", s.method, x=right + 14, y=at + 4.5, class_="end-label")
        out.append(element("g", [leader, label], class_=f"series {s.css}", data_method=s.method))
    return out


def regret_figure(
    panels: Mapping[str, tuple[Sequence[Series], float | None, Axis]], *, title: str, style: str
) -> Markup:
    """Panels side by side as one self-contained drawing with its own style, for embedding as a picture.

    ``panels``: heading → (series, noise floor, what they are over).
    """
    width, height, margin, head = 440.0, 340.0, 118.0, 56.0
    total = ((width + margin) * len(panels) + 24, height + head + 8)
    body = [
        element("style", Markup(style)),
        element("rect", width=total[0], height=total[1], class_="paper"),
        element("text", title, x=16.0, y=24.0, class_="figure-title"),
    ]
    for i, (heading, (series, floor, axis)) in enumerate(panels.items()):
        origin = (8.0 + i * (width + margin), head)
        body.append(element("text", heading, x=origin[0] + 8, y=head - 6, class_="panel-title"))
        body += panel_content(
            series, origin, (width, height), log=not below_zero(series, floor), floor=floor, axis=axis
        )
    description = f"Lines are means over tasks with 95 % bands, one per method: {'; '.join(panels)}."
    size = (round(total[0]), round(total[1]))
    return drawing(body, size, uid="regret", title=title, description=description, class_="chart")


def critical_difference(
    ranks: Sequence[tuple[str, float, str]], bars: Sequence[tuple[int, int]], *, uid: str, title: str, description: str
) -> Markup:
    """Critical-difference diagram: (method, mean rank, css class) ascending by rank; ``bars`` join the ones alike.

    Best is left. Bars lie between the axis and the labels' elbows.
    """
    width, side, row = 640, 176.0, 25.0
    n = len(ranks)
    half = (n + 1) // 2
    low = math.floor(min(r for _, r, _ in ranks))
    high = max(math.ceil(max(r for _, r, _ in ranks)), low + 1)
    x = Scale(low, high, side, width - side)
    axis, lanes = 34.0, _lanes(bars)
    first_row = axis + 22 + 9 * (max(lanes, default=-1) + 1) + 12
    height = round(first_row + row * (half - 1) + 14)
    out = [element("line", x1=x.start, x2=x.end, y1=axis, y2=axis, class_="axis")]
    for tick in range(low, high + 1):
        out.append(element("line", x1=x(tick), x2=x(tick), y1=axis - 5, y2=axis, class_="axis"))
        if high - low <= 10 or (tick - low) % 2 == 0:
            out.append(element("text", str(tick), x=x(tick), y=axis - 10, class_="tick middle"))
    for position, (method, rank, css) in enumerate(ranks):
        on_left = position < half
        at = first_row + row * (position if on_left else n - 1 - position)
        edge = side - 6 if on_left else width - side + 6
        elbow = path([(x(rank), axis), (x(rank), at), (edge, at)])
        value = element("tspan", f"{rank:.2f}", class_="value")
        words = [method, " ", value] if on_left else [value, " ", method]
        label = element(
            "text", words, x=edge + (-5 if on_left else 5), y=at + 5, class_="cd-label" + (" end" if on_left else "")
        )
        marks = [
            element("title", f"{method}: mean rank {rank:.2f}"),
            element("path", d=elbow, class_="elbow"),
            element("circle", cx=x(rank), cy=axis, r=3.5, class_="dot"),
            label,
        ]
        out.append(element("g", marks, class_=f"series {css}", data_method=method))
    for lane, (first, last) in zip(lanes, bars, strict=True):
        level = axis + 16 + 9 * lane
        ends: dict[str, Any] = {"x1": x(ranks[first][1]) - 4, "x2": x(ranks[last][1]) + 4}
        out.append(element("line", **ends, y1=level, y2=level, class_="clique"))
    return drawing(out, (width, height), uid=uid, title=title, description=description, class_="chart cd")


def _lanes(bars: Sequence[tuple[int, int]]) -> list[int]:
    """The lowest free lane of each bar, so that no two bars of a lane touch."""
    ends: list[int] = []
    lanes = []
    for first, last in bars:
        lane = next((i for i, end in enumerate(ends) if end < first), len(ends))
        ends[lane : lane + 1] = [last]
        lanes.append(lane)
    return lanes


def scatter(points: Sequence[tuple[str, float, float, str]], *, uid: str, title: str, description: str) -> Markup:
    """Mean rank (best at the top) against the method's own seconds a trial (log): (method, seconds, rank, css class).

    Seconds under 10 µs are drawn at 10 µs.
    """
    width, height = 520, 340
    left, right, top, bottom = 44.0, width - 16.0, 14.0, height - 44.0
    seconds = [max(s, 1e-5) for _, s, _, _ in points]
    ranks = [r for _, _, r, _ in points]
    # room for labels at both ends
    x = Scale(min(seconds) / 3, max(seconds) * 8, left, right, log=True)
    y = Scale(math.floor(min(ranks)), max(math.ceil(max(ranks)), min(ranks) + 1), top, bottom)
    out = []
    for tick in y.ticks():
        out.append(element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid"))
        out.append(element("text", tick_label(tick), x=left - 6, y=y(tick) + 4.5, class_="tick end"))
    for tick in (t for t in x.ticks() if math.isclose(math.log10(t), round(math.log10(t)), abs_tol=1e-6)):
        out.append(element("line", x1=x(tick), x2=x(tick), y1=bottom, y2=bottom + 4, class_="axis"))
        out.append(element("text", duration(tick), x=x(tick), y=bottom + 18, class_="tick middle"))
    out.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    out.append(axis_title("the method's own time per trial (log scale)", (left + right) / 2, bottom + 38))
    front = _pareto([(s, r) for s, r in zip(seconds, ranks, strict=True)])
    out.append(element("path", d=path((x(s), y(r)) for s, r in front), class_="pareto"))
    spots = [(x(s), y(r)) for s, r in zip(seconds, ranks, strict=True)]
    for (method, _, rank, css), spot, anchor in zip(points, spots, _place(points, spots, right), strict=True):
        label = f"point-label {anchor[2]}".strip() if anchor else ""
        name = element("text", method, x=anchor[0], y=anchor[1], class_=label) if anchor else Markup("")
        dot = element("circle", cx=spot[0], cy=spot[1], r=5.0, class_="dot")
        words = element("title", f"{method}: mean rank {rank:.2f}")
        out.append(element("g", [words, dot, name], class_=f"series {css}", data_method=method))
    return drawing(out, (width, height), uid=uid, title=title, description=description, class_="chart scatter")


def duration(seconds: float) -> str:
    """``0.001`` → ``1 ms``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9995 or unit == "µs":
            value = seconds / size
            return f"{value:.0f} {unit}" if value >= 9.95 or value == round(value) else f"{value:.1f} {unit}"
    raise AssertionError


def _pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other beats in both time and rank, by time."""
    front: list[tuple[float, float]] = []
    for seconds, rank in sorted(points):
        if not front or rank < front[-1][1]:
            front.append((seconds, rank))
    return front


def _place(
    points: Sequence[tuple[str, float, float, str]], spots: Sequence[tuple[float, float]], right: float
) -> list[tuple[float, float, str] | None]:
    """For each point the label's anchor and its class: the first side that touches no dot and no earlier label.

    None where there is none; the point has its name as a title."""
    taken = [(px - 6, py - 6, px + 6, py + 6) for px, py in spots]
    out = []
    for (method, *_), (px, py) in zip(points, spots, strict=True):
        wide = 7.6 * len(method)
        sides = [
            (px + 9, py + 4.5, "", (px + 8, px + 10 + wide, py - 7, py + 7)),
            (px - 9, py + 4.5, "end", (px - 10 - wide, px - 8, py - 7, py + 7)),
            (px, py - 10, "middle", (px - wide / 2, px + wide / 2, py - 22, py - 8)),
            (px, py + 19, "middle", (px - wide / 2, px + wide / 2, py + 7, py + 21)),
        ]
        free = [
            s
            for s in sides
            if s[3][0] > 44
            and s[3][1] < right + 12
            and not any(s[3][0] < b[2] and b[0] < s[3][1] and s[3][2] < b[3] and b[1] < s[3][3] for b in taken)
        ]
        if not free:
            out.append(None)
            continue
        x, y, css, box = free[0]
        taken.append((box[0], box[2], box[1], box[3]))
        out.append((x, y, css))
    return out
