"""The pages and the README: templates filled with what the view says."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from metabench.publishing.boards import board_data, trained_page
from metabench.publishing.boards.standing import LEVEL
from metabench.publishing.boards.trained import Trained
from metabench.publishing.boards.view import REFERENCE, Entry, Row, View, page_name
from metabench.publishing.boards.words import bibtex, question
from metabench.publishing.charts import plots, strips
from metabench.publishing.charts.plots import SECONDS, Axis, Series
from metabench.publishing.pages import wording
from metabench.publishing.pages.render import ASSETS, render, static

#: the script of a board's first page
SCRIPT = "verdict.js"
HEADINGS = {
    "valid": ("Valid regret.", "How well a method searches: the incumbent on the scores that it sees."),
    "test": ("Test regret.", "The incumbent on test rows; noisy on small data sets."),
}
DOWNLOADS = {
    "summary": "Ranking at every mark",
    "curves": "Regret over trials",
    "tasks": "Regret on each task",
    "noise_floor": "Noise floor of each task",
    "controls": "Tests against random search and against the lowest mean",
    "pairs": "Tests of all pairs at the ranking's mark",
    "friedman": "Friedman tests",
    "critical": "Average ranks and groups",
    "negative_transfer": "Negative transfer",
}


def downloads(view: View) -> dict[str, str]:
    """Frame of the scores → what it holds, of all that are published."""
    if not view.board.by_epochs:
        return DOWNLOADS
    return DOWNLOADS | {"curves": "Regret over epochs", "seconds": "Regret over seconds"}


def site(view: View, sizes: dict[str, int] | None = None) -> Iterator[tuple[str, str]]:
    """(path below ``site/``, contents) of every page, style sheet and script; ``sizes`` are those of the downloads in bytes."""
    ranking = {start: view.rows(start) for start in view.starts}
    yield from ((name, static(name)) for name in (*ASSETS, SCRIPT))
    yield "index.html", index(view, ranking, sizes or {})
    for entry in view.entries.values():
        yield entry.page, method(view, entry, ranking)
    for task_id in view.task_ids:
        yield task_page(task_id), task(view, task_id)


def task_page(task_id: str) -> str:
    return f"tasks/{page_name(task_id, 'task')}.html"


# ---------------------------------------------------------------- sentences
def finding(view: View) -> str:
    """The board's result in two or three sentences, which name a best method only where the data show one."""
    text = render("finding.txt.j2", v=view, rows=view.rows(view.start), s=view.standing(view.start))
    return " ".join(text.split())


def protocol(view: View) -> list[str]:
    """How the board is measured, a paragraph each."""
    return [" ".join(p.split()) for p in render("protocol.txt.j2", v=view).split("\n\n")]


# ---------------------------------------------------------------- charts
def panels(
    series: dict[str, list[Series]],
    uid: str,
    where: str,
    floor: float | None,
    axis: Axis,
    scales: Sequence[str] = ("log", "linear"),
) -> list[dict[str, Any]]:
    """Regret panels (valid, test) over what ``axis`` says, each on axes of regret of these ``scales``; on the linear one alone
    where regret goes below 0, as that of noisy test scores does.

    ``where`` ends the chart's title.
    """
    out = []
    for kind, curves in series.items():
        heading, text = HEADINGS[kind]
        level = floor if kind == "test" else None
        drawn: dict[str, Any] = {"log": None, "linear": None}
        for scale in ("linear",) if kind == "test" and plots.below_zero(curves, level) else scales:
            drawn[scale] = plots.regret_panel(
                curves,
                uid=f"{uid}-{kind}-{scale}",
                title=f"{heading.split(':')[0]} over {axis.over}, {where}",
                description=describe(curves, level, axis),
                log=scale == "log",
                floor=level,
                axis=axis,
            )
        if level is not None:
            text += " Dashed: noise floor, the regret of a search that has tried everything."
        out.append({"heading": heading, "text": text, **drawn})
    return out


def describe(curves: list[Series], floor: float | None, axis: Axis) -> str:
    """A chart's figures in words, for those who do not see it."""
    ends = sorted(curves, key=lambda s: s.mean[-1])
    listed = "; ".join(f"{s.method} {wording.num(s.mean[-1])}" for s in ends)
    out = f"Regret after {curves[0].x[-1]} {axis.units}, best first: {listed}."
    return out if floor is None else f"{out} Noise floor {wording.num(floor)}."


