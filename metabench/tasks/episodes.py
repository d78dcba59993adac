"""Episodes of few-shot learning (Vinyals et al., 2016): some classes, of each some rows that are shown, and others to name.

Those that networks are judged by are fixed here, by hashes of their number alone; training draws its own.
"""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError
from metabench.tasks.splits import row_hashes
from metabench.tasks.task import Arrays

#: rows of each class of an episode that are to be named; episodes of each part that a run is judged by
QUERIES, JUDGED = 5, 64


def usable(y: np.ndarray, shots: int) -> list[np.ndarray]:
    """The rows of each class that has enough of them for an episode."""
    return [rows for c in np.unique(y) if len(rows := np.flatnonzero(y == c)) >= shots + QUERIES]


def fixed(y: np.ndarray, ways: int, shots: int, count: int) -> np.ndarray:
    """Rows of ``count`` episodes, int64 [count, ways, shots + QUERIES]; those that are shown come first."""
    classes, drawn = usable(y, shots), np.empty((count, ways, shots + QUERIES), dtype=np.int64)
    for e in range(count):
        hashes = row_hashes("episodes/rows", e, len(y))
        chosen = np.argsort(row_hashes("episodes/classes", e, len(classes)), kind="stable")[:ways]
        for way, c in enumerate(chosen):
            rows = classes[c]
            drawn[e, way] = rows[np.argsort(hashes[rows], kind="stable")[: shots + QUERIES]]
    return drawn


def check(name: str, arrays: Arrays) -> None:
    """Raise UsageError where a part has too few classes of enough rows for an episode."""
    for part in ("train", "valid", "test"):
        there = len(usable(getattr(arrays, f"y_{part}"), arrays.shots))
        if there < arrays.n_classes:
            raise UsageError(
                f"data set {name!r}: {there} {part} classes have {arrays.shots + QUERIES} rows; "
                f"{arrays.n_classes} are needed"
            )


__all__ = ["JUDGED", "QUERIES", "check", "fixed", "usable"]
