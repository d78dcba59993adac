"""Data in memory, and what labelled rows of it are: arrays, tensors, lists, torch Datasets; tables of texts and of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.advise.frames import as_pandas, is_frame
from metabench.advise.notes import Notes, listed, short
from metabench.advise.tables import ROWS, Read, chosen, plain_column, plain_table, table
from metabench.advise.targets import check_rows, target_of
from metabench.errors import UsageError
from metabench.sources.base import Dataset

#: modality → what a person gives
FORMS = {
    "tabular": "a table with a target column",
    "image": "a folder with a folder of images per class, or x [n, height, width(, colours)] with y",
    "series": "x [n, T] or [n, T, channels] with y, or a table of a series a row with a target column",
    "text": "lines label<TAB>text, or a table of one column of texts with a target column",
}
#: numbers beyond this have squares that 32 bits do not hold
LARGEST = 1e15


def plain(value: Any) -> Any:
    """A tensor, an image or a number as numpy has it; a column as an array, or a list of texts."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "getbands"):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) and hasattr(value, "to_list") and hasattr(value, "dtype"):  # polars
        value = pd.Series(value.to_list())
    if hasattr(value, "to_pylist"):  # Arrow
        value = pd.Series(cast(Any, value).to_pylist())
    if isinstance(value, pd.Series):
        value = value.to_numpy() if pd.api.types.is_numeric_dtype(value) else value.tolist()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "UT":
        value = value.tolist()
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def rows_of(data: Any, notes: Notes) -> Any:
    """Rows as one array where they have one shape, else as a list; a DataFrame as it is. Of a long Dataset a sample is read.
    Raises UsageError for what has no rows."""
    if is_frame(data):
        return as_pandas(data)
    data = plain(data)
    if isinstance(data, np.ndarray) and data.dtype.names:  # a structured array has named columns
        return pd.DataFrame({name: data[name].tolist() for name in data.dtype.names})
    if isinstance(data, str | bytes | dict | set) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise UsageError(f"{type(data).__name__} is no data that can be read; give a path, a DataFrame or arrays")
    if hasattr(data, "toarray"):
        raise UsageError("a sparse matrix is not read; give a dense array (`.toarray()`)")
    if not len(data):
        raise UsageError("there are no rows")
    if isinstance(data, np.ndarray):
        return data
    # one that reads what it is asked for is asked for no more than is used; targets stand beside a list
    asked = range(len(data)) if isinstance(data, list | tuple) else chosen(len(data), notes).tolist()
    rows = [plain(data[i]) for i in asked]
    if any(isinstance(row, str) for row in rows):
        return rows
    try:
        return colours_last(np.stack(rows))
    except (TypeError, ValueError):
        return rows


def colours_last(x: np.ndarray) -> np.ndarray:
    """torch has an image's colours first."""
    return np.moveaxis(x, 1, -1) if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[3] not in (1, 3) else x


def is_dataset(data: Any) -> bool:
    """Whether it is a torch Dataset, or a list, of pairs."""
    if (
        not (hasattr(data, "__getitem__") and hasattr(data, "__len__"))
        or hasattr(data, "shape")
        or isinstance(data, dict)
    ):
        return False
    # in a list of lists these are rows
    pair = tuple if isinstance(data, list | tuple) else tuple | list
    return len(data) > 0 and isinstance(data[0], pair) and len(data[0]) == 2


def pairs_of(data: Any, notes: Notes) -> tuple[Any, np.ndarray]:
    """Rows and targets of a torch Dataset (or a list) of (x, y)."""
    try:
        xs, ys = zip(*((x, plain(y)) for x, y in (data[i] for i in chosen(len(data), notes).tolist())), strict=True)
    except (TypeError, ValueError, LookupError) as error:
        raise UsageError(f"a Dataset's items must be pairs (x, y): {short(error)}") from None
    return rows_of(list(xs), notes), np.array(ys)


