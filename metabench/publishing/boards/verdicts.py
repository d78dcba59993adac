"""Publishes a board of protocol 3: its README, data files, figure and page. Building twice gives the same bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metabench import schema
from metabench.publishing.boards.cards import card
from metabench.publishing.boards.view import HIGHLIGHTED, check_names
from metabench.publishing.charts import plots
from metabench.publishing.charts.plots import TRIALS, Series
from metabench.publishing.pages.formats import published, records, to_csv, to_json, to_parquet
from metabench.publishing.pages.render import ASSETS, render, static
from metabench.publishing.pages.tree import check_tree, write_tree
from metabench.scores.frames import REFERENCE
from metabench.scores.verdict import BEST

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.boards.judge import Judged
    from metabench.publishing.boards.view import Home
    from metabench.table import Table

#: data files and what they hold
DOWNLOADS = {
    "summary": "Tiers, areas, rank intervals, P(first)",
    "curves": "Regret over trials",
    "controls": "Differences to the controls",
    "contrasts": "Contrasts named in advance",
    "pairs": "All pairs",
    "transfer": "Negative transfer",
    "gains": "Gain over the default configuration",
    "seen": "Regret as the searches saw it",
    "noisy": "Regret on noisy tasks",
    "tasks": "Areas on each task",
}


def summary(judged: Judged) -> pd.DataFrame:
    """A row for each method, best first; ``area`` is the one that ranks."""
    headline = f"area_{judged.verdict.headline}"
    names = {headline: "area", f"{headline}_low": "area_low", f"{headline}_high": "area_high"}
    return published(judged.methods.rename(columns=names))


def frames(judged: Judged) -> dict[str, pd.DataFrame]:
    """Every table that is published, rounded."""
    v = judged.verdict
    found = {"curves": v.curves, "controls": v.controls, "contrasts": v.contrasts, "pairs": v.pairs}
    found |= {"transfer": v.transfer, "gains": judged.gains, "seen": judged.seen, "noisy": judged.noisy}
    return {"summary": summary(judged)} | {n: published(f) for n, f in (found | {"tasks": judged.tasks}).items()}


def finding(judged: Judged) -> str:
    """The board's result in a few sentences."""
    rows = judged.methods
    first = rows.loc[rows["tier"] == 1, "method"].tolist()
    listed = first[0] if len(first) == 1 else f"{', '.join(first[:-1])} and {first[-1]}"
    text = f"The first tier holds {listed}. "
    apart = judged.controls[judged.controls["method"] == first[0]]
    text += "".join(
        f"{d['method']} less {d['control']}: {d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]. "
        for d in apart.to_dict("records")
    )
    return text + reliability(judged)


def reliability(judged: Judged) -> str:
    """How far the order can be trusted, in a few sentences."""
    power, said = judged.verdict.power, []
    if not math.isnan(power["split_half"]):
        said.append(
            f"Two halves of the families order the leading methods with a correlation of {power['split_half']:.2f}"
        )
    if not math.isnan(power["detectable"]):
        said.append(f"A difference of {power['detectable']:.3f} between them is found with a probability of 80 %")
    said.append(f"Of the {power['pairs']:.0f} pairs among the {BEST} best, {power['decided']:.0f} are decided")
    return ". ".join(said) + "."


def series(judged: Judged, first: Sequence[str] = ()) -> list[Series]:
    """Regret of every method at the board's marks; ``first`` and then the best are highlighted."""
    order = [*first, *(m for m in judged.methods["method"] if m not in first)]
    leaders = [m for m in order if m != REFERENCE][:HIGHLIGHTED]
    css = {m: f"c{i + 1}" for i, m in enumerate(leaders)} | {REFERENCE: "reference"}
    drawn = []
    for method in order:
        part = judged.verdict.curves[judged.verdict.curves["method"] == method]
        columns = ("trial", "regret", "low", "high")
        drawn.append(Series(method, css.get(method, "other"), *(part[c].tolist() for c in columns)))
    return drawn


def picture(judged: Judged, title: str, first: Sequence[str] = ()) -> str:
    """Regret over trials as one self-contained SVG."""
    tasks = judged.tasks["task_id"].nunique()
    drawn = {f"Regret on {tasks} held-out tasks": (series(judged, first), None, TRIALS)}
    return str(plots.regret_figure(drawn, title=title, style=static("picture.css"))) + "\n"


