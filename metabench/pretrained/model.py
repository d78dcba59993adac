"""A fitted meta-model as a person uses it: a task in, configurations in native units out, with what they promise."""

from __future__ import annotations

import dataclasses
import numbers
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from metabench import direction
from metabench.errors import UsageError
from metabench.metatrain import TaskInfo, row_keys
from metabench.plain import plain, whole
from metabench.pretrained.checks import check_configs
from metabench.pretrained.known import KnownTask
from metabench.pretrained.neighbours import Features, Neighbour
from metabench.pretrained.record import Record
from metabench.pretrained.scale import LEVELS, RANGES, Scale
from metabench.pretrained.session import FIRST, Session
from metabench.search.base import History, Problem
from metabench.search.continuous import Trials
from metabench.space import Space

if TYPE_CHECKING:
    from metabench.metamodels.parts.common import MetaModel
    from metabench.tasks import Task

#: scrambled Sobol configurations that stand beside the source's own in the pool of a search
POOL = 2048
#: searches whose computations are kept, each for a task and a seed
SESSIONS = 4
#: searches that are kept are used by one thread at a time
_ASKING = threading.Lock()
#: what is said of a configuration: the share of configurations that it beats, and its score, each with a 90 % interval
SAID = ("percentile", "percentile_low", "percentile_high", "score", "score_low", "score_high")
#: quantile of the normal distribution that a 90 % interval reaches to
Z90 = float(special.ndtri(0.95))


