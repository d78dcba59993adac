"""Fixed splits: 60 % training, 20 % validation, 20 % test rows, the same for everyone.

A row's place follows from a hash of (data set, split, row), stratified by class; rows of one group stay together, and
rows in time order are cut by time. Nothing depends on a random generator.
"""

from __future__ import annotations

import hashlib

import numpy as np

TRAIN, VALID, TEST = 0, 1, 2
#: training rows are capped at this many, validation and test rows at EVALUATION_CAP each, by a fixed hashed sample
TRAIN_CAP, EVALUATION_CAP = 16_384, 4_096
#: under this many rows the seed picks one of five splits, so that averaging over seeds averages split noise too
SMALL, SPLITS = 2_000, 5
#: rows of classes with fewer rows are left out: such a class cannot stand on all sides of a split
MIN_CLASS = 5


def n_splits(n_rows: int, temporal: bool) -> int:
    """How many splits a data set has; rows in time order have one."""
    return SPLITS if n_rows < SMALL and not temporal else 1


def row_hashes(dataset: str, split: int, n: int) -> np.ndarray:
    """uint64 [n]: a hash of (data set, split, row)."""
    seed = int.from_bytes(hashlib.sha256(f"{dataset}/{split}".encode()).digest()[:8], "little")
    x = np.arange(n, dtype=np.uint64) + np.uint64(seed)
    with np.errstate(over="ignore"):  # splitmix64 (Steele et al., 2014)
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def assign(
    dataset: str,
    split: int,
    y: np.ndarray,
    kind: str,
    groups: np.ndarray | None = None,
    temporal: bool = False,
) -> np.ndarray:
    """Part of every row, int8 [n]: TRAIN, VALID or TEST."""
    n = len(y)
    if temporal:
        return _cut(np.arange(n), n)
    hashes = row_hashes(dataset, split, n)
    if groups is not None:
        return _by_group(dataset, split, groups)
    out = np.empty(n, dtype=np.int8)
    if kind != "classification":
        out[np.argsort(hashes, kind="stable")] = _cut(np.arange(n), n)
        return out
    for code in np.unique(y):
        rows = np.flatnonzero(y == code)
        out[rows[np.argsort(hashes[rows], kind="stable")]] = _cut(np.arange(len(rows)), len(rows))
    return out


def _cut(rank: np.ndarray, n: int) -> np.ndarray:
    """Parts by rank: the first 60 % train, the next 20 % validate, the rest test; every part gets a row if it can."""
    train = min(max(1, round(0.6 * n)), max(1, n - 2))
    valid = max(1, round(0.2 * n)) if n > 2 else 0
    return np.where(rank < train, TRAIN, np.where(rank < train + valid, VALID, TEST)).astype(np.int8)


def _by_group(dataset: str, split: int, groups: np.ndarray) -> np.ndarray:
    """Whole groups, in hashed order, fill the training part up to 60 % of the rows, then validation up to 80 %."""
    codes, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(row_hashes(f"{dataset}/groups", split, len(codes)), kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / len(groups)
    part = np.empty(len(codes), dtype=np.int8)
    part[order] = np.where(before < 0.6, TRAIN, np.where(before < 0.8, VALID, TEST))
    return part[inverse]


def by_class(family: str, split: int, groups: np.ndarray) -> np.ndarray:
    """Part of every row where what is judged are classes that were never trained on, int8 [n]: of the groups (classes, or
    sets of them) 60 %, 20 % and 20 %, in hashed order."""
    codes, inverse = np.unique(groups, return_inverse=True)
    part = np.empty(len(codes), dtype=np.int8)
    hashes = row_hashes(f"{family}/classes", split, len(codes))
    part[np.argsort(hashes, kind="stable")] = _cut(np.arange(len(codes)), len(codes))
    return part[inverse]


def parts(
    dataset: str,
    split: int,
    assignment: np.ndarray,
    temporal: bool = False,
    caps: tuple[int, int] = (TRAIN_CAP, EVALUATION_CAP),
) -> tuple[np.ndarray, ...]:
    """Row positions of the three parts, ascending, capped (training, evaluation) by a fixed hashed sample (in time order:
    the latest rows)."""
    hashes = row_hashes(f"{dataset}/cap", split, len(assignment))
    out = []
    for part, cap in ((TRAIN, caps[0]), (VALID, caps[1]), (TEST, caps[1])):
        rows = np.flatnonzero(assignment == part)
        if len(rows) > cap:
            chosen = rows[-cap:] if temporal and part == TRAIN else rows[np.argsort(hashes[rows], kind="stable")[:cap]]
            rows = np.sort(chosen)
        out.append(rows)
    return tuple(out)


def digest(assignment: np.ndarray) -> str:
    """sha256 of a row assignment: identifies a split."""
    return hashlib.sha256(assignment.astype(np.int8).tobytes()).hexdigest()
