"""A person's own data, as it is: files, folders, arrays, DataFrames, torch Datasets. What is done to it is said.

Whatever cannot be used is one line that says what would be; whatever is left out, or read otherwise than it stands,
is a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import registry
from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks.splits import MIN_CLASS

#: rows of a longer table, and images of a larger folder, that are read on: an even random sample; networks train on at most
#: 16,384 rows anyway
ROWS, IMAGES = 50_000, 10_000
#: rows that are read at a time
CHUNK = 100_000
#: fewer rows than this are no task; fewer than that are a poor one
FEWEST, FEW = 20, 150
#: a column of text of which this share is numbers is one of numbers
NUMERIC = 0.9
#: numbers with more different values than this are predicted as numbers
MOST_CLASSES = 20
#: side in pixels of images that are not all of one size, or larger than LARGEST
SIDE, LARGEST = 32, 64
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
KINDS = ("classification", "regression")


@dataclass(frozen=True)
class Read:
    """A data set, and what was done to it on the way, a line each."""

    dataset: Dataset
    notes: tuple[str, ...] = ()
    #: columns of moments in time, read as seconds
    moments: tuple[str, ...] = ()
    #: what the target is called
    target: str = "target"
    #: rows that there were
    rows: int = 0


@dataclass
class _Notes:
    said: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.said.append(line)


def read(
    data: Any, target: Any = None, workload: str = "mlp", *, kind: str | None = None, encoding: str = "utf-8",
    name: str | None = None,
) -> Read:  # fmt: skip
    """A data set out of what a person has.

    ``data`` is a path (CSV, TSV or Parquet with a ``target`` column; a folder with a folder of images per class; a text
    file of lines ``label<TAB>text``; ``.npz`` with arrays ``x`` and ``y``), a DataFrame with a ``target`` column, an array
    of rows whose targets are ``target``, a list of texts or series likewise, or a torch Dataset of (x, y). How arrays are
    read depends on the workload: [n, columns] are tables, [n, height, width(, colours)] images; to ``rnn`` [n, T] and
    [n, T, channels] are series.

    Raises UsageError, in one line, for what cannot be a task of the workload.
    """
    if kind is not None and kind not in KINDS:
        raise registry.suggest(kind, list(KINDS), "kind of task")
    known = registry.load("workloads", workload)
    notes = _Notes()
    if isinstance(data, str | Path):
        path = Path(data)
        try:
            made = _from_path(path, target, workload, kind, encoding, notes)
        except UsageError as error:
            raise error if str(error).startswith(str(path)) else UsageError(f"{path}: {error}") from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from None
        name = name or re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "mine"
    elif isinstance(data, pd.DataFrame):
        made = _table(data, target, kind, notes)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and target is None and not hasattr(data, "shape"):
        made = _arrays(*_from_dataset(data), workload, kind, notes)
    elif target is None or isinstance(target, str):
        raise UsageError("an array of rows needs its targets: give them as the second argument")
    else:
        made = _arrays(data, target, workload, kind, notes)
    dataset = made.dataset
    if dataset.modality not in known.modalities or dataset.kind not in known.kinds:
        takes = f"{' or '.join(known.kinds)} of {' or '.join(known.modalities)}"
        raise UsageError(f"workload {workload} takes {takes}; this is {dataset.kind} of {dataset.modality} data")
    if len(dataset.y) < FEW:
        notes(f"{len(dataset.y)} rows are few: scores on a fifth of them say little")
    return replace(made, dataset=replace(dataset, name=name or "mine", family=name or "mine"), notes=tuple(notes.said))


# ---------------------------------------------------------------------------------------------------------------- files
def _from_path(path: Path, target, workload: str, kind: str | None, encoding: str, notes: _Notes) -> Read:
    if path.is_dir():
        return _images(path, notes)
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    ending = path.suffix.lower()
    if ending == ".npz":
        return _arrays(*_from_npz(path), workload, kind, notes)
    if "text" in registry.load("workloads", workload).modalities and ending in (".txt", ".tsv", ".tab"):
        return _texts(*_from_lines(path, encoding), kind, notes)
    if ending not in (".csv", ".tsv", ".tab", ".txt", ".data", ".parquet", ".pq"):
        raise UsageError(f"{path}: a file is .csv, .tsv, .parquet, .npz, or .txt with lines label<TAB>text")
    frame, rows = (_from_parquet if ending in (".parquet", ".pq") else _from_csv)(path, encoding)
    if rows > len(frame):
        notes(f"{rows:,} rows: an even random sample of {len(frame):,} of them is read")
    return _table(frame, target, kind, notes, rows)


def _sampled(chunks) -> tuple[pd.DataFrame, int]:
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


def _from_csv(path: Path, encoding: str) -> tuple[pd.DataFrame, int]:
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        with path.open(encoding=encoding, newline="") as lines:
            head = lines.readline(1 << 20)
        delimiter = max(",;\t|", key=lambda mark: (head.count(mark), mark == ","))
        settings = dict(sep=delimiter, encoding=encoding, skipinitialspace=True, na_values=["?"], low_memory=False)
        with pd.read_csv(path, chunksize=CHUNK, **settings) as chunks:
            return _sampled(chunks)
    except LookupError:
        raise UsageError(f"{path}: {encoding!r} is no encoding; utf-8, latin-1 and utf-16 are some") from None
    except UnicodeError as error:
        raise UsageError(
            f"{path} is not {encoding.removesuffix('-sig')} text ({_short(error)}); name its encoding, such as latin-1 or utf-16"
        ) from None
    except (ValueError, MemoryError) as error:  # pandas' parse errors are ValueErrors
        raise UsageError(f"{path} cannot be read as a table: {_short(error)}") from None


def _from_parquet(path: Path, encoding: str) -> tuple[pd.DataFrame, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return _sampled(batch.to_pandas() for batch in file.iter_batches(CHUNK))
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {_short(error)}") from None


def _from_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name.lower(): stored[name] for name in stored.files}
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as numpy arrays without running code: {_short(error)}") from None
    except Exception as error:  # zipfile's errors
        raise UsageError(f"{path} is no .npz file: {_short(error)}") from None
    if "x" not in found or "y" not in found:
        raise UsageError(f"{path} holds {', '.join(found) or 'nothing'}; it needs arrays x and y")
    return found["x"], found["y"]


def _from_lines(path: Path, encoding: str) -> tuple[list[str], list[str]]:
    labels, texts = [], []
    try:
        with path.open(encoding=encoding) as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                label, tab, text = line.rstrip("\n").partition("\t")
                if not tab:
                    raise UsageError(f"{path}, line {number}: no tab; a line is label<TAB>text")
                labels.append(label.strip())
                texts.append(text)
    except LookupError:
        raise UsageError(f"{path}: {encoding!r} is no encoding; utf-8, latin-1 and utf-16 are some") from None
    except UnicodeError as error:
        raise UsageError(
            f"{path} is not {encoding} text ({_short(error)}); name its encoding, such as latin-1"
        ) from None
    return texts, labels


def _images(folder: Path, notes: _Notes) -> Read:
    """A folder per class, images in it."""
    from PIL import Image

    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(f, c.name) for c in classes for f in sorted(c.rglob("*")) if f.suffix.lower() in PICTURES and f.is_file()]
    if len(classes) < 2 or not files:
        raise UsageError(f"{folder} needs a folder of images for each of two classes or more")
    if len(files) > IMAGES:
        chosen = np.sort(np.random.default_rng(0x5A3B1E).permutation(len(files))[:IMAGES])
        notes(f"{len(files):,} images: an even random sample of {IMAGES:,} of them is read")
        files = [files[i] for i in chosen]
    pictures, sizes, coloured = [], set(), False
    for file, _ in files:
        try:
            with Image.open(file) as image:
                coloured = coloured or image.mode not in ("1", "L", "LA", "I", "I;16", "F")
                sizes.add(image.size)
                if max(image.size) > LARGEST:  # bounded memory; the shorter side stays at SIDE or more
                    ratio = SIDE / min(image.size)
                    image = image.convert("RGB").resize(
                        [max(SIDE, round(s * ratio)) for s in image.size], Image.Resampling.BOX
                    )
                pictures.append(image.convert("RGB"))
        except Exception as error:  # a damaged image may raise anything
            raise UsageError(f"{file} cannot be read as an image: {_short(error)}") from None
    if len(sizes) > 1 or max(max(size) for size in sizes) > LARGEST:
        notes(
            f"images of {len(sizes)} size{'s' * (len(sizes) > 1)}: each is cut to a square and scaled to {SIDE} × {SIDE} pixels"
        )
        pictures = [_square(p) for p in pictures]
    X = np.stack([np.asarray(p if coloured else p.convert("L")) for p in pictures])
    return _made("image", X, pd.Series([label for _, label in files]), "classification", notes)


def _square(picture):
    side = min(picture.size)
    left, top = ((s - side) // 2 for s in picture.size)
    return picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


# --------------------------------------------------------------------------------------------------------------- arrays
def _from_dataset(data) -> tuple[Any, np.ndarray]:
    """A torch Dataset (or a list) of (x, y)."""
    rows = min(len(data), ROWS)
    try:
        pairs = [data[i] for i in range(rows)]
        xs, ys = zip(*((_plain(x), _plain(y)) for x, y in pairs), strict=True)
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(f"a Dataset's items must be pairs (x, y): {_short(error)}") from None
    if isinstance(xs[0], np.ndarray) and len({x.shape for x in xs}) == 1:
        # torch has an image's colours first
        stacked = np.stack(xs)
        return (np.moveaxis(stacked, 1, -1) if stacked.ndim == 4 and stacked.shape[1] in (1, 3) else stacked), np.array(
            ys
        )
    return list(xs), np.array(ys)


def _plain(value):
    """A tensor, an image or a number as numpy has it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if hasattr(value, "getbands"):
        value = np.asarray(value)
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _arrays(X, y, workload: str, kind: str | None, notes: _Notes) -> Read:
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
        return _table(frame.assign(target=y), "target", kind, notes)
    if X.ndim in (3, 4):
        if not np.isfinite(X.astype(np.float64)).all():
            raise UsageError("the images have numbers that are missing or not finite")
        return _labelled("image", X, target, kind, notes)
    raise UsageError(f"an array of shape {list(X.shape)} is neither a table [n, columns] nor images [n, height, width]")


