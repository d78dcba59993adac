"""Variants of a data set: the same rows on the same sides, but fewer to train on, wrong labels, rare classes, or inputs that
drift. Only what a network trains on changes, or (``shifted``) what it is tested on: scores stay comparable with the
data set's own.

============== ====================================================================================================
``half`` …     a hashed half, quarter or eighth of the training rows; the smaller ones are parts of the larger
``noisy``      NOISY of the training rows have the label of another class, or the number of another such row
``imbalanced`` training rows of the classes, the most frequent first, are thinned to a geometric sequence that ends at
               1/IMBALANCE of the first (the long tail of Cui et al., "Class-balanced loss", CVPR 2019, §5.1)
``shifted``    numbers of the test rows are moved by ± SHIFT standard deviations, each column its own way, as by
               instruments that drift between training and use (covariate shift)
============== ====================================================================================================
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from metabench.sources.variants import FRACTIONS, MARK, base, is_variant
from metabench.tasks.splits import row_hashes

NOISY, IMBALANCE, SHIFT = 0.2, 10.0, 0.5


def thinned(name: str, split: int, train: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The training rows of a variant (positions, ascending), of those of its data set; ``y`` are all rows' classes."""
    made_of, _, variant = name.partition(MARK)
    order = np.argsort(row_hashes(f"{made_of}/fraction", split, len(y))[train], kind="stable")
    if variant in FRACTIONS:
        return np.sort(train[order[: max(2, round(FRACTIONS[variant] * len(train)))]])
    if variant != "imbalanced":
        return train
    codes, counts = np.unique(y[train], return_counts=True)
    rank = np.argsort(-counts, kind="stable")
    wanted = counts.max() * IMBALANCE ** (-np.arange(len(codes)) / max(1, len(codes) - 1))
    kept = [train[order][y[train[order]] == codes[c]][: max(2, round(n))] for c, n in zip(rank, wanted, strict=True)]
    return np.sort(np.concatenate(kept))


def relabelled(name: str, split: int, train: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """Targets of all rows [rows], classes or (``classes`` is 0) numbers, those of ``noisy`` training rows wrong."""
    if not name.endswith(f"{MARK}noisy"):
        return y
    hashes = row_hashes(name, split, len(y))
    wrong = train[np.argsort(hashes[train], kind="stable")[: round(NOISY * len(train))]]
    out = y.copy()
    if classes:
        away = 1 + (hashes[wrong] >> np.uint64(8)) % np.uint64(classes - 1)
        out[wrong] = (y[wrong] + away.astype(y.dtype)) % classes
    else:
        out[wrong] = np.roll(y[wrong], 1)
    return out


def shifted(name: str, rows, train: np.ndarray, test: np.ndarray, categorical: tuple[str, ...]):
    """All rows, a DataFrame, with the numbers of the ``test`` rows moved where the variant says so."""
    if not name.endswith(f"{MARK}shifted"):
        return rows
    numeric = [c for c in rows.columns if c not in categorical]
    values = rows[numeric].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    ways = np.where(row_hashes(f"{name}/columns", 0, len(numeric)) >> np.uint64(63), 1.0, -1.0)
    moved = values.to_numpy(copy=True)
    moved[test] += SHIFT * ways * np.nan_to_num(values.iloc[train].std(ddof=0).to_numpy())
    out = rows.copy()
    out[numeric] = moved
    return out


__all__ = ["base", "is_variant", "relabelled", "shifted", "thinned"]
