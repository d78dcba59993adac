"""From raw columns to network inputs; everything is fitted on the training rows alone.

Numbers: the median fills gaps (a 0/1 column says where there were any), then standardised and clipped to ±5. Names:
one-hot over the values of at least MIN_COUNT training rows, the rest share a column "other". Constant columns are
dropped. Over MAX_FEATURES inputs are reduced to that many principal components. Images: flattened pixels, scaled by the
training rows' mean and standard deviation over all pixels. Regression targets are standardised.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

MAX_FEATURES, MAX_VALUES, MIN_COUNT, CLIP = 256, 32, 3, 5.0
#: part of the key of cached arrays: raise it when anything here changes
VERSION = "1"


def inputs(X, categorical, train: np.ndarray) -> np.ndarray:
    """float32 [rows, features] for all rows of a data set; statistics come from the rows ``train`` (positions)."""
    if isinstance(X, np.ndarray):
        flat = X.reshape(len(X), -1).astype(np.float64)
        return ((flat - flat[train].mean()) / (flat[train].std() or 1.0)).astype(np.float32)
    blocks = [_names(X[c], train) if c in set(categorical) else _numbers(X[c], train) for c in X.columns]
    out = np.concatenate(blocks, axis=1) if blocks else np.empty((len(X), 0))
    out = out[:, out[train].std(axis=0) > 1e-12]
    if out.shape[1] > MAX_FEATURES:
        out = _principal(out, train)
    return np.clip(out, -CLIP, CLIP).astype(np.float32)


def _numbers(column: pd.Series, train: np.ndarray) -> np.ndarray:
    x = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    x = np.where(np.isfinite(x), x, np.nan)
    missing = np.isnan(x)
    known = x[train][~missing[train]]
    x = np.where(missing, np.median(known) if len(known) else 0.0, x)
    spread = x[train].std()
    x = (x - x[train].mean()) / (spread if spread > 1e-12 else 1.0)
    if not missing[train].any():
        return x[:, None]
    gap = missing.astype(np.float64)
    return np.stack([x, (gap - gap[train].mean()) / max(gap[train].std(), 1e-12)], axis=1)


def _names(column: pd.Series, train: np.ndarray) -> np.ndarray:
    values = column.astype("string").fillna("(missing)").to_numpy(dtype=object)
    names, counts = np.unique(values[train].astype(str), return_counts=True)
    kept = names[np.lexsort((names, -counts))][: min(MAX_VALUES, int((counts >= MIN_COUNT).sum()))]
    hot = (values.astype(str)[:, None] == kept[None, :]).astype(np.float64)
    return np.concatenate([hot, 1.0 - hot.sum(axis=1, keepdims=True)], axis=1)


def _principal(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The first MAX_FEATURES principal components of standardised columns, the first with unit variance."""
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
    scores = z @ axes
    return scores / scores[train].std(axis=0).max()


def standardise(y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Regression targets, float32, with mean 0 and standard deviation 1 over the rows ``train``."""
    y = np.asarray(y, dtype=np.float64)
    return ((y - y[train].mean()) / (y[train].std() or 1.0)).astype(np.float32)
