"""Pictures of a card: how hard its tasks are, and how alike. Plain SVG on a ground of its own (legible on light and dark
pages), the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, cast

import numpy as np

from metabench.table.describe import NEAR, Description

#: tasks that a picture shows at most; of more, neighbours are drawn as one
MOST = 128
_LEVELS = 16
_INK, _GRID, _PALE, _MID, _DEEP, _MARK = "#24292f", "#d8dee4", "#b8dcd8", "#5fb0ac", "#084081", "#c2410c"


def similarity(d: Description) -> str:
    """A heat map of the tasks' Spearman correlations, tasks ordered by average-linkage clustering."""
    rho = np.clip(np.nan_to_num(d.similarity), -1.0, 1.0)
    blocks = np.array_split(clustered(rho), min(len(rho), MOST))
    mean = np.array([[rho[np.ix_(a, b)].mean() for b in blocks] for a in blocks])
    level = np.floor(mean.clip(0, 1) * (_LEVELS - 1) + 0.5).astype(int)
    names = [_label(d, block) for block in blocks]
    n, left, top = len(blocks), 160, 24
    cell = min(max(9, 300 // n), 20)
    # of few tasks the heading is wider than the matrix
    width, height = left + max(n * cell + 64, 340), max(top + n * cell, top + _LEVELS * 10) + 12
    heading = _text(left, 15, "Spearman correlation of validation scores over configurations", size=10)
    matrix = [f'<g transform="translate({left} {top}) scale({cell})" fill="none" shape-rendering="crispEdges">']
    for k in range(_LEVELS):
        runs = "".join(f"M{x} {y}.5h{length}" for x, y, length in _runs(level == k))
        matrix += [f'<path stroke="{_colour(k / (_LEVELS - 1))}" d="{runs}"/>'] if runs else []
    matrix.append("</g>")
    labels = [
        _text(left - 4, top + y * cell + (cell + 5) // 2, name, anchor="end", size=8) for y, name in enumerate(names)
    ]
    x = left + n * cell + 14
    legend = [
        f'<rect x="{x}" y="{top + (_LEVELS - 1 - k) * 10}" width="12" height="10" fill="{_colour(k / (_LEVELS - 1))}"/>'
        for k in range(_LEVELS)
    ]
    legend += [_text(x + 17, top + 8, "1"), _text(x + 17, top + _LEVELS * 10 - 2, "≤ 0")]
    title = f"Spearman correlation between the tasks of {d.workload}; the mean over pairs is {d.mean_similarity:.2f}"
    return _drawing(width, height, title, [heading, *matrix, *labels, *legend])


def difficulty(d: Description) -> str:
    """Scores that the configurations of each task reach, and the trials that random search needs; hardest at the top."""
    tasks = d.tasks.dropna(subset=["median"])
    tasks = tasks.sort_values(["trials", "task_id"], ascending=[False, True], kind="stable")
    shown = tasks.iloc[np.unique(np.linspace(0, len(tasks) - 1, min(len(tasks), MOST)).round().astype(int))]
    left, wide, gap, side, top, row = 160, 380, 40, 210, 44, 11
    low, high = _range(shown)
    most = max(2.0, float(tasks["trials"].to_numpy().max(initial=2.0)))

    def x(score: float) -> float:
        return left + wide * (min(max(score, low), high) - low) / (high - low)

    def u(trials: float) -> float:
        return left + wide + gap + side * math.log2(trials) / math.log2(most)

    height = top + row * len(shown) + 14
    drawn = [
        _text(left, 15, "final validation score of the configurations", size=10),
        _text(left + wide + gap, 15, f"trials of random search to regret {NEAR:g}", size=10),
    ]
    for at, label in [(x(t), f"{t:.3g}") for t in _ticks(low, high)] + [
        (u(2.0**k), str(2**k)) for k in range(int(math.log2(most)) + 1)
    ]:
        drawn.append(f'<path stroke="{_GRID}" d="M{at:.1f} {top - 6}V{height - 10}"/>')
        drawn.append(_text(at, top - 10, label, anchor="middle"))
    for i, t in enumerate(cast(Any, shown).itertuples()):
        y = top + row * i + row / 2 - 2
        name = t.task_id.removeprefix(f"{d.workload}-") + (" ○" if t.noisy else "")
        drawn.append(_text(left - 6, y + 3, name, anchor="end", size=8))
        drawn.append(_bar(x(t.q05), x(t.q95), y, 2, _PALE) + _bar(x(t.q25), x(t.q75), y, 6, _MID))
        drawn.append(f'<path stroke="{_DEEP}" stroke-width="2" d="M{x(t.median):.1f} {y - 4:.1f}v8"/>')
        drawn.append(f'<circle cx="{x(t.best):.1f}" cy="{y:.1f}" r="2.5" fill="{_MARK}"/>')
        if np.isfinite(t.trials):
            ring = f'fill="none" stroke="{_DEEP}"' if t.noisy else f'fill="{_DEEP}"'
            drawn.append(f'<circle cx="{u(t.trials):.1f}" cy="{y:.1f}" r="3" {ring}/>')
    title = (
        f"Difficulty of {'the' if len(shown) == len(tasks) else f'{len(shown)} of {len(tasks)}'} tasks of {d.workload}: "
        "5–95 % and quartiles, median (line) and best (dot) of the configurations' scores, and the trials that random "
        "search needs on average; ○ marks tasks flagged as noisy"
    )
    return _drawing(left + wide + gap + side + 24, height, title, drawn)


# ---------------------------------------------------------------- parts
def clustered(rho: np.ndarray) -> np.ndarray:
    """An order of the tasks in which those that are alike stand together."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(rho) < 3:
        return np.arange(len(rho))
    gap = 1.0 - (rho + rho.T) / 2
    np.fill_diagonal(gap, 0.0)
    return leaves_list(linkage(squareform(gap, checks=False), "average", optimal_ordering=len(rho) <= 512))


def _label(d: Description, block: np.ndarray) -> str:
    name = str(d.tasks["task_id"].iloc[block[0]]).removeprefix(f"{d.workload}-")
    return name if len(block) == 1 else f"{name} +{len(block) - 1}"


def _runs(mask: np.ndarray) -> Iterable[tuple[int, int, int]]:
    """(x, y, length) of the horizontal runs of a mask."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    for (y, start), (_, end) in zip(np.argwhere(edges == 1), np.argwhere(edges == -1), strict=True):
        yield start, y, end - start


def _range(tasks) -> tuple[float, float]:
    """Ends of the score axis: every median and best is inside; of the low tails, those of most tasks."""
    low, high = float(min(tasks["median"].min(), tasks["q25"].quantile(0.05))), float(tasks["best"].max())
    return (low - 0.05 * (high - low), high) if high > low else (low - 0.5, low + 0.5)


def _ticks(low: float, high: float) -> Sequence[float]:
    """Four to nine round numbers inside a range."""
    rough = (high - low) / 8
    step = 10.0 ** math.floor(math.log10(rough))
    step *= next(m for m in (1, 2, 5, 10) if rough <= m * step)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _bar(start: float, end: float, y: float, thick: int, colour: str) -> str:
    return f'<path stroke="{colour}" stroke-width="{thick}" d="M{start:.1f} {y:.1f}H{end:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 9) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'


def _drawing(width: int, height: int, title: str, content: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'font-family="system-ui, sans-serif" fill="{_INK}"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>'
    )
    return "\n".join([head, *content, "</svg>"]) + "\n"


def _colour(t: float) -> str:
    """From pale to deep blue-green, monotone in lightness."""
    stops = np.array([[247, 252, 240], [123, 204, 196], [8, 64, 129]], dtype=float)
    x = t * 2
    i = min(int(x), 1)
    rgb = stops[i] + (stops[i + 1] - stops[i]) * (x - i)
    return "#" + "".join(f"{round(v):02x}" for v in rgb)
