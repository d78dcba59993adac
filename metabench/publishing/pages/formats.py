"""Figures as published files: rounded, and the same bytes on every processor."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metabench import schema
from metabench.plain import row_dicts


def compact(value: float) -> float | None:
    """A score as it is published: six significant digits; None where there is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def published(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its floats rounded to six significant digits, so that processors agree on every byte."""
    out = frame.reset_index(drop=True).copy()
    for name in out:
        if pd.api.types.is_float_dtype(out[name]):
            out[name] = [math.nan if (x := compact(v)) is None else x for v in out[name]]
    return out


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values; None for what is no number."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in row_dicts(frame)
    ]


def to_json(value: dict[str, Any]) -> bytes:
    """A JSON object with a key a line, and a line for each record of a list: small, and changes show as lines."""

    def text(part: Any) -> str:
        if isinstance(part, list) and part and isinstance(part[0], dict):
            return "[\n  " + ",\n  ".join(map(text, part)) + "\n ]"
        return json.dumps(part, ensure_ascii=False, allow_nan=False)

    keys = (f" {text(key)}: {text(part)}" for key, part in value.items())
    return ("{\n" + ",\n".join(keys) + "\n}\n").encode()


def to_csv(frame: pd.DataFrame) -> bytes:
    """CSV (RFC 4180 with bare line feeds); lists are joined by blanks, what is no number is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in records(frame):
        writer.writerow(" ".join(map(str, v)) if isinstance(v, list) else v for v in row.values())
    return text.getvalue().encode()


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A frame as one file that says its schema version."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return parquet(table.replace_schema_metadata({b"metabench.schema_version": schema.SCHEMA_VERSION.encode()}))


def parquet(table: pa.Table) -> bytes:
    """A table as one file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
