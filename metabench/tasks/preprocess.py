"""From raw columns to network inputs; everything is fitted on the training rows alone.

Numbers: the median fills gaps (a 0/1 column says where there were any), then standardised and clipped to ±5. Names:
one-hot over the values of at least MIN_COUNT training rows, the rest share a column "other". Constant columns are
dropped. Over MAX_FEATURES inputs are reduced to that many principal components; of a person's own data to the inputs that
tell most of the target, where a linear model predicts better from them (:mod:`metabench.tasks.wide`). Images: flattened
pixels, scaled by the training rows' mean and standard deviation over all pixels. Regression targets are standardised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.tasks import wide

MAX_FEATURES, MAX_VALUES, MIN_COUNT, CLIP = 256, 32, 3, 5.0
#: part of the key of cached arrays: raise it when anything here changes
VERSION = "1"


def inputs(X, categorical, train: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
    """float32 [rows, features] for all rows of a data set; statistics come from the rows ``train`` (positions)."""
    return fitted(X, categorical, train, target)[1]


def fitted(X, categorical, train: np.ndarray, target: np.ndarray | None = None) -> tuple[Encoder, np.ndarray]:
    """What was learned from the rows ``train``, and what it makes of all rows: float32 [rows, features]. With the targets
    of all rows (class indices or standardised numbers) wide tables keep columns, else principal components."""
    if isinstance(X, np.ndarray):
        flat = X.reshape(len(X), -1).astype(np.float64)
        encoder = Encoder(pixels=(float(flat[train].mean()), float(flat[train].std() or 1.0)))
        return encoder, encoder.transform(X)
    columns, out, kept = _columns(X, categorical, train)
    out, axes = out[:, kept], None
    if out.shape[1] > MAX_FEATURES:
        chosen = None if target is None else wide.choose(out[train], np.asarray(target)[train])
        if chosen is not None and chosen.columns is not None:
            kept[np.delete(np.flatnonzero(kept), chosen.columns)] = False
            out = out[:, chosen.columns]
        else:
            axes = Principal.fit(out, train)
            out = axes.transform(out)
    return Encoder(columns, kept, axes), np.clip(out, -CLIP, CLIP).astype(np.float32)


def reduced(X, categorical, train: np.ndarray, target: np.ndarray | None) -> list[str]:
    """What :func:`fitted` does to a table of too many inputs, a line or none; ``target`` are those of the rows ``train``."""
    _, out, kept = _columns(X, categorical, train)
    if (wide_by := int(kept.sum())) <= MAX_FEATURES:
        return []
    chosen = None if target is None else wide.choose(out[train][:, kept], target)
    return [wide.told(wide_by, chosen)]


def _columns(X, categorical, train: np.ndarray):
    named = set(categorical)
    columns = tuple((Names if c in named else Numbers).fit(str(c), X[c], train) for c in X.columns)
    out = Encoder(columns).blocks(X)
    return columns, out, out[train].std(axis=0) > 1e-12


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: ``gaps`` are (mean, spread) of its 0/1 column, None where the training rows had no gap."""

    name: str
    median: float
    mean: float
    spread: float
    gaps: tuple[float, float] | None

    @classmethod
    def fit(cls, name: str, column: pd.Series, train: np.ndarray) -> Numbers:
        x = _finite(column)
        missing = np.isnan(x)
        known = x[train][~missing[train]]
        median = float(np.median(known)) if len(known) else 0.0
        x = np.where(missing, median, x)
        spread, gap = x[train].std(), missing[train].astype(np.float64)
        gaps = (float(gap.mean()), float(max(gap.std(), 1e-12))) if missing[train].any() else None
        return cls(name, median, float(x[train].mean()), float(spread if spread > 1e-12 else 1.0), gaps)

    def transform(self, column: pd.Series) -> np.ndarray:
        x = _finite(column)
        missing = np.isnan(x)
        x = (np.where(missing, self.median, x) - self.mean) / self.spread
        if self.gaps is None:
            return x[:, None]
        return np.stack([x, (missing.astype(np.float64) - self.gaps[0]) / self.gaps[1]], axis=1)


@dataclass(frozen=True)
class Names:
    """A column of names: a 0/1 column for each that is ``kept``, and one for all others."""

    name: str
    kept: tuple[str, ...]

    @classmethod
    def fit(cls, name: str, column: pd.Series, train: np.ndarray) -> Names:
        names, counts = np.unique(_text(column)[train], return_counts=True)
        most = min(MAX_VALUES, int((counts >= MIN_COUNT).sum()))
        return cls(name, tuple(str(n) for n in names[np.lexsort((names, -counts))][:most]))

    def transform(self, column: pd.Series) -> np.ndarray:
        kept = np.array(self.kept, dtype=object)
        hot = (_text(column)[:, None] == kept[None, :]).astype(np.float64)
        return np.concatenate([hot, 1.0 - hot.sum(axis=1, keepdims=True)], axis=1)


