"""What the adapters to Syne Tune's transfer-learning schedulers share (Salinas et al., AutoML 2022)."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, cast

import numpy as np
import pandas as pd

from metabench.baselines.parts.common import utilities
from metabench.baselines.parts.peers import Generators, coordinate, nearest, option, silence
from metabench.errors import UsageError
from metabench.metatrain import MetaTrain
from metabench.search.base import History, Searcher
from metabench.space import Choice, Ordinal, Parameter, Space

#: what Syne Tune calls the objective: the negated utility
METRIC = "cost"


class SyneTune(Searcher):
    """A scheduler that learns from other tasks' evaluations; subclasses make it in :meth:`prepare` and :meth:`scheduler`.

    Its space is the unit cube: numbers on their declared scale, choices by their options. The evaluations are the
    source's: per task the configurations that were run, with their mean costs; one that diverged costs as much as the
    task's worst finite one. Syne Tune knows no conditions: an inactive hyperparameter has its default, the middle where
    it has none. The untried candidate nearest to a suggestion is tried, as Syne Tune does where a tabulated blackbox
    lacks a configuration, and the scheduler is told of that one; of a diverged run as the worst finite one so far.

    In another space than the source's a suggestion keeps what both share, within the pool's ranges.
    """

    requires: ClassVar[tuple[str, ...]] = ("syne_tune", "huggingface_hub")  # its blackboxes import the latter

    def prepare(self, space: dict[str, Any], evaluations: dict[str, Any]) -> Any:
        """What all searches share, from Syne Tune's space and evaluations; made once."""
        return None

    def scheduler(self, shared: Any):
        """Syne Tune's scheduler for one search; it minimises METRIC."""
        raise NotImplementedError

    def fit(self, source: MetaTrain) -> SyneTune:
        """Raises UsageError when the source has no finite score."""
        if not np.isfinite(source.utility).any():
            raise UsageError(f"{self.name}: the source has no finite score; give at least one task that was run")
        self.space_ = source.space
        self.partial_ = partial(source)
        with Generators(0).own(), silence():
            self.shared_ = self.prepare(domains(source.space), evaluations(source))
        return self

    def begin(self) -> None:
        if not hasattr(self, "shared_"):
            raise UsageError(f"{self.name} has not been fitted; call fit(source) first")
        if changed := self._changes():
            text = (
                f"the pool's space is not that of the source: {'; '.join(changed)}; transferring over what they share"
            )
            warnings.warn(text, stacklevel=3)
        self._generators, self._told = Generators(self.seed), 0
        self._scheduler: Any = None

    def _changes(self) -> list[str]:
        """What has changed between the source's space and the pool's, in words."""
        ours, theirs = self.problem.space, self.space_
        found = {
            "it lacks": [n for n in theirs if n not in ours and n not in self.partial_],
            "it adds": [n for n in ours if n not in theirs],
            "these have other values:": [n for n in theirs if n in ours and _values(ours[n]) != _values(theirs[n])],
        }
        return [f"{what} {', '.join(names)}" for what, names in found.items() if names]

    def ask(self, history: History) -> int:
        with self._generators.own(), silence():
            if self._scheduler is None:
                from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

                self._scheduler = AskTellScheduler(self.scheduler(self.shared_))
            self.tell(history)
            return self.suggest(history)

    def tell(self, history: History) -> None:
        """Tell the scheduler of what it does not know yet; nothing while nothing is finite."""
        if not np.isfinite(np.asarray(history.scores, dtype=float)).any():
            return
        from datetime import datetime

        from syne_tune.backend.trial_status import Trial

        costs = -utilities(self.problem, history)
        rows = self.problem.candidates.iloc[history.candidates[self._told :]]
        for config, cost in zip(records(self.space_, carry(rows, self.space_)), costs[self._told :], strict=True):
            if self.knows(config):
                trial = Trial(trial_id=-1 - self._told, config=config, creation_time=datetime.now())
                self._scheduler.tell(trial, {METRIC: float(cost)})
            self._told += 1

    def knows(self, config: dict[str, Any]) -> bool:
        """Is this a configuration of the space that the scheduler searches?"""
        return True

    def suggest(self, history: History) -> int:
        """The pool position to try."""
        return self.candidate(self._scheduler.ask().config, history)

    def candidate(self, config: dict[str, Any], history: History) -> int:
        """The untried position nearest to a configuration of Syne Tune's."""
        point = [
            coordinate(p, p.options.index(config[n])) if isinstance(p, Choice) else config[n]
            for n, p in self.space_.items()
        ]
        suggested = self.space_.from_unit(np.array([point], dtype=float))
        return nearest(self.problem, carry(suggested, self.problem.space)[0], history)


