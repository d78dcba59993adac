"""Greedy zero-shot portfolio: configurations that together serve the source tasks best.

Wistuba, Schilling & Schmidt-Thieme, "Sequential model-free hyperparameter tuning", ICDM 2015 (average ranks, the
portfolio grown greedily); the regret-based twin is the greedy cover of Winkelmolen et al., "Practical and sample
efficient zero-shot HPO", arXiv:2007.13382, 2020, Sec. 3.
"""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.common import MetaModel, SourceSpace, check_source
from metabench.search.base import History, MetaTrain


class Portfolio(MetaModel):
    """Tries a fixed list: each next configuration lowers the source tasks' mean loss-so-far the most.

    ``objective`` is the loss of a configuration on a source task: ``rank`` (rank over number of configurations) or
    ``regret`` ((best − utility)/(best − median), clipped at 1). Once no configuration helps any task the cover starts
    anew with the rest, so the list goes on, in sensible order, to the end of the pool; after ``size`` members the rest
    follows by mean loss.
    """

    name = "portfolio"
    twin = "random"
    arrays = ("loss_", "order_")

    def __init__(self, objective: str = "rank", size: int = 100):
        if objective not in ("rank", "regret"):
            raise UsageError(f"portfolio: objective is {objective!r}; known: rank, regret")
        if size < 1:
            raise UsageError(f"portfolio: size is {size}; at least 1 configuration is needed")
        self.objective = objective
        self.size = size

    def fit(self, source: MetaTrain) -> Portfolio:
        check_source(source, self.name)
        self.loss_ = impute(source.ranks / source.ranks.shape[1] if self.objective == "rank" else regrets(source))
        self.order_ = greedy_cover(self.loss_, self.size)
        self.source_ = SourceSpace.fit(source, 0.5 - self.loss_)
        return self

    def begin(self) -> None:
        super().begin()
        alignment = self.source_.align(self.problem)
        if len(alignment.rows) == len(self.order_) and np.array_equal(alignment.rows, np.arange(len(self.order_))):
            self._order = self.order_
        else:
            # losses are centred for the way there: far from every source row they tend to the middle
            self._order = greedy_cover(0.5 + alignment.carry(self.loss_ - 0.5), self.size)

    def ask(self, history: History) -> int:
        return int(next(c for c in self._order if c not in history))


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


def greedy_cover(loss: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
    """All configurations of ``loss`` [tasks, configs] in greedy order, int64 [configs].

    Each of the first ``size`` minimises the (weighted) mean over tasks of the least loss so far (ties: mean loss); when
    nothing lowers it the least loss is forgotten. The others follow by mean loss.
    """
    tasks, configs = loss.shape
    w = np.full(tasks, 1.0 / tasks) if weights is None else np.asarray(weights) / np.sum(weights)
    mean = w @ loss
    best = np.full(tasks, np.inf)
    left = np.ones(configs, dtype=bool)
    order: list[int] = []
    while len(order) < min(size, configs):
        covered = np.where(left, w @ np.minimum(loss, best[:, None]), np.inf)
        if np.isfinite(best).all() and covered.min() >= w @ best - 1e-12:
            best = np.full(tasks, np.inf)
            continue
        near = np.flatnonzero(covered <= covered.min() + 1e-12)
        chosen = int(near[np.argmin(mean[near])])
        order.append(chosen)
        left[chosen] = False
        best = np.minimum(best, loss[:, chosen])
    rest = np.flatnonzero(left)
    return np.array([*order, *rest[np.argsort(mean[rest], kind="stable")]], dtype=np.int64)
