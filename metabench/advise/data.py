"""A person's own data, as it is: files, folders, arrays, DataFrames, torch Datasets. What is done to it is said.

Whatever cannot be used is one line that says what would be; whatever is left out, or read otherwise than it stands,
is a note.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from metabench import registry
from metabench.advise import arrays, files, unlabelled
from metabench.advise.tables import Notes, Read, seconds
from metabench.errors import UsageError
from metabench.tasks.views import view

KINDS = ("classification", "regression")
#: views of no single data set
_NO_DATA = {
    "control": "learns simulated systems, not data", "episodes": "learns episodes of many classes",
    "transfer": "goes from one data set to another",
}  # fmt: skip


def read(
    data: Any, target: Any = None, workload: str = "mlp", *, kind: str | None = None, encoding: str = "utf-8",
    name: str | None = None,
) -> Read:  # fmt: skip
    """A data set out of what a person has.

    ``data`` is a path (CSV, TSV or Parquet with a ``target`` column; a folder with a folder of images per class; a text
    file of lines ``label<TAB>text``; ``.npz`` with arrays ``x`` and ``y``), a DataFrame with a ``target`` column, an array
    of rows whose targets are ``target``, a list of texts or series likewise, or a torch Dataset of (x, y). How they are
    read depends on the workload: [n, columns] are tables, [n, height, width(, colours)] images; to ``rnn`` [n, T] and
    [n, T, channels] are series, and a table has a series a row; to ``text`` it has a column of texts. Where no row has a
    label (``autoencoder``, ``forecast``, ``transformer``, ...) :mod:`metabench.advise.unlabelled` says what ``data`` may be.

    Raises UsageError, in one line, for what cannot be a task of the workload.
    """
    if kind is not None and kind not in KINDS:
        raise registry.suggest(kind, list(KINDS), "kind of task")
    known = registry.load("workloads", workload)
    notes, without_labels = Notes(), unlabelled.READERS.get(known.view)
    if known.view in _NO_DATA:
        raise UsageError(f"workload {workload} {_NO_DATA[known.view]}; name one of its tasks (`metabench list tasks`)")
    if isinstance(data, str | Path):
        path = Path(data)
        try:
            if not path.exists():
                raise UsageError(f"{path}: no such file")
            made = (
                without_labels(path, target, encoding, notes)
                if without_labels
                else _from_path(path, target, workload, kind, encoding, notes)
            )
        except UsageError as error:
            raise error if str(error).startswith(str(path)) else UsageError(f"{path}: {error}") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        name = name or re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "mine"
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
    elif isinstance(data, pd.DataFrame) or hasattr(data, "to_pandas"):  # polars and Arrow have it
        frame = arrays.rows_of(data, notes)
        if target is None or isinstance(target, str | tuple | int):
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
    kinds = known.kinds if view(known.view).kind is None else (view(known.view).kind,)
    if dataset.modality not in known.modalities or dataset.kind not in kinds:
        takes = f"{' or '.join(kinds)} of {' or '.join(known.modalities)}"
        raise UsageError(f"workload {workload} takes {takes}; this is {dataset.kind} of {dataset.modality} data")
    return replace(
        made,
        dataset=replace(dataset, name=name or "mine", family=name or "mine"),
        notes=tuple(notes.said),
        encoding=encoding,
    )


def _from_path(path: Path, target, workload: str, kind: str | None, encoding: str, notes: Notes) -> Read:
    modalities = registry.load("workloads", workload).modalities
    if path.is_dir():
        if "image" not in modalities:
            raise UsageError(f"{path} is a folder; {arrays.wants(modalities)}")
        if target is not None:
            notes(f"the folders name the classes: target {target!r} is not used")
        pictures, labels = files.images(path, notes)
        return arrays.images(pictures, pd.Series(labels), "classification", notes)
    ending = path.suffix.lower()
    if ending == ".npz":
        return arrays.labelled(*files.npz(path), modalities, kind, notes)
    if "text" in modalities and ending in (".txt", ".tsv", ".tab") and target is None:
        labels, found = files.lines(path, encoding, notes)
        return arrays.texts(found, pd.Series(labels, dtype=object), kind, notes)
    if modalities == ("image",):
        raise UsageError(f"{path} is no folder; {arrays.wants(modalities)} in an .npz file")
    frame, rows = files.frame(path, encoding)
    if rows > len(frame):
        notes(f"{rows:,} rows: an even random sample of {len(frame):,} of them is read")
    return arrays.table_for(frame, target, modalities, kind, notes, rows)


__all__ = ["KINDS", "Read", "read", "seconds"]