def labelled(X: Any, y: Any, modalities: Sequence[str], kind: str | None, notes: Notes) -> Read:
    """Rows and a target for each, as a workload of some modalities sees them."""
    X, name, y = rows_of(X, notes), _called(y), _targets(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or len(X) != len(y):
        raise UsageError(f"{len(X)} rows but targets of shape {list(y.shape)}; each row needs one target")
    if not isinstance(X, pd.DataFrame) and len(X) > ROWS:
        keep = chosen(len(X), notes)
        X, y = X[keep] if isinstance(X, np.ndarray) else [X[i] for i in keep], y[keep]
    target = y if isinstance(y, pd.Series) else pd.Series(y)
    target = target.reset_index(drop=True)
    if isinstance(X, pd.DataFrame):
        taken = {str(c).strip() for c in X.columns}
        while name in taken:
            name += "_"
        whole = pd.concat([X.reset_index(drop=True), target.rename(name)], axis=1)
        return table_for(whole, name, modalities, kind, notes)
    if isinstance(X, list) and any(isinstance(row, str) for row in X):
        return texts(X, target, kind, notes)
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUS" and X.ndim == 2 and "tabular" in modalities:
        frame = pd.DataFrame(X.astype(object), columns=[f"x{i}" for i in range(X.shape[1])])
        return table(pd.concat([frame, target.rename("target")], axis=1), "target", kind, notes)
    if isinstance(X, np.ndarray) and X.dtype.kind == "O":
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError):
            raise UsageError("an array of object has no numbers; give a DataFrame where columns are names") from None
    if isinstance(X, np.ndarray) and X.dtype.kind not in "fiub":
        raise UsageError(f"an array of {X.dtype} has no numbers; give a DataFrame where columns are names")
    if "series" in modalities:
        return series(X, target, kind, notes)
    if "text" in modalities:
        raise UsageError(f"texts are strings; {str(X[0])[:30]!r} is none")
    if isinstance(X, list):
        raise UsageError("rows of several shapes; rows of a table are of one length, images of one size")
    if X.ndim == 2:
        frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        return table(pd.concat([frame, target.rename("target")], axis=1), "target", kind, notes)
    if X.ndim in (3, 4):
        return images(X, target, kind, notes)
    raise UsageError(f"an array of shape {list(X.shape)} is neither a table [n, columns] nor images [n, height, width]")


def _called(y: Any) -> str:
    """What a column of targets is called."""
    name = getattr(y, "name", None)
    if is_frame(y) and not isinstance(y, pd.Series):
        columns = [str(c) for c in as_pandas(y).columns]
        name = columns[0] if len(columns) == 1 else None
    return str(name).strip() if name not in (None, "") else "target"


def _targets(y: Any) -> pd.Series | np.ndarray:
    """Targets as a column; a table of one column is one."""
    if is_frame(y):
        y = as_pandas(y)
        y = y.iloc[:, 0] if y.shape[1] == 1 else y.to_numpy()
    if isinstance(y, pd.Series):
        return y
    values = plain(y)
    if not isinstance(values, np.ndarray):
        values = np.asarray(values) if not isinstance(values, list) else _column(values)
    return values


def _column(values: list) -> np.ndarray:
    """A list as an array that keeps what is missing and what is text."""
    made = np.asarray(values, dtype=object)
    if made.ndim != 1:
        return np.asarray(values)
    numbers = all(isinstance(v, int | float | bool | np.number | np.bool_) for v in values)
    return np.asarray(values) if numbers else made


def images(X: np.ndarray, target: pd.Series, kind: str | None, notes: Notes) -> Read:
    """Images [n, height, width(, colours)] with a target each."""
    if not np.isfinite(X.astype(np.float64)).all():
        raise UsageError("the images have numbers that are missing or not finite")
    if (X[0] == X).all():
        raise UsageError("all images are the same; there is nothing to tell apart")
    return _made("image", X, target, kind, notes)


