"""One search by a fitted meta-model: what its proposals share is computed once.

The alignment of the pool with the source, the pool's coordinates and the factorisation of the trials stay. A trial outside
the pool is appended to it. The cost of a proposal is then that of the trials that are new.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metabench import direction
from metabench.metatrain import TaskInfo, row_keys
from metabench.search.base import Extends, History, Prediction, Problem, expected_improvement
from metabench.search.kept import kept
from metabench.space import Space

if TYPE_CHECKING:
    from metabench.metamodels.parts.common import MetaModel

#: the default configuration is among so many first trials, so that tuning never ends below it
FIRST = 5
#: trials that a meta-model is given, at most (:func:`metabench.search.kept.kept`)
MOST = 1024
#: guards :func:`warnings.catch_warnings`, which is not safe in threads
_QUIET = threading.Lock()


class Session:
    """A search on one task over one pool.

    Trials are positions: of the pool, or what :meth:`place` gave for a configuration outside of it. The same trials in the same
    order give the same proposal, whether or not the session saw the earlier ones before.
    """

    def __init__(
        self,
        model: MetaModel,
        info: TaskInfo,
        pool: pd.DataFrame,
        seed: int = 0,
        space: Space | None = None,
        default: int | None = None,
    ):
        """``pool`` is a configuration table without equal rows, ``space`` the one that it is of (default: the model's).
        ``default`` is a position that has to be among the first FIRST trials."""
        self.model, self.info, self.seed, self.default = model, info, seed, default
        self.space = model.source_.space if space is None else space
        self.size = len(pool)
        # hyperparameters that do not count on the task tell no configurations apart
        kept = set(self.space.for_task(info.kind))
        self._counts = [n in kept for n in self.space]
        keys = self._keys(pool)
        self._places = {key: i for i, key in reversed(list(enumerate(keys)))}
        self._twins = [i for i, key in enumerate(keys) if self._places[key] != i]
        self._pool, self._more = pool, []
        #: rows as they were given → positions
        self._raw: dict[tuple, int] = {}
        self._searcher: MetaModel | None = None

    def __len__(self) -> int:
        """Configurations of the pool, the appended ones among them."""
        return self.size + len(self._more)

    # ---------------------------------------------------------------- configurations
    def place(self, config: Any) -> int:
        """The position of a configuration (values in the order of the space); one that is new is appended."""
        row = tuple(None if v is None or v is pd.NA or v != v else v for v in config)
        key = _rounded(v for v, counts in zip(row, self._counts, strict=True) if counts)
        if key not in self._places:
            self._places[key] = len(self)
            self._more.append(row)
        return self._places[key]

    def _keys(self, configs: pd.DataFrame) -> list[tuple]:
        names = [n for n, counts in zip(self.space, self._counts, strict=True) if counts]
        return row_keys(configs, names)

    def places(self, configs: pd.DataFrame, typed: Callable[[pd.DataFrame], pd.DataFrame] = lambda t: t) -> list[int]:
        """The positions of the rows of a configuration table; ``typed`` completes it, and is asked for new rows alone."""
        raw = _raw(configs, [n for n in self.space if n in configs])
        new = [i for i, key in enumerate(raw) if key not in self._raw]
        if new:
            rows = typed(configs.iloc[new])[list(self.space)]
            found = [self.place(row) for row in zip(*(rows[n].tolist() for n in rows), strict=True)]
            self._raw |= {raw[i]: place for i, place in zip(new, found, strict=True)}
        return [self._raw[key] for key in raw]

    @property
    def pool(self) -> pd.DataFrame:
        """The configuration table of all positions."""
        if len(self._pool) < len(self):
            new = self._more[len(self._pool) - self.size :]
            columns = zip(*new, strict=True)
            rows = {n: pd.Series(list(c), dtype=p.dtype) for (n, p), c in zip(self.space.items(), columns, strict=True)}
            self._pool = pd.concat([self._pool, pd.DataFrame(rows)], ignore_index=True)
        return self._pool

    @property
    def searcher(self) -> MetaModel:
        """The meta-model's search over all positions; it is extended where the meta-model can do so."""
        searcher = self._searcher
        if searcher is not None and len(searcher.problem.candidates) == len(self):
            return searcher
        problem = Problem(self.space, self.info, self.pool, len(self))
        with _QUIET, warnings.catch_warnings():
            if self.space is not self.model.source_.space:  # the user's own options: the adapter's report says so
                warnings.simplefilter("ignore")
            if isinstance(searcher, Extends):
                searcher.extend(problem)
            else:
                self._searcher = searcher = self.model.start(problem, self.seed)
        return searcher

    # ---------------------------------------------------------------- asking
    def predict(self, positions: Sequence[int]) -> Prediction:
        """The prediction for positions while nothing was tried."""
        return self.searcher.predict(History(), np.asarray(positions, dtype=int))

    def ask(self, positions: Sequence[int], scores: Sequence[float], n: int = 1) -> list[int]:
        """The next ``n`` positions of the pool to try at once, given trials with raw scores (NaN: diverged).

        None of them was tried, until all were: from then on the pool is open again, and the expected improvement of a
        second trial counts. Of those asked at once each is given the predicted scores of the ones before it.
        """
        searcher, sign = self.searcher, direction.sign(self.info.direction)
        chosen = kept(sign * np.asarray(scores, dtype=float), MOST)
        past = History([int(positions[i]) for i in chosen], [float(scores[i]) for i in chosen])
        tried = set(map(int, positions))
        out: list[int] = []
        for _ in range(n):
            untried = self._untried(tried)
            if self.default is not None and len(positions) + len(out) == FIRST - 1 and self.default in untried:
                position = self.default
            else:
                position = int(searcher.ask(past)) if len(untried) else -1
            # an appended configuration, a trial that the searcher was not given, or the same as one
            if position not in untried:
                position = _best(searcher, past, untried if len(untried) else np.arange(self.size))
            out.append(position)
            tried.add(position)
            if len(out) < n:
                past.add(position, believed(searcher, past, position))
        return out

    def _untried(self, tried: set[int]) -> np.ndarray:
        """Positions of the pool that were not tried, ascending."""
        mask = np.ones(self.size, dtype=bool)
        mask[[p for p in tried if p < self.size] + self._twins] = False
        return np.flatnonzero(mask)

    def left(self, positions: Sequence[int]) -> int:
        """How many positions of the pool were not tried."""
        return len(self._untried(set(positions)))


def _rounded(values: Iterable[Any]) -> tuple:
    """Hashable values, numbers as :func:`metabench.metatrain.row_keys` rounds them."""
    return tuple(_round(v) if isinstance(v, float) else v for v in values)


def _round(value: float) -> float:
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 2.0**36) / 2.0**36, exponent)


