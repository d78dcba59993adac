"""Searches of protocol 3: a method is fitted in each fold, with several seeds, and searches the tasks that the fold holds out."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metabench.evaluation.methods import Method
from metabench.evaluation.worker import Bench, Group
from metabench.metatrain import MetaTrain
from metabench.search.base import Problem, Searcher
from metabench.search.replay import Replay

#: changes whenever the way that such a search is carried out changes; part of every cell's key
FOLDED_VERSION = "1"
#: name of the random streams, so that no two tasks share one (:func:`metabench.search.base.stream_seed`)
STREAM = "3"
#: the setting that a fit's randomness follows from, in methods that have one
FIT_SEED = "random_state"


class FoldBench(Bench):
    """A bench whose source depends on the fold: ``folds`` names the tasks, positions in ``source``, that each learns from."""

    def __init__(
        self,
        searchers: Mapping[str, Searcher],
        source: MetaTrain,
        folds: Mapping[str, Sequence[int]],
        problems: Mapping[str, Problem],
        objective: Replay,
    ):
        super().__init__(searchers, source, problems, objective)
        self.folds = dict(folds)
        self._made: tuple[tuple[str, str, int], Searcher, float] | None = None

    def source_of(self, fold: str) -> MetaTrain:
        """What is learned from in a fold; nothing of it is shared with the whole."""
        return self.source.select(self.folds[fold])

    def fitted_for(self, group: Group) -> Searcher:
        """The method fitted in the group's fold with its seed; the last one is kept, so memory stays bounded."""
        if self._made is None or self._made[0] != group.fit:
            self._made = None
            searcher = seeded(self.searchers[group.method], group.fit_seed)
            source, began = self.source_of(group.fold), time.perf_counter()
            self._made = group.fit, searcher.fit(source), time.perf_counter() - began
        return self._made[1]

    def run(self, group: Group) -> list[dict[str, Any]]:
        """Rows of FOLDED, one for each seed of the group. Raises MetabenchError naming a method that misbehaves."""
        rows = super().run(group)
        assert self._made is not None
        return [row | {"fold": group.fold, "fit_seconds": self._made[2]} for row in rows]


def learns(searcher: Searcher) -> bool:
    """Does the method learn from source tasks, so that its results depend on the fold?"""
    return type(searcher).fit is not Searcher.fit


def fit_seed(searcher: Searcher, asked: int) -> int:
    """The seed that a method is fitted with: ``asked``, or 0 where nothing random happens in its fit."""
    return asked if hasattr(searcher, FIT_SEED) else 0


def seeded(searcher: Searcher, seed: int) -> Searcher:
    """An unfitted copy of a method whose fit follows from ``seed``; 0 leaves its own setting."""
    made = copy.deepcopy(searcher)
    if seed and hasattr(made, FIT_SEED):
        setattr(made, FIT_SEED, getattr(made, FIT_SEED) + seed)
    return made


# ---------------------------------------------------------------- keys
def content_of(*parts: Any) -> str:
    """sha256 of arrays, frames and plain values: what a search depends on, by what it holds."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(json.dumps([str(part.dtype), list(part.shape)]).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()


def info_of(info) -> list:
    """A task as plain values."""
    identity = [info.task_id, info.family, info.modality, info.workload, info.kind, info.metric, info.direction]
    return [*identity, sorted((name, repr(float(value))) for name, value in info.features.items())]


def keyed(
    methods: Sequence[Method],
    bench: FoldBench,
    held: Mapping[str, Sequence[str]],
    cells: Mapping[str, Mapping[int, int]],
) -> list[Group]:
    """The groups of all methods with the key of every cell.

    A cell is keyed by what its search can see: the pool, the task, the scores of one replicate, the stream, the method and,
    where it learns, the source of the fold and the fit's seed. So a method that learns from nothing keeps its cells when
    other tasks join the table.

    Args:
        methods: the methods.
        bench: what their searches need.
        held: fold → the tasks that it holds out.
        cells: fold → search seed → fit seed, of the searches that belong to its partition.

    Returns:
        Groups by method, fold, fit seed and task, in this order.
    """
    first = next(iter(bench.problems.values()))
    whole = content_of(bench.source.encoded, [list(first.space.encoded_names), FOLDED_VERSION, STREAM])
    tasks = {}
    for task_id, problem in bench.problems.items():
        scores = bench.objective.scores[bench.objective.task_ids.index(task_id)]
        pool = bench.objective.configs(task_id, range(len(problem.candidates)))
        tasks[task_id] = [
            content_of(scores[:, column], [pool, info_of(problem.task), problem.budget])
            for column in range(bench.objective.n_seeds)
        ]
    sources: dict[str, str] = {}
    groups = []
    for method in methods:
        for fold, task_ids in held.items():
            learned = ""
            if learns(method.searcher):
                learned = sources.get(fold) or sources.setdefault(fold, _digest(bench.source_of(fold)))
            by_fit: dict[int, list[int]] = {}
            for seed, asked in cells[fold].items():
                by_fit.setdefault(fit_seed(method.searcher, asked), []).append(seed)
            for fit, seeds in by_fit.items():
                for task_id in task_ids:
                    keys = {}
                    for seed in seeds:
                        seen = tasks[task_id][seed % bench.objective.n_seeds]
                        keys[seed] = content_of([whole, learned, method.fingerprint, fit, seen, seed])
                    groups.append(Group(method.name, "own", task_id, keys, fold, fit))
    return groups


def _digest(source: MetaTrain) -> str:
    seconds = np.zeros(0) if source.seconds is None else source.seconds
    return content_of(source.scores, source.ran, seconds, [info_of(info) for info in source.tasks])
