"""What one suggestion of a continuous search costs after so many trials: methods on a dense pool, `tune`, and Optuna's sampler.

Nothing is trained: a trial scores what the nearest stored configuration does. The search is not made from its beginning:
it is handed all trials but the last few at once, which is the cost of resuming it, and then goes on trial by trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.methods import resolve
from metabench.evaluation.overhead import spread
from metabench.evaluation.worker import one_thread
from metabench.search.base import History, Searcher
from metabench.search.continuous import Trials, problem
from metabench.search.fidelity import FidelitySearcher

if TYPE_CHECKING:
    import pandas as pd

    from metabench.boards.board import Board
    from metabench.metatrain import TaskInfo
    from metabench.pretrained import Pretrained

#: ways to use a fitted meta-model that are timed beside the methods
ADVISERS = ("tune", "MetaSampler")
#: suggestions that are timed one by one
STEPS = 5


@dataclass(frozen=True)
class Suggestion:
    """Seconds of processor time of one thread; medians over STEPS suggestions of one search, the least over repeats."""

    method: str
    #: trials made before
    trials: int
    #: to begin with that many trials: what is prepared for the pool, all that is learned from the trials, a suggestion
    resume: float
    #: a suggestion after one trial more
    next: float
    #: the slowest of these
    worst: float


def suggestions(
    methods: Iterable[str | Searcher | type] | str | Searcher | type,
    board: Board,
    table,
    *,
    trials: Sequence[int] = (50, 1000),
    repeats: int = 3,
    say: Callable[[str], None] = lambda text: None,
) -> list[Suggestion]:
    """Time suggestions of methods, or of ADVISERS by name, on one of the board's meta-test tasks.

    Raises UsageError for an unknown method, one that lacks a package or more trials than a dense pool has, and MetabenchError
    naming a method that fails.
    """
    board.check(table)
    names = [methods] if isinstance(methods, str | Searcher | type) else list(methods)
    resolved = resolve([m for m in names if m not in ADVISERS]) if any(m not in ADVISERS for m in names) else []
    for method in resolved:
        if method.lacks:
            raise UsageError(f"method {method.name!r} {method.lacks}")
        if isinstance(method.searcher, FidelitySearcher):
            raise UsageError(f"method {method.name!r} trains configurations in parts; whole trials are timed")
    (task,) = spread(board.tasks(table, "test"), 1)
    given = _Given.of(board, table, task, max(trials) + STEPS + 1)
    source = table.meta_train(board.workload, *(board.tasks(table, part) for part in ("train", "valid")))
    out = []
    with one_thread():
        for method in resolved:
            say(f"{method.name}: fitting")
            fitted = method.searcher.fit(source)
            out += _timed(method.name, lambda n, f=fitted: _method(f, given, n), trials, repeats, say)
        for name in (m for m in names if isinstance(m, str) and m in ADVISERS):
            from metabench.pretrained import for_workload

            model = for_workload(board.workload)
            steps = _tune if name == "tune" else _sampler
            out += _timed(name, lambda n, s=steps, m=model: s(m, given, n), trials, repeats, say)
    return out


def _timed(
    name: str, steps: Callable[[int], Iterator[float]], trials: Sequence[int], repeats: int, say
) -> list[Suggestion]:
    out = []
    for n in trials:
        say(f"{name}: {n} trials")
        try:
            times = np.array([list(steps(n)) for _ in range(repeats)]).min(axis=0)
        except MetabenchError as error:
            raise MetabenchError(f"{name} failed after {n} trials: {error}") from error
        out.append(Suggestion(name, n, float(times[0]), float(np.median(times[1:])), float(times[1:].max())))
    return out


@dataclass(frozen=True)
class _Given:
    """A search that was half made: its pool, and the positions of trials with their scores."""

    space: Any
    info: TaskInfo
    problem: Any
    positions: list[int]
    scores: np.ndarray

    @classmethod
    def of(cls, board: Board, table, task: str, most: int) -> _Given:
        space, stored = table.space(board.workload), table.configs(board.workload)
        search = problem(space, stored, table.task_info(task), 0, most)
        pool = search.candidates
        if len(pool) < 2 * most:
            raise UsageError(f"{most} trials are too many for a pool of {len(pool)}")
        final = table.final(board.workload, [task])[0].mean(axis=1)
        final = np.where(np.isfinite(final), final, np.nanmin(final))
        known, new = space.encode(stored).astype(float), space.encode(pool).astype(float)
        apart = (known**2).sum(1) - 2.0 * new @ known.T
        positions = np.random.default_rng(0).permutation(len(pool))[:most].tolist()
        return cls(space, search.task, search, positions, final[apart.argmin(axis=1)])

    def configs(self, positions: Sequence[int]) -> pd.DataFrame:
        return self.problem.candidates.iloc[list(positions)].reset_index(drop=True)


def _method(fitted: Searcher, given: _Given, n: int) -> Iterator[float]:
    """Seconds of resuming with ``n`` trials, and of STEPS suggestions more."""
    tried = list(given.positions[:n])
    began = time.thread_time()
    search = fitted.start(given.problem, 0)
    for _ in range(STEPS + 1):
        history = History(list(tried), given.scores[tried].tolist())
        position = search.ask(history)
        yield time.thread_time() - began
        tried.append(int(position))
        began = time.thread_time()


def _tune(model: Pretrained, given: _Given, n: int) -> Iterator[float]:
    from metabench.advise.proposals import propose

    model = type(model)(model.record, model.model, model.tasks)  # nothing is kept from the last time
    configs, scores = given.configs(given.positions[:n]), given.scores[given.positions[:n]].tolist()
    for step in range(STEPS + 1):
        trials = Trials(configs, list(scores))
        began = time.thread_time()
        made = propose(model, given.info, trials)
        yield time.thread_time() - began
        configs = type(configs)({c: [*configs[c], made[c].iloc[0]] for c in configs}).astype(configs.dtypes.to_dict())
        scores.append(float(given.scores[given.positions[n + step]]))


def _sampler(model: Pretrained, given: _Given, n: int) -> Iterator[float]:
    import optuna

    from metabench.interop.optuna import MetaSampler
    from metabench.space import Choice, Int, Ordinal

    model = type(model)(model.record, model.model, model.tasks)
    distributions: dict[str, Any] = {}
    for name, p in given.space.for_task(given.info.kind).items():
        if isinstance(p, Choice | Ordinal):
            distributions[name] = optuna.distributions.CategoricalDistribution(p.options)
        else:
            kind = (
                optuna.distributions.IntDistribution if isinstance(p, Int) else optuna.distributions.FloatDistribution
            )
            distributions[name] = cast(Any, kind)(p.low, p.high, log=p.log)
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize", sampler=MetaSampler(model, given.info, space=distributions))
        configs = given.configs(given.positions[:n]).astype(object)
        for row, score in zip(configs.to_dict("records"), given.scores[given.positions[:n]], strict=True):
            has = {str(k): v for k, v in row.items() if k in distributions and v is not None and v == v}
            study.add_trial(
                optuna.create_trial(params=has, distributions={k: distributions[k] for k in has}, value=float(score))
            )
        for step in range(STEPS + 1):
            began = time.thread_time()
            trial = study.ask()
            for name, distribution in distributions.items():
                trial._suggest(name, distribution)
            yield time.thread_time() - began
            study.tell(trial, float(given.scores[given.positions[n + step]]))
    finally:
        optuna.logging.set_verbosity(level)
