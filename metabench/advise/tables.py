"""Tables as people have them: what no network can use is left out, what is not as it looks is read as it is meant, and
every such thing is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from metabench import registry
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks.splits import MIN_CLASS

#: rows of a longer table that are read on: an even random sample; networks train on at most 16,384 rows anyway
ROWS = 50_000
#: fewer rows than this are no task; fewer than that are a poor one
FEWEST, FEW = 20, 150
#: a column of text of which this share is numbers is one of numbers
NUMERIC = 0.9
#: numbers with more different values than this are predicted as numbers
MOST_CLASSES = 20


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


@dataclass
class Notes:
    """What was done to a data set, said by calling it with a line."""

    said: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.said.append(line)


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


def table(frame: pd.DataFrame, target, kind: str | None, notes: Notes, rows: int | None = None) -> Read:
    """A table with a target column; what no network can use is left out."""
    frame, rows = _bounded(frame, notes, rows)
    columns = list(frame.columns)
    if target is None:
        raise UsageError(f"name the target column; there are {listed(columns)}")
    known_column(target, columns)
    y, kind, keep = target_of(frame[target], str(target), kind, notes)
    check_rows(y, kind, notes)
    y = y.reset_index(drop=True)
    X, names, moments = _inputs(frame.loc[keep].drop(columns=target), y, notes)
    if not X.shape[1]:
        raise UsageError(f"no column says anything of {target!r}: all others are constant, missing or identify a row")
    dataset = Dataset("mine", "mine", "user", "tabular", kind, X, y, names)
    return Read(dataset, moments=moments, target=str(target), rows=rows)


def table_alone(frame: pd.DataFrame, target, kind: str, notes: Notes, rows: int | None = None) -> Read:
    """A table for a task of that kind without targets: ``target`` is a column to leave out, or None."""
    frame, rows = _bounded(frame, notes, rows)
    if target is not None:
        known_column(target, list(frame.columns))
        notes(f"{target}: is not learned from, left out")
        frame = frame.drop(columns=target)
    X, names, moments = _inputs(frame, None, notes)
    if not X.shape[1]:
        raise UsageError("no column says anything: all are constant, missing or identify a row")
    check_count(len(X), notes)
    return Read(Dataset("mine", "mine", "user", "tabular", kind, X, None, names), moments=moments, rows=rows)


def known_column(column, columns: list[str]) -> None:
    """Raises UsageError unless one of the columns has that name."""
    if column not in columns:
        raise registry.suggest(str(column), columns, "target column")


def _bounded(frame: pd.DataFrame, notes: Notes, rows: int | None) -> tuple[pd.DataFrame, int]:
    """At most ROWS rows of a table, its columns called by text, and how many there were."""
    rows = len(frame) if rows is None else rows
    if len(frame) > ROWS:
        notes(f"{len(frame):,} rows: an even random sample of {ROWS:,} of them is read")
        frame, rows = sampled([frame])
    frame = frame.rename(columns=str)
    if not len(frame):
        raise UsageError("there are no rows")
    columns = list(frame.columns)
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UsageError(f"two columns are called {twice[0]!r}")
    return frame, rows


def _inputs(
    X: pd.DataFrame, y: pd.Series | None, notes: Notes
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """The columns that a network can use, which of them are names, and which were moments in time."""
    X = X.reset_index(drop=True)
    moments = tuple(c for c in X if pd.api.types.is_datetime64_any_dtype(X[c]))
    X = X.assign(**{c: seconds(X[c]) for c in moments})
    left_out: dict[str, list[str]] = {}
    for column in list(X):
        X[column] = _numbers(X[column], column, notes)
        if why := _useless(X[column], y):
            left_out.setdefault(why, []).append(column)
    for why, names in left_out.items():
        notes(f"{listed(names)}: {why}, left out")
    X = X.drop(columns=[c for names in left_out.values() for c in names])
    named = tuple(c for c in X if not pd.api.types.is_numeric_dtype(X[c]))
    for column in named:
        if (n := X[column].nunique()) > 32:
            notes(f"{column}: {n} different names, of which the 32 commonest count (others are one)")
    return X, named, moments


def seconds(column: pd.Series) -> pd.Series:
    """Moments in time as seconds since 1970, float64; NaN where missing."""
    return (column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))).dt.total_seconds()


def _numbers(column: pd.Series, name: str, notes: Notes) -> pd.Series:
    """A column of text that is nearly all numbers as numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    known = column.notna()
    found = pd.to_numeric(column, errors="coerce")
    if not known.any() or found.notna().sum() < NUMERIC * known.sum():
        return column
    if (odd := known & found.isna()).any():
        notes(
            f"{name}: {odd.sum()} values are no numbers, such as {str(column[odd].iloc[0])[:30]!r}: they count as missing"
        )
    return found