def board_panels(
    view: View,
    start: str,
    uid: str,
    css: dict[str, str] | None = None,
    axis: Axis | None = None,
    scales: Sequence[str] = ("log", "linear"),
) -> list[dict[str, Any]]:
    """The panels of all tasks from one start, over what the board counts, or over SECONDS.

    ``css``: only these methods, with these classes, and bands for the page's own and the reference alone.
    """
    axis = axis or view.axis
    draw = view.clock if axis is SECONDS else view.curves
    if css is None:
        rows = view.rows(start)
        series = {
            kind: board_data.drawn(view, start, kind, rows)
            if axis is not SECONDS
            else [s for s in draw(start, kind) if s.css != "other"]
            for kind in kinds(view)
        }
    else:
        banded = [m for m, c in css.items() if c.endswith(" self") or c == "reference"]
        series = {
            kind: [replace(s, css=css[s.method]) for s in draw(start, kind, banded) if s.method in css]
            for kind in kinds(view)
        }
    where = f"first trials: {wording.STARTS[start][0].lower()}"
    floor = view.scores.floor["test_regret"] if view.has_test else None
    return panels(series, f"{uid}-{start}", where, floor, axis, scales)


def kinds(view: View) -> tuple[str, ...]:
    return ("valid", "test") if view.has_test else ("valid",)


# ---------------------------------------------------------------- pages
def index(view: View, ranking: dict[str, list[Row]], sizes: dict[str, int]) -> str:
    """The board's first page."""
    spans = {
        (start, mark): _span(r.valid[mark].value for r in ranking[start])
        for start in view.starts
        for mark in view.marks
    }

    def heat(start: str, mark: int, value: float) -> str:
        low, high = spans[start, mark]
        return f"{(high - value) / (high - low) if high > low else 0.0:.2f}"

    drawn = {}
    for start, rows in ranking.items():
        most = max(r.valid[view.mark].band[1] for r in rows) or 1.0
        drawn[start] = {
            r.entry.name: strips.interval(e.value, *e.band, most, r.entry.css)
            for r in rows
            for e in [r.valid[view.mark]]
        }
    text = finding(view)
    tasks = {start: [_task_row(view, start, t) for t in view.task_ids] for start in view.starts}
    return render(
        "index.html.j2",
        v=view,
        root="",
        home=view.home(""),
        rows=ranking,
        strips=drawn,
        heat=heat,
        finding={"text": text},
        question=question(view.board),
        standing=view.standing(view.start),
        data=board_data.data(view),
        heatmap=board_data.heatmap(view, view.start, ranking[view.start]),
        shown=[m for m in view.entries if view.css[m] not in ("other", "reference")],
        large=board_data.LARGE,
        task_kinds=sorted({str(f["kind"]) for f in view.task_facts.values()}),
        sizes=sizes,
        bibtex=bibtex(view.board),
        curves={start: board_panels(view, start, "board") for start in view.starts},
        clock={
            start: board_panels(view, start, "clock", axis=SECONDS) for start in view.starts if view.board.by_epochs
        },
        parted={start: _parted(view, start, ranking[start]) for start in view.starts if len(view.workloads) > 1},
        pairs=_matrix(view, view.start, ranking[view.start]),
        method_kinds=sorted({e.card.kind for e in view.entries.values()}),
        tests=_tests(view, view.start, ranking[view.start]),
        cd=_critical(view, view.start),
        cost=_cost(view, view.start, ranking[view.start]),
        tasks=tasks,
        has_rows=all("n_rows" in view.task_facts[t] for t in view.task_ids),
        n_families=len({view.task_facts[t]["family"] for t in view.task_ids}),
        n_configs=view.n_configs,
        protocol=protocol(view),
        downloads=list(downloads(view).items()),
    )


def _span(values: Iterable[float]) -> tuple[float, float]:
    listed = list(values)
    return min(listed), max(listed)


