"""From raw rows to what a kept network reads, as its view (:mod:`metabench.tasks.views`) had it in training: fitted on the
training rows, stored as JSON and arrays, checked against the arrays that were trained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from metabench.advise.cells import Format, Reading
from metabench.advise.frames import Column, as_pandas, is_frame, named, plain
from metabench.advise.notes import listed
from metabench.advise.tables import Read
from metabench.errors import MetabenchError, UsageError
from metabench.sources.base import Dataset
from metabench.tasks import Arrays, preprocess, views
from metabench.tasks.prepare import Parts
from metabench.tasks.preprocess import Encoder, Numbers


@dataclass(frozen=True)
class Inputs:
    """What was fitted for one view: ``facts`` for JSON, ``arrays`` for safetensors."""

    #: table, pixels, image, words, series, windows, letters or pairs
    form: str
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def transform(self, data: Any) -> np.ndarray:
        """Network inputs for raw rows. Raises UsageError when they are not what the network reads."""
        return TRANSFORMS[self.form](self.facts, self.arrays, data)


def fit(workload, arrays: Arrays, found: Read, parts: Parts) -> Inputs | None:
    """The inputs of a workload's network on a data set, fitted on its training rows; None for a view of which none are kept.

    Raises MetabenchError when they are not those of ``arrays``, which the network was trained on.
    """
    rows = parts.rows
    form = _form(workload.view, rows, found.dataset)
    if form is None:
        return None
    target = None if parts.target is None or parts.labels else preprocess.standardise(parts.target, parts.train)
    facts, values = _FITS[form](rows, found.dataset, parts.train, parts.target if target is None else target)
    facts |= {"channels": list(found.columns)} if form == "windows" else {}
    if form == "table":
        facts |= {
            "given": list(found.given),
            "target": found.target,
            "missing": list(found.missing),
            "formats": {name: asdict(how) for name, how in found.formats.items()},
        }
    made = Inputs(form, facts | {"moments": list(found.moments)}, values)
    few = parts.valid[:256]  # training rows may be repeated there
    raw = rows.iloc[few] if isinstance(rows, pd.DataFrame) else [rows[i] for i in few]
    if not np.array_equal(_examples(made, raw), arrays.x_valid[: len(few)]):
        raise MetabenchError("the inputs of the kept network are not those that were trained on; please report this")
    return made


def _form(view: str, rows: Any, data: Dataset) -> str | None:
    if view in ("flat", "reconstruction"):
        return "table" if isinstance(rows, pd.DataFrame) else "pixels"
    if view == "sequence":
        return "series" if data.modality == "series" else None
    known = {"image": "image", "words": "words", "windows": "windows", "language": "letters", "pairs": "pairs"}
    return known.get(view)


def _examples(made: Inputs, rows) -> np.ndarray:
    """:meth:`Inputs.transform` of rows that are a view's examples already."""
    if made.form in ("words", "series"):
        return (_coded if made.form == "words" else _placed)(made.facts, rows)
    if made.form == "windows":
        return _standard(made.facts, np.stack(rows)[:, : views.LAG])
    if made.form == "letters":
        return made.transform(["".join(row[:-1]) for row in rows])
    if made.form == "pairs":
        return _coded(made.facts, [source for source, _ in rows])
    if made.form in ("pixels", "image"):
        return made.transform(np.stack(rows))
    return Encoder.from_state(made.facts, made.arrays).transform(rows)


# ---------------------------------------------------------------------------------------------- tables
def _fit_table(rows: pd.DataFrame, data: Dataset, train: np.ndarray, target):
    wanted = target if data.own else None
    return preprocess.fitted(rows, data.categorical, train, wanted)[0].state()


def _table(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], data) -> np.ndarray:
    encoder = Encoder.from_state(facts, arrays)
    frame = table_to_read(facts, data, [c.name for c in encoder.columns])
    sheet = plain(frame, Reading(missing=tuple(facts.get("missing", ()))), settled(facts, encoder))
    if absent := [c.name for c in encoder.columns if c.name in sheet.left_out]:
        raise UsageError(f"column {absent[0]!r} cannot be read: {sheet.left_out[absent[0]]}")
    for line in sheet.said:
        if line.endswith("they count as missing"):
            warnings.warn(line, UserWarning, stacklevel=2)
    return encoder.transform(sheet.frame)


def settled(facts: Mapping[str, Any], encoder: Encoder) -> dict[str, Column]:
    """What each column of a kept network's table holds, as training had it."""
    formats = {name: Format(**form) for name, form in facts.get("formats", {}).items()}
    out = {}
    for column in encoder.columns:
        kind = "moments" if column.name in facts["moments"] else "numbers" if isinstance(column, Numbers) else "names"
        out[column.name] = Column(kind, formats.get(column.name, Format()))
    return out


