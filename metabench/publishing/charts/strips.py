"""Small pictures for the cells of tables; screen readers get the numbers beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from metabench.publishing.charts.svg import Scale, element, number

if TYPE_CHECKING:
    from metabench.publishing.boards.trained import Trained


def interval(value: float, low: float, high: float, most: float, css: str = "") -> Markup:
    """A value with its interval on a 0 … ``most`` line."""
    x = Scale(0.0, most, 4.0, 116.0)
    marks = [
        element("line", x1=4, x2=116, y1=8, y2=8, class_="track"),
        element("line", x1=x(low), x2=x(high), y1=8, y2=8, class_="whisker"),
        element("circle", cx=x(value), cy=8, r=4, class_="dot"),
    ]
    return element("svg", marks, viewBox="0 0 120 16", class_=f"strip series {css}".strip(), aria_hidden="true")


def scores(t: Trained) -> Markup:
    """The scores of a task's configurations, as far as they lie near chance or better: half of them lie in the thick part,
    the tick is the median, the dot the best."""
    low, quarter, median, three, best = np.quantile(t.mean, [0.05, 0.25, 0.5, 0.75, 1.0]).tolist()
    if t.chance == t.chance and (chance := t.native(t.chance)) < best:
        low = max(low, chance - 0.25 * (best - chance))
    if not low < best:
        return Markup("")
    x = Scale(low, best, 4.0, 116.0)
    marks = [
        element("line", x1=4, x2=116, y1=8, y2=8, class_="track"),
        element("line", x1=x(quarter), x2=x(three), y1=8, y2=8, class_="range"),
        element("path", d=f"M{number(x(median))} 2V14", class_="median"),
        element("circle", cx=x(best), cy=8, r=4, class_="dot"),
    ]
    return element("svg", marks, viewBox="0 0 120 16", class_="strip medium", aria_hidden="true")


def bar(value: float, most: float) -> Markup:
    """A bar from 0; the number stands beside it."""
    wide = 90.0 * value / most if most > 0 else 0.0
    mark = element("rect", x=0, y=4, width=max(wide, 1.0), height=8, rx=2, class_="dot")
    return element("svg", [mark], viewBox="0 0 90 16", class_="strip bar", aria_hidden="true")