def _useless(column: pd.Series, y: pd.Series | None) -> str | None:
    """Why a column says nothing; None when it may."""
    n = len(column)
    if column.isna().all():
        return "all values are missing"
    distinct = column.nunique()
    if distinct == 1 and column.notna().all():
        return "constant"
    if not pd.api.types.is_numeric_dtype(column):
        return (
            "names that are different in nearly every row"
            if distinct > max(0.9 * column.notna().sum(), FEWEST)
            else None
        )
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


def target_of(y: pd.Series, name: str, kind: str | None, notes: Notes) -> tuple[pd.Series, str, np.ndarray]:
    """The targets that are there, what kind of task they make, and in which rows they are: bool [rows]."""
    if pd.api.types.is_datetime64_any_dtype(y):
        y = seconds(y)
    known = y.notna().to_numpy(dtype=bool)
    numbers = (
        pd.to_numeric(y, errors="coerce") if not pd.api.types.is_bool_dtype(y) else pd.Series(np.nan, index=y.index)
    )
    finite = np.isfinite(numbers.to_numpy(dtype=float, na_value=np.nan))
    all_numbers = known.any() and finite.sum() >= NUMERIC * known.sum()
    many = numbers[finite].nunique() > MOST_CLASSES
    decided = kind or ("regression" if all_numbers and many else "classification")
    if decided == "regression":
        if not finite.any():
            raise UsageError(f"target {name!r} has no numbers, so it is no regression")
        keep, values = finite, numbers.astype(float)
        odd = known & ~finite
        if odd.any():
            notes(
                f"target {name!r}: {odd.sum()} values are no finite numbers, such as {str(y[odd].iloc[0])[:30]!r}: left out"
            )
    else:
        infinite = np.isinf(pd.to_numeric(y, errors="coerce").to_numpy(dtype=float, na_value=np.nan))
        keep, values = known & ~infinite, y
    if gone := int(len(y) - known.sum()):
        notes(f"target {name!r}: missing in {gone} row{'s' * (gone > 1)}, which are left out")
    values = values[keep]
    if values.nunique() < 2:
        raise UsageError(
            f"target {name!r} has {'one value only' if len(values) else 'no values'}; there is nothing to predict"
        )
    if kind is None and all_numbers and values.nunique() > 2:
        other = "classification" if decided == "regression" else "regression"
        notes(
            f"target {name!r}: {values.nunique()} different numbers, read as {decided} (--kind {other} says otherwise)"
        )
    return values, decided, keep


def check_count(rows: int, notes: Notes, what: str = "rows") -> None:
    """Raises UsageError where there are fewer than FEWEST, and says so where these are few."""
    if rows < FEWEST:
        raise UsageError(f"{rows} {what} are too few; at least {FEWEST} are needed, {FEW} or more make sense")
    if rows < FEW:
        notes(f"{rows} {what} are few: scores on a fifth of them say little")


def check_rows(y: pd.Series, kind: str, notes: Notes) -> None:
    check_count(len(y), notes, "rows with a target")
    if kind == "classification":
        counts = y.value_counts()
        rare = counts[counts < MIN_CLASS]
        if len(counts) - len(rare) < 2:
            raise UsageError(
                f"the target has {len(counts)} different values and fewer than two of them {MIN_CLASS} times; "
                "classes need rows to learn from and to be judged by"
            )
        if len(rare):
            notes(f"{listed([str(c) for c in rare.index])}: classes of fewer than {MIN_CLASS} rows, left out")


def listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = ["Notes", "Read", "sampled", "seconds", "table"]