def _raw(configs: pd.DataFrame, names: list[str]) -> list[tuple]:
    """Hashable rows, None where a value is missing; whatever the columns' types are."""
    columns: list[list[Any]] = [[tuple(names)] * len(configs)]  # another table may lack other columns
    for n in names:
        column = configs[n]
        values = column.tolist()
        if column.hasnans:
            values = [None if v is None or v is pd.NA or v != v else v for v in values]
        columns.append(values)
    return list(zip(*columns, strict=True))


def _best(searcher: MetaModel, past: History, among: np.ndarray) -> int:
    """The position with the largest expected improvement over the best predicted mean of the trials."""
    prediction = searcher.predict(past, among)
    best = float(searcher.predict(past, np.unique(past.candidates)).mean.max())
    return int(among[np.argmax(expected_improvement(prediction, best))])


def believed(searcher: MetaModel, past: History, position: int) -> float:
    """The raw score that a surrogate's prediction for an untried position amounts to: its predicted utilities are mapped
    to raw scores by the least-squares line through the trials (their mean where these are too few for a line)."""
    y = np.asarray(past.scores, dtype=float)
    ok = np.isfinite(y)
    if not ok.any():
        return float("nan")
    mean = searcher.predict(past, np.array([*past.candidates, position])).mean
    x, new = mean[:-1][ok], mean[-1]
    if ok.sum() < 2 or np.ptp(x) < 1e-9:
        return float(y[ok].mean())
    slope = ((x - x.mean()) @ (y[ok] - y[ok].mean())) / ((x - x.mean()) @ (x - x.mean()))
    return float(y[ok].mean() + slope * (new - x.mean()))