def partial(source: MetaTrain) -> set[str]:
    """Hyperparameters that some of the source's workloads do not have (:meth:`MetaTrain.union`): they are missing where
    no condition makes them inactive, or hang on such a one."""
    out: set[str] = set()
    for (name, p), active in zip(source.space.items(), source.space.active(source.configs).T, strict=True):
        if (active & source.configs[name].isna().to_numpy()).any() or (p.when is not None and p.when.parent in out):
            out.add(name)
    return out


def _values(p: Parameter) -> tuple:
    """What a hyperparameter may be; its default and condition do not count."""
    return (type(p), *sorted(p.options)) if isinstance(p, Choice | Ordinal) else (type(p), p.low, p.high, p.log)


def domains(space: Space) -> dict[str, Any]:
    """The unit cube as a space of Syne Tune's."""
    from syne_tune.config_space import choice, uniform

    return {n: choice(list(p.options)) if isinstance(p, Choice) else uniform(0.0, 1.0) for n, p in space.items()}


def evaluations(source: MetaTrain) -> dict[str, Any]:
    """What was observed on the source's tasks, as Syne Tune's ``transfer_learning_evaluations``."""
    from syne_tune.optimizer.schedulers.transfer_learning.transfer_learning_task_evaluation import (
        TransferLearningTaskEvaluations,
    )

    space, table = domains(source.space), pd.DataFrame(records(source.space, carry(source.configs, source.space)))
    out = {}
    for task, seen, utility in zip(source.tasks, source.seen, source.utility, strict=True):
        if np.isfinite(utility).any():
            worst = np.nanmin(utility)
            costs = -np.where(np.isnan(utility), worst, utility)[seen]
            rows = table[seen].reset_index(drop=True)
            out[task.task_id] = TransferLearningTaskEvaluations(space, rows, [METRIC], costs[:, None, None, None])
    return out


def records(space: Space, points: np.ndarray) -> list[dict[str, Any]]:
    """Points of the unit cube [n, hyperparameters] as configurations of Syne Tune's."""
    return [
        {n: p.options[option(p, u)] if isinstance(p, Choice) else float(u) for (n, p), u in zip(space.items(), point)}
        for point in points
    ]


def carry(configs: pd.DataFrame, space: Space) -> np.ndarray:
    """Configurations of this or another space in the unit cube of ``space``, float64 [n, hyperparameters].

    Numbers beyond the range lie at its end. Where a hyperparameter is absent, inactive or has an option that ``space``
    does not know, it has its default, the middle where it has none.
    """
    out = np.empty((len(configs), len(space)))
    for i, (name, p) in enumerate(space.items()):
        out[:, i] = 0.5 if p.default is None else p.to_unit([p.default])[0]
        if name not in configs:
            continue
        values = configs[name].to_numpy(dtype=object, na_value=cast(Any, None))
        if isinstance(p, Choice):
            known = np.array([v in p.options for v in values])
            out[known, i] = p.to_unit(values[known])
            continue
        known = np.array([isinstance(v, int | float | np.number) and np.isfinite(v) for v in values])
        numbers = values[known].astype(float)
        if isinstance(p, Ordinal):
            numbers = [min(p.options, key=lambda o, x=x: abs(o - x)) for x in numbers]
        elif len(numbers):
            numbers = np.clip(numbers, p.low, p.high)
        out[known, i] = p.to_unit(numbers)
    return out