def _tests(view: View, start: str, rows: list[Row]) -> list[dict[str, Any]]:
    """Every method's test against the reference, where there is one."""
    reference = view.tests(start, REFERENCE)
    return [{"entry": r.entry, "ref": reference[r.entry.name]} for r in rows if r.entry.name in reference]


def _matrix(view: View, start: str, rows: list[Row]) -> list[dict[str, Any]]:
    """A line a method: (share of tasks on which it beats each other one, is the difference significant), in the board's order."""
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for pair in view.pairs(start):
        a, b, won, clear = pair["method_a"], pair["method_b"], pair["improvement"], pair["p_holm"] < LEVEL
        found[a, b], found[b, a] = (won, clear), (1.0 - won, clear)
    order = [r.entry for r in rows]
    return [{"entry": a, "cells": [found.get((a.name, b.name)) for b in order]} for a in order]


def _parted(view: View, start: str, rows: list[Row]) -> list[dict[str, Any]]:
    """A line a method: workload → (mean valid regret there, how near to the best method there in [0, 1], is it the best)."""
    found = {row.entry.name: view.by_workload(start, row.entry.name) for row in rows}
    out = []
    for row in rows:
        cells = {}
        for workload, regret in found[row.entry.name].items():
            there = [values[workload] for values in found.values() if workload in values]
            low, high = min(there), max(there)
            cells[workload] = (regret, (high - regret) / (high - low) if high > low else 0.0, regret == low)
        out.append({"entry": row.entry, "cells": cells})
    return out


def _critical(view: View, start: str) -> Markup | None:
    ranks = view.ranks(start)
    if len(ranks) < 2:
        return None
    return plots.critical_difference(
        [(m, r, view.css[m]) for m, r in ranks],
        view.bars(start),
        uid=f"cd-{start}",
        title=f"Critical-difference diagram, first trials: {wording.STARTS[start][0].lower()}",
        description="Average ranks, best first: " + "; ".join(f"{m} {r:.2f}" for m, r in ranks) + ".",
    )


def _cost(view: View, start: str, rows: list[Row]) -> Markup:
    return plots.scatter(
        [(r.entry.name, r.overhead, r.rank, r.entry.css) for r in rows],
        uid=f"cost-{start}",
        title=f"Mean rank against the method's own time, first trials: {wording.STARTS[start][0].lower()}",
        description="; ".join(f"{r.entry.name}: rank {r.rank:.2f}, {plots.duration(r.overhead)}" for r in rows) + ".",
    )


def _task_row(view: View, start: str, task_id: str) -> dict[str, Any]:
    regrets = {m: marks[view.mark][0] for m, marks in view.on_task(start, task_id).items()}
    best = min(regrets, key=lambda m: regrets[m])
    return {
        "id": task_id,
        "page": task_page(task_id),
        "facts": view.task_facts[task_id],
        "best": best,
        "ties": sum(r == regrets[best] for r in regrets.values()) - 1,
        "regret": regrets[best],
        "median": statistics.median(regrets.values()),
    }


def method(view: View, entry: Entry, ranking: dict[str, list[Row]]) -> str:
    """A method's page."""
    of = {start: row for start, rows in ranking.items() for row in rows if row.entry.name == entry.name}
    own = list(of)
    shown = beside(view, entry)
    return render(
        "method.html.j2",
        v=view,
        root="../",
        home=view.home("../"),
        e=entry,
        rows=ranking,
        of=of,
        own_starts=own,
        mine=of.get(view.start, of[own[0]]),
        shown=list(shown),
        curves={
            start: board_panels(
                view, start, entry.page[8:-5], shown, scales=("log", "linear") if start == view.start else ("log",)
            )
            for start in own
        },
        tasks={start: _wins(view, start, entry.name) for start in own},
        usage=usage(view, entry),
    )


def beside(view: View, entry: Entry) -> dict[str, str]:
    """Methods that a method's curves are drawn with → their classes: itself, its twin and the reference."""
    names = [entry.name, entry.card.twin, REFERENCE]
    shown = [m for m in dict.fromkeys(names) if m in view.entries]
    out = {m: f"c{i}" for i, m in enumerate((m for m in shown if m != REFERENCE), 1)}
    if REFERENCE in shown:
        out[REFERENCE] = "reference"
    return out | {entry.name: f"{out[entry.name]} self"}


