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
from metabench.advise import files, unlabelled
from metabench.advise.tables import ROWS, Notes, Read, check_rows, seconds, short, table, target_of
from metabench.errors import UsageError
from metabench.sources.base import Dataset
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
    of rows whose targets are ``target``, a list of texts or series likewise, or a torch Dataset of (x, y). How arrays are
    read depends on the workload: [n, columns] are tables, [n, height, width(, colours)] images; to ``rnn`` [n, T] and
    [n, T, channels] are series. Where no row has a label (``autoencoder``, ``forecast``, ``transformer``, ...)
    :mod:`metabench.advise.unlabelled` says what ``data`` may be.

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
        made = without_labels(_as_numpy(data), target, encoding, notes)
    elif isinstance(data, pd.DataFrame) or hasattr(data, "to_pandas"):  # polars and Arrow have it
        made = table(data if isinstance(data, pd.DataFrame) else data.to_pandas(), target, kind, notes)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and target is None and not hasattr(data, "shape"):
        made = _arrays(*_from_dataset(data), workload, kind, notes)
    elif target is None or isinstance(target, str):
        raise UsageError("an array of rows needs its targets: give them as the second argument")
    else:
        made = _arrays(data, target, workload, kind, notes)
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
    if path.is_dir():
        pictures, labels = files.images(path, notes)
        return _made("image", pictures, pd.Series(labels), "classification", notes)
    ending = path.suffix.lower()
    if ending == ".npz":
        return _arrays(*files.npz(path), workload, kind, notes)
    if "text" in registry.load("workloads", workload).modalities and ending in (".txt", ".tsv", ".tab"):
        labels, texts = files.lines(path, encoding)
        return _texts(texts, labels, kind, notes)
    frame, rows = files.frame(path, encoding)
    if rows > len(frame):
        notes(f"{rows:,} rows: an even random sample of {len(frame):,} of them is read")
    return table(frame, target, kind, notes, rows)


def _from_dataset(data) -> tuple[Any, np.ndarray]:
    """A torch Dataset (or a list) of (x, y)."""
    rows = min(len(data), ROWS)
    try:
        pairs = [data[i] for i in range(rows)]
        xs, ys = zip(*((_plain(x), _plain(y)) for x, y in pairs), strict=True)
    except (TypeError, ValueError, LookupError) as error:
        raise UsageError(f"a Dataset's items must be pairs (x, y): {short(error)}") from None
    if isinstance(xs[0], np.ndarray) and len({x.shape for x in xs}) == 1:
        return _colours_last(np.stack(xs)), np.array(ys)
    return list(xs), np.array(ys)


def _as_numpy(data):
    """Tensors, Datasets, polars' and Arrow's tables as numpy and pandas have them; all else as it is."""
    if isinstance(data, np.ndarray | pd.DataFrame | pd.Series):
        return data
    if hasattr(data, "to_pandas"):
        return data.to_pandas()
    if hasattr(data, "shape"):
        return _plain(data)
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UsageError(f"{type(data).__name__} is no data that can be read; give a path, a DataFrame or arrays")
    if not len(data):
        raise UsageError("there are no rows")
    if isinstance(data[0], tuple):
        return _from_dataset(data)[0]
    if isinstance(data, list | tuple) and isinstance(data[0], str | int | float):
        return data
    try:
        return _colours_last(np.stack([_plain(data[i]) for i in range(min(len(data), ROWS))]))
    except (TypeError, ValueError) as error:
        raise UsageError(f"rows of several shapes: {short(error)}") from None


def _colours_last(x: np.ndarray) -> np.ndarray:
    """torch has an image's colours first."""
    return np.moveaxis(x, 1, -1) if x.ndim == 4 and x.shape[1] in (1, 3) else x


def _plain(value):
    """A tensor, an image or a number as numpy has it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "getbands"):
        value = np.asarray(value)
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _arrays(X, y, workload: str, kind: str | None, notes: Notes) -> Read:
    X, y = _plain(X), np.asarray(_plain(y))
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(X) != len(y):
        raise UsageError(f"{len(X)} rows but targets of shape {list(y.shape)}; each row needs one target")
    if isinstance(X, Sequence) and len(X) and isinstance(X[0], str):
        return _texts(list(X), y, kind, notes)
    series = "series" in registry.load("workloads", workload).modalities
    if isinstance(X, Sequence):
        rows = [np.asarray(x, dtype=np.float32) for x in X]
        if not series or any(x.ndim not in (1, 2) or not x.size for x in rows):
            raise UsageError(
                "rows of several shapes; rows of a table are of one length, of series [T] or [T, channels]"
            )
    else:
        if X.dtype.kind not in "fiub":
            raise UsageError(f"an array of {X.dtype} has no numbers; give a DataFrame where columns are names")
        rows = X
    target = pd.Series(y)
    if series:
        found = [np.atleast_2d(np.asarray(x, dtype=np.float32).T) for x in rows]
        return _labelled("series", found, target, kind, notes)
    if X.ndim == 2:
        frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        return table(frame.assign(target=y), "target", kind, notes)
    if X.ndim in (3, 4):
        if not np.isfinite(X.astype(np.float64)).all():
            raise UsageError("the images have numbers that are missing or not finite")
        return _labelled("image", X, target, kind, notes)
    raise UsageError(f"an array of shape {list(X.shape)} is neither a table [n, columns] nor images [n, height, width]")


def _texts(texts: list[str], labels, kind: str | None, notes: Notes) -> Read:
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if len(kept) < len(texts):
        notes(f"{len(texts) - len(kept)} texts are empty: left out")
    return _labelled("text", [texts[i] for i in kept], pd.Series(np.asarray(labels)[kept]), kind, notes)


def _labelled(modality: str, X, y: pd.Series, kind: str | None, notes: Notes) -> Read:
    y, kind, keep = target_of(y, "target", kind, notes)
    X = X[keep] if isinstance(X, np.ndarray) else [X[i] for i in np.flatnonzero(keep)]
    return _made(modality, X, y, kind, notes)


def _made(modality: str, X, y: pd.Series, kind: str, notes: Notes, **more) -> Read:
    check_rows(y, kind, notes)
    return Read(Dataset("mine", "mine", "user", modality, kind, X, y.reset_index(drop=True)), rows=len(y), **more)


__all__ = ["KINDS", "Read", "read", "seconds"]
