"""Plain CSV: a row per run with its hyperparameters and where its curves end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from metabench.interop.formats.base import Format
from metabench.training.curves import SERIES


class Csv(Format):
    """Writes ``tasks.csv`` and a ``<workload>.csv`` for each workload: ``task_id, config_id, seed, status, epochs``, the
    five series at the last checkpoint, ``params, flops, seconds``, then a column per hyperparameter (``hp_*``, empty
    where inactive). Curves stay behind; Parquet holds them.
    """

    name = "csv"

    def write(self, table, folder: Path, *, workload: str = "", board=None, **options: Any) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "tasks.csv"]
        table.tasks.drop(columns="split_hashes").to_csv(written[0], index=False, lineterminator="\n")
        for name in [workload] if workload else table.workloads:
            runs = table.runs(name)
            columns = {c: _plain(runs[c]) for c in ("task_id", "config_id", "seed", "status")}
            columns |= {c: _last(runs[c]) for c in ("epochs", *SERIES)}
            columns |= {c: runs[c] for c in ("params", "flops", "seconds")}
            configs = pa.Table.from_pandas(table.configs(name), preserve_index=False).take(runs["config_id"])
            columns |= {f"hp_{c}": configs[c] for c in configs.column_names}
            written.append(folder / f"{name}.csv")
            pyarrow.csv.write_csv(pa.table(columns), written[-1])
        return written


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _last(column: pa.ChunkedArray) -> pa.Array:
    """The last value of every list; null where it is empty."""
    lists = column.combine_chunks()
    length = pc.list_value_length(lists)
    ends = pc.subtract(pc.cumulative_sum(length.cast(pa.int64())), 1)
    at = pc.if_else(pc.greater(length, 0), ends, pa.scalar(None, pa.int64()))
    return lists.flatten().take(at)
