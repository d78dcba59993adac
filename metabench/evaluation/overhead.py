"""A method's own time: what it costs to fit it, to start a search, and to have a suggestion after so many trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metabench.errors import UsageError
from metabench.evaluation.methods import Method, resolve
from metabench.evaluation.worker import Bench, Group, one_thread
from metabench.search.base import Searcher
from metabench.search.fidelity import FidelitySearcher
from metabench.search.replay import Replay, problems

if TYPE_CHECKING:
    from metabench.boards.board import Board


@dataclass(frozen=True)
class Overhead:
    """Seconds that a method thought, with one thread: medians over tasks of the least over repeats, but for ``fit``."""

    method: str
    #: learning from the meta-training tasks, once
    fit: float
    #: the first suggestion of a search, what is prepared for the task included
    start: float
    #: the suggestion after so many trials
    last: float
    #: a suggestion on average from the first to that one; all that is learned from the trials is in it
    mean: float
    #: the slowest suggestion but for the first
    worst: float


def overhead(
    methods: Iterable[str | Searcher | type] | str | Searcher | type,
    board: Board,
    table,
    *,
    trials: int = 50,
    tasks: int = 3,
    repeats: int = 3,
    say: Callable[[str], None] = lambda text: None,
) -> list[Overhead]:
    """Time whole searches of ``trials`` + 1 suggestions on some of the board's meta-test tasks, in the order of methods.

    Methods take turns, so that a busy machine slows all of them. Raises UsageError for an unknown method, one that lacks
    a package, or more trials than the pool has; MetabenchError naming a method that fails.
    """
    board.check(table)
    resolved = resolve(methods)
    for method in resolved:
        if method.lacks:
            raise UsageError(f"method {method.name!r} {method.lacks}")
        if isinstance(method.searcher, FidelitySearcher):
            raise UsageError(f"method {method.name!r} trains configurations in parts; whole trials are timed")
    parts = {part: board.tasks(table, part) for part in ("train", "valid", "test")}
    some = spread(parts["test"], tasks)
    source = table.meta_train(board.workload, parts["train"], parts["valid"])
    searches, objective = (
        problems(table, board.workload, some, trials + 1),
        Replay.from_table(table, board.workload, some),
    )
    with one_thread():
        benches, fit = {}, {}
        for method in resolved:
            # one each: a bench keeps the method that it fitted last
            bench = benches[method.name] = Bench({method.name: method.searcher}, source, searches, objective)
            began = time.perf_counter()
            bench.fitted(method.name)
            fit[method.name] = time.perf_counter() - began
            say(f"{method.name}: fitted in {fit[method.name]:.1f} s")
        seconds = {m.name: np.full((len(some), repeats, trials + 1), np.inf) for m in resolved}
        for repeat in range(repeats):
            say(f"searching {len(some)} tasks, turn {repeat + 1} of {repeats}")
            for t, task in enumerate(some):
                for method in resolved:
                    (row,) = benches[method.name].run(Group(method.name, "own", task, {0: ""}))
                    seconds[method.name][t, repeat] = row["overhead"]
    return [_summary(method, fit[method.name], seconds[method.name].min(axis=1)) for method in resolved]


def _summary(method: Method, fit: float, seconds: np.ndarray) -> Overhead:
    """From the seconds of every suggestion [tasks, trials + 1]."""
    median = np.median(seconds, axis=0)
    rest = median[1:] if len(median) > 1 else median
    return Overhead(method.name, fit, *map(float, (median[0], median[-1], median.mean(), rest.max())))


def spread(items: Sequence[str], n: int) -> list[str]:
    """``n`` of them (or all) at even distances."""
    places: list[int] = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int).tolist()
    return [items[i] for i in dict.fromkeys(places)]
