"""A person's own data, as it is: files, folders, arrays, DataFrames, torch Datasets. What is done to it is said.

Whatever cannot be used is one line that says what would be; whatever is left out, or read otherwise than it stands,
is a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import registry
from metabench.advise import arrays, delimited, files, unlabelled
from metabench.advise.cells import Reading
from metabench.advise.delimited import suffix
from metabench.advise.frames import as_pandas, is_frame
from metabench.advise.notes import Notes
from metabench.advise.tables import Read, seconds
from metabench.errors import UsageError
from metabench.tasks.views import view
from metabench.untrusted import one_line

KINDS = ("classification", "regression")
#: views of no single data set
_NO_DATA = {
    "control": "learns simulated systems, not data",
    "episodes": "learns episodes of many classes",
    "transfer": "goes from one data set to another",
}


def read(
    data: Any,
    target: Any = None,
    workload: str = "mlp",
    *,
    kind: str | None = None,
    encoding: str = "utf-8",
    decimal: str | None = None,
    missing: Sequence[str] = (),
    name: str | None = None,
) -> Read:
    """A data set out of what a person has.

    How it is read depends on the workload: arrays [n, columns] are tables, [n, height, width(, colours)] images; to ``rnn``
    [n, T] and [n, T, channels] are series, and a table has a series a row; to ``text`` it has a column of texts. Where no
    row has a label (``autoencoder``, ``forecast``, ``transformer``, ...) :mod:`metabench.advise.unlabelled` says what
    ``data`` may be.

    Args:
        data: A path: delimited text or JSON lines (packed or not), Parquet or Feather with a target column; a folder with a
            folder of images per class; a text file of lines ``label<TAB>text``; ``.npz`` with arrays ``x`` and ``y``. A table
            of pandas, polars (also lazy), Arrow or DuckDB with a target column; a Bunch of scikit-learn. An array of rows
            whose targets are ``target``, a list of texts or series likewise, or both as a pair (X, y). A torch Dataset of
            (x, y).
        target: The target column's name, or the targets.
        workload: What is to be trained.
        kind: classification or regression; None to find out.
        encoding: Of a file of text.
        decimal: "." or ","; None to find out, column by column.
        missing: Words that are missing wherever they stand, also in a column of names.
        name: What the data set is called; the file's name by default.

    Returns:
        The data set, and what was done to it.

    Raises:
        UsageError: It cannot be a task of the workload; one line says why.
    """
    try:
        return _read(data, target, workload, kind, Reading(encoding, decimal, tuple(missing)), name)
    except UsageError as error:
        raise UsageError(one_line(error)) from None


def _read(data: Any, target: Any, workload: str, kind: str | None, reading: Reading, name: str | None) -> Read:
    if reading.decimal not in (None, ".", ","):
        raise UsageError(f"{reading.decimal!r} is no decimal mark; . and , are")
    encoding = reading.encoding
    if kind is not None and kind not in KINDS:
        raise registry.suggest(kind, list(KINDS), "kind of task")
    known = registry.load("workloads", workload)
    notes, without_labels = Notes(reading), unlabelled.READERS.get(known.view)
    if known.view in _NO_DATA:
        raise UsageError(f"workload {workload} {_NO_DATA[known.view]}; name one of its tasks (`metabench list tasks`)")
    if _is_bunch(data):
        whole = data.get("frame")
        target = _bunch_target(data) if target is None else target
        data = whole if whole is not None and isinstance(target, str) else data["data"]
    elif target is None and _is_pair(data):
        data, target = data
    if isinstance(data, str | Path):
        path = Path(data)
        try:
            if not path.exists():
                raise UsageError(f"{path}: no such file")
            if not (path.is_file() or path.is_dir()):
                raise UsageError(f"{path} is no regular file")
            encoding = delimited.marked(path, encoding)
            made = (
                without_labels(path, target, encoding, notes)
                if without_labels
                else _from_path(path, target, workload, kind, encoding, notes)
            )
        except UsageError as error:
            raise error if str(error).startswith(str(path)) else UsageError(f"{path}: {error}") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        name = name or re.sub(r"[^a-z0-9]+", "_", _stem(path).lower()).strip("_") or "mine"
    elif without_labels:
        pairs = known.view == "pairs"
        rows = (
            data
            if pairs
            else arrays.pairs_of(data, notes)[0]
            if arrays.is_dataset(data)
            else arrays.rows_of(data, notes)
        )
        made = without_labels(rows, target, encoding, notes)
    elif is_frame(data):
        frame = as_pandas(data)
        if target is None or _is_name(target, frame):
            made = arrays.table_for(frame, target, known.modalities, kind, notes)
        else:
            made = arrays.labelled(frame, target, known.modalities, kind, notes)
    elif target is None and arrays.is_dataset(data):
        made = arrays.labelled(*arrays.pairs_of(data, notes), known.modalities, kind, notes)
    elif target is None or isinstance(target, str):
        arrays.rows_of(data, notes)  # what is no data at all is said first
        raise UsageError("rows need their targets: give them as the second argument")
    else:
        made = arrays.labelled(data, target, known.modalities, kind, notes)
    dataset = made.dataset
    only = view(known.view).kind
    kinds = known.kinds if only is None else (only,)
    if dataset.modality not in known.modalities or dataset.kind not in kinds:
        takes = f"{' or '.join(kinds)} of {' or '.join(known.modalities)}"
        raise UsageError(f"workload {workload} takes {takes}; this is {dataset.kind} of {dataset.modality} data")
    return replace(
        made,
        dataset=replace(dataset, name=name or "mine", family=name or "mine"),
        notes=tuple(notes.said),
        encoding=encoding,
        missing=reading.missing,
    )


def _stem(path: Path) -> str:
    """A file's name without its endings."""
    return path.stem.removesuffix(Path(path.stem).suffix) if suffix(path) != path.suffix.lower() else path.stem


