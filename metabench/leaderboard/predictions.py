"""Publishes a board of the prediction track: its README and data files. Building twice gives the same bytes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from metabench import schema
from metabench.errors import MetabenchError
from metabench.leaderboard import pages
from metabench.leaderboard.build import published, records, same, to_csv, to_json, to_parquet
from metabench.scores.prediction import PRIOR

if TYPE_CHECKING:
    from metabench.leaderboard.board import Board
    from metabench.scores.prediction import PredictionScores
    from metabench.table import Table

#: what is kept of every prediction, beside what is published
PREDICTIONS = "predictions.parquet"


def contents(board: Board, scores: PredictionScores, table: Table, command: str) -> dict[str, bytes]:
    """File name → contents of everything that is published but the predictions themselves."""
    frames = {"summary": published(scores.summary), "tasks": published(scores.tasks)}
    about = {
        "schema_version": schema.SCHEMA_VERSION,
        "board": {
            "name": board.name, "version": board.version, "dataset": board.dataset, "digest": board.digest,
            "dataset_version": board.dataset_version, "workload": board.workload, "seeds": board.seeds,
            "observed": list(board.observed),
        },
        "command": command,
    }  # fmt: skip
    return {
        "README.md": readme(board, scores, table, command).encode(),
        "scores.csv": to_csv(frames["summary"]),
        "scores.json": to_json(about | {name: records(frame) for name, frame in frames.items()}),
        "scores.parquet": to_parquet(frames["summary"]),
    }


def readme(board: Board, scores: PredictionScores, table: Table, command: str) -> str:
    """The board as one Markdown page."""
    rows = {n: part.to_dict("records") for n, part in scores.summary.groupby("observed")}
    return pages.render(
        "predict.md.j2",
        board=board,
        rows=rows,
        finding=_finding(rows),
        n_tasks=len(board.tasks(table, "test")),
        n_valid=len(board.tasks(table, "valid")),
        prior=PRIOR,
        command=command,
    )


def _finding(rows: dict[int, list[dict[str, Any]]]) -> str:
    first = next(r for r in rows[min(rows)] if r["method"] != PRIOR)
    last = next(r for r in rows[max(rows)] if r["method"] != PRIOR)
    return (
        f"From task features alone {first['method']} orders unseen configurations with a rank correlation of "
        f"{first['spearman']:.2f}; after {max(rows)} trials the best predictions are those of {last['method']} "
        f"({last['spearman']:.2f}; CRPS {last['crps']:.2f}, a standard normal has "
        f"{next(r['crps'] for r in rows[max(rows)] if r['method'] == PRIOR):.2f})."
    )


def build(board: Board, scores: PredictionScores, table: Table, out: str | os.PathLike, command: str) -> list[Path]:
    """Write the published files into the folder ``out``; their paths. Raises MetabenchError when it cannot be written."""
    out, files = Path(out), contents(board, scores, table, command)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=out) as temporary:
            for name, data in files.items():
                (Path(temporary) / name).write_bytes(data)
            for name in files:
                os.replace(Path(temporary) / name, out / name)
    except OSError as error:
        raise MetabenchError(f"the leaderboard cannot be written to {out}: {error.strerror or error}") from None
    return [out / name for name in sorted(files)]


def check(board: Board, scores: PredictionScores, table: Table, out: str | os.PathLike, command: str) -> list[str]:
    """What is stale in the folder ``out``, one line each; nothing is written."""
    problems = []
    for name, data in contents(board, scores, table, command).items():
        path = Path(out) / name
        if not path.is_file():
            problems.append(f"{path} is absent")
        elif not same(name, path, data):
            problems.append(f"{path} is stale")
    return problems


def kept(predictions: pa.Table) -> pa.Table:
    """Predictions as they are published: means and deviations with the eleven bits of half precision."""
    half = pa.list_(pa.float16())
    out = predictions
    for name in ("mean", "std"):
        rounded = out[name].cast(half).cast(pa.list_(pa.float32()))
        out = out.set_column(out.schema.get_field_index(name), schema.PREDICTIONS.field(name), rounded)
    return out.replace_schema_metadata(schema.PREDICTIONS.metadata)