def usage(view: View, entry: Entry) -> str:
    """How to put a method on the board again, as Python."""
    return "\n".join(
        (
            "import metabench as mb",
            f'board, table = mb.load_board("{view.board.name}"), mb.load_table("{view.board.dataset}")',
            f'print(mb.score(mb.evaluate("{entry.name}", board, table), table, board))',
        )
    )


def _wins(view: View, start: str, name: str) -> list[dict[str, Any]]:
    """The tasks from where a method is furthest ahead of the median to where it is furthest behind."""
    found = []
    for task_id in view.task_ids:
        regrets = {m: marks[view.mark][0] for m, marks in view.on_task(start, task_id).items()}
        if name in regrets:
            found.append((task_id, regrets[name], sorted(regrets.values())))
    most = max((values[-1] for _, _, values in found), default=1.0) or 1.0
    out = []
    for task_id, regret, values in found:
        median = statistics.median(values)
        out.append(
            {
                "id": task_id,
                "page": task_page(task_id),
                "regret": regret,
                "median": median,
                "difference": regret - median,
                # ties share their average rank
                "rank": (values.index(regret) + 1 + values.index(regret) + values.count(regret)) / 2,
                "span": [f"{100 * v / most:.0f}%" for v in (values[0], values[-1], median, regret)],
            }
        )
    return sorted(out, key=lambda t: (t["difference"], t["id"]))


#: columns of tasks.parquet that a task's page shows first
SHOWN = {
    "n_rows": "Rows",
    "n_train": "Trained on",
    "n_valid": "Validated on",
    "n_test": "Tested on",
    "n_features": "Inputs",
    "n_classes": "Classes",
    "n_splits": "Splits",
    "chance": "Best constant",
}


def task(view: View, task_id: str) -> str:
    """A task's page."""
    facts = view.task_facts[task_id]
    methods, curves = {}, {}
    for start in view.starts:
        found = view.on_task(start, task_id)
        ordered = sorted(found, key=lambda m: (found[m][view.mark][0], view.entries[m].place))
        methods[start] = [{"entry": view.entries[m], "marks": found[m]} for m in ordered]
        series = {"valid": view.task_series(start, task_id)}
        curves[start] = panels(
            series, f"task-{start}", f"{task_id}, first trials: {wording.STARTS[start][0].lower()}", None, view.axis
        )
    return render(
        "task.html.j2",
        v=view,
        root="../",
        home=view.home("../"),
        id=task_id,
        facts=facts,
        shown=[(label, _fact(facts[k])) for k, label in SHOWN.items() if k in facts and _told(k, facts)],
        methods=methods,
        curves=curves,
        everywhere=view.everywhere(task_id),
        trained=None if view.everywhere(task_id) else training(view, task_id),
    )


def training(view: View, task_id: str) -> dict[str, Any] | None:
    """What training gave on a task, as its page shows it; None if nothing finished with every seed."""
    t = Trained(view.table, task_id)
    return trained_page.shown(t) if len(t.scores) else None


def _told(key: str, facts: Any) -> bool:
    return not (facts[key] is None or facts[key] == "" or (key == "n_classes" and facts[key] == 0))


def _fact(value: Any) -> str:
    return wording.num(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


# ---------------------------------------------------------------- README
def readme(view: View) -> str:
    """The board as one Markdown page."""
    return render(
        "README.md.j2",
        v=view,
        rows={view.start: view.rows(view.start)},
        finding={"text": finding(view)},
        standing=view.standing(view.start),
        protocol=protocol(view),
    )


def picture(view: View) -> str:
    """The regret curves of the headline start as one self-contained SVG."""
    drawn = {
        HEADINGS[kind][0].rstrip("."): (
            view.curves(view.start, kind),
            view.scores.floor["test_regret"] if kind == "test" else None,
            view.axis,
        )
        for kind in kinds(view)
    }
    if view.board.by_epochs:
        shown = [s for s in view.clock(view.start, "valid") if s.css != "other"]
        drawn["Valid regret over seconds"] = shown, None, SECONDS
    title = f"{view.title}: regret over {view.axis.over}, {len(view.task_ids)} held-out tasks"
    return str(plots.regret_figure(drawn, title=title, style=static("picture.css"))) + "\n"
