"""Publishes a board of the prediction track: its README, data files and page. Building twice gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from metabench import schema
from metabench.plain import row_dicts
from metabench.publishing.boards import prediction_page
from metabench.publishing.pages.formats import published, records, to_csv, to_json, to_parquet
from metabench.publishing.pages.render import render
from metabench.publishing.pages.tree import check_tree, write_tree
from metabench.scores.prediction import PRIOR

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.publishing.boards.view import Home
    from metabench.scores.prediction import PredictionScores
    from metabench.table import Table

#: what is kept of every prediction, beside what is published
PREDICTIONS = "predictions.parquet"


def contents(
    board: Board, scores: PredictionScores, table: Table, command: str, home: Home | None = None
) -> dict[str, bytes]:
    """Path below the board's folder → contents of everything that is published but the predictions themselves."""
    frames = {"summary": published(scores.summary), "tasks": published(scores.tasks)}
    about = {
        "schema_version": schema.SCHEMA_VERSION,
        "board": {
            "name": board.name,
            "version": board.version,
            "dataset": board.dataset,
            "digest": board.digest,
            "dataset_version": board.dataset_version,
            "workload": board.workload,
            "seeds": board.seeds,
            "observed": list(board.observed),
        },
        "command": command,
    }
    view = prediction_page.PredictionView(board, scores, table, command, home)
    figures = about | {"finding": finding(scores)} | {name: records(frame) for name, frame in frames.items()}
    files = {f"site/data/{name}.csv": to_csv(frame) for name, frame in frames.items()}
    files["scores.json"] = to_json(figures)
    sizes = {path.rpartition("/")[2]: len(data) for path, data in files.items()}
    files |= {f"site/{path}": text.encode() for path, text in prediction_page.site(view, finding(scores), sizes)}
    return files | {
        "README.md": readme(board, scores, table, command).encode(),
        "scores.csv": to_csv(frames["summary"]),
        "scores.parquet": to_parquet(frames["summary"]),
    }


def readme(board: Board, scores: PredictionScores, table: Table, command: str) -> str:
    """The board as one Markdown page."""
    return render(
        "predict.md.j2",
        board=board,
        rows=_rows(scores),
        finding=finding(scores),
        protocol=prediction_page.protocol(board, table),
        command=command,
    )


def _rows(scores: PredictionScores) -> dict[int, list[dict[str, Any]]]:
    return {cast(int, n): row_dicts(part) for n, part in scores.summary.groupby("observed")}


def finding(scores: PredictionScores) -> str:
    """The board's result in two or three sentences, with the number of surrogates that the data do not tell apart."""
    rows = _rows(scores)
    first = next(r for r in rows[min(rows)] if r["method"] != PRIOR)
    last = next(r for r in rows[max(rows)] if r["method"] != PRIOR)
    prior = next(r["crps"] for r in rows[max(rows)] if r["method"] == PRIOR)
    others = [r for r in rows[max(rows)] if r["method"] not in (PRIOR, last["method"])]
    overlap = sum(not r["crps_low"] > last["crps_high"] for r in others)
    return (
        f"From task features alone, {first['method']} predicts the order of unseen configurations with a rank correlation of "
        f"{first['spearman']:.2f}. After {max(rows)} trials the lowest CRPS is {last['crps']:.2f} ({last['method']}); a standard "
        f"normal has {prior:.2f}. The intervals of {overlap} of {len(others)} other surrogates overlap with the lowest."
    )


def build(
    board: Board, scores: PredictionScores, table: Table, out: str | os.PathLike, command: str, home: Home | None = None
) -> list[Path]:
    """Write the published files into the folder ``out``; their paths. Raises MetabenchError when it cannot be written."""
    return write_tree(out, contents(board, scores, table, command, home), "the leaderboard")


def check(
    board: Board, scores: PredictionScores, table: Table, out: str | os.PathLike, command: str, home: Home | None = None
) -> list[str]:
    """What is stale in the folder ``out``, one line each; nothing is written."""
    return check_tree(out, contents(board, scores, table, command, home), whole="site")


def kept(predictions: pa.Table) -> pa.Table:
    """Predictions as they are published: means and deviations with the eleven bits of half precision."""
    half = pa.list_(pa.float16())
    out = predictions
    for name in ("mean", "std"):
        rounded = out[name].cast(half).cast(pa.list_(pa.float32()))
        out = out.set_column(out.schema.get_field_index(name), schema.PREDICTIONS.field(name), rounded)
    return out.replace_schema_metadata(schema.PREDICTIONS.metadata)
