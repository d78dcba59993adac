"""Greedy zero-shot portfolio: configurations that together serve the source tasks best.

Wistuba, Schilling & Schmidt-Thieme, "Sequential model-free hyperparameter tuning", ICDM 2015 (average ranks, the
portfolio grown greedily); the regret-based twin is the greedy cover of Winkelmolen et al., "Practical and sample
efficient zero-shot HPO", arXiv:2007.13382, 2020, Sec. 3.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.common import MetaModel, check_source
from metabench.metamodels.parts.source_space import SourceSpace
from metabench.search.base import History, MetaTrain


class Portfolio(MetaModel):
    """Tries a fixed list: each next configuration lowers the source tasks' mean loss-so-far the most.

    ``objective`` is the loss of a configuration on a source task: ``rank`` (rank over number of configurations) or
    ``regret`` ((best − utility)/(best − median), clipped at 1). ``cost`` divides what a configuration gains by its
    mean training seconds to that power: at 1 the list gains the most per second, at 0 seconds do not count. Once no
    configuration helps any task the cover starts anew with the rest, so the list goes on, in sensible order, to the end
    of the pool; after ``size`` members the rest follows by mean loss.

    The gain is monotone and submodular: at ``cost`` 0 the first n gain at least 1 − 1/e of what the best n of all would
    (Nemhauser, Wolsey & Fisher, 1978).
    """

    name = "portfolio"
    version = "1"
    twin = "random"
    arrays = ("loss_", "seconds_", "order_")
    grid: ClassVar[dict[str, tuple]] = {"objective": ("rank", "regret"), "size": (25, 100)}

    def __init__(self, objective: str = "regret", size: int = 100, cost: float = 0.0):
        if objective not in ("rank", "regret"):
            raise UsageError(f"portfolio: objective is {objective!r}; known: rank, regret")
        if size < 1:
            raise UsageError(f"portfolio: size is {size}; at least 1 configuration is needed")
        if cost < 0:
            raise UsageError(f"portfolio: cost is {cost:g}; it must not be negative")
        self.objective = objective
        self.size = size
        self.cost = cost

    def fit(self, source: MetaTrain) -> Portfolio:
        check_source(source, self.name)
        self.loss_ = impute(source.ranks / source.ranks.shape[1] if self.objective == "rank" else regrets(source))
        self.seconds_ = relative_seconds(source) if self.cost else np.ones(len(source.configs))
        self.order_ = greedy_cover(self.loss_, self.size, self.seconds_**self.cost)
        self.source_ = SourceSpace.fit(source, 0.5 - self.loss_)
        return self

    def begin(self) -> None:
        super().begin()
        alignment = self.source_.align(self.problem)
        if len(alignment.rows) == len(self.order_) and np.array_equal(alignment.rows, np.arange(len(self.order_))):
            self._order = self.order_
        else:
            # losses are centred for the way there: far from every source row they tend to the middle
            seconds = np.exp(alignment.carry(np.log(self.seconds_)))
            loss = np.clip(0.5 + alignment.carry(self.loss_ - 0.5), 0.0, 1.0)
            self._order = greedy_cover(loss, self.size, seconds**self.cost)

    def ask(self, history: History) -> int:
        tried = set(history.candidates)
        return int(next(c for c in self._order if c not in tried))


def relative_seconds(source: MetaTrain) -> np.ndarray:
    """Training seconds of the configurations, relative to those of the task's typical one, geometric mean over tasks,
    float64 [configs]; 1 where no task ran it. Raises UsageError when the source has no seconds."""
    if source.seconds is None or not (source.seconds > 0).any():
        raise UsageError("portfolio: cost needs training seconds, and the source has none; set cost to 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(source.seconds)
    known = np.isfinite(log)
    task = np.where(known, log, 0.0).sum(1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    return np.exp(np.where(known, log - task, 0.0).sum(0) / np.maximum(known.sum(0), 1))


def regrets(source: MetaTrain) -> np.ndarray:
    """(best − utility)/(best − median) within each source task, clipped to [0, 1]; 1 where diverged, NaN where not run.

    A task on which all configurations are equal has regret 0 everywhere.
    """
    u = source.utility
    out = np.full(u.shape, np.nan)
    for row, seen, regret in zip(u, source.seen, out, strict=True):
        finite = row[seen & np.isfinite(row)]
        if len(finite) == 0:
            continue
        span = finite.max() - np.median(finite)
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.clip((finite.max() - row) / span, 0.0, 1.0) if span > 0 else (row < finite.max()) * 1.0
        regret[seen] = np.where(np.isfinite(row), scaled, 1.0)[seen]
    return out


def impute(loss: np.ndarray) -> np.ndarray:
    """Losses [tasks, configs] without NaN: a missing cell gets the mean of its task's median loss and the
    configuration's mean loss over the tasks that ran it (the task's median alone where none did)."""
    seen = ~np.isnan(loss)
    median = np.array([np.median(row[s]) if s.any() else 0.5 for row, s in zip(loss, seen, strict=True)])[:, None]
    total, count = np.where(seen, loss, 0.0).sum(0), seen.sum(0)
    typical = np.where(count > 0, 0.5 * (median + total / np.maximum(count, 1)), median)
    return np.where(seen, loss, typical)


def greedy_cover(loss: np.ndarray, size: int, cost: np.ndarray | None = None) -> np.ndarray:
    """All configurations of ``loss`` [tasks, configs] in [0, 1] in greedy order, int64 [configs].

    Each of the first ``size`` lowers the mean over tasks of the least loss so far (at first 1) the most per ``cost``
    [configs] (ties: mean loss); when nothing lowers it the least loss is forgotten. The others follow by mean loss.
    """
    tasks, configs = loss.shape
    cost = np.ones(configs) if cost is None else cost
    mean = loss.mean(0)
    best = np.ones(tasks)
    left = np.ones(configs, dtype=bool)
    order: list[int] = []
    while len(order) < min(size, configs):
        gain = np.where(left, np.maximum(best[:, None] - loss, 0.0).mean(0) / cost, -np.inf)
        if gain.max() <= 1e-12 and (best < 1.0).any():
            best = np.ones(tasks)
            continue
        near = np.flatnonzero(gain >= gain.max() - 1e-12)
        chosen = int(near[np.argmin(mean[near])])
        order.append(chosen)
        left[chosen] = False
        best = np.minimum(best, loss[:, chosen])
    rest = np.flatnonzero(left)
    return np.array([*order, *rest[np.argsort(mean[rest], kind="stable")]], dtype=np.int64)
