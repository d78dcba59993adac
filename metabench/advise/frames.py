"""Data frames of every library as one kind of table.

A column ends as one of six types, whatever held it: float64 or int64 numbers (``Int64`` where integers have gaps),
``bool`` (``boolean`` where it has gaps), ``datetime64`` without a time zone (UTC), ``category`` (its values are classes),
or text: ``object`` holding ``str`` and ``None``. A column that holds anything else is left out and named.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import narwhals as nw
import numpy as np
import pandas as pd

from metabench.advise.cells import GAPS, MARKS, POINT, Format, Reading, moment, plain_number, typed
from metabench.advise.notes import listed
from metabench.errors import UsageError

#: numbers beyond this overflow when they are squared: they count as missing
LARGEST = 1e100


@dataclass
class Sheet:
    """A table of plain columns."""

    frame: pd.DataFrame
    #: column → why it cannot be used; these are not in ``frame``
    left_out: dict[str, str] = field(default_factory=dict)
    #: column → how its text was read as numbers
    formats: dict[str, Format] = field(default_factory=dict)
    #: column → the text that it was, of those that are no text now
    texts: dict[str, pd.Series] = field(default_factory=dict)
    #: what was done, a line each
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """What a column of a table holds where that is settled, as it is after training: numbers, names or moments."""

    holds: str
    form: Format = POINT

    def of(self, column: pd.Series) -> pd.Series:
        """A column of one of the six types as what it holds; NaN for what is no number and no date."""
        if self.holds == "names":
            return column.astype(object).map(lambda v: None if _gap(v) else plain_number(v)).astype(object)
        if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
            text = column.astype(object)
            column = moment(text) if self.holds == "moments" else self.form.numbers(text)
        if pd.api.types.is_datetime64_any_dtype(column):
            return (column - pd.Timestamp(0)).dt.total_seconds()
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))


def is_frame(data: Any) -> bool:
    """Whether it is a table of columns of a library that is known: pandas, polars (also lazy), Arrow, DuckDB, and others."""
    return isinstance(data, pd.DataFrame) or isinstance(
        nw.from_native(data, pass_through=True), nw.DataFrame | nw.LazyFrame
    )


def as_pandas(data: Any) -> pd.DataFrame:
    """A table of any such library as pandas, its columns as they come.

    Args:
        data: What :func:`is_frame` accepts. A lazy one is computed.

    Returns:
        A DataFrame; of a pandas one itself.

    Raises:
        UsageError: The library could not compute it.
    """
    if isinstance(data, pd.DataFrame):
        return data
    try:
        table = nw.from_native(data)
        return (table.collect() if isinstance(table, nw.LazyFrame) else table).to_pandas()
    except Exception as error:  # a query of the user's may fail in any way
        raise UsageError(
            f"this {type(data).__module__.split('.')[0]} table cannot be read: {' '.join(str(error).split())[:200]}"
        ) from None


def named(columns: Iterable[Any]) -> tuple[list[str], list[str]]:
    """Names of columns as distinct text, and what was done to them, a line each.

    Blanks around a name are cut off; a column without one is called by its place; of two of one name the second gets
    ``.1``, as pandas calls them.
    """
    raw = [str(c) if not isinstance(c, float) or c == c else "" for c in columns]
    names, said = [c.strip() for c in raw], []
    if cut := [c for c, old in zip(names, raw, strict=True) if c != old and c]:
        said.append(f"{listed(cut)}: blanks around the column's name are cut off")
    if nameless := [i for i, c in enumerate(names) if not c]:
        names = [c or f"column {i + 1}" for i, c in enumerate(names)]
        said.append(f"{listed([names[i] for i in nameless])}: has no name and is called by its place")
    counts, taken, out, renamed = Counter(names), set(names), [], []
    seen: Counter[str] = Counter()
    for name in names:
        if counts[name] > 1 and seen[name]:
            number = seen[name]
            while f"{name}.{number}" in taken:
                number += 1
            seen[name] = number
            taken.add(f"{name}.{number}")
            renamed.append(f"{name}.{number}")
            out.append(renamed[-1])
        else:
            out.append(name)
        seen[name] += 1
    if renamed:
        said.append(f"{listed(renamed)}: another column has the same name, so a number was added")
    return out, said


def twice(columns: Iterable[Any], target: Any) -> bool:
    """Whether several columns are called like the target."""
    wanted = str(target).strip()
    return sum(str(c).strip() == wanted for c in columns) > 1


def plain(frame: pd.DataFrame, reading: Reading, settled: Mapping[str, Column] | None = None) -> Sheet:
    """A table whose columns are of the six types.

    Args:
        frame: Columns of any type and name.
        reading: How text is read.
        settled: What columns hold, where that is known; then these alone are read, and moments are seconds.

    Returns:
        The table, the columns that could not be used, and what was done.
    """
    names, said = named(frame.columns)
    out, left_out, formats, texts = {}, {}, {}, {}
    reading = reading if settled else reading.for_table(frame.iloc[:, i] for i in range(frame.shape[1]))
    for i, name in enumerate(names):
        if settled is not None and name not in settled:
            continue
        column = frame.iloc[:, i].reset_index(drop=True)
        made = _column(column)
        if isinstance(made, str):
            left_out[name] = made
            continue
        if settled is not None:
            given = made.mask(made.isin(reading.missing), None) if reading.missing else made
            made = settled[name].of(given)
            if settled[name].holds != "names" and len(odd := _odd(given, made)):
                said.append(
                    f"{name}: {len(odd)} values are no {settled[name].holds}, such as {odd[0][:30]!r}: they count as missing"
                )
        elif made.dtype == object:
            text, (made, form, lines) = made, typed(made, name, reading)
            if made.dtype != object:
                texts[name] = text.where(made.notna(), None)
            said += lines
            if form is not None:
                formats[name] = form
        elif made.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                beyond = np.isfinite(made.to_numpy()) & (np.abs(made.to_numpy()) > LARGEST)
            if beyond.any():
                said.append(f"{name}: {beyond.sum()} numbers are beyond {LARGEST:g}: they count as missing")
                made = made.mask(beyond)
        out[name] = made
    return Sheet(pd.DataFrame(out, index=pd.RangeIndex(len(frame))), left_out, formats, texts, said)


def _odd(given: pd.Series, made: pd.Series) -> list[str]:
    """Text that became missing and is no word for missing."""
    lost = given[given.notna().to_numpy() & made.isna().to_numpy()]
    return [v for v in lost.tolist() if isinstance(v, str) and v.strip().lower() not in (*GAPS, *MARKS)]


def _column(column: pd.Series) -> pd.Series | str:
    """A column as one of the six types, or why it is none."""
    dtype = nw.from_native(column, series_only=True).dtype
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _category(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        return _moments(column.dt.start_time)
    if isinstance(column.dtype, pd.SparseDtype):
        return _column(column.sparse.to_dense())
    if dtype == nw.Boolean:
        return column.astype("boolean") if column.isna().any() else column.astype(bool)
    if dtype.is_integer():
        if column.isna().any():
            return column.astype("Int64") if dtype != nw.UInt64 else _floats(column)
        values = column.to_numpy()
        return pd.Series(values.astype(np.int64) if dtype != nw.UInt64 else values.astype(np.float64))
    if dtype.is_numeric() or (column.dtype.kind == "f"):
        return _floats(column)
    if dtype == nw.Datetime or dtype == nw.Date:
        return _moments(column)
    if dtype == nw.Duration:
        return pd.Series(pd.to_timedelta(column.astype(object), errors="coerce").dt.total_seconds().to_numpy())
    if dtype == nw.Categorical or isinstance(dtype, nw.Enum):  # of Arrow: a dictionary
        return _category(column)
    if dtype == nw.List or dtype == nw.Array or dtype == nw.Struct:
        return _CONTAINERS
    return _objects(column.astype(object))


def _of_day(moment: Any) -> float:
    """Seconds of a time of day."""
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6


def _floats(column: pd.Series) -> pd.Series:
    try:
        return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):  # Decimals
        return cast(pd.Series, _objects(column.astype(object)))


def _moments(column: pd.Series) -> pd.Series:
    """Dates and times, in UTC and without a zone; a naive one counts as UTC."""
    found = pd.to_datetime(column.astype(object), errors="coerce", utc=True, format="ISO8601")
    return found.dt.tz_localize(None)


def _category(column: pd.Series) -> pd.Series:
    """Its categories as Python has them: what is neither text, number nor truth value as text."""
    values = [None if _gap(v) else _plain_label(v) for v in column.tolist()]
    return pd.Series(values, dtype=object).astype("category") if values else pd.Series([], dtype="category")


def _plain_label(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | bool | int | float) else str(value)


_CONTAINERS = "its cells are lists, arrays or records"


def _gap(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _objects(column: pd.Series) -> pd.Series | str:
    """A column of Python objects by what these are."""
    values = [None if _gap(v) else v for v in column.tolist()]
    known = [v for v in values if v is not None]
    if any(isinstance(v, list | tuple | dict | set | frozenset | np.ndarray | pd.Series) for v in known):
        return _CONTAINERS
    if any(isinstance(v, bytes | bytearray | memoryview) for v in known):
        try:
            values = [bytes(v).decode() if isinstance(v, bytes | bytearray | memoryview) else v for v in values]
            known = [v for v in values if v is not None]
        except UnicodeDecodeError:
            return "its cells are bytes that are no text"
    kinds = {_kind(v) for v in known}
    if kinds == {"complex"} or "complex" in kinds:
        return "its cells are complex numbers"
    if kinds == {"bool"}:
        made = pd.Series(values, dtype="boolean")
        return made if made.isna().any() else made.astype(bool)
    if kinds and kinds <= {"number", "bool"}:
        if all(isinstance(v, numbers.Integral) and abs(int(v)) < 2**62 for v in known):
            made = pd.Series([None if v is None else int(v) for v in values], dtype="Int64")
            return made if made.isna().any() else made.astype(np.int64)
        return pd.Series([_float(v) for v in values], dtype=np.float64)
    if kinds == {"moment"}:
        found = pd.to_datetime(pd.Series(values, dtype=object), errors="coerce", utc=True)
        return found.dt.tz_localize(None)
    if kinds == {"duration"}:
        return pd.Series([np.nan if v is None else pd.Timedelta(v).total_seconds() for v in values])
    if kinds == {"time"}:
        return pd.Series([np.nan if v is None else _of_day(v) for v in values])
    text = [None if v is None else v if isinstance(v, str) else plain_number(v) for v in values]
    return pd.Series(text, dtype=object)


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, np.datetime64 | datetime.date):  # datetime and Timestamp are dates
        return "moment"
    if isinstance(value, np.timedelta64 | datetime.timedelta):
        return "duration"
    if isinstance(value, numbers.Real | decimal.Decimal | fractions.Fraction):
        return "number"
    if isinstance(value, numbers.Complex):
        return "complex"
    return "time" if isinstance(value, datetime.time) else "other"


def _float(value: Any) -> float:
    if value is None:
        return np.nan
    try:
        return float(value)
    except (OverflowError, ValueError):  # an integer of 400 digits; a signalling NaN
        return np.nan


__all__ = ["LARGEST", "Sheet", "as_pandas", "is_frame", "named", "plain", "twice"]
