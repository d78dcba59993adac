"""Files as people have them: delimited text, Parquet, numpy archives, lines of text, folders of images. A file that is not
what it is called is one line."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from metabench.advise.tables import Notes, sampled, short
from metabench.errors import UsageError

#: what is kept of the parts of a table, and how many rows they have
Keep = Callable[[Iterable[pd.DataFrame]], tuple[pd.DataFrame, int]]
#: rows that are read at a time
CHUNK = 100_000
#: images of a larger folder that are read on, an even random sample
IMAGES = 10_000
#: side in pixels of images that are not all of one size, or larger than LARGEST
SIDE, LARGEST = 32, 64
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


def frame(path: Path, encoding: str, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """A table of delimited text or Parquet, by its ending: what is to ``keep`` of its rows, and how many there are."""
    ending = path.suffix.lower()
    if ending not in (".csv", ".tsv", ".tab", ".txt", ".data", ".parquet", ".pq"):
        raise UsageError(f"{path}: a file is .csv, .tsv, .parquet, .npz, or .txt with lines label<TAB>text")
    return parquet(path, keep) if ending in (".parquet", ".pq") else csv(path, encoding, keep)


def csv(path: Path, encoding: str, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """:func:`frame` of delimited text."""
    known_encoding(path, encoding)
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        with path.open(encoding=encoding, newline="") as text:
            head = text.readline(1 << 20)
        delimiter = max(",;\t|", key=lambda mark: (head.count(mark), mark == ","))
        settings = dict(sep=delimiter, encoding=encoding, skipinitialspace=True, na_values=["?"], low_memory=False)
        with pd.read_csv(path, chunksize=CHUNK, **settings) as chunks:
            return keep(chunks)
    except UnicodeError as error:
        raise UsageError(
            f"{path} is not {encoding.removesuffix('-sig')} text ({short(error)}); name its encoding, such as latin-1 or utf-16"
        ) from None
    except (ValueError, MemoryError) as error:  # pandas' parse errors are ValueErrors
        raise UsageError(f"{path} cannot be read as a table: {short(error)}") from None


def parquet(path: Path, keep: Keep = sampled) -> tuple[pd.DataFrame, int]:
    """:func:`frame` of Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return keep(batch.to_pandas() for batch in file.iter_batches(CHUNK))
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {short(error)}") from None


def known_encoding(path: Path, encoding: str) -> None:
    """Raises UsageError when there is no encoding of that name."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise UsageError(f"{path}: {encoding!r} is no encoding; utf-8, latin-1 and utf-16 are some") from None


def npz(path: Path, names: tuple[str, ...] = ("x", "y")) -> tuple[np.ndarray, ...]:
    """The arrays of those names."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name.lower(): stored[name] for name in stored.files}
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise UsageError(f"{path} cannot be read as numpy arrays without running code: {short(error)}") from None
    except Exception as error:  # zipfile's errors
        raise UsageError(f"{path} is no .npz file: {short(error)}") from None
    if set(names) - set(found):
        needed = f"array{'s' * (len(names) > 1)} {' and '.join(names)}"
        raise UsageError(f"{path} holds {', '.join(found) or 'nothing'}; it needs {needed}")
    return tuple(found[name] for name in names)


def text(path: Path, encoding: str, most: int) -> tuple[str, bool]:
    """The first characters of a file, at most so many, and whether there are more."""
    known_encoding(path, encoding)
    try:
        with path.open(encoding=encoding) as file:
            return file.read(most), bool(file.read(1))
    except UnicodeError as error:
        raise _no_text(path, encoding, error) from None


def _no_text(path: Path, encoding: str, error: UnicodeError) -> UsageError:
    return UsageError(f"{path} is not {encoding} text ({short(error)}); name its encoding, such as latin-1")


def lines(path: Path, encoding: str, notes: Notes, line_is: str = "label<TAB>text") -> tuple[list[str], list[str]]:
    """What stands before and after the tab of each line; of more than ROWS lines of an even random sample, in their order."""
    known_encoding(path, encoding)
    try:
        with path.open(encoding=encoding) as text:
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
    from PIL import Image

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
        try:
            with Image.open(file) as image:
                coloured = coloured or image.mode not in ("1", "L", "LA", "I", "I;16", "F")
                sizes.add(image.size)
                large = max(image.size) > LARGEST  # those are made small at once: memory stays bounded
                pictures.append((square if large else Image.Image.copy)(image.convert("RGB")))
        except Exception as error:  # a damaged image may raise anything
            raise UsageError(f"{file} cannot be read as an image: {short(error)}") from None
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


__all__ = ["csv", "frame", "images", "lines", "npz", "parquet", "text"]