@dataclass(frozen=True)
class Pretrained:
    """A fitted meta-model that came from :func:`metabench.load_metamodel`.

    A *task* is a :class:`metabench.tasks.Task`, a :class:`metabench.metatrain.TaskInfo`, or None where nothing is known
    (then it has the kind, metric and direction that all source tasks have; where these differ it is a classification whose
    score is to be as large as possible). A *history* is what was tried on it:
    :class:`metabench.search.continuous.Trials`, raw scores in order, NaN where a run diverged.
    """

    record: Record
    #: the fitted surrogate
    model: MetaModel
    tasks: tuple[KnownTask, ...]

    def __repr__(self) -> str:
        r = self.record
        return f"<meta-model {r.name}: {r.method} for {r.workload}, learned from {r.runs:,} runs on {r.tasks} tasks>"

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def workload(self) -> str:
        return self.record.workload

    @property
    def method(self) -> str:
        return self.record.method

    @property
    def table_digest(self) -> str:
        """What it learned from: ``load_table(record.table).digest_of([workload])``."""
        return self.record.table_digest

    @property
    def space(self) -> Space:
        """The hyperparameters that it knows, with their ranges and scales."""
        return self.model.source_.space

    @property
    def configs(self) -> pd.DataFrame:
        """The source's configurations, all of which were trained on all source tasks."""
        return self.model.source_.configs

    # ---------------------------------------------------------------- asking
    def top_configs(
        self, task: Task | TaskInfo | None = None, k: int = 5, history: Trials | None = None
    ) -> pd.DataFrame:
        """The k configurations to train, in this order: native units and what they promise (SAID), a row each.

        With nothing tried they are a portfolio: together they served the source tasks best, so the fifth is no copy of
        the first. After trials they are the most promising ones that were not tried (:meth:`ask`).
        Hyperparameters that do not count on the task are left out. Raises UsageError when k is out of range.
        """
        configs = self.ask(task, history, k)
        names = list(self.space.for_task(self.info(task).kind))
        return pd.concat([configs[names], self.predict(task, configs, history)], axis=1)

    def ask(
        self,
        task: Task | TaskInfo | None,
        history: Trials | None = None,
        n: int = 1,
        *,
        seed: int = 0,
        pool: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """The next n configurations to try at once, a table of the whole space; none that was tried.

        They come from ``pool``, a configuration table; without one from the source's configurations, the workload's
        default and POOL scrambled Sobol points that depend on ``seed``. Before any trial they follow the opening. After
        that each maximises expected improvement, given the trials and, of those asked at once, the predicted scores of
        the ones before it (Ginsbourger et al., 2010: the kriging believer). The default configuration is among the first
        FIRST trials where the pool has it. Raises UsageError when n is out of range.
        """
        n = whole(n, "configurations")
        given = None if pool is None else self._typed(pool)
        if history is None or not len(history):
            opening = self.record.opening
            if given is None and 1 <= n < FIRST and n <= len(opening):  # the pool has all of them, and need not be made
                return self._typed(self.configs.iloc[list(opening[:n])]).reset_index(drop=True)
            given = self._pool(seed) if given is None else given
            if not 1 <= n <= len(given):
                raise UsageError(f"{n} configurations cannot be had of a pool of {len(given)}; ask for 1 or more")
            return given.iloc[self._opening(task, given)[:n]].reset_index(drop=True)
        self._check(history)
        with _ASKING:
            if given is None:
                session = self._session(task, seed)
            else:
                unique = self._unique(given)
                session = self.session(task, unique, seed, default=self._default(unique))
            positions = session.places(history.configs, self._typed)
            if not 1 <= n <= (left := session.left(positions)):
                raise UsageError(
                    f"{n} configurations cannot be had of a pool of {session.size} with {session.size - left} tried; "
                    "ask for 1 or more"
                )
            return session.pool.iloc[session.ask(positions, history.scores, n)].reset_index(drop=True)

    def session(
        self,
        task: Task | TaskInfo | None,
        pool: pd.DataFrame,
        seed: int = 0,
        space: Space | None = None,
        default: int | None = None,
    ) -> Session:
        """A search on ``task`` over ``pool``, which keeps what its proposals share; ``space`` may have more options, and
        ``default`` is the position that has to be among the first FIRST trials."""
        return Session(self.model, self.info(task), pool, seed, space, default)

    def _session(self, task: Task | TaskInfo | None, seed: int) -> Session:
        """The search over the pool of ``seed``; the last SESSIONS are kept."""
        info = self.info(task)
        key = info.task_id, info.kind, info.metric, info.direction, repr(sorted(info.features.items())), seed
        found = self._sessions.pop(key, None)
        if found is None:
            pool = self._pool(seed)
            found = self.session(info, pool, seed, default=self._default(pool))
        self._sessions[key] = found
        while len(self._sessions) > SESSIONS:
            self._sessions.pop(next(iter(self._sessions)), None)
        return found

    @cached_property
    def _sessions(self) -> dict[tuple, Session]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {n: v for n, v in self.__dict__.items() if n != "_sessions"}

    def predict(
        self, task: Task | TaskInfo | None, configs: pd.DataFrame, history: Trials | None = None
    ) -> pd.DataFrame:
        """What is to be expected of configurations on a task: SAID, a row each.

        ``percentile`` is the expected share of configurations (drawn evenly from the space) that it beats. ``score`` is
        the validation score that goes with that rank, in the task's metric: told from the task's features, and after
        trials moved by what these differ from it; NaN where nothing is known of the features, or no source task had the
        metric. Intervals hold 90 %: by cross-validation over families of data sets while nothing was tried.
        """
        info, asked = self.info(task), self._typed(configs)
        trials = Trials(asked.iloc[:0]) if history is None else history
        problem, past = self._problem(task, asked, trials)
        searcher = self.model.start(problem, 0)
        # rows that were tried, or are asked twice, stand in the pool once
        keys = {key: i for i, key in reversed(list(enumerate(row_keys(problem.candidates, list(self.space)))))}
        rows = np.array([keys[key] for key in row_keys(asked, list(self.space))], dtype=int)
        said = searcher.predict(past, np.arange(len(problem.candidates)))
        std = said.std * self.record.spread
        ends = np.stack([said.mean, said.mean - Z90 * std, said.mean + Z90 * std])
        share = special.ndtr(ends)
        # the mean of a normal score's percentile: E Φ(z) = Φ(μ / √(1 + σ²))
        share[0] = special.ndtr(said.mean / np.sqrt(1.0 + std**2))
        scores = self._scores(info, share, past)
        columns = dict(zip(SAID, [*share[:, rows], *scores[:, rows]], strict=True))
        return pd.DataFrame(columns, index=configs.index)

    def nearest(self, task: Task | TaskInfo, k: int = 3, reasons: int = 3) -> list[Neighbour]:
        """The k source tasks whose features are most like the task's, nearest first, and which features say so
        (:class:`metabench.pretrained.neighbours.Features`). Raises UsageError when nothing is known of the task."""
        info, out = self.info(task), []
        for i, nearer, distance, why in self._features.nearest(info, k, reasons):
            known = self.tasks[i]
            config = self._row(known.best[0], known.info.kind)
            out.append(Neighbour(known.info.task_id, nearer, distance, why, config, known.scores[0], known.info.metric))
        return out

    @cached_property
    def _features(self) -> Features:
        return Features([known.info for known in self.tasks])

    # ---------------------------------------------------------------- tasks
    def info(self, task: Task | TaskInfo | None) -> TaskInfo:
        """What may be known of a task. Raises UsageError for a task of another workload."""
        if task is None:
            return self._unknown
        if task.workload != self.workload:
            raise UsageError(
                f"{self.name} knows workload {self.workload}, the task {task.task_id} is one of {task.workload}"
            )
        if isinstance(task, TaskInfo):
            return task
        return TaskInfo(**{f.name: getattr(task, f.name) for f in dataclasses.fields(TaskInfo)})

    @cached_property
    def _unknown(self) -> TaskInfo:
        """A task of which nothing is known."""
        agreed = {}
        for name, usual in (("kind", "classification"), ("metric", "accuracy"), ("direction", "max")):
            found = {getattr(known.info, name) for known in self.tasks}
            agreed[name] = found.pop() if len(found) == 1 else usual
        return TaskInfo("unknown", "unknown", "", self.workload, features={}, **agreed)

    # ---------------------------------------------------------------- configurations
    def _row(self, position: int, kind: str) -> dict[str, Any]:
        values = self.configs.iloc[position]
        return {n: plain(values[n]) for n in self.space.for_task(kind) if not pd.isna(values[n])}

    def _typed(self, configs: pd.DataFrame) -> pd.DataFrame:
        """A configuration table with all columns of the space: those that count on other tasks only may be absent."""
        columns = {}
        for name, p in self.space.items():
            if name in configs:
                columns[name] = configs[name].astype(p.dtype)
            elif p.when is not None and p.when.on_task:
                columns[name] = pd.Series(self.space.default()[name], index=configs.index, dtype=p.dtype)
            else:
                raise UsageError(f"the configurations have no column {name}; columns: {', '.join(self.space)}")
        return pd.DataFrame(columns, index=configs.index)

    def _pool(self, seed: int) -> pd.DataFrame:
        parts = [self.space.table([self.space.default()]), self.configs, self.space.sample(POOL, seed)]
        return self._unique(pd.concat(parts, ignore_index=True))

    def _unique(self, configs: pd.DataFrame) -> pd.DataFrame:
        keys = row_keys(configs, list(self.space))
        first = list(dict(zip(reversed(keys), reversed(range(len(keys))), strict=True)).values())[::-1]
        return configs.iloc[sorted(first)].reset_index(drop=True)

    def _opening(self, task: Task | TaskInfo | None, pool: pd.DataFrame) -> list[int]:
        """Positions of a pool in the order in which they are to be tried first: those of the opening that it has, then by
        the predicted percentile; the default configuration, where the pool has it, is among the first FIRST."""
        order, default = self._ranked(task, pool), self._default(pool)
        if default is None or default in order[:FIRST]:
            return order
        rest = [position for position in order if position != default]
        return [*rest[: FIRST - 1], default, *rest[FIRST - 1 :]]

    def _default(self, pool: pd.DataFrame) -> int | None:
        """The position of the workload's default configuration in a pool; None where it is not there."""
        names = list(self.space)
        (wanted,) = row_keys(self.space.table([self.space.default()]), names)
        return next((i for i, key in enumerate(row_keys(pool, names)) if key == wanted), None)

    def _ranked(self, task: Task | TaskInfo | None, pool: pd.DataFrame) -> list[int]:
        """Positions of a pool: those of the opening, in its order, then by the predicted percentile."""
        where = {key: i for i, key in reversed(list(enumerate(row_keys(pool, list(self.space)))))}
        opening = row_keys(self.configs.iloc[list(self.record.opening)], list(self.space))
        head = [where[key] for key in opening if key in where]
        if len(head) >= len(self.record.opening):
            return head
        rest = np.argsort(-self.predict(task, pool)["percentile"].to_numpy(), kind="stable")
        return [*head, *(int(i) for i in rest if i not in set(head))]

    def _problem(self, task: Task | TaskInfo | None, given: pd.DataFrame, history: Trials) -> tuple[Problem, History]:
        """A search whose pool begins with what was tried."""
        self._check(history)
        tried = self._typed(history.configs)
        pool = self._unique(pd.concat([tried, given], ignore_index=True))
        keys = {key: i for i, key in enumerate(row_keys(pool, list(self.space)))}
        where = [keys[key] for key in row_keys(tried, list(self.space))]
        return Problem(self.space, self.info(task), pool, len(pool)), History(where, [float(s) for s in history.scores])

    def _check(self, history: Trials) -> None:
        """Raises UsageError unless there is a score for each configuration."""
        if len(history.scores) != len(history.configs):
            raise UsageError(
                f"{len(history.configs)} configurations were tried, but {len(history.scores)} scores are given"
            )
        for score in history.scores:
            if isinstance(score, bool) or not isinstance(score, numbers.Real):
                raise UsageError(f"a trial's score is a number, NaN where it diverged; {score!r} is none")
        check_configs(self.space, history.configs)

    # ---------------------------------------------------------------- scores
    def _scores(self, info: TaskInfo, share: np.ndarray, past: History) -> np.ndarray:
        """Scores for shares of configurations beaten [3, n] (expected, low, high): float64 [3, n]."""
        found = self.record.scales.get(info.metric)
        if found is None or not any(np.isfinite(v) for v in info.features.values()):
            return np.full(share.shape, np.nan)
        sign = direction.sign(info.direction)
        at = sign * Scale.from_json(info.metric, found).scores(info.features)
        at = at if sign > 0 else at[[0, 2, 1]]
        rising = np.maximum.accumulate(at[0])
        scores = np.interp(share, LEVELS, rising)
        # how the rank may be off, and how the score at a rank may be: two errors that have nothing to do with each other
        spread = self.record.score_spread.get(info.metric, 1.0)
        for end, errors in ((1, at[1] - at[0]), (2, at[2] - at[0])):
            apart = spread * np.hypot(scores[end] - scores[0], np.interp(share[0], LEVELS, errors))
            scores[end] = scores[0] + (apart if end == 2 else -apart)
        tried, y = np.asarray(past.candidates, dtype=int), sign * np.asarray(past.scores)
        ok = np.isfinite(y)
        if ok.any():
            off = y[ok] - scores[0, tried[ok]]
            # the features' error is one number for all configurations: each trial shows it, and its own noise
            keep = 1.0 / (1.0 + ok.sum())
            middle = scores[0] + off.sum() * keep
            scores = np.stack([middle, *(middle + np.sqrt(keep) * (end - scores[0]) for end in scores[1:])])
        scores = scores if sign > 0 else -scores[[0, 2, 1]]
        return np.clip(scores, *RANGES.get(info.metric, (-np.inf, np.inf)))
