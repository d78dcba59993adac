"""A person's data where no row has a label: images and tables to be given back, a series to be forecast, a text to be gone on
with, pairs of texts to be told from one another. A reader for each view (:mod:`metabench.tasks.views`) that sees such data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.advise import files
from metabench.advise.arrays import LARGEST
from metabench.advise.delimited import suffix
from metabench.advise.notes import Notes, listed
from metabench.advise.tables import NUMERIC, ROWS, Read, chosen, known_column, latest, plain_table, table_alone
from metabench.advise.targets import FEW, FEWEST, check_count
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks.views import CONTEXT, HORIZON, LAG, SOURCE, TARGET

#: characters of a longer text that are read on, the first
LETTERS = 5_000_000


# ---------------------------------------------------------------------------------- images and tables that are given back
def given_back(data: Any, target, encoding: str, notes: Notes) -> Read:
    """Rows to be given back, or to be made more of: a folder of images (however deep), a table, ``.npz`` with ``x``, arrays
    [n, columns] or [n, height, width(, colours)]."""
    kind, rows = "reconstruction", None
    if isinstance(data, Path):
        if data.is_dir():
            return _images(files.images(data, notes, labelled=False)[0], kind, notes)
        if suffix(data) != ".npz":
            data, rows, layout = files.frame(data, encoding)
            notes.laid_out(layout)
            if rows > len(data):
                notes(f"{rows:,} rows: an even random sample of {len(data):,} of them is read")
        else:
            data = files.npz(data, ("x",))[0]
    if isinstance(data, pd.DataFrame):
        return table_alone(data, target, kind, notes, rows)
    if target is not None:
        notes("targets are not learned from, left out")
    if isinstance(data, list):
        raise UsageError("rows of several shapes; rows of a table are of one length, images of one size")
    x = np.asarray(data)
    if x.dtype.kind in "OUS" and x.ndim == 2:
        x = x.astype(object)
    elif x.dtype.kind not in "fiub":
        raise UsageError(f"an array of {x.dtype} has no numbers; give a DataFrame where columns are names")
    if x.ndim == 2:
        return table_alone(pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]), None, kind, notes)
    return _images(x, kind, notes)


def _images(x: np.ndarray, kind: str, notes: Notes) -> Read:
    if x.ndim not in (3, 4):
        raise UsageError(
            f"an array of shape {list(x.shape)} is neither a table [n, columns] nor images [n, height, width]"
        )
    if not np.isfinite(x.astype(np.float64)).all():
        raise UsageError("the images have numbers that are missing or not finite")
    x = x[chosen(len(x), notes, "images")]
    check_count(len(x), notes, "images")
    return Read(Dataset("mine", "mine", "user", "image", kind, x, None), rows=len(x))


# ------------------------------------------------------------------------------------------------------------- a series
def series(data: Any, target, encoding: str, notes: Notes) -> Read:
    """A series to be forecast, earliest moment first: a table whose column ``target`` is forecast and whose other columns of
    numbers are known beside it, ``.npz`` with ``x``, an array [T] or [T, channels] whose first channel is forecast."""
    rows = layout = None
    if isinstance(data, Path):
        if data.is_dir():
            raise UsageError(f"{data} is a folder; a series is a table in time order, or .npz with x")
        if suffix(data) == ".npz":
            data = files.npz(data, ("x",))[0]
        else:
            data, rows, layout = files.frame(data, encoding, latest)
        notes.laid_out(layout)
        if rows is not None and rows > len(data):
            notes(f"{rows:,} moments: the last {len(data):,} of them are read")
    if isinstance(data, pd.Series):
        data = data.to_frame(str(data.name or "series"))
    if not isinstance(data, pd.DataFrame):
        x = np.asarray(data)
        if x.ndim not in (1, 2) or x.dtype.kind not in "fiub":
            raise UsageError(
                f"an array of {x.dtype} and shape {list(x.shape)} is no series of numbers [T] or [T, channels]"
            )
        x = x.reshape(len(x), -1)
        data = pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
        target = "x0" if target is None else target
    if len(data) > ROWS:
        notes(f"{len(data):,} moments: the last {ROWS:,} of them are read")
        data = data.iloc[-ROWS:]
    known = plain_table(data, target, notes)
    values, order = _channels(known.frame, None if target is None else str(target).strip(), notes)
    needed = LAG + HORIZON * FEWEST
    if len(values) < needed:
        raise UsageError(
            f"{len(values)} moments are too few; at least {needed} are needed, {LAG + HORIZON * FEW} or more make sense"
        )
    made = Dataset(
        "mine", "mine", "user", "series", "forecasting", [values.to_numpy(np.float32).T], None, temporal=True
    )
    names = tuple(values.columns)
    rows = len(values) if rows is None else rows
    return Read(made, target=names[0], columns=names, order=order, rows=rows, formats=known.formats, layout=layout)


def _channels(frame: pd.DataFrame, target, notes: Notes) -> tuple[pd.DataFrame, str]:
    """The columns of numbers, the forecast one first, without gaps, in order of time; and the column of that order, if the
    rows did not stand in it."""
    columns, ordered = list(frame.columns), ""
    numbers = {c: found for c in columns if (found := _numbers(frame[c])) is not None}
    others = [c for c in columns if c not in numbers]
    for column in list(others):
        try:
            when = pd.to_datetime(frame[column], errors="coerce", format="mixed", utc=True)
        except (TypeError, ValueError):  # lists, say
            continue
        if when.notna().mean() < NUMERIC:
            continue
        others.remove(column)
        if when.dropna().is_monotonic_increasing:
            notes(f"{column}: moments in time, in whose order the rows stand")
        else:
            order = when.argsort(kind="stable").to_numpy()
            numbers, ordered = {c: v.iloc[order] for c, v in numbers.items()}, column
            notes(f"{column}: moments in time, the rows are put in their order")
    if others:
        notes(f"{listed(others)}: no numbers, left out")
    if target is None:
        if len(numbers) != 1:
            raise UsageError(f"name the column to forecast as target; there are {listed(columns)}")
        (target,) = numbers
    known_column(target, columns)
    if target not in numbers:
        raise UsageError(f"target {target!r} has no numbers, so it is no series")
    found = pd.DataFrame({c: numbers[c].to_numpy() for c in (target, *(c for c in numbers if c != target))})
    if gaps := int(found.isna().to_numpy().sum()):
        notes(f"{gaps} numbers are missing: the last known one replaces each")
        found = found.ffill().bfill()
    if cast(Any, found.abs()).max(axis=None) > LARGEST:
        raise UsageError(f"the series has numbers beyond {LARGEST:g}: give them in a larger unit")
    if found[target].nunique() < 2:
        raise UsageError(f"target {target!r} has one value only; there is nothing to forecast")
    constant = [str(c) for c in found if found[c].nunique() < 2]
    if constant:
        notes(f"{listed(constant)}: constant, left out")
    return found.drop(columns=constant), ordered


def _numbers(column: pd.Series) -> pd.Series | None:
    """A column as float64, NaN where it is missing or not finite; None when it is not one of numbers."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return None
    found = pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    known = column.notna().sum()
    return found if known and found.notna().sum() >= NUMERIC * known else None


