"""What the script of a board's page computes with, as JSON in the page; and the parts that it draws anew."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from metabench.publishing.boards.view import Row, View, page_name
from metabench.publishing.charts.plots import Series
from metabench.scores.aggregate import expanded_tail

#: rows of a data set from which on it counts as large
LARGE = 2000
#: decimals that are kept of a regret, and of what the page writes with three
DIGITS, EXACT = 4, 6


def data(view: View) -> Markup:
    """Everything that the page's controls choose from, as the text of a script element."""
    frame = {
        "marks": view.marks,
        "mark": view.mark,
        "start": view.start,
        "units": view.units,
        "epochs": view.board.by_epochs,
        "cut": 0.0 if view.hpob else 0.25,
        "tail": {n: expanded_tail(n) for n in range(2, len(view.task_ids) + 1)},
        "large": LARGE,
        "methods": [[e.name, e.card.kind, e.css, e.page] for e in view.entries.values()],
        "tasks": [_task(view, t) for t in view.task_ids],
        "starts": {start: _start(view, start) for start in view.starts},
    }
    text = json.dumps(frame, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _task(view: View, task_id: str) -> list[Any]:
    facts = view.task_facts[task_id]
    rows = facts.get("n_rows")
    large = None if rows is None or rows != rows else int(rows) >= LARGE
    return [task_id, str(facts["family"]), str(facts["kind"]), large, f"tasks/{page_name(task_id, 'task')}.html"]


def _start(view: View, start: str) -> dict[str, Any]:
    """Of the searches with the same first trials: regret on each task, published means and groups, and curves."""
    standings = [view.standing(start, mark) for mark in view.marks]
    rows = {r.entry.name: r for r in view.rows(start)}
    on_task = {task: view.on_task(start, task) for task in view.task_ids}
    return {
        "regret": {
            m: [[_short(on_task[t][m][k][0]) if m in on_task[t] else None for k in view.marks] for t in view.task_ids]
            for m in rows
        },
        "mean": {
            m: [[_short(x, EXACT) for x in (r.valid[k].value, r.valid[k].low, r.valid[k].high)] for k in view.marks]
            for m, r in rows.items()
        },
        "group": {m: [s.groups[m] for s in standings] for m in rows},
        "decided": [[s.decided, s.pairs, s.winner] for s in standings],
        "tiers": standings[0].tiers,
        "curve": _curves(view, start),
    }


def _curves(view: View, start: str) -> dict[str, Any]:
    series = view.curves(start, "valid", list(view.entries))
    return {"x": series[0].x, "y": {s.method: [_shorts(s.mean), _shorts(s.low), _shorts(s.high)] for s in series}}


def _short(value: float, digits: int = DIGITS) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _shorts(values: Sequence[float]) -> list[float | None]:
    return [_short(v) for v in values]


def drawn(view: View, start: str, kind: str, rows: list[Row]) -> list[Series]:
    """The curves that a chart shows at first: methods with a colour and random search, and a band over the leading group."""
    found = {s.method: s for s in view.curves(start, kind)}
    lines = [s for s in found.values() if s.css != "other"]
    leading = [found[r.entry.name] for r in rows if r.group == 1 and r.entry.name in found]
    if len(leading) < 2 or any(s.x != leading[0].x for s in leading):
        return lines
    columns = list(zip(*(s.mean for s in leading), strict=True))
    low, high = [min(c) for c in columns], [max(c) for c in columns]
    label = "leading tier" if view.standing(start).tiers else "better than random"
    return [Series(label, "tier", leading[0].x, high, low, high), *lines]


def heatmap(view: View, start: str, rows: list[Row]) -> dict[str, Any]:
    """Regret of every method on every task at the headline mark, and how dark each cell is."""
    cells = []
    for row in rows:
        values = [view.on_task(start, t).get(row.entry.name) for t in view.task_ids]
        shown = [None if v is None else v[view.mark][0] for v in values]
        cells.append([None if v is None else (v, f"{min(max(1 - v, 0.0), 1.0):.1f}") for v in shown])
    return {"tasks": view.task_ids, "rows": [(r.entry, line) for r, line in zip(rows, cells, strict=True)]}
