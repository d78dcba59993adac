"""The files of the page: HTML, script, styles, and the table's data beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, cast

from metabench.errors import UsageError
from metabench.plain import plain
from metabench.publishing.boards.view import check_names, page_name
from metabench.publishing.explorer import data
from metabench.publishing.pages.render import ASSETS, render, static
from metabench.publishing.pages.tree import write_files
from metabench.table import Table

#: columns of tasks.parquet that the page shows
SHOWN = (
    "family",
    "modality",
    "kind",
    "metric",
    "direction",
    "n_train",
    "n_valid",
    "n_features",
    "n_classes",
    "chance",
    "licence",
)


def build(
    table: Table,
    out: str | os.PathLike,
    tasks: str = "*",
    called: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write the page into the folder ``out``: ``index.html`` opens from a file, with no server and no network.

    ``tasks`` is a glob, or several separated by commas; ``called`` is how ``metabench rerun`` finds the table (its name).
    Building twice gives the same bytes; data of tasks that are not asked for any more stays.

    Raises UsageError when no task has that name or one cannot name a file, MetabenchError when ``out`` cannot be written.
    """
    chosen = select(table, tasks)
    return sorted(write_files(out, contents(table, chosen, called or table.name, say)))


def select(table: Table, pattern: str) -> list[str]:
    """The table's tasks that one of the patterns names and that have runs, in the table's order."""
    known = table.tasks["task_id"].tolist()
    patterns = [p.strip() for p in pattern.split(",") if p.strip()]
    for p in patterns:
        if not any(fnmatchcase(t, p) for t in known):
            raise UsageError(f"table {table.name} has no task {p!r}; `metabench explore {table.name}` shows all")
    found = [t for t in known if any(fnmatchcase(t, p) for p in patterns)]
    stored = {w: set(table.runs(w, ["task_id"])["task_id"].unique().to_pylist()) for w in table.workloads}
    with_runs = {t for names in stored.values() for t in names}
    if not (kept := [t for t in found if t in with_runs]):
        raise UsageError(f"table {table.name} has no runs of {pattern}")
    check_names(kept, "task")
    return kept


def contents(
    table: Table, chosen: Sequence[str], called: str, say: Callable[[str], None]
) -> Iterator[tuple[str, bytes]]:
    """(path below the folder, contents) of every file."""
    facts = table.tasks.set_index("task_id").loc[list(chosen)]
    workloads = [w for w in table.workloads if (facts["workload"] == w).any()]
    for workload in workloads:
        yield (
            f"data/configs-{page_name(workload, 'workload')}.js",
            data.script("metabench.configs", workload, data.configs(table, workload)),
        )
    for i, (task_id, workload) in enumerate(cast("Iterable[tuple[str, str]]", facts["workload"].items()), 1):
        say(f"{i} of {len(facts)}: {task_id}")
        held = data.task(table, workload, task_id)
        yield f"data/{page_name(task_id, 'task')}.js", data.script("metabench.task", task_id, held)
    shown = [c for c in SHOWN if c in facts]
    index = {
        "table": called,
        "title": table.name if table.version is None else f"{table.name} v{table.version}",
        "workloads": {w: f"data/configs-{page_name(w, 'workload')}.js" for w in workloads},
        "tasks": [
            {"id": t, "workload": row["workload"], "file": f"data/{page_name(t, 'task')}.js"}
            | {c: plain(row[c]) for c in shown}
            for t, row in cast("Iterable[tuple[str, Any]]", facts.iterrows())
        ],
    }
    yield "data/index.js", data.script("metabench.index", index)
    yield from ((name, static(name).encode()) for name in ASSETS)
    for name in ("explore.css", "explore.js"):
        yield name, resources.files("metabench.publishing.explorer").joinpath("static", name).read_bytes()
    yield (
        "index.html",
        render("explore.html.j2", package="metabench.publishing.explorer", index=index, root="", home=None).encode(),
    )
