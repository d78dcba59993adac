"""What a meta-model learns from: source tasks, what may be known of them, and everything observed on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from metabench import direction
from metabench.brief import brief
from metabench.errors import UsageError
from metabench.ranks import rankdata
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space, When


@brief
@dataclass(frozen=True)
class TaskInfo:
    """What may be known of a task before anything is trained on it."""

    task_id: str
    family: str
    modality: str
    workload: str
    kind: str
    metric: str
    direction: str
    features: Mapping[str, float]

    def feature(self, name: str) -> float:
        """The value of a feature, NaN where it is not known. ``workload=NAME`` is 1 for a task of that workload, else 0."""
        if name.startswith("workload="):
            return float(name == f"workload={self.workload}")
        return float(self.features.get(name, np.nan))


@brief
@dataclass(frozen=True)
class MetaTrain:
    """Source tasks with everything that was observed on them: what a meta-model learns from.

    ``scores`` is float64 [tasks, configs, seeds], raw validation scores at the last checkpoint; NaN where a run
    diverged or is absent. All source tasks share the configuration table. ``valid`` holds the meta-validation tasks
    (for early stopping, calibration and choosing settings), None when there are none.

    A run that diverged is bad; one that was never made is unknown. ``observed`` tells them apart: bool [tasks, configs,
    seeds], False where no run is stored, or [tasks, configs] where that goes for all seeds alike; None says that every
    run was made.

    Several workloads become one source by :meth:`union`.
    """

    space: Space
    configs: pd.DataFrame
    tasks: Sequence[TaskInfo]
    scores: np.ndarray
    valid: MetaTrain | None = None
    #: mean training seconds, float64 [tasks, configs]
    seconds: np.ndarray | None = None
    #: was the run made at all, bool [tasks, configs, seeds] or [tasks, configs]; None: all were
    observed: np.ndarray | None = None

    @cached_property
    def ran(self) -> np.ndarray:
        """Was the run made at all? bool [tasks, configs, seeds]."""
        if self.observed is None:
            return np.ones(self.scores.shape, dtype=bool)
        observed = np.asarray(self.observed, dtype=bool)
        return np.broadcast_to(observed if observed.ndim == 3 else observed[:, :, None], self.scores.shape)

    @cached_property
    def seen(self) -> np.ndarray:
        """Was the configuration run on the task with any seed? bool [tasks, configs]."""
        return np.asarray(self.ran.any(axis=2))

    @cached_property
    def encoded(self) -> np.ndarray:
        """Configurations as float32 [configs, space.encoded_names]."""
        return self.space.encode(self.configs)

    @cached_property
    def feature_names(self) -> list[str]:
        """Names of all task features, sorted; ``workload=NAME`` are among them where there are several workloads."""
        workloads = {t.workload for t in self.tasks}
        which = {f"workload={w}" for w in workloads} if len(workloads) > 1 else set()
        return sorted({name for t in self.tasks for name in t.features} | which)

    @cached_property
    def features(self) -> np.ndarray:
        """Task features float64 [tasks, feature_names], NaN where missing."""
        return np.array([[t.feature(n) for n in self.feature_names] for t in self.tasks], dtype=float)

    @cached_property
    def utility(self) -> np.ndarray:
        """Mean over the seeds that were run, larger is better, float64 [tasks, configs].

        A seed that diverged counts as the task's worst score. NaN where all seeds diverged, or none was run.
        """
        sign = np.array([direction.sign(t.direction) for t in self.tasks])[:, None, None]
        signed = self.scores * sign
        finite = ~np.isnan(signed)
        worst = np.min(np.where(finite, signed, np.inf), axis=(1, 2), keepdims=True, initial=np.inf)
        total = np.where(self.ran, np.where(finite, signed, np.where(np.isfinite(worst), worst, 0.0)), 0.0).sum(axis=2)
        return np.where(finite.any(axis=2), total / np.maximum(self.ran.sum(axis=2), 1), np.nan)

    @cached_property
    def ranks(self) -> np.ndarray:
        """Ranks within each task, 1 is best, ties averaged, float64 [tasks, configs]; diverged ones share the last.

        Configurations that were not run (``seen``) are NaN, and the others rank among themselves.
        """
        low = np.where(np.isnan(self.utility), -np.inf, self.utility)
        ranks = np.full(low.shape, np.nan)
        for row, run, out in zip(low, self.seen, ranks, strict=True):
            out[run] = rankdata(-row[run])
        return ranks

    @cached_property
    def normal_scores(self) -> np.ndarray:
        """Φ⁻¹((n − rank + .5)/n): standard-normal targets within each task, larger is better, [tasks, configs]."""
        n = np.sum(~np.isnan(self.ranks), axis=1, keepdims=True)
        return special.ndtri((n - self.ranks + 0.5) / np.maximum(n, 1))

    def select(self, tasks: Sequence[int] | np.ndarray) -> MetaTrain:
        """The same source with only some of its tasks (positions)."""
        rows = list(tasks)
        chosen = [self.tasks[i] for i in rows]
        seconds = None if self.seconds is None else self.seconds[rows]
        observed = None if self.observed is None else self.observed[rows]
        return MetaTrain(self.space, self.configs, chosen, self.scores[rows], self.valid, seconds, observed)

    @classmethod
    def union(cls, sources: Sequence[MetaTrain]) -> MetaTrain:
        """One source out of several, whose workloads may differ: all their tasks on all their configurations.

        The space has every hyperparameter of any source; what two of them share spans both ranges and all options. A
        configuration has no value for a hyperparameter that its source does not know, and was not run on the tasks of
        sources that do not hold it. Equal configurations become one. Meta-validation tasks are united likewise.

        Raises UsageError when there is no source, a task stands in two of them, or a hyperparameter is a choice in one
        and a number in another.
        """
        if not sources:
            raise UsageError("a union needs at least one source")
        space = sources[0].space
        for source in sources[1:]:
            space = unite(space, source.space)
        tables = [_cast(source.configs, space) for source in sources]
        keys = [_numbered(row_keys(table, list(space))) for table in tables]
        place = {key: i for i, key in enumerate(dict.fromkeys(key for some in keys for key in some))}
        first = {key: (s, i) for s, some in reversed(list(enumerate(keys))) for i, key in enumerate(some)}
        stacked = pd.concat(tables, ignore_index=True)
        offsets = np.cumsum([0, *map(len, tables)])
        configs = stacked.iloc[[offsets[first[k][0]] + first[k][1] for k in place]].reset_index(drop=True)
        where = [np.array([place[key] for key in some], dtype=int) for some in keys]
        held = [(s.valid, at) for s, at in zip(sources, where, strict=True) if s.valid is not None]
        valid = _spread(space, configs, [s for s, _ in held], [at for _, at in held], None) if held else None
        return _spread(space, configs, sources, where, valid)


def unite(a: Space, b: Space) -> Space:
    """The space that has every hyperparameter of both, with both ranges and all options of those they share.

    A condition is kept where both agree on the parent; otherwise the table alone tells where the hyperparameter is
    active. Raises UsageError when one is a choice in one space and a number in the other.
    """
    return Space({n: _hull(n, a[n], b[n]) if n in a and n in b else p for n, p in {**a, **b}.items()})


def _hull(name: str, a: Parameter, b: Parameter) -> Parameter:
    if isinstance(a, Choice) != isinstance(b, Choice):
        raise UsageError(f"hyperparameter {name} is a choice in one source and a number in another; rename one of them")
    when, other = a.when, b.when
    if when is None or other is None or (when.parent, when.on_task) != (other.parent, other.on_task):
        when = None
    else:
        when = When(when.parent, tuple(dict.fromkeys([*when.values, *other.values])), when.on_task)
    kept: dict[str, Any] = {"default": a.default, "when": when}
    if isinstance(a, Choice) and isinstance(b, Choice):
        return Choice(*dict.fromkeys([*a.options, *b.options]), **kept)
    assert not isinstance(a, Choice) and not isinstance(b, Choice)
    if isinstance(a, Ordinal) and isinstance(b, Ordinal):
        return Ordinal(*sorted({*a.options, *b.options}), **kept)
    (low, high), (other_low, other_high) = (
        (p.options[0], p.options[-1]) if isinstance(p, Ordinal) else (p.low, p.high) for p in (a, b)
    )
    low, high = min(low, other_low), max(high, other_high)
    log = low > 0 and any(isinstance(p, Ordinal) or p.log for p in (a, b))
    reverse = high < 1 and not log and any(getattr(p, "reverse", False) for p in (a, b))
    kind = Float if type(a) is Float or type(b) is Float else Int
    return kind(low, high, log=log, reverse=reverse, **kept)


def row_keys(configs: pd.DataFrame, names: list[str]) -> list[tuple]:
    """Hashable rows in native values; every kind of missing value becomes None, integers and floats compare equal.

    Floats are compared to some ten digits: the last ones of a configuration that is drawn again differ between processors.
    """
    columns = []
    for n in names:
        column, missing = configs[n], configs[n].isna().to_numpy()
        if column.dtype == np.float64:
            fraction, exponent = np.frexp(column.to_numpy())
            column = pd.Series(np.ldexp(np.round(fraction * 2.0**36) / 2.0**36, exponent))
        values = column.to_numpy(dtype=object)
        columns.append([None if m else v for v, m in zip(values, missing, strict=True)])
    return list(zip(*columns, strict=True))


def _numbered(keys: list[tuple]) -> list[tuple]:
    """The keys, each with how often it stood before: rows that repeat within one table stay apart."""
    before: Counter[tuple] = Counter()
    out = []
    for key in keys:
        out.append((key, before[key]))
        before[key] += 1
    return out


def _cast(configs: pd.DataFrame, space: Space) -> pd.DataFrame:
    """The table with a column of the right type for every hyperparameter, missing where it had none."""
    absent = pd.Series([None] * len(configs), dtype=object)
    columns = {n: configs.get(n, absent).reset_index(drop=True) for n in space}
    return pd.DataFrame({n: c.astype(space[n].dtype) for n, c in columns.items()})


def _spread(space, configs, sources, where, valid) -> MetaTrain:
    """The sources' tasks on the table ``configs``, in which source s has its rows at ``where[s]``."""
    tasks = [t for source in sources for t in source.tasks]
    names = [t.task_id for t in tasks]
    if twice := [n for n, count in Counter(names).items() if count > 1]:
        raise UsageError(f"task {twice[0]} is in two of the sources")
    shape = len(tasks), len(configs), max(source.scores.shape[2] for source in sources)
    scores, seconds, ran = np.full(shape, np.nan), np.full(shape[:2], np.nan), np.zeros(shape, dtype=bool)
    begin = 0
    for source, at in zip(sources, where, strict=True):
        rows = np.arange(begin, begin + len(source.tasks))
        seeds = np.arange(source.scores.shape[2])
        scores[np.ix_(rows, at, seeds)] = source.scores
        ran[np.ix_(rows, at, seeds)] = source.ran
        if source.seconds is not None:
            seconds[np.ix_(rows, at)] = source.seconds
        begin += len(rows)
    known = any(source.seconds is not None for source in sources)
    return MetaTrain(space, configs, tasks, scores, valid, seconds if known else None, None if ran.all() else ran)
