"""A small SVG writer: elements, scales and ticks. Enough for the leaderboard's charts, and byte-stable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape


def number(value: float) -> str:
    """A coordinate with at most one decimal: ``12.0`` → ``12``."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def element(tag: str, content: str | Iterable[str] = "", **attributes) -> Markup:
    """One element. Attribute ``class_`` is written as ``class``, ``aria_label`` as ``aria-label``; None is left out.

    Plain strings are escaped; Markup (what this function returns) is not.
    """
    parts = [content] if isinstance(content, str) else content
    inner = Markup("").join(part if isinstance(part, Markup) else escape(part) for part in parts)
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, float) else escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{inner}</{tag}>" if inner else f"<{tag}{written}/>")


def drawing(
    content: Iterable[Markup], size: tuple[int, int], *, uid: str, title: str, description: str, class_: str
) -> Markup:
    """An ``<svg>`` with an accessible title and description; ``uid`` makes their ids unique within a page."""
    head = [
        element("title", title, id=f"{uid}-title"),
        element("desc", description, id=f"{uid}-desc"),
    ]
    return element(
        "svg",
        [*head, *content],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size[0]} {size[1]}",
        role="img",
        aria_labelledby=f"{uid}-title {uid}-desc",
        class_=class_,
    )


def path(points: Iterable[tuple[float, float]], close: bool = False) -> str:
    """The ``d`` of a polyline through ``points``."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + ("Z" if close else "")


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] to [start, end], linearly or in log; values outside are clipped to the nearer end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the scale, ascending: 1-2-5 steps, or decades (and 2, 5 of them when there are few)."""
        if self.log:
            first, last = math.floor(math.log10(self.low) + 1e-9), math.ceil(math.log10(self.high) - 1e-9)
            digits = (1,) if last - first > 2 else (1, 2, 5)
            candidates = [d * 10.0**e for e in range(first, last + 1) for d in digits]
        else:
            step = nice_step((self.high - self.low) / about)
            candidates = [step * i for i in range(math.floor(self.low / step), math.ceil(self.high / step) + 1)]
        slack = 1e-9 * (self.high - self.low)
        return [c for c in candidates if self.low - slack <= c <= self.high + slack]


def nice_step(raw: float) -> float:
    """The smallest of 1, 2, 5 × 10^k that is no less than ``raw``."""
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * (1 - 1e-9))


def tick_label(value: float) -> str:
    """A tick as people write it: ``0.05``, ``20``."""
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions as near as possible to ``wanted`` that stay ``gap`` apart and inside [low, high], in the same order.

    Neighbours that collide are pooled around their common mean (pool adjacent violators).
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    blocks: list[list[float]] = []  # [sum of wanted offsets, count]: the block starts at sum / count
    for rank, i in enumerate(order):
        blocks.append([wanted[i] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    starts = [total / count for total, count in blocks for _ in range(int(count))]
    last = max(low, high - gap * (len(wanted) - 1))
    placed = [min(max(s, low), last) + rank * gap for rank, s in enumerate(starts)]
    out = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        out[i] = placed[rank]
    return out
