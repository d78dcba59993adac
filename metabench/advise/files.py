"""Files as people have them: delimited text, Parquet, numpy archives, lines of text, folders of images. A file that is not
what it is called is one line."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from metabench import untrusted
from metabench.advise import delimited
from metabench.advise.delimited import Keep, Layout, known_encoding, opened, suffix
from metabench.advise.tables import Notes, sampled, short
from metabench.errors import UsageError

#: rows that are read at a time
CHUNK = 100_000
#: rows of Parquet that are decoded at a time
BATCH = 8_192
#: characters of a JSON list, which is read at once
LIST = 200_000_000
#: images of a larger folder that are read on, an even random sample
IMAGES = 10_000
#: side in pixels of images that are not all of one size, or larger than LARGEST
SIDE, LARGEST = 32, 64
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
DELIMITED = (".csv", ".tsv", ".tab", ".txt", ".data")
PARQUET, FEATHER, RECORDS = (".parquet", ".pq"), (".feather", ".arrow", ".ipc"), (".jsonl", ".ndjson", ".json")


def frame(path: Path, encoding: str, keep: Keep = sampled) -> tuple[pd.DataFrame, int, Layout | None]:
    """A table in a file, by its ending.

    Args:
        path: Delimited text or JSON lines, packed or not; Parquet; Feather.
        encoding: Of text.
        keep: Takes parts of the table and returns what is kept of their rows, and how many there were.

    Returns:
        What was kept, how many rows there are; of delimited text, whose cells are all text, its layout.

    Raises:
        UsageError: It is no table.
    """
    ending = suffix(path)
    if ending in DELIMITED:
        return delimited.csv(path, encoding, keep, CHUNK)
    if ending in PARQUET + FEATHER:
        return *(parquet if ending in PARQUET else feather)(path, keep), None
    if ending in RECORDS:
        return *records(path, encoding, keep), None
    hint = "; save the sheet as CSV" if ending in (".xlsx", ".xls", ".ods") else ""
    raise UsageError(
        f"{path}: a file is .csv, .tsv, .parquet, .feather, .jsonl, .npz, or .txt with lines label<TAB>text{hint}"
    )


def parquet(path: Path, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """:func:`frame` of Parquet."""
    import pyarrow as pa

    try:
        with untrusted.open_regular(path, most=None, error=UsageError) as raw:
            file = untrusted.open_parquet(raw, path, error=UsageError)
            # few rows of many columns at a time; a page may stand for far more than its bytes
            rows = max(1, min(CHUNK, BATCH, delimited.CELLS // max(1, len(file.schema_arrow))))
            return keep(_batch(batch) for batch in file.iter_batches(rows, use_threads=False))
    except (pa.ArrowException, ValueError, TypeError, OSError, KeyError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {short(error)}") from None


def feather(path: Path, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """:func:`frame` of Feather (version 2), an Arrow file or stream."""
    import pyarrow as pa

    try:
        return keep(map(_batch, untrusted.arrow_batches(path, error=UsageError)))
    except (pa.ArrowException, ValueError, TypeError, OSError, KeyError) as error:
        raise UsageError(f"{path} cannot be read as Feather: {short(error)}") from None


def _batch(batch) -> pd.DataFrame:
    """Rows of Arrow as pandas. What pandas cannot hold (a date of the year 9999 in nanoseconds) is left to the columns'
    reader."""
    return batch.to_pandas(ignore_metadata=True, timestamp_as_object=False, date_as_object=True)


def records(path: Path, encoding: str, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """:func:`frame` of JSON: a record a line, or a list of records."""
    try:
        with opened(path, encoding) as text:
            first = text.read(1)
            while first and first.isspace():
                first = text.read(1)
        with opened(path, encoding) as text:
            if first == "[":
                whole = text.read(LIST + 1)
                if len(whole) > LIST:
                    raise UsageError(
                        f"{path} is a list of more than {LIST:,} characters; write a record a line (.jsonl)"
                    )
                found = json.loads(whole)
                return keep([pd.DataFrame.from_records(_mappings(path, enumerate(found, 1)))])
            parsed = ((number, json.loads(line)) for number, line in enumerate(text, 1) if line.strip())
            return keep(_parts(_mappings(path, parsed)))
    except UnicodeError as error:
        raise _no_text(path, encoding, error) from None
    except UsageError:
        raise
    except (ValueError, RecursionError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as JSON records: {short(error)}") from None


def _mappings(path: Path, numbered: Iterable[tuple[int, object]]) -> Iterator[dict]:
    for number, record in numbered:
        if not isinstance(record, dict):
            raise UsageError(f"{path}, record {number}: a record is {{column: value, …}}")
        yield record


def _parts(rows: Iterator[dict]) -> Iterator[pd.DataFrame]:
    while part := list(itertools.islice(rows, CHUNK)):
        yield pd.DataFrame.from_records(part)


def npz(path: Path, names: tuple[str, ...] = ("x", "y")) -> tuple[np.ndarray, ...]:
    """The arrays of those names. Raises UsageError when one is absent, or the archive is damaged or too large."""
    stored = {name.lower(): values for name, values in untrusted.npz(path, error=UsageError).items()}
    if set(names) - set(stored):
        needed = f"array{'s' * (len(names) > 1)} {' and '.join(names)}"
        raise UsageError(f"{path} holds {', '.join(stored) or 'nothing'}; it needs {needed}")
    return tuple(stored[name] for name in names)


def text(path: Path, encoding: str, most: int) -> tuple[str, bool]:
    """The first characters of a file, at most so many, and whether there are more."""
    known_encoding(path, encoding)
    try:
        with opened(path, encoding, None) as file:
            return file.read(most), bool(file.read(1))
    except UnicodeError as error:
        raise _no_text(path, encoding, error) from None


def _no_text(path: Path, encoding: str, error: UnicodeError) -> UsageError:
    return UsageError(f"{path} is not {encoding} text ({short(error)}); name its encoding, such as latin-1")


def lines(path: Path, encoding: str, notes: Notes, line_is: str = "label<TAB>text") -> tuple[list[str], list[str]]:
    """What stands before and after the tab of each line; of more than ROWS lines of an even random sample, in their order."""
    known_encoding(path, encoding)
    try:
        with opened(path, encoding, None) as text:
            kept, rows = sampled(_parted(path, text, line_is))
    except UnicodeError as error:
        raise _no_text(path, encoding, error) from None
    if rows > len(kept):
        notes(f"{rows:,} lines: an even random sample of {len(kept):,} of them is read")
    return (kept["before"].tolist(), kept["after"].tolist()) if rows else ([], [])


def _parted(path: Path, text: Iterable[str], line_is: str) -> Iterator[pd.DataFrame]:
    """Lines in parts of CHUNK, empty ones left out."""
    numbered = ((number, line) for number, line in enumerate(text, 1) if line.strip())
    while part := list(itertools.islice(numbered, CHUNK)):
        found = [line.rstrip("\n").partition("\t") for _, line in part]
        if odd := [number for (number, _), (_, tab, _) in zip(part, found, strict=True) if not tab]:
            raise UsageError(f"{path}, line {odd[0]}: no tab; a line is {line_is}")
        yield pd.DataFrame(
            {"before": [f.strip() for f, _, _ in found], "after": [r for _, _, r in found]}, dtype=object
        )


def images(folder: Path, notes: Notes, labelled: bool = True) -> tuple[np.ndarray, list[str]]:
    """uint8 images [n, height, width(, colours)] and their classes: a folder per class, images in it; where they are not
    ``labelled`` all that lie in the folder, however deep."""
    inside = [folder]
    if labelled:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(f, c.name) for c in inside for f in sorted(c.rglob("*")) if f.suffix.lower() in PICTURES and f.is_file()]
    if labelled and len({label for _, label in files}) < 2:
        raise UsageError(f"{folder} needs a folder of images for each of two classes or more")
    if not files:
        raise UsageError(f"{folder} has no images ({', '.join(sorted(PICTURES))})")
    if len(files) > IMAGES:
        chosen = np.sort(np.random.default_rng(0x5A3B1E).permutation(len(files))[:IMAGES])
        notes(f"{len(files):,} images: an even random sample of {IMAGES:,} of them is read")
        files = [files[i] for i in chosen]
    pictures, sizes, coloured = [], set(), False
    for file, _ in files:
        image = untrusted.image(file, error=UsageError)
        coloured = coloured or image.mode not in ("1", "L", "LA", "I", "I;16", "F")
        sizes.add(image.size)
        # large ones are made small at once: memory stays bounded
        pictures.append(square(image.convert("RGB")) if max(image.size) > LARGEST else image.convert("RGB"))
    if len(sizes) > 1 or max(max(size) for size in sizes) > LARGEST:
        notes(
            f"images of {len(sizes)} size{'s' * (len(sizes) > 1)}: each is cut to a square and scaled to {SIDE} × {SIDE} pixels"
        )
        pictures = [square(p) for p in pictures]
    X = np.stack([np.asarray(p if coloured else p.convert("L")) for p in pictures])
    return X, [label for _, label in files]


def square(picture):
    side = min(picture.size)
    left, top = ((s - side) // 2 for s in picture.size)
    return picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))


__all__ = ["feather", "frame", "images", "lines", "npz", "parquet", "records", "text"]
