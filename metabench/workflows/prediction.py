"""Surrogates on boards of the prediction track: their predictions, kept and scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench.boards.board import load_board
from metabench.errors import MetabenchError
from metabench.evaluation import resolve
from metabench.files import replacing, sweep
from metabench.workflows.evaluation import methods

if TYPE_CHECKING:
    from metabench.scores.prediction import PredictionScores


@dataclass(frozen=True)
class Predicted:
    """What predictions gave: their scores, and the file that keeps them."""

    scores: PredictionScores
    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """Methods by number of observed trials, best first."""
        columns = ["method", "observed", "spearman", "rmse", "crps", "coverage"]
        rows = self.scores.summary[columns].round(4).to_dict("records")
        times = (1000 * self.scores.summary["overhead_s"]).round(1).tolist()
        return [{**cast("dict[str, Any]", row), "overhead_ms": ms} for row, ms in zip(rows, times, strict=True)]


def predict_board(
    name: str, chosen: Sequence[str] = (), *, executor: str = "local", workers: int = 1, out: Path | None = None
) -> Predicted:
    """Let surrogates predict on a board of the prediction track, and keep their predictions in the folder ``out``.

    All built-in ones by default, into the board's own folder; chosen ones go into ``build/evaluate/<board>-full`` and are
    scored beside those that are published. Raises MetabenchError when ``out`` cannot be written.
    """
    from metabench.evaluation.predict import predict, predicts, read_predictions
    from metabench.publishing.boards.predictions import PREDICTIONS, kept
    from metabench.scores.prediction import score_predictions
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    able, _ = methods()
    asked = list(chosen) or [m.name for m in resolve(able) if predicts(m.searcher)]
    found = kept(predict(asked, board, table, store=cache_dir() / "predictions", executor=executor, workers=workers))
    stored = board.folder / PREDICTIONS
    if chosen and stored.exists():
        others = read_predictions(stored)
        mine = pa.array(pc.unique(found["method"]).to_pylist())
        found = pa.concat_tables([found, others.filter(pc.invert(pc.is_in(others["method"], mine)))])
    path = (out or (Path("build/evaluate") / f"{board.name}-full" if chosen else board.folder)) / PREDICTIONS
    write_predictions(found, path)
    return Predicted(score_predictions(found, table, board), path)


def write_predictions(predictions: pa.Table, path: Path) -> None:
    """Write a file of predictions whole or not at all. Raises MetabenchError when it cannot be written."""
    try:
        sweep(path.parent)
        # bytes of like weight side by side take three quarters of the room
        split = [f"{name}.list.element" for name in ("mean", "std")]
        names = ["method", "task_id", "cell"]
        with replacing(path) as part:
            columns: dict[str, Any] = {"use_dictionary": names, "use_byte_stream_split": split}
            pq.write_table(predictions, part, compression="zstd", **columns)
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
