"""Made-up tasks, small ones, of every view: to check a plug-in on and to measure what runs cost, with no data at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.errors import UsageError
from metabench.tasks.task import Arrays
from metabench.tasks.views import TARGET


def sample(view: str, n: int = 96, *, seed: int = 0) -> Arrays:
    """n training rows (half as many of the other parts) of a task that can be learned, of real tasks' shapes.

    Raises UsageError for a view of which there is no sample.
    """
    if view not in (*_MAKERS, *_OTHERS):
        raise UsageError(f"no made-up task of view {view!r}; there are {', '.join((*_MAKERS, *_OTHERS))}")
    rng = np.random.default_rng(seed)
    total = n + 2 * (n // 2)
    if view in _OTHERS:
        return _OTHERS[view](rng, n)
    kind, metric, classes, vocabulary, x, y = _MAKERS[view](rng, total)
    parts = np.split(np.arange(total), [n, n + n // 2])
    xy = (values[part] for part in parts for values in (x, y))
    return Arrays(kind, metric, classes, *xy, vocabulary=vocabulary)


def _flat(rng, n):
    x = rng.normal(size=(n, 12)).astype(np.float32)
    return "classification", "accuracy", 3, 0, x, (x @ rng.normal(size=(12, 3))).argmax(1).astype(np.int32)


def _reconstruction(rng, n):
    x = (rng.normal(size=(n, 3)) @ rng.normal(size=(3, 16)) / 3**0.5).astype(np.float32)
    return "reconstruction", "rmse", 0, 0, x, x


def _image(rng, n):
    """Where a bright patch lies."""
    y = rng.integers(4, size=n).astype(np.int32)
    x = rng.normal(size=(n, 1, 14, 14)).astype(np.float32) * 0.5
    for i, place in enumerate(y):
        top, left = 7 * (place // 2), 7 * (place % 2)
        x[i, 0, top : top + 6, left : left + 6] += 1.0
    return "classification", "accuracy", 4, 0, x, y


def _sequence(rng, n):
    """How fast a wave goes."""
    y = rng.integers(3, size=n).astype(np.int32)
    t = np.arange(32)[None, :] * (0.2 + 0.2 * y[:, None]) + rng.uniform(0, 6, size=(n, 1))
    x = np.stack([np.sin(t), np.cos(t)], axis=2) + 0.3 * rng.normal(size=(n, 32, 2))
    return "classification", "accuracy", 3, 0, x.astype(np.float32), y


def _words(rng, n):
    """Which of three topics most words come from."""
    y = rng.integers(3, size=n).astype(np.int32)
    topic = 2 + 20 * y[:, None] + rng.integers(20, size=(n, 12))
    x = np.where(rng.random((n, 12)) < 0.5, topic, rng.integers(2, 62, size=(n, 12)))
    x[np.arange(12) >= rng.integers(6, 13, size=n)[:, None]] = 0
    return "classification", "accuracy", 3, 62, x.astype(np.int32), y


def _windows(rng, n):
    t = np.arange(28)[None, :] * 0.5 + rng.uniform(0, 6, size=(n, 1))
    z = (np.sin(t) + 0.2 * rng.normal(size=t.shape)).astype(np.float32)
    return "forecasting", "rmse", 0, 0, z[:, :24, None], z[:, 24:]


def _language(rng, n):
    """A chain of characters that mostly counts up."""
    tokens = np.zeros((n, 33), dtype=np.int32)
    tokens[:, 0] = rng.integers(1, 48, size=n)
    for t in range(1, 33):
        tokens[:, t] = np.where(rng.random(n) < 0.9, tokens[:, t - 1] % 47 + 1, rng.integers(1, 48, size=n))
    return "language", "bits", 48, 48, tokens[:, :-1].copy(), tokens[:, 1:].copy()


def _pairs(rng, n):
    """The source's letters the other way round."""
    x, y = np.zeros((n, 8), dtype=np.int32), np.zeros((n, TARGET), dtype=np.int32)
    for i, size in enumerate(rng.integers(2, 7, size=n)):
        x[i, :size] = rng.integers(2, 10, size=size)
        y[i, : size + 1] = [*x[i, :size][::-1], 1]
    return "pairs", "exact_match", 10, 10, x, y


def _cartpole(rng, n: int) -> Arrays:
    """No need to make one up: the cart and its pole."""
    from metabench.tasks.systems import SYSTEMS, random_returns

    x = SYSTEMS["cartpole"].starts(2 * n, np.random.default_rng(0))
    y = random_returns(SYSTEMS["cartpole"], x)
    parts = slice(n), slice(n, n + n // 2), slice(n + n // 2, 2 * n)
    xy: Any = [values[part] for part in parts for values in (x, y)]
    return Arrays("control", "return", 0, *xy, system="cartpole")


def _episodes(rng, n: int) -> Arrays:
    """Classes lie apart in four directions, their rows spread in eight others; three classes an episode, a row of each."""
    apart, spread, parts = rng.normal(size=(4, 12)), rng.normal(size=(8, 12)), []
    for rows, classes in ((n, 5), (n // 2, 3), (n // 2, 3)):
        y = np.arange(rows, dtype=np.int32) % classes
        x = 2.0 * rng.normal(size=(classes, 4))[y] @ apart + rng.normal(size=(rows, 8)) @ spread
        parts += [(x / 4.0).astype(np.float32), y]
    return Arrays("episodes", "accuracy", 3, *parts, shots=1)


def _transfer(rng, n: int) -> Arrays:
    """Three classes by four numbers that are mixed with others; of four more classes by them there are four times the rows."""
    mix = rng.normal(size=(12, 20)) / 12**0.5

    def rows(n: int, rule: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = rng.normal(size=(n, 12))
        return (z @ mix).astype(np.float32), (z[:, :4] @ rule).argmax(1).astype(np.int32)

    target, source = rng.normal(size=(4, 3)), rng.normal(size=(4, 4))
    parts: Any = [values for size in (n, n // 2, n // 2) for values in rows(size, target)]
    x, y = rows(4 * n, source)
    return Arrays("transfer", "accuracy", 3, *parts, x_source=x, y_source=y, source_classes=4)


_MAKERS = {
    "flat": _flat,
    "reconstruction": _reconstruction,
    "image": _image,
    "sequence": _sequence,
    "words": _words,
    "windows": _windows,
    "language": _language,
    "pairs": _pairs,
}

#: those whose parts are not of one making
_OTHERS = {"control": _cartpole, "episodes": _episodes, "transfer": _transfer}

__all__ = ["sample"]