def _texts(texts: list[str], labels, kind: str | None, notes: _Notes) -> Read:
    kept = [i for i, text in enumerate(texts) if text.strip()]
    if len(kept) < len(texts):
        notes(f"{len(texts) - len(kept)} texts are empty: left out")
    return _labelled("text", [texts[i] for i in kept], pd.Series(np.asarray(labels)[kept]), kind, notes)


def _labelled(modality: str, X, y: pd.Series, kind: str | None, notes: _Notes) -> Read:
    y, kind, keep = _target(y, "target", kind, notes)
    X = X[keep] if isinstance(X, np.ndarray) else [X[i] for i in np.flatnonzero(keep)]
    return _made(modality, X, y, kind, notes)


def _made(modality: str, X, y: pd.Series, kind: str, notes: _Notes, **more) -> Read:
    _check_rows(y, kind, notes)
    return Read(Dataset("mine", "mine", "user", modality, kind, X, y.reset_index(drop=True)), rows=len(y), **more)


# --------------------------------------------------------------------------------------------------------------- tables
def _table(frame: pd.DataFrame, target, kind: str | None, notes: _Notes, rows: int | None = None) -> Read:
    """A table with a target column; what no network can use is left out."""
    rows = len(frame) if rows is None else rows
    if len(frame) > ROWS:
        notes(f"{len(frame):,} rows: an even random sample of {ROWS:,} of them is read")
        frame, rows = _sampled([frame])
    frame = frame.rename(columns=str)
    columns = list(frame.columns)
    if not len(frame):
        raise UsageError("there are no rows")
    if target is None:
        raise UsageError(f"name the target column; there are {_listed(columns)}")
    if target not in columns:
        raise registry.suggest(str(target), columns, "target column")
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UsageError(f"two columns are called {twice[0]!r}")
    y, kind, keep = _target(frame[target], str(target), kind, notes)
    _check_rows(y, kind, notes)
    X = frame.loc[keep].drop(columns=target).reset_index(drop=True)
    y = y.reset_index(drop=True)
    moments = tuple(c for c in X if pd.api.types.is_datetime64_any_dtype(X[c]))
    X = X.assign(**{c: seconds(X[c]) for c in moments})
    left_out: dict[str, list[str]] = {}
    for column in list(X):
        X[column] = _numbers(X[column], column, notes)
        if why := _useless(X[column], y):
            left_out.setdefault(why, []).append(column)
    for why, names in left_out.items():
        notes(f"{_listed(names)}: {why}, left out")
    X = X.drop(columns=[c for names in left_out.values() for c in names])
    if not X.shape[1]:
        raise UsageError(f"no column says anything of {target!r}: all others are constant, missing or identify a row")
    named = tuple(c for c in X if not pd.api.types.is_numeric_dtype(X[c]))
    for column in named:
        if (n := X[column].nunique()) > 32:
            notes(f"{column}: {n} different names, of which the 32 commonest count (others are one)")
    dataset = Dataset("mine", "mine", "user", "tabular", kind, X, y, named)
    return Read(dataset, moments=moments, target=str(target), rows=rows)


