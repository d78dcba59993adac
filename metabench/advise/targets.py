"""Targets as people have them: whether they are classes or numbers, which rows have one, and whether they make a task."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metabench.advise.cells import NUMERIC, why_not_numbers
from metabench.advise.notes import Notes, listed
from metabench.errors import UsageError
from metabench.tasks.splits import MIN_CLASS

#: fewer rows than this are no task; fewer than that are a poor one
FEWEST, FEW = 20, 150
#: numbers that differ by less have squares that are 0
SMALLEST = 1e-100
#: numbers with more different values than this are predicted as numbers
MOST_CLASSES = 20


def target_of(
    y: pd.Series, name: str, kind: str | None, notes: Notes, labels: pd.Series | None = None
) -> tuple[pd.Series, str, np.ndarray]:
    """What is to be predicted, and in which rows.

    Args:
        y: A plain column (:mod:`metabench.advise.frames`).
        name: What it is called.
        kind: classification or regression; None to find out.
        notes: What is done is said here.
        labels: The same column as text, which classes are called by; None where they are what ``y`` holds.

    Returns:
        The targets that are there, the kind of task, and in which rows they are: bool [rows].

    Raises:
        UsageError: There is nothing to predict.
    """
    if pd.api.types.is_datetime64_any_dtype(y):
        y = (y - pd.Timestamp(0)).dt.total_seconds()
    if named := isinstance(y.dtype, pd.CategoricalDtype):
        y, kind = y.astype(object), kind or "classification"
    elif str(y.dtype) == "Int64":
        y = y.astype(np.float64)
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
        large = [
            line.partition(": ")[2] for line in notes.said if line.startswith(f"{name}: ") and " are beyond " in line
        ]
        why = f" ({large[0]}; give them in a larger unit)" if large else ""
        raise UsageError(
            f"target {name!r} has {'one value only' if len(values) else 'no values'}{why}; there is nothing to predict"
        )
    if decided == "regression" and values.max() - values.min() < SMALLEST:
        raise UsageError(f"target {name!r}: its numbers differ by less than {SMALLEST:g}; give them in a smaller unit")
    if decided == "classification":
        values = _labels(values if labels is None else labels[keep])
    if kind is None and not named and all_numbers and values.nunique() > 2:
        other = "classification" if decided == "regression" else "regression"
        notes(
            f"target {name!r}: {values.nunique()} different numbers, read as {decided} (--kind {other} says otherwise)"
        )
    return values, decided, keep


def _labels(values: pd.Series) -> pd.Series:
    """Classes as Python has them: whole numbers without a point, truth values as such."""
    if pd.api.types.is_bool_dtype(values):
        return values.astype(bool)
    if pd.api.types.is_float_dtype(values) and (values == np.floor(values)).all() and values.abs().max() < 2**53:
        return values.astype(np.int64)
    return values


def check_count(rows: int, notes: Notes, what: str = "rows") -> None:
    """Raises UsageError where there are fewer than FEWEST, and says so where these are few."""
    if rows < FEWEST:
        raise UsageError(f"{rows} {what} are too few; at least {FEWEST} are needed, {FEW} or more make sense")
    if rows < FEW:
        notes(f"{rows} {what} are few: scores on a fifth of them say little")


def _units(y: pd.Series) -> str:
    """A hint where classes look like numbers with units or dates; "" where they do not."""
    return why_not_numbers(str(y.iloc[0])) if len(y) and not pd.api.types.is_numeric_dtype(y) else ""


def check_rows(y: pd.Series, kind: str, notes: Notes) -> None:
    check_count(len(y), notes, "rows with a target")
    if kind == "classification":
        counts = y.value_counts()
        rare = counts[counts < MIN_CLASS]
        if len(counts) - len(rare) < 2:
            raise UsageError(
                f"the target has {len(counts)} different values and fewer than two of them {MIN_CLASS} times; "
                f"classes need rows to learn from and to be judged by{_units(y)}"
            )
        if len(rare):
            notes(f"{listed([str(c) for c in rare.index])}: classes of fewer than {MIN_CLASS} rows, left out")


__all__ = ["FEW", "FEWEST", "MOST_CLASSES", "check_count", "check_rows", "target_of"]
