"""How a workload sees a data set: from raw rows to arrays that networks read. Each workload names one view.

Whatever is fitted (means, vocabularies, scales) is fitted on the training rows alone.

============== =========================================================================== ======================
view           inputs x [n, ...]                                                           targets y
============== =========================================================================== ======================
flat           float [D]: see :mod:`metabench.tasks.preprocess`; images as at most         class [n] or number [n]
               16 × 16 grey pixels
reconstruction the same, without the targets                                               x itself [n, D]
image          float [C, side, side]: areas averaged to at most SIDE pixels a side, each    class [n]
               colour standardised
sequence       float [T, D], earliest first, zeros before the start: series of up to       class [n] or number [n]
               SERIES moments (longer ones averaged to as many), sounds as log energies in
               BANDS bands of FRAMES frames, texts as one-hot characters of the last LETTERS
words          token [T] of the first WORDS words (of ``unit`` character: characters); 0   class [n] or number [n]
               stands for none, 1 for one not among the VOCABULARY commonest of the
               training rows
windows        float [T, D] of the LAG moments before                                      the next HORIZON values
                                                                                           of the first channel [n, H]
language       token [CONTEXT] of characters in order; 0 is one not seen in training       the next token [n, CONTEXT]
pairs          token [S] of the source, 0 after its end                                    token [n, T] of the target:
                                                                                           1 ends it, 0 after that
control        float [S]: start states of a simulated system                               what random actions earn [n]
episodes       as flat; classes, not rows, are parted into training, validation and test   class [n]
transfer       as flat; beside it up to SOURCE_ROWS training rows of what is learned first class [n]
============== =========================================================================== ======================
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metabench.errors import UsageError
from metabench.sources.base import Dataset
from metabench.tasks import preprocess, splits

#: part of the key of cached arrays of every view but flat: raise it when anything here changes
VERSION = "3"
SIDE, FLAT_SIDE = 16, 16
SERIES, FRAMES, BANDS, LETTERS = 64, 32, 20, 20
WORDS, VOCABULARY = 32, 2048
LAG, HORIZON, CONTEXT = 24, 4, 64
#: longest source and target of a pair; longer ones are left out
SOURCE, TARGET = 20, 16
SOURCE_ROWS = 2048


@dataclass(frozen=True)
class Seen:
    """All rows of a data set as a view sees them: inputs, targets, how many kinds of token the inputs have, and how many
    classes or kinds of token the targets (0: they are numbers)."""

    x: np.ndarray
    y: np.ndarray
    vocabulary: int = 0
    classes: int = 0
    #: the simulated system that the rows are states of
    system: str = ""
    #: of episodes: rows of a class that one shows
    shots: int = 0
    #: of a transfer: training rows of what is learned first, and how many classes they have
    x_source: np.ndarray | None = None
    y_source: np.ndarray | None = None
    source_classes: int = 0


class View:
    """``examples`` cuts a data set into rows, once; ``see`` turns them into arrays, for each split."""

    #: kind of the tasks; None: that of the data set
    kind: str | None = None
    #: whole classes stand in a part, so that what is judged is how those are told apart that were never seen
    by_class: bool = False
    #: inputs are columns of numbers, standardised
    table: bool = False

    def examples(self, data: Dataset) -> Any:
        """Rows, anything of a length; where the data set has targets, one for each."""
        return data.X

    def see(self, rows: Any, y: np.ndarray | None, train: np.ndarray, data: Dataset) -> Seen:
        """``y`` are class indices or standardised numbers [n]; ``train`` positions of training rows."""
        raise NotImplementedError

    def embedding(self, seen: Seen) -> np.ndarray:
        """float [n, d]: what task features are computed on."""
        return seen.x.reshape(len(seen.x), -1)


class Flat(View):
    table = True

    def see(self, rows, y: Any, train, data):
        if isinstance(rows, np.ndarray):
            rows = shrunk(rows, FLAT_SIDE).mean(axis=3)
        return Seen(preprocess.inputs(rows, data.categorical, train, y if data.own else None), y)


class Reconstruction(Flat):
    kind = "reconstruction"

    def see(self, rows, y: Any, train, data):
        x = super().see(rows, y, train, data).x
        return Seen(x, x)


class Episodes(Flat):
    by_class = True

    def see(self, rows, y: Any, train, data):
        return replace(super().see(rows, y, train, data), classes=data.ways, shots=data.shots)


class Transfer(Flat):
    def see(self, rows, y: Any, train, data):
        seen, first = super().see(rows, y, train, data), data.first
        labels, codes = np.unique(first.y.astype(str), return_inverse=True)
        assigned = splits.assign(first.name, 0, codes, "classification")
        known, *_ = splits.parts(first.name, 0, assigned, caps=(SOURCE_ROWS, 1))
        source = super().see(first.X, codes, known, first).x[known]
        if source.shape[1:] != seen.x.shape[1:]:
            raise UsageError(
                f"data set {data.name!r}: {first.name} has {source.shape[1]} inputs a row, the target {seen.x.shape[1]}"
            )
        return replace(seen, x_source=source, y_source=codes[known].astype(np.int32), source_classes=len(labels))


class Image(View):
    def see(self, rows, y: Any, train, data):
        pixels = shrunk(rows, SIDE).astype(np.float64)
        seen = pixels[train]
        x = (pixels - seen.mean((0, 1, 2))) / np.maximum(seen.std((0, 1, 2)), 1e-6)
        return Seen(np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32), y)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """[n, height, width(, colours)] → [n, h, w, colours], floats: areas averaged by the smallest whole factor that gives
    at most ``side`` pixels a side (a margin that does not fill an area is cut off evenly); smaller ones as they are."""
    images = images[..., None] if images.ndim == 3 else images
    factor = -(-max(images.shape[1:3]) // side)
    high, wide = (max(1, size // factor) for size in images.shape[1:3])
    top, left = (images.shape[1] - high * factor) // 2, (images.shape[2] - wide * factor) // 2
    cut = images[:, top : top + high * factor, left : left + wide * factor].astype(np.float32)
    return cut.reshape(len(cut), high, factor, wide, factor, -1).mean(axis=(2, 4))


class Sequence(View):
    def examples(self, data):
        if data.modality == "audio":
            return [energies(sound, data.rate) for sound in data.X]
        if data.modality == "text":
            return [list(text)[-LETTERS:] for text in data.X]
        longest = max(series.shape[1] for series in data.X)
        return [averaged(series.T, -(-longest // SERIES)) for series in data.X]

    def see(self, rows, y: Any, train, data):
        if data.modality == "text":
            codes, size = vocabulary(rows, train, most=64)
            rows = [np.eye(size, dtype=np.float32)[[codes.get(c, 1) for c in text]] for text in rows]
            mean, std = 0.0, 1.0
        else:
            known = np.concatenate([rows[i] for i in train])
            mean, std = np.nanmean(known, axis=0), np.maximum(np.nanstd(known, axis=0), 1e-6)
        length = max(len(row) for row in rows)
        x = np.zeros((len(rows), length, rows[0].shape[1]), dtype=np.float32)
        for i, row in enumerate(rows):
            x[i, length - len(row) :] = np.nan_to_num((row - mean) / std)
        return Seen(np.clip(x, -preprocess.CLIP, preprocess.CLIP), y)

    def embedding(self, seen):
        """The mean of eight stretches of time, and the spread over all of it."""
        parts = [part.mean(axis=1) for part in np.array_split(seen.x, min(8, seen.x.shape[1]), axis=1)]
        return np.concatenate([*parts, seen.x.std(axis=1)], axis=1)


def averaged(rows: np.ndarray, factor: int) -> np.ndarray:
    """[T, D] → [ceil(T / factor), D]: means of neighbours, aligned at the end; missing numbers do not count."""
    if factor == 1:
        return rows
    missing = (-len(rows)) % factor
    padded = np.concatenate([np.full((missing, rows.shape[1]), np.nan, dtype=rows.dtype), rows])
    parts = padded.reshape(-1, factor, rows.shape[1])
    known = ~np.isnan(parts)
    counts = known.sum(axis=1)
    return np.where(counts > 0, np.where(known, parts, 0.0).sum(axis=1) / np.maximum(counts, 1), np.nan)


def energies(sound: np.ndarray, rate: int) -> np.ndarray:
    """log energies [FRAMES, BANDS] of a sound: Hann windows spread evenly over it, bands even on the mel scale (O'Shaughnessy,
    1987: 2595 log10(1 + f / 700)) up to half the sampling rate."""
    size = 256
    sound = np.pad(sound.astype(np.float64) / 32768.0, (0, max(0, size - len(sound))))
    starts = np.linspace(0, len(sound) - size, FRAMES).astype(int)
    power = np.abs(np.fft.rfft(sound[starts[:, None] + np.arange(size)] * np.hanning(size))) ** 2
    edges = 700.0 * (10.0 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), BANDS + 2) / 2595) - 1.0)
    bins = np.fft.rfftfreq(size, 1.0 / rate)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.log(power @ np.clip(np.minimum(rise, fall), 0.0, None).T + 1e-8).astype(np.float32)


def vocabulary(texts, train, most: int, reserved: int = 2) -> tuple[dict[str, int], int]:
    """Token → code, from ``reserved`` on, of the training rows' commonest tokens (ties by the alphabet); and how many codes
    there are, at ``most``: as many as all rows would need, so that it is the same for every split."""
    known = np.array([token for i in train for token in texts[i]], dtype=str)
    values, counts = np.unique(known, return_counts=True)
    kept = values[np.lexsort((values, -counts))][: most - reserved]
    size = min(most, reserved + len({token for text in texts for token in text}))
    return {str(token): reserved + i for i, token in enumerate(kept)}, size


class Words(View):
    def examples(self, data):
        if data.unit == "character":
            return [list(text)[: 2 * WORDS] for text in data.X]
        return [re.findall(r"[a-z0-9']+|[^\sa-z0-9']", text.lower())[:WORDS] for text in data.X]

    def see(self, rows, y: Any, train, data):
        codes, size = vocabulary(rows, train, VOCABULARY)
        x = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)
        for i, row in enumerate(rows):
            x[i, : len(row)] = [codes.get(token, 1) for token in row]
        return Seen(x, y, size)

    def embedding(self, seen):
        return counted(seen.x, seen.vocabulary)


def counted(tokens: np.ndarray, size: int) -> np.ndarray:
    """How often each of the 62 commonest tokens, and all the others, stand in a row [n, T]; per token of the row."""
    codes = np.minimum(tokens, 64)
    counts = np.stack([(codes == code).sum(axis=1) for code in range(2, min(65, max(size, 3)))], axis=1)
    return (counts / np.maximum((tokens > 0).sum(axis=1), 1)[:, None]).astype(np.float32)


class Windows(View):
    def examples(self, data):
        (series,) = data.X
        # what one row is to say no other row says: training never sees a moment that is tested
        starts = np.arange(0, series.shape[1] - LAG - HORIZON + 1, HORIZON)
        return series.T[starts[:, None] + np.arange(LAG + HORIZON)]

    def see(self, rows, y: Any, train, data):
        known = rows[train]
        z = (rows - known.mean((0, 1))) / np.maximum(known.std((0, 1)), 1e-6)
        z = np.clip(z, -preprocess.CLIP, preprocess.CLIP).astype(np.float32)
        return Seen(z[:, :LAG], np.ascontiguousarray(z[:, LAG:, 0]))


class Language(View):
    def examples(self, data):
        text = np.array(list(data.X))
        size = len(text) // (CONTEXT + 1)
        return text[: size * (CONTEXT + 1)].reshape(size, CONTEXT + 1)

    def see(self, rows, y: Any, train, data):
        codes, size = vocabulary(rows, train, 128, reserved=1)
        values, inverse = np.unique(rows, return_inverse=True)
        tokens = np.array([codes.get(v, 0) for v in values], dtype=np.int32)[inverse].reshape(rows.shape)
        return Seen(np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:]), size, size)

    def embedding(self, seen):
        return counted(seen.x, seen.vocabulary)


class Pairs(View):
    def examples(self, data):
        return [(source, target) for source, target in data.X if len(source) <= SOURCE and len(target) < TARGET]

    def see(self, rows, y: Any, train, data):
        sources, wide = vocabulary([source for source, _ in rows], train, 256)
        targets, size = vocabulary([target for _, target in rows], train, 256)
        x = np.zeros((len(rows), SOURCE), dtype=np.int32)
        z = np.zeros((len(rows), TARGET), dtype=np.int32)
        for i, (source, target) in enumerate(rows):
            x[i, : len(source)] = [sources.get(token, 1) for token in source]
            # a token of the target that training never showed cannot be said: 0, so that the row counts as wrong
            z[i, : len(target) + 1] = [*(targets.get(token, 0) for token in target), 1]
        return Seen(x, z, wide, size)

    def embedding(self, seen):
        return counted(seen.x, seen.vocabulary)


class Control(View):
    """Start states, and what random actions earn from them."""

    def examples(self, data):
        from metabench.sources.control import STARTS
        from metabench.tasks.systems import SYSTEMS

        return SYSTEMS[data.X].starts(STARTS, np.random.default_rng(0))

    def see(self, rows, y: Any, train, data):
        from metabench.tasks.systems import SYSTEMS, random_returns

        return Seen(rows, random_returns(SYSTEMS[data.X], rows), system=data.X)

    def embedding(self, seen):
        return np.concatenate([seen.x, seen.y[:, None]], axis=1)


VIEWS: dict[str, View] = {
    "flat": Flat(),
    "reconstruction": Reconstruction(),
    "image": Image(),
    "sequence": Sequence(),
    "words": Words(),
    "windows": Windows(),
    "language": Language(),
    "pairs": Pairs(),
    "control": Control(),
    "episodes": Episodes(),
    "transfer": Transfer(),
}


def view(name: str) -> View:
    """The view of that name. Raises UsageError for an unknown one."""
    if name not in VIEWS:
        raise UsageError(f"no view called {name!r}; there are {', '.join(VIEWS)}")
    return VIEWS[name]


__all__ = ["VIEWS", "Seen", "View", "view"]