def seconds(column: pd.Series) -> pd.Series:
    """Moments in time as seconds since 1970, float64; NaN where missing."""
    return (column - pd.Timestamp(0, tz=getattr(column.dtype, "tz", None))).dt.total_seconds()


def _numbers(column: pd.Series, name: str, notes: _Notes) -> pd.Series:
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


def _useless(column: pd.Series, y: pd.Series) -> str | None:
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
        pd.api.types.is_numeric_dtype(y)
        and n == len(y)
        and np.array_equal(column.to_numpy(dtype=float), y.to_numpy(dtype=float))
    ):
        return "the target itself"
    return None


# --------------------------------------------------------------------------------------------------------------- targets
def _target(y: pd.Series, name: str, kind: str | None, notes: _Notes) -> tuple[pd.Series, str, np.ndarray]:
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


def _check_rows(y: pd.Series, kind: str, notes: _Notes) -> None:
    if len(y) < FEWEST:
        raise UsageError(
            f"{len(y)} rows with a target are too few; at least {FEWEST} are needed, {FEW} or more make sense"
        )
    if kind == "classification":
        counts = y.value_counts()
        rare = counts[counts < MIN_CLASS]
        if len(counts) - len(rare) < 2:
            raise UsageError(
                f"the target has {len(counts)} different values and fewer than two of them {MIN_CLASS} times; "
                "classes need rows to learn from and to be judged by"
            )
        if len(rare):
            notes(f"{_listed([str(c) for c in rare.index])}: classes of fewer than {MIN_CLASS} rows, left out")


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = ["KINDS", "Read", "read", "seconds"]
