"""Tables as people have them: what no network can use is left out, what is not as it looks is read as it is meant, and
every such thing is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench import registry
from metabench.advise.cells import NUMERIC, Format, plain_number, why_not_numbers
from metabench.advise.delimited import Layout
from metabench.advise.frames import plain, twice
from metabench.advise.notes import Notes, listed, short
from metabench.advise.targets import FEWEST, check_count, check_rows, target_of
from metabench.errors import UsageError
from metabench.sources.base import Dataset

#: rows of a longer table that are read on: an even random sample; networks train on at most 16,384 rows anyway
ROWS = 50_000


@dataclass(frozen=True)
class Read:
    """A data set, and what was done to it on the way, a line each."""

    dataset: Dataset
    notes: tuple[str, ...] = ()
    #: columns of moments in time, read as seconds
    moments: tuple[str, ...] = ()
    #: what the target is called
    target: str = "target"
    #: columns that were read, where a table holds something else: of a series to be forecast its channels, that one first; of
    #: texts theirs; of a series a row its moments
    columns: tuple[str, ...] = ()
    #: the column that its rows were put in the order of; "" where they stood in order
    order: str = ""
    #: of a file of text
    encoding: str = "utf-8"
    #: rows that there were
    rows: int = 0
    #: all columns beside the target, in the order in which they were given
    given: tuple[str, ...] = ()
    #: column → how its text was read as numbers
    formats: Mapping[str, Format] = field(default_factory=dict)
    #: of a file of delimited text: how it is laid out
    layout: Layout | None = None
    #: words that counted as missing wherever they stood
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table whose columns are plain (:mod:`metabench.advise.frames`)."""

    frame: pd.DataFrame
    rows: int
    formats: Mapping[str, Format]
    #: all columns, also those that could not be used
    columns: tuple[str, ...]
    #: the target as the text that it was, where its classes are text; else None
    labels: pd.Series | None = None


def plain_table(frame: pd.DataFrame, target, notes: Notes, rows: int | None = None) -> Table:
    """At most ROWS rows of a table, its columns plain and called by text.

    Raises UsageError when there are no rows, or the target is missing, stands twice or cannot be used.
    """
    rows = len(frame) if rows is None else rows
    if not len(frame):
        raise UsageError("there are no rows")
    if target is not None and twice(frame.columns, target):
        raise UsageError(f"two columns are called {str(target).strip()!r}; the target needs a name of its own")
    if len(frame) > ROWS:
        notes(f"{len(frame):,} rows: an even random sample of {ROWS:,} of them is read")
        frame, rows = sampled([frame])
    sheet = plain(frame, notes.reading)
    columns = tuple(dict.fromkeys([*sheet.frame.columns, *sheet.left_out]))
    if target is not None:
        known_column(target, list(columns))
        if why := sheet.left_out.get(str(target)):
            raise UsageError(f"target {str(target)!r} cannot be predicted: {why}")
    for line in sheet.said:
        notes(line)
    for why in dict.fromkeys(sheet.left_out.values()):
        notes(f"{listed([c for c, w in sheet.left_out.items() if w == why])}: {why}, left out")
    labels = None if target is None or notes.reading.text else sheet.texts.get(str(target).strip())
    return Table(sheet.frame, rows, sheet.formats, columns, labels)


