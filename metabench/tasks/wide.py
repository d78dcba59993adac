"""Tables of more inputs than a network is given: which of them to keep, from the training rows alone.

Candidates are the inputs that tell most of the target one by one (the F test of classes, the correlation with a number) and
principal components. A linear model judges them by cross-validation on training rows, the choice of inputs inside each fold.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

#: numbers of inputs that are tried; rows that judge them; folds
SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
ROWS, FOLDS = 2_000, 3


@dataclass(frozen=True)
class Choice:
    """Inputs to keep (positions, ascending), or None for principal components; cross-validated scores by candidate."""

    columns: np.ndarray | None
    scores: dict[str, float]


#: the last choices, by what they were made of: preparing a task asks for the same one several times
_MADE: dict[bytes, Choice] = {}


def choose(x: np.ndarray, y: np.ndarray) -> Choice:
    """What to keep of training rows x [n, inputs] for targets y: int classes, or float numbers [n].

    Returns:
        The candidate that a linear model predicts best from (ties: the fewest inputs).
    """
    key = hashlib.sha256(np.ascontiguousarray(x).tobytes() + np.ascontiguousarray(y).tobytes()).digest()
    if key not in _MADE:
        if len(_MADE) >= 8:
            _MADE.pop(next(iter(_MADE)))
        _MADE[key] = _chosen(x, y)
    return _MADE[key]


def _chosen(x: np.ndarray, y: np.ndarray) -> Choice:
    from sklearn.model_selection import KFold, StratifiedKFold

    classes = y.dtype.kind in "iu"
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(x))[:ROWS])
    some, wanted = x[rows], y[rows]
    few = int(np.bincount(wanted)[np.unique(wanted)].min()) if classes else len(wanted)
    if few < FOLDS or len(np.unique(wanted)) < 2:
        return Choice(None, {})
    folds = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=0)
    scores: dict[str, list[float]] = {}
    for learn, judge in folds.split(some, wanted):
        order = _order(some[learn], wanted[learn], classes)
        for size in SIZES:
            best = order[:size]
            parts = some[learn][:, best], some[judge][:, best]
            scores.setdefault(str(size), []).append(_score(*parts, wanted[learn], wanted[judge], classes))
        parts = _components(some[learn], some[judge])
        scores.setdefault("components", []).append(_score(*parts, wanted[learn], wanted[judge], classes))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    best = max(means, key=means.__getitem__)  # the first of several: the fewest
    if best == "components":
        return Choice(None, means)
    return Choice(np.sort(_order(x, y, classes)[: int(best)]), means)


def told(inputs: int, choice: Choice | None) -> str:
    """What is done to so many inputs, in a line."""
    if choice is None or choice.columns is None:
        return f"{inputs:,} network inputs are more than 256: their first 256 principal components stand for them"
    return (
        f"{inputs:,} network inputs are more than 256: the {len(choice.columns)} that tell most of the target are kept "
        f"(cross-validated on training rows: {max(choice.scores.values()):.3f}; principal components "
        f"{choice.scores['components']:.3f})"
    )


def _order(x: np.ndarray, y: np.ndarray, classes: bool) -> np.ndarray:
    """Inputs by how much each alone tells of the target, the most first."""
    z = x - x.mean(0)
    total = (z**2).sum(0)
    if classes:
        between = sum(float((y == k).sum()) * z[y == k].mean(0) ** 2 for k in np.unique(y))
    else:
        t = y - y.mean()
        between = (z.T @ t) ** 2 / max(float(t @ t), 1e-300)
    share = np.where(total > 1e-12, between / np.maximum(total, 1e-300), 0.0)
    # rounded, so that columns that tell the same keep their order whatever the last bits are
    return np.argsort(-np.round(share, 9), kind="stable")


def _components(known: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = known.mean(0), np.maximum(known.std(0), 1e-12)
    z = (known - mean) / std
    values, left = np.linalg.eigh(z @ z.T)
    keep = np.argsort(-values)[: max(SIZES)]
    keep = keep[values[keep] > 1e-9 * values.max()]
    axes = z.T @ (left[:, keep] / np.sqrt(values[keep]))
    scale = np.sqrt(values[keep].max() / len(z))
    return z @ axes / scale, (new - mean) / std @ axes / scale


def _score(known, new, y, wanted, classes: bool) -> float:
    """Balanced accuracy of a logistic, R² of a ridge regression."""
    if not classes:
        from sklearn.linear_model import Ridge

        return float(Ridge(10.0).fit(known, y).score(new, wanted))
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    learner = LogisticRegression(C=0.1, class_weight="balanced", max_iter=100)
    return float(balanced_accuracy_score(wanted, learner.fit(known, y).predict(new)))


__all__ = ["Choice", "choose", "told"]
