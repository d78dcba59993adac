"""The pages over all boards: templates filled with what the collection says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
from markupsafe import Markup

from metabench import registry
from metabench.publishing.boards import landscape, trained_page
from metabench.publishing.boards.trained import Across
from metabench.publishing.boards.view import page_name
from metabench.publishing.charts import strips
from metabench.publishing.charts.strips import bar
from metabench.publishing.pages import references, wording
from metabench.publishing.pages.render import ASSETS, render, static
from metabench.publishing.site import front as start
from metabench.publishing.site.collect import REPORTS, Collection, Line, PublishedBoard
from metabench.table.card import pages as cards
from metabench.table.card import pictures
from metabench.table.card.facts import Facts
from metabench.table.describe import NOISE_BAR, Description

#: a picture of a task for pages of elsewhere, the repository's README first
EXAMPLE = "task.svg"
#: facts of a task that its page shows, by column of tasks.parquet
SHOWN = {
    "n_rows": "Rows",
    "n_train": "Trained on",
    "n_valid": "Validated on",
    "n_test": "Tested on",
    "n_features": "Inputs",
    "n_classes": "Classes",
    "chance": "Chance",
}


def site(c: Collection) -> Iterator[tuple[str, str]]:
    """(path below the site's folder, contents) of every page, picture, style sheet and script."""
    yield from ((name, static(name)) for name in ASSETS)
    yield "index.html", front(c)
    yield "methods/index.html", methods(c)
    for name in c.methods:
        yield method_page(name), method(c, name)
    yield "workloads/index.html", workloads(c)
    for name in c.workloads:
        yield f"workloads/{page_name(name, 'workload')}.html", workload(c, name)
    for task_id, page in c.task_pages.items():
        yield page, task(c, task_id)
    if (shown := example(c)) is not None:
        yield EXAMPLE, str(landscape.figure(c.trained[shown], static("picture.css"))) + "\n"
    yield "tables/index.html", tables(c)
    for facts in c.facts:
        yield table_page(facts), table(c, facts)
        for d in facts.workloads:
            for kind, draw in (("similarity", pictures.similarity), ("difficulty", pictures.difficulty)):
                yield picture(facts, d, kind), draw(d)


def example(c: Collection) -> str | None:
    """The task of the picture for elsewhere: of the first board's held-out ones that which has the most rows."""
    held = [t for t in c.published[0].by_task.index if t in c.trained] if c.published else []
    return min(held, key=lambda t: (-int(c.places[t].row(t)["n_train"]), t), default=None)


def method_page(name: str) -> str:
    return f"methods/{page_name(name, 'method')}.html"


def table_page(facts: Facts) -> str:
    return f"tables/{page_name(facts.table.name, 'table')}.html"


def picture(facts: Facts, d: Description, kind: str) -> str:
    return f"tables/{page_name(facts.table.name, 'table')}-{kind}-{page_name(d.workload, 'workload')}.svg"


def _page(template: str, here: str, below: bool, **context: Any) -> str:
    root = "../" if below else ""
    return render(template, package="metabench.publishing.site", root=root, home=root, here=here, **context)


# ---------------------------------------------------------------- front page
def front(c: Collection) -> str:
    """Two ways in, a chart, findings, advice, and every board."""
    flagship = c.published[0] if c.published else None
    return _page(
        "front.html.j2",
        "",
        False,
        boards=[(b, forest(b, b.highlighted) if b.results else []) for b in c.boards],
        flagship=flagship,
        curves=None if flagship is None else start.chart(flagship),
        findings=start.findings(c),
        advice=[(s, advised(c, m), command) for s, m, command in start.ADVICE],
        runs=sum(c.runs.values()),
        n_tasks=len(c.places),
        n_datasets=len(_datasets(c)),
        c=c,
        workloads=[workload_line(c, name) for name in c.workloads],
        tables=[(f, table_page(f)) for f in c.facts],
        reports=reports(c.root / REPORTS),
    )


def advised(c: Collection, words: str) -> Markup:
    """Advice with its methods in backquotes linked to their pages, where they have one."""

    def named(found: re.Match[str]) -> str:
        name = found[1]
        return f'<a href="{method_page(name)}">{name}</a>' if name in c.methods else name

    return Markup(re.sub(r"`(\w+)`", named, words))


def _datasets(c: Collection) -> set[str]:
    return {str(place.row(task_id)["dataset"]) for task_id, place in c.places.items()}


def forest(b: PublishedBoard, lines: list[Line]) -> list[dict[str, Any]]:
    """Methods with a strip of their score and its interval on one scale."""
    most = max(line.band[1] for line in lines) or 1.0
    return [
        {
            "line": line,
            "strip": strips.interval(max(line.value, 0.0), max(line.band[0], 0.0), line.band[1], most, line.css),
        }
        for line in lines
    ]


class _Head(HTMLParser):
    """The title and description of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.title, self.description, self._inside = "", "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self._inside = tag == "title" and not self.title
        if tag == "meta" and found.get("name") == "description":
            self.description = found.get("content") or ""

    def handle_data(self, data):
        if self._inside:
            self.title += data

    def handle_endtag(self, tag):
        self._inside = False


def reports(folder: Path) -> list[tuple[str, str, str]]:
    """(page, title, description) of the reports that lie in a folder, by name; an ``index.html`` is no report."""
    out = []
    for path in sorted(folder.glob("*.html")):
        if path.name != "index.html":
            head = _Head(path.read_text(encoding="utf-8"))
            out.append((f"../{folder.name}/{path.name}", head.title.split(" · ")[0].strip(), head.description))
    return out


# ---------------------------------------------------------------- methods
def methods(c: Collection) -> str:
    """Every method with its score on every board."""
    rows = []
    for name, card in c.methods.items():
        found = {b.board.name: line for b in c.published for line in b.lines if line.method == name}
        rows.append({"card": card, "page": method_page(name).removeprefix("methods/"), "at": found})
    first = c.published[0].board.name
    rows.sort(key=lambda r: (first not in r["at"], r["at"][first].place if first in r["at"] else 0, r["card"].name))
    return _page("methods.html.j2", "methods", True, c=c, rows=rows, kinds=sorted({r["card"].kind for r in rows}))


def method(c: Collection, name: str) -> str:
    """What a method is, its score on every board, where it wins and loses, how to use it."""
    card = c.methods[name]
    boards = []
    for b in c.standing(name):
        line = next(found for found in b.lines if found.method == name)
        drawn = {s["line"].method: s["strip"] for s in forest(b, b.lines)}
        page = b.below(f"methods/{page_name(name, 'method')}.html") if b.has_pages else None
        boards.append({"b": b, "line": line, "strip": drawn[name], "page": page, "n": len(b.lines)} | _edges(b, name))
    return _page(
        "method_everywhere.html.j2",
        "methods",
        True,
        c=c,
        card=card,
        name=name,
        boards=boards,
        usage=usage(c, name),
        twin=card.twin if card.twin in c.methods else None,
        page=lambda m: method_page(m).removeprefix("methods/"),
    )


def usage(c: Collection, name: str) -> str:
    """How to score a method again: three lines of Python, a command where it stands on boards of predictions alone."""
    boards = c.standing(name)
    b = next((b for b in boards if not b.predicts), boards[0])
    if b.predicts:
        return f"metabench evaluate --board {b.board.name} --method {name}"
    return "\n".join(
        (
            "import metabench as mb",
            f'board = mb.load_board("{b.board.name}")',
            f'print(mb.score(mb.evaluate("{name}", board)))',
        )
    )


def _edges(b: PublishedBoard, name: str, n: int = 3) -> dict[str, list[tuple[str, float]]]:
    """The tasks on which a method is furthest ahead of the median method, and furthest behind."""
    if name not in b.by_task:
        return {"wins": [], "losses": []}
    gap = (b.by_task[name] - b.by_task.median(axis=1)).dropna().round(9)
    ranked = sorted(cast("Iterable[tuple[str, float]]", gap.items()), key=lambda item: (item[1], item[0]))
    return {
        "wins": [(t, g) for t, g in ranked[:n] if g < 0],
        "losses": [(t, g) for t, g in reversed(ranked[-n:]) if g > 0],
    }


# ---------------------------------------------------------------- workloads and tasks
def workload_line(c: Collection, name: str) -> dict[str, Any]:
    """A workload as lists show it."""
    about = _about(name)
    return {
        "name": name,
        "page": f"workloads/{page_name(name, 'workload')}.html",
        "summary": about[0] if about else "",
        "tasks": c.workloads[name],
        "runs": c.runs.get(name, 0),
    }


def _about(name: str) -> list[str]:
    """The paragraphs of a workload's module and class; none for a workload of elsewhere."""
    from metabench.publishing.boards.cards import paragraphs

    return paragraphs(registry.load("workloads", name)) if name in registry.names("workloads") else []


def workloads(c: Collection) -> str:
    """All workloads, and all tasks with what training gave."""
    rows = [task_line(c, task_id) for task_id in c.task_pages]
    return _page(
        "workloads.html.j2", "workloads", True, c=c, workloads=[workload_line(c, w) for w in c.workloads], rows=rows
    )


def task_line(c: Collection, task_id: str) -> dict[str, Any]:
    """A task as tables show it."""
    place, t = c.places[task_id], c.trained[task_id]
    row, found = place.row(task_id), cast(Any, place.description.tasks.set_index("task_id").loc[task_id])
    best, median = t.native(float(t.mean.max())), t.native(float(np.median(t.mean)))
    return {
        "id": task_id,
        "page": f"{page_name(task_id, 'task')}.html",
        "row": row,
        "t": t,
        "best": best,
        "median": median,
        "strip": strips.scores(t),
        "noise": float(found["noise"]),
        "trials": float(found["trials"]),
        "noisy": bool(found["noisy"]),
    }


def workload(c: Collection, name: str) -> str:
    """What a workload is, its space, its tasks and their scores, references, and what matters."""
    ids = c.workloads[name]
    known = name in registry.names("workloads")
    space = registry.load("workloads", name).space if known else c.places[ids[0]].table.space(name)
    place = c.places[ids[0]] if ids else None
    # tasks of one table share their configurations
    together = Across([t for i in ids if (t := c.trained[i]).table is place.table]) if place is not None else None
    explained = together.explained if together else {}
    return _page(
        "workload.html.j2",
        "workloads",
        True,
        c=c,
        name=name,
        about=_about(name),
        space=space,
        default=space.default(),
        ids=ids,
        rows=[task_line(c, t) for t in ids],
        explained=explained,
        most=max(explained.values(), default=0.0),
        landscape=landscape.landscape(together, "landscape") if together else None,
        reference=references.read(c.root.parent / "docs/workloads.json", name),
        d=place.description if place else None,
        scale=cards.scale,
        values=cards.values,
        bar=NOISE_BAR,
        bars=bar,
        boards=[b for b in c.published if set(b.by_task.index) & set(ids)],
        tables=[f for f in c.facts if name in f.table.workloads],
        table_page=table_page,
    )


def task(c: Collection, task_id: str) -> str:
    """Learning curves, landscape and hyperparameters of a task, its neighbours, and who searched it best."""
    t, place = c.trained[task_id], c.places[task_id]
    row = place.row(task_id)
    boards = []
    for b in c.published:
        if task_id in b.by_task.index:
            values: Any = b.by_task.loc[task_id].dropna()
            best = min(values.index, key=lambda m: (values[m], m))
            page = b.below(f"tasks/{page_name(task_id, 'task')}.html") if b.has_pages else None
            boards.append(
                {
                    "b": b,
                    "page": page,
                    "best": best,
                    "value": float(values[best]),
                    "median": float(values.median()),
                    "ties": int((values == values[best]).sum()) - 1,
                }
            )
    return _page(
        "task_everywhere.html.j2",
        "workloads",
        True,
        c=c,
        id=task_id,
        row=row,
        boards=boards,
        line=task_line(c, task_id),
        page=method_page,
        neighbours=c.neighbours(task_id),
        table_page=_page_of(c, place.table),
        shown=[(label, fact(row[k])) for k, label in SHOWN.items() if k in row and _told(k, row[k])],
        **trained_page.shown(t),
    )


def _page_of(c: Collection, table) -> str:
    return next(table_page(f) for f in c.facts if f.table is table)


def _told(key: str, value: Any) -> bool:
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return not missing and not (key == "n_classes" and value == 0)


def fact(value: Any) -> str:
    return wording.num(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


# ---------------------------------------------------------------- tables
def tables(c: Collection) -> str:
    return _page(
        "tables.html.j2", "tables", True, c=c, rows=[(f, table_page(f).removeprefix("tables/")) for f in c.facts]
    )


def table(c: Collection, facts: Facts) -> str:
    """What a table holds, what it cost, how noisy and how alike its tasks are, and how to load it."""
    pages = {t: page for t, page in c.task_pages.items() if t in set(facts.tasks["task_id"])}
    return _page(
        "table.html.j2",
        "tables",
        True,
        c=c,
        f=facts,
        snippet="\n".join(cards.snippets(facts)),
        pages=pages,
        pictures={
            (d.workload, kind): picture(facts, d, kind).removeprefix("tables/")
            for d in facts.workloads
            for kind in ("similarity", "difficulty")
        },
        boards=[b for b in c.boards if b.board.dataset == facts.table.name],
    )