def series(X: np.ndarray | list, target: pd.Series, kind: str | None, notes: Notes) -> Read:
    """Series [n, T], [n, T, channels] or a list of [T] or [T, channels], with a target each."""
    try:
        found = [np.asarray(x, dtype=np.float64) for x in X]
    except (TypeError, ValueError):
        raise UsageError("series are numbers [T] or [T, channels]; one of them is none") from None
    odd = [x for x in found if x.ndim not in (1, 2) or not x.size]
    if odd or max(map(len, found)) < 2:
        shape = list((odd or found)[0].shape)
        raise UsageError(f"a row of shape {shape} is no series; one is [T] or [T, channels], of two moments or more")
    found = [x.reshape(len(x), -1) for x in found]
    if len(channels := sorted({x.shape[1] for x in found})) > 1:
        raise UsageError(f"series of {' and '.join(map(str, channels))} channels; all need the same")
    missing = sum(int((~np.isfinite(x)).sum()) for x in found)
    if missing:
        notes(f"{missing} numbers are missing or not finite: the mean replaces each")
        found = [np.where(np.isfinite(x), x, np.nan) for x in found]
    together = np.concatenate(found)
    empty = [i for i in range(channels[0]) if np.isnan(together[:, i]).all()]
    if len(empty) == channels[0]:
        raise UsageError("all numbers of the series are missing")
    if empty:
        notes(f"channel {listed([str(i) for i in empty])}: all numbers are missing, left out")
    kept = [i for i in range(channels[0]) if i not in empty]
    if np.nanmax(np.abs(together[:, kept])) > LARGEST:
        raise UsageError(f"series have numbers beyond {LARGEST:g}: give them in a larger unit")
    if all(np.nanmin(together[:, i]) == np.nanmax(together[:, i]) for i in kept):
        raise UsageError("all numbers of the series are the same; there is nothing to learn from")
    return _made("series", [x[:, kept].T.astype(np.float32) for x in found], target, kind, notes)


def texts(found: Sequence, labels: pd.Series, kind: str | None, notes: Notes) -> Read:
    """Texts with a target each; missing ones count as empty."""
    given: list[Any] = ["" if text is None or (isinstance(text, float) and np.isnan(text)) else text for text in found]
    if odd := [text for text in given if not isinstance(text, str)]:
        raise UsageError(f"texts are strings; {str(odd[0])[:30]!r} is none")
    kept = [i for i, text in enumerate(given) if text.strip()]
    if not kept:
        raise UsageError("there are no texts" if not given else "all texts are empty")
    if len(kept) < len(given):
        notes(f"{len(given) - len(kept)} texts are empty: left out")
    return _made("text", [given[i] for i in kept], labels.iloc[kept].reset_index(drop=True), kind, notes)


def table_for(
    frame: pd.DataFrame, target, modalities: Sequence[str], kind: str | None, notes: Notes, rows=None
) -> Read:
    """A table as a workload of some modalities reads it: as one, as a series a row, or as texts."""
    if "tabular" in modalities:
        return table(frame, target, kind, notes, rows)
    if target is None:
        raise UsageError(f"name the target column; there are {listed([str(c) for c in frame.columns])}")
    known = plain_table(frame, target, notes, rows)
    target = str(target).strip()
    others = known.frame.drop(columns=target)
    columns = tuple(others.columns)
    numeric = [c for c in columns if pd.api.types.is_numeric_dtype(others[c])]
    if "series" in modalities and columns and len(numeric) == len(columns):
        notes(f"the {len(columns)} columns beside {target!r} are read as moments, the first the earliest")
        rows_of_numbers = np.stack([others[c].to_numpy(np.float64, na_value=np.nan) for c in columns], axis=1)
        made = series(rows_of_numbers, known.frame[target], kind, notes)
    elif "text" in modalities and len(words := [c for c in columns if c not in numeric]) == 1:
        if numeric:
            notes(f"{listed(numeric)}: no texts, left out")
        columns = tuple(words)
        made = texts(others[words[0]].tolist(), known.frame[target], kind, notes)
    else:
        raise UsageError(f"a table with columns {listed(list(columns))} is not read here; {wants(modalities)}")
    return replace(made, target=str(target), columns=columns, rows=known.rows, formats=known.formats)


def wants(modalities: Sequence[str]) -> str:
    """What a workload of some modalities takes."""
    return f"give {'; or '.join(FORMS[m] for m in modalities if m in FORMS)}"


def _made(modality: str, X, y: pd.Series, kind: str | None, notes: Notes) -> Read:
    if y.dtype == object or not pd.api.types.is_numeric_dtype(y):
        y, labels = plain_column(y, notes)
    else:
        labels = None
    y, kind, keep = target_of(y, "target", kind, notes, labels)
    X = X[keep] if isinstance(X, np.ndarray) else [X[i] for i in np.flatnonzero(keep)]
    check_rows(y, kind, notes)
    return Read(Dataset("mine", "mine", "user", modality, kind, X, y.reset_index(drop=True)), rows=len(y))


__all__ = ["images", "is_dataset", "labelled", "pairs_of", "rows_of", "table_for", "texts", "wants"]
