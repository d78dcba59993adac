"""Which data sets share rows: by hashes of their rows and of their columns, not by their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from metabench.sources.base import Dataset

#: significant digits that are compared; files of one study are often rounded differently
DIGITS = 6
#: rows with fewer distinct values say little: they may be equal by chance
DISTINCT = 5
#: columns with fewer distinct values are not compared
COLUMN_VALUES = 100


@dataclass(frozen=True)
class Overlap:
    """Two data sets with rows in common."""

    first: str
    second: str
    #: share of the smaller set's comparable rows whose hash the other one has too
    rows: float
    #: columns of which both have the same values, in any order
    columns: int


def overlaps(datasets: Iterable[Dataset], least: float = 0.05) -> list[Overlap]:
    """Find pairs of tables that share at least ``least`` of the smaller one's rows, or a whole column.

    A row is hashed by its numbers, rounded to DIGITS significant digits and sorted, so that neither the order nor the
    names of the columns matter. Rows of fewer than DISTINCT different numbers are not compared.

    Args:
        datasets: data sets; those that are no tables are skipped. Each is read once and let go.
        least: share of rows from which on a pair is reported.

    Returns:
        Overlaps, the largest share of rows first.
    """
    rows, columns = {}, {}
    for dataset in datasets:
        if isinstance(dataset.X, pd.DataFrame):
            rows[dataset.name], columns[dataset.name] = _hashes(dataset)
    found = []
    for a, b in combinations(sorted(rows), 2):
        small = min(len(rows[a]), len(rows[b]))
        share = len(np.intersect1d(rows[a], rows[b], assume_unique=True)) / small if small else 0.0
        same = len(columns[a] & columns[b])
        if share >= least or same:
            found.append(Overlap(a, b, share, same))
    return sorted(found, key=lambda pair: (-pair.rows, -pair.columns))


def _hashes(dataset: Dataset) -> tuple[np.ndarray, set[int]]:
    """Distinct hashes of the rows, and hashes of the columns."""
    frame = dataset.X.select_dtypes("number")
    values = _rounded(frame.to_numpy(dtype=np.float64, na_value=np.nan))
    columns = {
        hash(np.sort(column[np.isfinite(column)]).tobytes())
        for column in values.T
        if len(np.unique(column[np.isfinite(column)])) >= COLUMN_VALUES
    }
    values = np.sort(values, axis=1)  # missing values come last
    distinct = 1 + (np.diff(values, axis=1) > 0).sum(axis=1) if values.shape[1] else np.zeros(len(values))
    kept = np.ascontiguousarray(values[distinct >= DISTINCT])
    hashes = [hash(row[~np.isnan(row)].tobytes()) for row in kept]
    return np.unique(np.array(hashes, dtype=np.int64)), columns


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values rounded to DIGITS significant digits; −0 becomes 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.where((values == 0) | ~np.isfinite(values), values, np.round(values * scale) / scale)
    return rounded + 0.0


__all__ = ["Overlap", "overlaps"]
