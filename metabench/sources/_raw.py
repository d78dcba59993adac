"""Readers of what is no table: images, sound, series and text. Bytes in, (X, y) out.

X is a uint8 array [rows, height, width(, colours)] of images, a list of int16 arrays [samples] of sounds, of float32 arrays
[channels, T] of series, of strings, of (source, target) pairs of token lists, or one string (a corpus). y is a list of
labels or numbers, or None where the data have no target apart.
"""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from metabench import untrusted
from metabench.errors import MetabenchError

#: file name and content
File = tuple[str, bytes]


def read(files: list[File], entry: dict[str, Any]) -> tuple[Any, list | None]:
    """X and y of a catalogue entry; gzipped files are opened first. Raises MetabenchError for a file that is not what its
    entry says."""
    files = [
        (name.removesuffix(".gz"), untrusted.gunzip(data, name) if data[:2] == b"\x1f\x8b" else data)
        for name, data in files
    ]
    try:
        return READERS[entry["format"]](files, entry)
    except (ValueError, KeyError, IndexError, struct.error, MetabenchError, wave.Error, EOFError) as error:
        where = ", ".join(name for name, _ in files[:2])
        raise MetabenchError(f"{where}: cannot be read as {entry['format']} ({error})") from None


def _text(data: bytes, encoding: str = "utf-8") -> str:
    return data.decode(encoding)


def _members(data: bytes) -> dict[str, bytes]:
    """A zip archive's members."""
    return untrusted.unzip(io.BytesIO(data), "its archive")


def _lines(files: list[File], encoding: str = "utf-8") -> list[str]:
    return [line for _, data in files for line in _text(data, encoding).split("\n") if line.strip()]


# ---------------------------------------------------------------------------------------------------------------- images
def _idx(files, entry):
    """LeCun's idx: files of images, files of labels, in order."""

    def array(data: bytes) -> np.ndarray:
        _, kind, rank = struct.unpack(">HBB", data[:4])
        if kind != 8:
            raise ValueError(f"type code {kind:#x} is not unsigned byte")
        shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)

    images = [array(data) for name, data in files if "images" in name]
    labels = [array(data) for name, data in files if "labels" in name]
    return np.concatenate(images), np.concatenate(labels).tolist()


def _npz(files, entry):
    """numpy archives with arrays named in ``images`` and ``labels``."""
    images, labels = [], []
    for _, data in files:
        stored = untrusted.npz(data, "its archive")
        images += [stored[name] for name in entry["images"]]
        labels += [stored[name].ravel() for name in entry["labels"]]
    return np.concatenate(images), np.concatenate(labels).tolist()


def _png(data: bytes) -> np.ndarray:
    return np.asarray(untrusted.image(data, "its image", formats=("PNG",)).convert("L"))


def _characters(files, entry):
    """Omniglot's zip: one folder an alphabet, in it one a character, in it a PNG a drawing (ink 255)."""
    images, labels = [], []
    for _, data in files:
        for name, content in sorted(_members(data).items()):
            if name.endswith(".png") and "__MACOSX" not in name:
                images.append(255 - _png(content))
                labels.append("/".join(name.split("/")[-3:-1]))
    return np.stack(images), labels