# ------------------------------------------------------------------------------------------------------------- a text
def corpus(data: Any, target, encoding: str, notes: Notes) -> Read:
    """A text to be gone on with, character by character: a file, or a list of lines."""
    if target is not None:
        raise UsageError("a text is gone on with, there is no target: leave it out")
    if isinstance(data, Path):
        if data.is_dir():
            raise UsageError(f"{data} is a folder; a text is a file")
        text, more = files.text(data, encoding, LETTERS)
        if more:
            notes(f"the first {LETTERS:,} characters of a longer text are read")
    elif isinstance(data, Sequence) and all(isinstance(line, str) for line in data):
        text = "\n".join(data) + "\n"
    else:
        raise UsageError("a text is a file or a list of lines")
    needed, wanted = ((CONTEXT + 1) * n for n in (FEWEST, FEW))
    if len(text) < needed:
        raise UsageError(
            f"{len(text):,} characters are too few; at least {needed:,} are needed, {wanted:,} or more make sense"
        )
    if len(set(text)) < 2:
        raise UsageError("the text is one character over and over; there is nothing to predict")
    return Read(
        Dataset("mine", "mine", "user", "text", "language", text, None, temporal=True, unit="character"), rows=len(text)
    )


# ------------------------------------------------------------------------------------------------------------- pairs
def pairs(data: Any, target, encoding: str, notes: Notes) -> Read:
    """Sources and their targets: a file of lines ``source<TAB>target``, or two lists of texts. Where most texts of a side have
    blanks its symbols are words, else characters."""
    if isinstance(data, Path):
        if data.is_dir():
            raise UsageError(f"{data} is a folder; pairs are lines source<TAB>target")
        sources, targets = files.lines(data, encoding, notes, "source<TAB>target")
    elif target is None or isinstance(target, str):
        raise UsageError("pairs are a list of sources, and of their targets as the second argument")
    else:
        sources, targets = list(data), list(target)
    if len(sources) != len(targets):
        raise UsageError(f"{len(sources)} sources but {len(targets)} targets; each needs one")
    if odd := [x for x in (*sources, *targets) if not isinstance(x, str)]:
        raise UsageError(f"sources and targets are texts; {str(odd[0])[:30]!r} is none")
    keep = chosen(len(sources), notes, "pairs")
    found = [(sources[i].strip(), targets[i].strip()) for i in keep]
    kept = [(s, t) for s, t in found if s and t]
    if len(kept) < len(found):
        notes(f"{len(found) - len(kept)} pairs have an empty side: left out")
    sides = [_symbols([pair[side] for pair in kept], name, notes) for side, name in enumerate(("sources", "targets"))]
    short = [(s, t) for s, t in zip(*sides, strict=True) if len(s) <= SOURCE and len(t) < TARGET]
    if len(short) < len(kept):
        notes(
            f"{len(kept) - len(short)} of {len(kept)} pairs are longer than {SOURCE} and {TARGET - 1} symbols: left out"
        )
    check_count(len(short), notes, "pairs")
    if len({tuple(t) for _, t in short}) < 2:
        raise UsageError("all targets are the same; there is nothing to predict")
    return Read(Dataset("mine", "mine", "user", "text", "pairs", short, None), rows=len(short))


def _symbols(texts: list[str], side: str, notes: Notes) -> list[list[str]]:
    words = sum(" " in text for text in texts) > len(texts) / 2
    notes(f"{side}: symbols are {'words' if words else 'characters'}")
    return [text.split() if words else list(text) for text in texts]


#: view → reader of data, target, encoding and notes
READERS: dict[str, Callable[[Any, Any, str, Notes], Read]] = {
    "reconstruction": given_back,
    "windows": series,
    "language": corpus,
    "pairs": pairs,
}

__all__ = ["READERS"]