def contents(board: Board, judged: Judged, table: Table, command: str, home: Home | None = None) -> dict[str, bytes]:
    """Path below the board's folder → contents of everything that is published but the traces."""
    check_names(judged.methods["method"].tolist(), "method")
    data, design = frames(judged), board.design
    assert design is not None
    about: dict[str, Any] = {
        "schema_version": schema.SCHEMA_VERSION,
        "board": {
            "name": board.name,
            "version": board.version,
            "profile": board.narrowed,
            "protocol": board.protocol,
            "dataset": board.dataset,
            "dataset_version": board.dataset_version,
            "digest": board.digest,
            "workload": board.workload,
            "budget": board.budget,
            "seeds": board.seeds,
            "folds": design.number,
            "partitions": design.partitions,
            "tasks": judged.tasks["task_id"].nunique(),
            "families": judged.tasks["family"].nunique(),
        },
        "command": command,
        "ranked_by": {"start": "own", "mark": judged.verdict.headline},
        "saturated": judged.verdict.saturated,
        "power": {k: None if math.isnan(v) else float(f"{v:.6g}") for k, v in judged.verdict.power.items()},
        "finding": finding(judged),
    }
    told = ("summary", "controls", "contrasts", "transfer", "tasks")
    context = context_of(board, judged, table, command, home)
    files = {f"site/{name}": static(name).encode() for name in ASSETS}
    files |= {f"site/data/{name}.csv": to_csv(frame) for name, frame in data.items()}
    return files | {
        "README.md": render("verdict.md.j2", **context).encode(),
        "site/index.html": render("verdict.html.j2", **context).encode(),
        "regret.svg": picture(judged, f"{board.title or board.name}: regret over trials").encode(),
        "scores.csv": to_csv(data["summary"]),
        "scores.json": to_json(about | {name: records(data[name]) for name in told}),
        "scores.parquet": to_parquet(data["summary"]),
    }


class _View:
    """What the frame of a board's pages takes."""

    starts: tuple[str, ...] = ()

    def __init__(self, board: Board, home: Home | None):
        self.board, self.title = board, board.title or board.name
        self.docs, self.earlier = (False, ()) if home is None else (home.docs, home.earlier)


def context_of(board: Board, judged: Judged, table: Table, command: str, home: Home | None) -> dict[str, Any]:
    """What the templates take."""
    v = judged.verdict
    drawn = series(judged)
    ends = "; ".join(f"{s.method} {s.mean[-1]:.3f}" for s in drawn)
    panel = plots.regret_panel(
        drawn, uid="regret", title="Regret over trials", description=f"At the end: {ends}.", log=True, axis=TRIALS
    )
    marks = sorted(v.curves["trial"].unique().tolist())
    at = v.curves.set_index(["method", "trial"])["regret"]
    rows = []
    for row in summary(judged).to_dict("records"):
        c = card(row["method"])
        row |= {"card": c, "at": [at[row["method"], m] for m in marks]}
        rows.append(row)
    return {
        "v": _View(board, home),
        "board": board,
        "rows": rows,
        "marks": marks,
        "headline": v.headline,
        "saturated": v.saturated,
        "css": {s.method: s.css for s in drawn},
        "panel": panel,
        "controls": v.controls.to_dict("records"),
        "contrasts": v.contrasts.dropna().to_dict("records"),
        "unmeasured": v.contrasts[v.contrasts["difference"].isna()].to_dict("records"),
        "transfer": v.transfer.to_dict("records"),
        "noisy": judged.noisy["method"].nunique() > 0,
        "finding": finding(judged),
        "reliability": reliability(judged),
        "power": v.power,
        "n_tasks": judged.tasks["task_id"].nunique(),
        "n_families": judged.tasks["family"].nunique(),
        "n_configs": len(table.configs(board.workload)),
        "command": command,
        "downloads": list(DOWNLOADS.items()),
        "root": "",
        "home": None if home is None else home.way,
    }


def build(
    board: Board, judged: Judged, table: Table, out: str | os.PathLike, command: str, home: Home | None = None
) -> list[Path]:
    """Write the published files into the folder ``out``; their paths. Raises MetabenchError when it cannot be written."""
    return write_tree(out, contents(board, judged, table, command, home), "the leaderboard")


def check(
    board: Board, judged: Judged, table: Table, out: str | os.PathLike, command: str, home: Home | None = None
) -> list[str]:
    """What is stale in the folder ``out``, one line each; nothing is written."""
    return check_tree(out, contents(board, judged, table, command, home), whole="site")