def _sprite(files, entry):
    """One picture of square tiles of ``side`` pixels, row by row, as many of every class, in label order."""
    side, classes = entry["side"], entry["classes"]
    sheet = _png(files[0][1])
    high, wide = sheet.shape[0] // side, sheet.shape[1] // side
    tiles = sheet[: high * side, : wide * side].reshape(high, side, wide, side).swapaxes(1, 2).reshape(-1, side, side)
    return tiles, np.repeat(np.arange(classes), len(tiles) // classes).tolist()


# ------------------------------------------------------------------------------------------------------- sound and series
def _sounds(files, entry):
    """A zip of 16-bit mono WAV files called <label>_<speaker>_<number>.wav."""
    sounds, labels = [], []
    for name, content in sorted(_members(files[0][1]).items()):
        with wave.open(io.BytesIO(content)) as sound:
            if (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) != (1, 2, entry["rate"]):
                raise ValueError(f"{name} is no 16-bit mono sound of {entry['rate']} Hz")
            sounds.append(np.frombuffer(sound.readframes(sound.getnframes()), "<i2"))
        labels.append(PurePosixPath(name).name.split("_")[0])
    return sounds, labels


def _ts(files, entry):
    """The .ts format of aeon and sktime: channels parted by colons, the label last; ``?`` is missing."""
    series, labels = [], []
    for _, data in files:
        lines = iter(_text(data).splitlines())
        for line in lines:
            if line.strip().lower() == "@data":
                break
        else:
            raise ValueError("no @data")
        for line in lines:
            if line.strip():
                *channels, label = line.strip().split(":")
                rows = [[float(v) if v != "?" else np.nan for v in channel.split(",")] for channel in channels]
                series.append(np.array(rows, dtype=np.float32))
                labels.append(label.strip())
    return series, [float(label) for label in labels] if entry["task"] == "regression" else labels


def _ucr(files, entry):
    """UCR text: a series a line, the label first, parted by commas or blanks."""
    rows = [np.array(line.replace(",", " ").split(), dtype=np.float64) for line in _lines(files)]
    return [row[None, 1:].astype(np.float32) for row in rows], [int(row[0]) for row in rows]


def _indoor(files, entry):
    """The zip of UCI's indoor movement: a CSV of four signal strengths a series, a CSV of the targets."""
    members = _members(files[0][1])
    target = pd.read_csv(io.BytesIO(members["dataset/MovementAAL_target.csv"]), skipinitialspace=True)
    series = [
        pd.read_csv(io.BytesIO(members[f"dataset/MovementAAL_RSS_{i}.csv"])).to_numpy(np.float32).T
        for i in target.iloc[:, 0]
    ]
    return series, target.iloc[:, 1].tolist()


# ------------------------------------------------------------------------------------------------------------------ text
def _label_first(files, entry):
    """A line is a label, a blank, a text."""
    parts = [line.split(" ", 1) for line in _lines(files, "latin-1")]
    return [text for _, text in parts], [label for label, _ in parts]


def _label_tab(files, entry):
    """A line is a label, a tab, a text."""
    parts = [line.split("\t", 1) for line in _lines(files)]
    return [text for _, text in parts], [label for label, _ in parts]


def _file_per_class(files, entry):
    """A file a class, a text a line; the class is the file's name."""
    found = [(line.strip(), PurePosixPath(file[0]).stem) for file in files for line in _lines([file])]
    return [text for text, _ in found], [label for _, label in found]


def _intents(files, entry):
    """CLINC's JSON: {part: [[text, intent], ...]}, out-of-scope parts included."""
    parts = json.loads(files[0][1])
    rows = [row for k in ("train", "val", "test", "oos_train", "oos_val", "oos_test") for row in parts[k]]
    return [text for text, _ in rows], [intent for _, intent in rows]


def _text_column(files, entry):
    """CSV with a column ``text`` of texts and a column ``target``; rows without a target are kept (NaN)."""
    frame = pd.concat([pd.read_csv(io.BytesIO(data)) for _, data in files], ignore_index=True)
    return frame[entry["text"]].astype(str).tolist(), frame[entry["target"]].tolist()


def _corpus(files, entry):
    return "".join(_text(data) for _, data in files), None


def _names(files, entry):
    """A name a line: a corpus in which a line's end is a character too."""
    return "\n".join(_lines(files)) + "\n", None


def _pronunciations(files, entry):
    """CMUdict: a word and its phonemes; further pronunciations of a word (``word(2)``) are left out."""
    pairs = []
    for line in _lines(files):
        word, *phonemes = line.split(" #")[0].split()
        if not line.startswith(";;;") and not word.endswith(")"):
            pairs.append((list(word), phonemes))
    return pairs, None


def _inflections(files, entry):
    """SIGMORPHON 2018: lemma, form, features parted by semicolons; the features are symbols before the letters."""
    rows = [line.split("\t") for line in _lines(files)]
    return [([f"<{tag}>" for tag in tags.split(";")] + list(lemma), list(form)) for lemma, form, tags in rows], None


def _measurements(files, entry):
    """CSV in time order: the columns ``series`` (names or positions), float32 [channels, T] as a single series; what is
    missing repeats the last known number."""
    frame = pd.read_csv(io.BytesIO(files[0][1]), header=0 if entry.get("header", True) else None, na_values=["NA"])
    chosen = [frame.columns[c] if isinstance(c, int) else c for c in entry["series"]]
    values = frame[chosen].apply(pd.to_numeric, errors="coerce").ffill().bfill()
    return [values.to_numpy(np.float32).T], None


READERS: dict[str, Callable[[list[File], dict[str, Any]], tuple[Any, list | None]]] = {
    "idx": _idx,
    "npz": _npz,
    "characters": _characters,
    "sprite": _sprite,
    "sounds": _sounds,
    "ts": _ts,
    "ucr": _ucr,
    "indoor": _indoor,
    "label-first": _label_first,
    "label-tab": _label_tab,
    "file-per-class": _file_per_class,
    "intents": _intents,
    "text-column": _text_column,
    "corpus": _corpus,
    "names": _names,
    "pronunciations": _pronunciations,
    "inflections": _inflections,
    "measurements": _measurements,
}

__all__ = ["READERS", "read"]