def sampled(chunks: Iterable[pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """Of all rows of some tables ROWS, each as likely as any other, in their order; and how many there were.

    Rows with the least of evenly random keys are kept, so memory holds no more than ROWS and a chunk.
    """
    rng, kept, keys, rows = np.random.default_rng(0x5A3B1E), None, np.empty(0), 0
    for chunk in chunks:
        rows += len(chunk)
        fresh = rng.random(len(chunk))
        kept = chunk if kept is None else pd.concat([kept, chunk], ignore_index=True)
        keys = np.concatenate([keys, fresh])
        if len(keys) > ROWS:
            chosen = np.sort(np.argpartition(keys, ROWS)[:ROWS])
            kept, keys = kept.iloc[chosen].reset_index(drop=True), keys[chosen]
    return (pd.DataFrame() if kept is None else kept), rows


def chosen(n: int, notes: Notes, what: str = "rows") -> np.ndarray:
    """Positions of n rows that are read on: all, or an even random sample of ROWS of them, which is said."""
    if n <= ROWS:
        return np.arange(n)
    notes(f"{n:,} {what}: an even random sample of {ROWS:,} of them is read")
    return np.sort(np.random.default_rng(0x5A3B1E).permutation(n)[:ROWS])


def latest(chunks: Iterable[pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """The last ROWS rows of some tables, and how many there were."""
    kept, rows = pd.DataFrame(), 0
    for chunk in chunks:
        rows += len(chunk)
        kept = pd.concat([kept, chunk], ignore_index=True).iloc[-ROWS:] if len(kept) else chunk.iloc[-ROWS:]
    return kept.reset_index(drop=True), rows


def plain_column(values: pd.Series, notes: Notes, name: str = "target") -> tuple[pd.Series, pd.Series | None]:
    """A column alone as a plain one, and the text that it was (or None). Raises UsageError when it cannot be used."""
    sheet = plain(pd.DataFrame({name: values}), notes.reading)
    if why := sheet.left_out.get(name):
        raise UsageError(f"the targets cannot be predicted: {why}")
    for line in sheet.said:
        notes(line)
    return sheet.frame[name], sheet.texts.get(name)


def table(frame: pd.DataFrame, target, kind: str | None, notes: Notes, rows: int | None = None) -> Read:
    """A table with a target column; what no network can use is left out."""
    if target is None:
        raise UsageError(f"name the target column; there are {listed([str(c) for c in frame.columns])}")
    known = plain_table(frame, target, notes, rows)
    target = str(target).strip()
    y, kind, keep = target_of(known.frame[target], target, kind, notes, known.labels)
    check_rows(y, kind, notes)
    y = y.reset_index(drop=True)
    X, names, moments = _inputs(known.frame.loc[keep].drop(columns=target), y, notes)
    if not X.shape[1]:
        raise UsageError(f"no column says anything of {target!r}: {_why_none(notes)}")
    dataset = Dataset("mine", "mine", "user", "tabular", kind, X, y, names)
    given = tuple(c for c in known.columns if c != target)
    return Read(dataset, moments=moments, target=target, rows=known.rows, given=given, formats=known.formats)


def _why_none(notes: Notes) -> str:
    """Why no column is left, in the words of the notes: those on numbers that are too large, and on columns left out."""
    why = [line.removesuffix(", left out") for line in notes.said if " numbers are beyond " in line]
    why += [line.removesuffix(", left out") for line in notes.said if line.endswith(", left out")]
    return "; ".join(why[:3]) or "there is no other column"


def table_alone(frame: pd.DataFrame, target, kind: str, notes: Notes, rows: int | None = None) -> Read:
    """A table for a task of that kind without targets: ``target`` is a column to leave out, or None."""
    known = plain_table(frame, target, notes, rows)
    frame, target = known.frame, None if target is None else str(target).strip()
    if target is not None:
        notes(f"{target}: is not learned from, left out")
        frame = frame.drop(columns=target)
    X, names, moments = _inputs(frame, None, notes)
    if not X.shape[1]:
        raise UsageError("no column says anything: all are constant, missing or identify a row")
    check_count(len(X), notes)
    dataset = Dataset("mine", "mine", "user", "tabular", kind, X, None, names)
    given = tuple(c for c in known.columns if c != target)
    return Read(dataset, moments=moments, rows=known.rows, given=given, formats=known.formats)


def known_column(column, columns: list[str]) -> None:
    """Raises UsageError unless one of the columns is called like the text of ``column``."""
    if str(column).strip() not in columns:
        raise registry.suggest(str(column), columns, "target column")


def _inputs(
    X: pd.DataFrame, y: pd.Series | None, notes: Notes
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """The columns that a network can use, which of them are names, and which were moments in time."""
    X = X.reset_index(drop=True)
    moments = cast("tuple[str, ...]", tuple(c for c in X if pd.api.types.is_datetime64_any_dtype(X[c])))
    left_out: dict[str, list[str]] = {}
    kept = {}
    for column in X:
        values = seconds(X[column]) if column in moments else _as_input(X[column])
        if why := _useless(values, y):
            left_out.setdefault(why, []).append(str(column))
        else:
            kept[column] = values
    for why, names in left_out.items():
        notes(f"{listed(names)}: {why}, left out")
    X = pd.DataFrame(kept, index=X.index)
    named = cast("tuple[str, ...]", tuple(c for c in X if not pd.api.types.is_numeric_dtype(X[c])))
    for column in named:
        if (n := X[column].nunique()) > 32:
            notes(f"{column}: {n} different names, of which the 32 commonest count (others are one)")
    return X, named, tuple(c for c in moments if c in kept)


def _as_input(column: pd.Series) -> pd.Series:
    """A plain column as numbers, or as names (object)."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(np.float64) if str(column.dtype) in ("Int64", "boolean") else column
    values: Any = column.astype(object)
    return values.map(lambda v: None if v is None or v != v else plain_number(v))


def seconds(column: pd.Series) -> pd.Series:
    """Moments in time as seconds since 1970, float64; NaN where missing."""
    return (column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))).dt.total_seconds()


def _useless(column: pd.Series, y: pd.Series | None) -> str | None:
    """Why a column says nothing; None when it may."""
    n = len(column)
    if column.isna().all():
        return "all values are missing"
    distinct = column.nunique()
    if distinct == 1 and column.notna().all():
        return "constant"
    if not pd.api.types.is_numeric_dtype(column):
        if y is not None and not pd.api.types.is_numeric_dtype(y) and n == len(y) and column.equals(y.astype(object)):
            return "the target itself"
        if distinct > max(0.9 * column.notna().sum(), FEWEST):
            return f"names that are different in nearly every row{why_not_numbers(column.dropna().iloc[0])}"
        return None
    if column.notna().all() and (np.diff(column.to_numpy(dtype=float)) == 1).all():
        return "counts the rows"
    if (
        y is not None
        and pd.api.types.is_numeric_dtype(y)
        and n == len(y)
        and np.array_equal(column.to_numpy(dtype=float), y.to_numpy(dtype=float))
    ):
        return "the target itself"
    return None


__all__ = ["NUMERIC", "ROWS", "Notes", "Read", "listed", "sampled", "seconds", "short", "table"]