def _is_bunch(data: Any) -> bool:
    """Whether it is what scikit-learn's loaders return."""
    return isinstance(data, dict) and "data" in data and ("target" in data or "frame" in data)


def _bunch_target(bunch: Any) -> Any:
    """The target column's name where there is a whole table, else the targets."""
    target = bunch.get("target")
    name = getattr(target, "name", None)
    whole = bunch.get("frame")
    return name if whole is not None and name is not None and name in whole else target


def _is_pair(data: Any) -> bool:
    """Whether it is (X, y): rows, and a target for each."""
    if not (isinstance(data, tuple) and len(data) == 2):
        return False
    X, y = data
    if is_frame(X):
        return True
    rows = hasattr(X, "__len__") and hasattr(y, "__len__") and not isinstance(X, str | bytes | dict | Path)
    size: Any = len
    return rows and not isinstance(y, str | bytes | dict) and (hasattr(X, "shape") or size(X) == size(y) > 2)


def _is_name(target: Any, frame: pd.DataFrame) -> bool:
    """Whether a target is a column's name, not a column."""
    if isinstance(target, str | int | float | np.generic) or target is pd.NaT:
        return True
    try:
        return not hasattr(target, "__len__") or (isinstance(target, tuple) and target in frame.columns)
    except TypeError:  # a tuple of lists
        return False


def _from_path(path: Path, target, workload: str, kind: str | None, encoding: str, notes: Notes) -> Read:
    modalities = registry.load("workloads", workload).modalities
    if path.is_dir():
        if "image" not in modalities:
            raise UsageError(f"{path} is a folder; {arrays.wants(modalities)}")
        if target is not None:
            notes(f"the folders name the classes: target {target!r} is not used")
        pictures, labels = files.images(path, notes)
        return arrays.images(pictures, pd.Series(labels), "classification", notes)
    ending = suffix(path)
    if ending == ".npz":
        rows, labels = files.npz(path)
        return arrays.labelled(rows, labels, modalities, kind, notes)
    if "text" in modalities and ending in (".txt", ".tsv", ".tab") and target is None:
        labels, found = files.lines(path, encoding, notes)
        return arrays.texts(found, pd.Series(labels, dtype=object), kind, notes)
    if modalities == ("image",):
        raise UsageError(f"{path} is no folder; {arrays.wants(modalities)} in an .npz file")
    frame, rows, layout = files.frame(path, encoding)
    if rows > len(frame):
        notes(f"{rows:,} rows: an even random sample of {len(frame):,} of them is read")
    notes.laid_out(layout)
    return replace(arrays.table_for(frame, target, modalities, kind, notes, rows), layout=layout)


__all__ = ["KINDS", "Read", "read", "seconds"]