def table_to_read(facts: Mapping[str, Any], data, wanted: list[str]) -> pd.DataFrame:
    """Raw rows as a table with the columns that a network was trained on.

    Args:
        facts: Of the network's inputs; ``given`` are all columns that training was given.
        data: A table of any library, or an array [n, columns] of all columns that training was given, or of those it kept.
        wanted: The columns that are read.

    Returns:
        A table whose columns are called as in training.

    Raises:
        UsageError: It is no table, or a column is absent.
    """
    given = list(facts.get("given", wanted))
    if is_frame(data):
        frame = as_pandas(data)
        names, _ = named(frame.columns)
        if absent := [c for c in wanted if c not in names]:
            if frame.shape[1] != len(given) or not all(c.isdigit() for c in names):
                raise UsageError(f"the data has no column {absent[0]!r}, which the network was trained on")
            names = given  # a table without names of its own: its columns are in order
        return frame.set_axis(names, axis=1)
    array = np.asarray(data) if isinstance(data, list | tuple) or hasattr(data, "__array__") else None
    if array is None or array.ndim != 2:
        raise UsageError("this network reads tables: a DataFrame with the columns that it was trained on")
    for names in (given, wanted):
        if array.shape[1] == len(names):
            return pd.DataFrame(array.astype(object) if array.dtype.kind in "OUS" else array, columns=names)
    raise UsageError(
        f"rows of {array.shape[1]} cells; this network was trained on {len(given)} columns: {listed(given)}"
    )


# ---------------------------------------------------------------------------------------------- images
def _fit_pixels(rows: np.ndarray, data: Dataset, train: np.ndarray, target):
    facts, arrays = preprocess.fitted(views.shrunk(rows, views.FLAT_SIDE).mean(axis=3), (), train)[0].state()
    return facts | {"shape": list(rows.shape[1:])}, arrays


def _pixels(facts, arrays, data) -> np.ndarray:
    return Encoder.from_state(facts, arrays).transform(views.shrunk(_images(facts, data), views.FLAT_SIDE).mean(axis=3))


def _fit_image(rows: np.ndarray, data: Dataset, train: np.ndarray, target):
    seen = views.shrunk(rows, views.SIDE).astype(np.float64)[train]
    scale = {"mean": seen.mean((0, 1, 2)).tolist(), "std": np.maximum(seen.std((0, 1, 2)), 1e-6).tolist()}
    return scale | {"shape": list(rows.shape[1:])}, {}


def _image(facts, arrays, data) -> np.ndarray:
    pixels = views.shrunk(_images(facts, data), views.SIDE).astype(np.float64)
    x = (pixels - np.array(facts["mean"])) / np.array(facts["std"])
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)


def _images(facts, data) -> np.ndarray:
    found = data if isinstance(data, np.ndarray) else np.asarray(data) if isinstance(data, list | tuple) else None
    if found is None or list(found.shape[1:]) != facts["shape"]:
        raise UsageError(f"this network reads images: an array of shape [n, {', '.join(map(str, facts['shape']))}]")
    return found


# ---------------------------------------------------------------------------------------------- texts
def _fit_words(rows: list[list[str]], data: Dataset, train: np.ndarray, target):
    codes, _ = views.vocabulary(rows, train, views.VOCABULARY)
    return {"codes": codes, "length": max(map(len, rows)), "unit": data.unit}, {}


def _words(facts, arrays, data) -> np.ndarray:
    if isinstance(data, str | pd.DataFrame) or not all(isinstance(text, str) for text in data):
        raise UsageError("this network reads texts: a list of them")
    return _coded(facts, views.view("words").examples(replace(_EMPTY, X=list(data), unit=facts["unit"])))


def _coded(facts, rows) -> np.ndarray:
    x = np.zeros((len(rows), facts["length"]), dtype=np.int32)
    for i, row in enumerate(rows):
        known = [facts["codes"].get(token, 1) for token in row[: facts["length"]]]
        x[i, : len(known)] = known
    return x


