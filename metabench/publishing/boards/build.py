"""Publishes a board: scores and traces → README, data files and a static site. Building twice gives the same bytes.

Only what :data:`PUBLISHED` names is written below the folder; rules and submissions that stand there are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from metabench import schema
from metabench.evaluation.store import EPOCHS, completed
from metabench.publishing.boards import board_pages
from metabench.publishing.boards.view import Home, View
from metabench.publishing.pages.formats import compact, parquet, published, records, to_csv, to_json, to_parquet
from metabench.publishing.pages.tree import check_tree, write_tree

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.boards.submissions import Submission
    from metabench.scores import Scores
    from metabench.table import Table

#: what a build owns in the board's folder
PUBLISHED = ("README.md", "regret.svg", "scores.csv", "scores.json", "scores.parquet", "site", "traces.parquet")


def build(
    board: Board,
    traces: pa.Table,
    scores: Scores,
    table: Table,
    out: str | os.PathLike,
    command: str,
    submissions: Iterable[Submission] = (),
    home: Home | None = None,
) -> list[Path]:
    """Write the leaderboard into the folder ``out`` and return the paths of all files, sorted.

    ``board`` is narrowed to the profile that the traces were made with; ``command`` is the shell command that made
    them, shown to the reader; ``submissions`` are those whose traces are among them; ``home`` says where the
    pages over all boards are, if it stands among others. Everything is written to a
    temporary folder first and then changes places with the old entries, one by one, so that a site is there at any
    moment and no page is half-written; what a killed build left is removed.

    Raises UsageError when a method or a task has a name that is unsafe as a file's, MetabenchError when ``out`` cannot
    be written.
    """
    out = Path(out)
    files = contents(View(board, traces, scores, table, command, submissions, home))
    return write_tree(out, files, "the leaderboard")


def check(
    board: Board,
    traces: pa.Table,
    scores: Scores,
    table: Table,
    out: str | os.PathLike,
    command: str,
    submissions: Iterable[Submission] = (),
    home: Home | None = None,
) -> list[str]:
    """What is stale in the folder ``out``: one line for each published file that is absent, differs or is left over.

    Parquet files are compared by content, since their bytes depend on the version of the writing library. Nothing is
    written. Raises what :func:`build` raises.
    """
    out = Path(out)
    files = contents(View(board, traces, scores, table, command, submissions, home))
    return check_tree(out, files, whole="site")


def contents(view: View) -> dict[str, bytes]:
    """Path below the board's folder → contents, of everything that is published."""
    frames = {name: published(getattr(view.scores, name)) for name in board_pages.downloads(view)}
    about = about_board(view)
    files = {
        "README.md": board_pages.readme(view).encode(),
        "regret.svg": board_pages.picture(view).encode(),
        "scores.csv": to_csv(frames["summary"]),
        "scores.json": to_json(
            about
            | {"finding": board_pages.finding(view)}
            | {name: records(frame) for name, frame in frames.items() if name not in ("curves", "seconds")}
        ),
        "scores.parquet": to_parquet(frames["summary"]),
    }
    # what was submitted stays in its own folder, so that it goes with it
    own = view.traces.filter(pc.invert(pc.is_in(view.traces["method"], pa.array(list(view.submissions), pa.string()))))
    if own.num_rows or not view.submissions:
        files["traces.parquet"] = traces_parquet(own)
    for name, frame in frames.items():
        # pairs are many: of those at other marks scores.json has the figures
        files[f"site/data/{name}.csv"] = to_csv(frame[frame["mark"] == view.mark] if name == "pairs" else frame)
    # the bytes of Parquet depend on the version of the writing library, so no page says them
    sizes = {path.rpartition("/")[2]: len(text) for path, text in files.items() if path.endswith((".csv", ".json"))}
    files |= {f"site/{path}": text.encode() for path, text in board_pages.site(view, sizes)}
    return dict(sorted(files.items()))


def about_board(view: View) -> dict[str, Any]:
    """What every JSON file says of where its figures come from."""
    b = view.board
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "board": {
            "name": b.name,
            "version": b.version,
            "profile": b.narrowed,
            "dataset": b.dataset,
            "dataset_version": b.dataset_version,
            "digest": b.digest,
            "workload": b.workload,
            "objective": b.objective,
            "budget": b.budget,
            "seeds": b.seeds,
            "marks": list(b.marks),
            "starts": view.starts,
            **({"shift": asdict(b.shift)} if b.shift else {}),
        },
        "ranked_by": {"start": view.start, "mark": view.mark, "column": "valid_regret"},
        "floor": {k: compact(x) for k, x in view.scores.floor.items()},
        "command": view.command,
    }


def traces_parquet(traces: pa.Table) -> bytes:
    """Traces as they came; what reading them from a file adds to the schema is dropped, and so is an empty column."""
    if "configs" in traces.schema.names:
        plain = traces.cast(schema.LIVE).replace_schema_metadata(traces.schema.metadata)
    else:
        plain = completed(traces).cast(schema.TRACES).replace_schema_metadata(traces.schema.metadata)
        if plain[EPOCHS].null_count == len(plain):
            plain = plain.drop_columns(EPOCHS)
    return parquet(plain.unify_dictionaries().combine_chunks())