@dataclass(frozen=True)
class Principal:
    """Principal components of standardised columns, divided by ``scale`` so that the first has unit variance."""

    mean: np.ndarray
    std: np.ndarray
    axes: np.ndarray
    scale: float

    @classmethod
    def fit(cls, x: np.ndarray, train: np.ndarray) -> Principal:
        """The first MAX_FEATURES of the rows ``train``."""
        mean, std = x[train].mean(axis=0), x[train].std(axis=0)
        z = (x - mean) / std
        rows = z[train]
        if len(rows) < rows.shape[1]:  # the Gram matrix is smaller
            values, left = np.linalg.eigh(rows @ rows.T)
            keep = np.argsort(-values)[:MAX_FEATURES]
            keep = keep[values[keep] > 1e-9 * values.max()]
            axes = rows.T @ left[:, keep] / np.sqrt(values[keep])
        else:
            values, axes = np.linalg.eigh(rows.T @ rows)
            axes = axes[:, np.argsort(-values)[:MAX_FEATURES]]
        # an axis's sign is arbitrary: its largest entry is made positive
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        return cls(mean, std, axes, float((z @ axes)[train].std(axis=0).max()))

    def transform(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.std @ self.axes / self.scale


@dataclass(frozen=True)
class Encoder:
    """From raw rows to network inputs, as it was fitted: of a table ``columns``, which of the columns that they make are
    ``kept`` and, where there are many, their principal components; of images mean and spread of their ``pixels``."""

    columns: tuple[Numbers | Names, ...] = ()
    kept: np.ndarray | None = None
    principal: Principal | None = None
    pixels: tuple[float, float] | None = None

    def transform(self, X) -> np.ndarray:
        """float32 [rows, features]. A name that the training rows had not counts as "other". Raises UsageError when a
        column is absent."""
        if self.pixels is not None:
            flat = X.reshape(len(X), -1).astype(np.float64)
            return ((flat - self.pixels[0]) / self.pixels[1]).astype(np.float32)
        out = self.blocks(X)[:, self.kept]
        out = out if self.principal is None else self.principal.transform(out)
        return np.clip(out, -CLIP, CLIP).astype(np.float32)

    def blocks(self, X) -> np.ndarray:
        """What the columns make, side by side, float64 [rows, all]."""
        names = {str(c): c for c in X.columns}
        if absent := [c.name for c in self.columns if c.name not in names]:
            raise UsageError(f"the data has no column {absent[0]!r}, which the network was trained on")
        found = [c.transform(X[names[c.name]]) for c in self.columns]
        return np.concatenate(found, axis=1) if found else np.empty((len(X), 0))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Facts for JSON and arrays for safetensors, read back by :meth:`from_state`."""
        facts: dict[str, Any] = {"columns": [{"kind": type(c).__name__, **asdict(c)} for c in self.columns]}
        facts["pixels"] = self.pixels
        arrays = {} if self.kept is None else {"kept": self.kept.astype(np.uint8)}
        if self.principal is not None:
            facts["scale"] = self.principal.scale
            arrays |= {name: getattr(self.principal, name) for name in ("mean", "std", "axes")}
        return facts, arrays

    @classmethod
    def from_state(cls, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Encoder:
        """Raises KeyError, TypeError or ValueError when it is no state."""
        columns: list[Numbers | Names] = []
        for found in facts["columns"]:
            kind, rest = (
                found["kind"],
                {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k != "kind"},
            )
            columns.append({"Numbers": Numbers, "Names": Names}[kind](**rest))
        axes = Principal(arrays["mean"], arrays["std"], arrays["axes"], facts["scale"]) if "axes" in arrays else None
        kept = arrays["kept"].astype(bool) if "kept" in arrays else None
        return cls(tuple(columns), kept, axes, tuple(facts["pixels"]) if facts["pixels"] else None)


def _finite(column: pd.Series) -> np.ndarray:
    """Numbers, float64 [rows]; what is none, or not finite, is NaN."""
    x = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(x), x, np.nan)


def _text(column: pd.Series) -> np.ndarray:
    return column.astype("string").fillna("(missing)").to_numpy(dtype=object).astype(str)


def standardise(y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Regression targets, float32, with mean 0 and standard deviation 1 over the rows ``train``."""
    y = np.asarray(y, dtype=np.float64)
    return ((y - y[train].mean()) / (y[train].std() or 1.0)).astype(np.float32)