# ---------------------------------------------------------------------------------------------- series
def _fit_series(rows: list[np.ndarray], data: Dataset, train: np.ndarray, target):
    known = np.concatenate([rows[i] for i in train])
    mean, std = np.nanmean(known, axis=0), np.maximum(np.nanstd(known, axis=0), 1e-6)
    factor = -(-max(series.shape[1] for series in data.X) // views.SERIES)
    return {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "length": max(map(len, rows)),
        "factor": factor,
        "dtype": str(mean.dtype),
    }, {}


def _series(facts, arrays, data) -> np.ndarray:
    channels = len(facts["mean"])
    data = [] if isinstance(data, str | pd.DataFrame) else data
    rows = [np.atleast_2d(np.asarray(series, dtype=np.float32).T).T for series in data]
    if not rows or any(row.ndim != 2 or row.shape[1] != channels or not len(row) for row in rows):
        raise UsageError(f"this network reads series: each [T]{f' or [T, {channels}]' * (channels > 1)}")
    return _placed(facts, [views.averaged(row, facts["factor"]) for row in rows])


def _placed(facts, rows) -> np.ndarray:
    """Standardised, the latest moment last; of longer ones the latest moments."""
    mean, std = (np.array(facts[name], dtype=facts["dtype"]) for name in ("mean", "std"))
    x = np.zeros((len(rows), facts["length"], len(mean)), dtype=np.float32)
    for i, row in enumerate(rows):
        known = row[-facts["length"] :]
        x[i, facts["length"] - len(known) :] = np.nan_to_num((known - mean) / std)
    return np.clip(x, -preprocess.CLIP, preprocess.CLIP)


# ---------------------------------------------------------------------------------------------- a series to be forecast
def _fit_windows(rows: np.ndarray, data: Dataset, train: np.ndarray, target):
    known = rows[train]
    mean, std = known.mean((0, 1)), np.maximum(known.std((0, 1)), 1e-6)
    return {"mean": mean.tolist(), "std": std.tolist(), "dtype": str(mean.dtype)}, {}


def _windows(facts, arrays, data) -> np.ndarray:
    names = facts["channels"]
    if is_frame(data):
        data = plain(as_pandas(data), Reading()).frame
        if absent := [c for c in names if c not in data]:
            raise UsageError(f"the data has no column {absent[0]!r}, which the network was trained on")
        data = data[names].astype(np.float64)
    try:
        x = np.asarray(data, dtype=np.float32).reshape(len(data), -1)
    except (TypeError, ValueError):
        x = np.empty((0, 0))
    if x.shape[1:] != (len(names),) or len(x) < views.LAG or not np.isfinite(x[-views.LAG :]).all():
        shape = f"[T, {len(names)}]" if len(names) > 1 else "[T]"
        raise UsageError(f"this network reads the last {views.LAG} moments of a series {shape}, none of them missing")
    return _standard(facts, x[None, -views.LAG :])


def _standard(facts, x: np.ndarray) -> np.ndarray:
    mean, std = (np.array(facts[name], dtype=facts["dtype"]) for name in ("mean", "std"))
    return np.clip((x - mean) / std, -preprocess.CLIP, preprocess.CLIP).astype(np.float32)


# ---------------------------------------------------------------------------------------------- a text to be gone on with
def _fit_letters(rows: np.ndarray, data: Dataset, train: np.ndarray, target):
    return {"codes": views.vocabulary(rows, train, 128, reserved=1)[0]}, {}


def _letters(facts, arrays, data) -> np.ndarray:
    """Tokens [n, CONTEXT] of texts: their last characters from the first place on, zeros after them."""
    if isinstance(data, str | pd.DataFrame) or not all(isinstance(text, str) and text for text in data):
        raise UsageError("this network reads texts: a list of them, none empty")
    x = np.zeros((len(data), views.CONTEXT), dtype=np.int32)
    for i, text in enumerate(data):
        codes = [facts["codes"].get(letter, 0) for letter in text[-views.CONTEXT :]]
        x[i, : len(codes)] = codes
    return x


# ---------------------------------------------------------------------------------------------- pairs
def _fit_pairs(rows, data: Dataset, train: np.ndarray, target):
    sources, targets = (views.vocabulary([pair[side] for pair in rows], train, 256)[0] for side in range(2))
    # symbols of several characters are words
    words = [any(len(symbol) > 1 for pair in rows for symbol in pair[side]) for side in range(2)]
    return {"codes": sources, "targets": targets, "length": views.SOURCE, "words": words}, {}


def _pairs(facts, arrays, data) -> np.ndarray:
    """Tokens [n, SOURCE] of sources."""
    if isinstance(data, str | pd.DataFrame) or not all(isinstance(text, str) and text.strip() for text in data):
        raise UsageError("this network reads texts: a list of them, none empty")
    rows = [text.split() if facts["words"][0] else list(text.strip()) for text in data]
    if long := [text for text, row in zip(data, rows) if len(row) > facts["length"]]:
        raise UsageError(f"this network reads at most {facts['length']} symbols; {long[0][:40]!r} has more")
    return _coded(facts, rows)


_EMPTY = Dataset("new", "new", "user", "text", "classification", [], None)
_FITS = {
    "table": _fit_table,
    "pixels": _fit_pixels,
    "image": _fit_image,
    "words": _fit_words,
    "series": _fit_series,
    "windows": _fit_windows,
    "letters": _fit_letters,
    "pairs": _fit_pairs,
}
TRANSFORMS = {
    "table": _table,
    "pixels": _pixels,
    "image": _image,
    "words": _words,
    "series": _series,
    "windows": _windows,
    "letters": _letters,
    "pairs": _pairs,
}

__all__ = ["Inputs", "fit"]
