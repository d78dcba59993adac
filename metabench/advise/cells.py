"""Text in the cells of a table: which of it is a number, a date, a truth value or missing. What a reader might not expect is
said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

#: a column of text of which this share are numbers (or dates) is one of numbers (or dates)
NUMERIC = 0.9
#: words that stand for a missing number; in a column of names they are names
GAPS = ("na", "n/a", "#n/a", "nan", "-nan", "null", "none", "nil", "<na>", "-", "--", ".", "missing")
#: the same words where they are worth a line in a column of names
TELLING = ("na", "n/a", "#n/a", "nan", "null", "none", "nil", "<na>")
#: what is missing in every column
MARKS = ("", "?")

_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+|\d{1,3}([ '’\u00a0\u202f]\d{3})+)?,\d+([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_SPACED = re.compile(r"[+-]?\d{1,3}([ '’\u00a0\u202f]\d{3})+(\.\d*)?")
_UNSURE = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_DATE = re.compile(r"\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(Z|UTC|[+-]\d{2}(:?\d{2})?)?)?")
_OTHER_DATE = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?")
_SYMBOLS = "%‰$€£¥₹₩₽₺₪฿₫"
_CODES = "USD EUR GBP CHF JPY CNY INR BRL CAD AUD NZD SEK NOK DKK PLN CZK HUF RON RUB TRY KRW MXN ZAR SGD HKD ILS THB VND IDR"
_UNIT = rf"[{_SYMBOLS}]|{'|'.join(_CODES.split())}"
_WITH_UNIT = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<before>{_UNIT})?\s*(?P<inner>[+-]?)(?P<number>\d[\d.,'’\s]*(?:[eE][+-]?\d+)?|\.\d+)"
    rf"\s*(?P<after>{_UNIT})?",
    re.IGNORECASE,
)
#: characters that a number with a unit may have; a longer cell would take the expression long to refuse
LONGEST = 100
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Format:
    """How numbers are written in a column of text."""

    #: "." or ","
    decimal: str = "."
    #: the cells are the words true and false
    truth: bool = False
    #: thousands are parted
    grouped: bool = False
    #: a percent sign or currency that stands beside the numbers; "" for none
    unit: str = ""

    def numbers(self, column: pd.Series) -> pd.Series:
        """Text as float64; NaN where it is no number."""
        if self.truth:
            return column.map(lambda v: _TRUTH.get(str(v).strip().lower(), np.nan)).astype(np.float64)
        if self.unit:
            column = column.map(lambda v: _bare(v, self.unit) if isinstance(v, str) else v)
        found = pd.to_numeric(column, errors="coerce").astype(np.float64)
        odd = column.notna() & found.isna()
        if odd.any():
            found[odd] = pd.to_numeric(column[odd].map(self._point), errors="coerce").astype(np.float64)
        return found

    def _point(self, cell: Any) -> Any:
        """A number with a point before its decimals and nothing between its thousands; other text as it is."""
        text = str(cell).strip()
        if self.decimal == "," and _COMMA.fullmatch(text):
            return re.sub(r"[.\s'’]", "", text).replace(",", ".")
        if self.decimal == "," and re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+", text):
            return text.replace(".", "")
        if self.decimal == "." and _GROUPED.fullmatch(text):
            return text.replace(",", "")
        return re.sub(r"[\s'’]", "", text) if _SPACED.fullmatch(text) else text


def unit_of(cell: str) -> str:
    """The percent sign or currency beside a number, "" where there is none, or where the cell is no number."""
    found = _WITH_UNIT.fullmatch(_signed(cell)) if len(cell) <= LONGEST else None
    if found is None or (found["before"] and found["after"]) or (found["sign"] and found["inner"]):
        return ""
    return (found["before"] or found["after"] or "").upper()


def _signed(cell: str) -> str:
    """A cell whose minus is a hyphen: bookkeepers put brackets around a negative sum, typesetters a dash before it."""
    text = cell.strip().replace("−", "-")
    return f"-{text[1:-1]}" if text.startswith("(") and text.endswith(")") else text


def _bare(cell: str, unit: str) -> str:
    """A cell without that unit; others as they are."""
    found = _WITH_UNIT.fullmatch(_signed(cell)) if len(cell) <= LONGEST else None
    if found is None or unit_of(cell) != unit:
        return cell
    return f"{found['sign'] or found['inner']}{found['number'].strip()}"


#: as Python writes numbers
POINT = Format()


@dataclass(frozen=True)
class Reading:
    """How a person says that text is to be read.

    ``decimal`` is "." or ",", or None to find out. ``missing`` are words that are missing wherever they stand.
    ``comma`` says that commas which may part thousands are decimal ones: another column showed it. ``text`` says that all
    cells are text whatever they mean, as in a file: classes "0" and "1" are numbers there, and text in a list.
    """

    encoding: str = "utf-8"
    decimal: str | None = None
    missing: tuple[str, ...] = ()
    comma: bool = False
    text: bool = False

    def for_table(self, columns: Iterable[pd.Series]) -> Reading:
        """The same, with ``comma`` where some column of text can only have decimal commas."""
        if self.decimal is not None or self.comma:
            return self
        for column in columns:
            if column.dtype != object and not isinstance(column.dtype, pd.StringDtype):
                continue
            cells = [v for v in column.dropna().head(1000).tolist() if isinstance(v, str) and "," in v]
            cells = [_bare(v.strip(), unit_of(v)) for v in cells]
            if cells and all(_COMMA.fullmatch(v) for v in cells) and not all(_GROUPED.fullmatch(v) for v in cells):
                return replace(self, comma=True)
        return self


def typed(column: pd.Series, name: str, reading: Reading) -> tuple[pd.Series, Format | None, list[str]]:
    """A column of text (``str`` and None) as what it means.

    Args:
        column: Object dtype.
        name: What it is called, for the lines.
        reading: How text is read.

    Returns:
        Numbers, moments, truth values or text; how numbers were written (None: it is no column of numbers); what was done,
        a line each.
    """
    said: list[str] = []
    gaps = {*MARKS, *reading.missing}
    cut = (v.strip() if isinstance(v, str) else None for v in column.tolist())
    text = pd.Series([None if v in gaps else v for v in cut], index=column.index, dtype=object)
    known = text[text.notna()]
    if not len(known):
        return text, None, said
    lower = known.str.lower()
    if set(lower.unique()) <= set(_TRUTH):
        found = [None if v is None else _TRUTH[v.lower()] for v in text.tolist()]
        made = pd.Series(found, index=text.index, dtype="boolean")
        return (made if made.isna().any() else made.astype(bool)), Format(truth=True), said
    words = lower.isin(GAPS)
    cells = known[~words]
    if len(cells):
        numbers, form, lines = _as_numbers(cells, name, reading)
        share = numbers.notna().sum() / len(cells)
        if share < NUMERIC:
            numbers, form, lines = _with_units(cells, name, reading) or (numbers, form, lines)
            share = numbers.notna().sum() / len(cells)
        if share >= NUMERIC:
            said += lines
            if words.any():
                said.append(
                    f"{name}: {known[words].iloc[0]!r} in a column of numbers counts as missing ({words.sum()} cells)"
                )
            if (odd := numbers.isna()).any():
                said.append(
                    f"{name}: {odd.sum()} values are no numbers, such as {cells[odd].iloc[0][:30]!r}: they count as "
                    "missing"
                )
            return _whole(numbers.reindex(text.index)), form, said
        dated = cells.map(lambda v: bool(_DATE.fullmatch(str(v))))
        if dated.mean() >= NUMERIC:
            moments = moment(cells.where(dated, None))
            if moments.notna().mean() >= NUMERIC:
                if words.any() or moments.isna().any():
                    odd = words.sum() + moments.isna().sum()
                    said.append(f"{name}: {odd} cells of a column of dates are none: they count as missing")
                return moments.reindex(text.index), None, said
    said += [line for line in lines if line.endswith(" stay text")] if len(cells) else []
    if (told := lower.isin(TELLING)).any():
        said.append(
            f"{name}: {known[told].iloc[0]!r} is a name among others ({told.sum()} cells); "
            f"--missing {known[told].iloc[0]} reads it as missing"
        )
    return text, None, said


def _with_units(cells: pd.Series, name: str, reading: Reading) -> tuple[pd.Series, Format, list[str]] | None:
    """:func:`_as_numbers` of cells beside which a percent sign or a currency stands; None where none does. Several currencies
    in one column stay text, which is said."""
    units = cells.map(unit_of)
    found = sorted(set(units) - {""})
    if not found or (units != "").mean() < 1.0 - NUMERIC:
        return None
    if len(found) > 1:
        several = pd.Series(np.nan, index=cells.index)
        share = (units != "").mean()
        shown = ", ".join(found[:4])
        return (
            None if share < NUMERIC else (several, POINT, [f"{name}: numbers with several units ({shown}) stay text"])
        )
    (unit,) = found
    numbers, form, lines = _as_numbers(cells.map(lambda v: _bare(cast(str, v), unit)), name, reading)
    example = cells[units == unit].iloc[0]
    value = numbers[units == unit].iloc[0]
    if (units == "").any():
        lines.append(f"{name}: {(units == '').sum()} cells have no {unit} and are read as if they had")
    lines = [line for line in lines if "says otherwise" in line or " cells have no " in line]
    return (
        numbers,
        replace(form, unit=unit),
        [*lines, f"{name}: {example!r} is read as {_shown(value)}, without {unit}"],
    )


def _as_numbers(cells: pd.Series, name: str, reading: Reading) -> tuple[pd.Series, Format, list[str]]:
    """Cells as numbers, how they were written, and what is to be said if the column is one of numbers."""
    if reading.decimal is not None:
        texts = map(str, cells)
        grouped = reading.decimal == "." and any(_GROUPED.fullmatch(v) or _SPACED.fullmatch(v) for v in texts)
        form = Format(reading.decimal, grouped=grouped)
        return form.numbers(cells), form, []
    found = Format(".").numbers(cells)
    commas = cells[cells.str.contains(",", regex=False)]
    if not len(commas):
        if (spaced := cells[cells.map(lambda v: bool(_SPACED.fullmatch(str(v))))]).size:
            return (
                found,
                Format(".", grouped=True),
                [f"{name}: {spaced.iloc[0]!r} is read as {_shown(found[spaced.index[0]])}"],
            )
        return found, Format("."), []
    unsure = commas.map(lambda v: bool(_UNSURE.fullmatch(str(v)))).all()
    as_comma = Format(",").numbers(cells)
    if unsure and as_comma.notna().sum() >= found.notna().sum() and reading.comma:
        form, chosen = Format(","), as_comma
    else:
        form, chosen = (
            (Format(".", grouped=True), found)
            if found.notna().sum() >= as_comma.notna().sum()
            else (Format(","), as_comma)
        )
    other = ". (thousands)" if form.decimal == "," else ", (decimals)"
    hint = f" (--decimal {other[0]} says otherwise)" if unsure else ""
    return chosen, form, [f"{name}: {commas.iloc[0]!r} is read as {_shown(chosen[commas.index[0]])}{hint}"]


def _shown(value: float) -> str:
    return f"{value:.15g}"


def _whole(values: pd.Series) -> pd.Series:
    """Numbers without gaps that are all whole as int64, as a file's reader would have them."""
    if len(values) and values.notna().all() and np.isfinite(values).all():
        whole = values.to_numpy()
        if (whole == np.floor(whole)).all() and np.abs(whole).max() < 2**53:
            return values.astype(np.int64)
    return values


def moment(text: pd.Series) -> pd.Series:
    """ISO dates (or with slashes) as moments in UTC without a zone; NaT for what is none."""
    cells = text.map(lambda v: v.replace("/", "-").replace("UTC", "Z").replace(",", ".") if isinstance(v, str) else v)
    found = pd.to_datetime(cells, errors="coerce", utc=True, format="mixed")
    return found.dt.tz_localize(None)


def why_not_numbers(example: str) -> str:
    """What might make a column of numbers or dates out of names such as this one; "" if nothing is known."""
    if _OTHER_DATE.fullmatch(example):
        return f", such as {example[:30]!r}: write dates as 2024-12-31"
    if re.fullmatch(r"[^\d\s]?\s*[+-]?[\d.,]+\s*[^\d\s]{0,3}", example) and re.search(r"\d", example):
        return f", such as {example[:30]!r}: write numbers without units"
    return ""


def plain_number(value: Any) -> str:
    """A cell as text: a whole number without a point, whatever type it has."""
    if isinstance(value, float | np.floating) and value == value and abs(value) < 2**53 and value == int(value):
        return str(int(value))
    return str(value)


__all__ = ["GAPS", "NUMERIC", "Format", "Reading", "plain_number", "typed", "why_not_numbers"]
