"""Optuna: a sampler whose first trial is already informed (`pip install optuna`).

>>> import metabench as mb, optuna
>>> sampler = mb.interop.optuna.MetaSampler.from_pretrained("mlp-v1", task=mb.task_from_csv("my.csv", target="y"))
>>> study = optuna.create_study(direction="maximize", sampler=sampler)
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metabench.errors import UsageError
from metabench.interop.guide import Guide
from metabench.interop.mapping import Link, Mapping
from metabench.interop.optuna_ranges import own_range
from metabench.interop.optuna_trials import KEY, QUEUED, Followed
from metabench.interop.ranges import ABSENT, Listed, Range, packed, unpacked
from metabench.plain import plain

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained

#: studies of which one sampler keeps what saves time
STUDIES = 4


class MetaSampler(BaseSampler):
    """Proposes by a fitted meta-model, given the study's trials.

    Parameters are recognised by name (:mod:`metabench.interop.mapping`); those that are no hyperparameter of the meta-model
    are chosen by ``fallback`` (Optuna's TPE), and one warning says which. ``space`` (name → distribution, or range as
    :func:`metabench.interop.mapping.range_of` has it) lets the first trial keep to the study's ranges already; without it
    its values are clipped to them, and the ranges are learned from the trials. ``names`` and ``fixed``:
    :meth:`metabench.interop.mapping.Mapping.build`.

    All state is the study's: any storage, resumed studies, ``n_jobs`` and several processes work, and trials of other
    samplers count. A failed trial counts as the worst; a pruned one by its last reported value, but never as better than
    the median. One objective only (ValueError otherwise).

    A trial that runs is not proposed again. One that has run for longer than ``pending_for`` seconds is taken for dead, and so
    is one whose heartbeat (of Optuna's storage) is overdue. The default is ten times the longest finished trial, but at least
    an hour; while no trial has finished none is dead.
    """

    def __init__(
        self,
        model: Pretrained,
        task=None,
        *,
        space: MappingABC[str, Any] | None = None,
        names: MappingABC[str, Any] | None = None,
        fixed: MappingABC[str, Any] | None = None,
        fallback: BaseSampler | None = None,
        seed: int = 0,
        pending_for: float | None = None,
    ):
        if pending_for is not None and not pending_for > 0:
            raise UsageError(f"MetaSampler: pending_for is {pending_for}; give seconds above 0, or None")
        self.model, self.task, self.seed, self._pending_for = model, task, seed, pending_for
        self._names, self._fixed = names, fixed
        self._space = None if space is None else {n: own_range(n, d) for n, d in space.items()}
        self._fallback = TPESampler(seed=seed) if fallback is None else fallback
        self._lock = threading.Lock()
        self._followed: list[Followed] = []
        self._told = False
        model.info(task)
        Mapping.build(model.space, self._space or {}, names, fixed)  # mistakes are told at once

    @classmethod
    def from_pretrained(cls, name: str, task=None, **settings) -> MetaSampler:
        """By the name, or folder, of a fitted meta-model (:func:`metabench.load_metamodel`). ``task``: what the study trains
        on; None where nothing is known of it. Raises UsageError for a name that does not exist."""
        from metabench.pretrained import load_metamodel

        return cls(load_metamodel(name), task, **settings)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_followed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _followed=[])

    def report(self, study: optuna.Study | None = None) -> str:
        """What is guided, what is not and why, and what is assumed of hyperparameters that are not tuned."""
        return self._mapping(self._ranges(study)).report()

    # ---------------------------------------------------------------- what Optuna calls
    def infer_relative_search_space(self, study, trial) -> dict[str, BaseDistribution]:
        return {}  # a proposal is kept whole in before_trial and handed out parameter by parameter

    def sample_relative(self, study, trial, search_space) -> dict[str, Any]:
        return {}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._raise_error_if_multi_objective(study)
        self._fallback.before_trial(study, trial)
        with self._lock:
            kept = self._proposal(study, trial) if self._ranges(study) else self._first(study)
            study._storage.set_trial_system_attr(trial._trial_id, KEY, json.dumps(kept))

    def sample_independent(
        self, study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        kept = json.loads(trial.system_attrs.get(KEY) or study._storage.get_trial_system_attrs(trial._trial_id)[KEY])
        value: Any = ABSENT
        given = own_range(param_name, param_distribution)
        if kept is not None and "params" in kept:
            if param_name in kept["params"]:
                value = unpacked(given, kept["params"][param_name])
        elif kept is not None:
            link = self._link(param_name, given)
            config = kept["config"]
            if link is not None and config.get(link.hyperparameter) is not None:
                value = link.own(config[link.hyperparameter])
        if value is ABSENT or not _holds(param_distribution, value):
            return self._fallback.sample_independent(study, trial, param_name, param_distribution)
        return value

    def after_trial(self, study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._fallback.after_trial(study, trial, state, values)
        with self._lock:
            if not self._told and (ranges := self._ranges(study)):
                self._told = True
                self._warn(self._mapping(ranges))

    def reseed_rng(self) -> None:
        self._fallback.reseed_rng()

    # ---------------------------------------------------------------- proposals
    def _follow(self, study: optuna.Study) -> Followed:
        """What is kept of a study; of the last STUDIES."""
        found = next((f for f in self._followed if f.storage is study._storage and f.study_id == study._study_id), None)
        found = Followed(study._storage, study._study_id) if found is None else found
        self._followed = [found, *(f for f in self._followed if f is not found)][:STUDIES]
        return found

    def _ranges(self, study: optuna.Study | None) -> dict[str, Range]:
        """The study's parameters: as they were given, or as the trials have them."""
        if self._space is not None:
            return self._space
        return {} if study is None else self._follow(study).ranges(study.get_trials(deepcopy=False), own_range)

    def _mapping(self, ranges: MappingABC[str, Range]) -> Mapping:
        return Mapping.build(self.model.space, ranges, self._names, self._fixed)

    def _first(self, study: optuna.Study) -> dict[str, Any]:
        """A trial of which nothing is known, its parameters neither: the configuration itself is kept."""
        running = sum(t.state == TrialState.RUNNING for t in study.get_trials(deepcopy=False))
        row = self.model.ask(self.task, None, max(running, 1), seed=self.seed).iloc[-1]
        return {"config": {n: plain(v) for n, v in row.items()}}

    def _proposal(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any] | None:
        """The values that a trial is to have: those that it was enqueued with, and proposals that go with them."""
        ranges, maximize = self._ranges(study), study.direction == StudyDirection.MAXIMIZE
        queued = {n: v for n, v in trial.system_attrs.get(QUEUED, {}).items() if n in ranges}
        narrowed = ranges | {n: Listed((v,)) for n, v in queued.items()}
        followed = self._follow(study)
        guide = followed.guide(
            narrowed, lambda: Guide(self.model, self.task, self._mapping(narrowed), maximize, self.seed)
        )
        names = {link.name for link in guide.mapping.links}
        if not names:
            return None
        trials, unknown = followed.trials(study, trial.number, guide, names, ranges, self._pending_for)
        params = queued if names <= set(queued) else guide.propose(trials, unknown) | queued
        kept = {n: packed(ranges[n], v) for n, v in params.items()}
        return {"params": {n: v for n, v in kept.items() if v is not None}}

    def _link(self, name: str, given: Range) -> Link | None:
        return next(iter(self._mapping({name: given}).links), None)

    def _warn(self, mapping: Mapping) -> None:
        if mapping.unmapped:
            left = "; ".join(f"{name} ({reason})" for name, reason in mapping.unmapped.items())
            by = type(self._fallback).__name__
            warnings.warn(f"{self.model.name} does not guide {left}: left to {by}", UserWarning, stacklevel=2)


def enqueue(
    study: optuna.Study,
    model: str | Pretrained,
    task=None,
    k: int = 5,
    *,
    space: MappingABC[str, Any],
    names=None,
    fixed=None,
) -> list[dict[str, Any]]:
    """Queue the k most promising configurations as the study's next trials, whatever its sampler; returns their values.

    ``space``: name → distribution or plain range. Parameters that the meta-model does not know are left to the sampler.
    """
    from metabench.interop.guide import top_params

    ranges = {n: own_range(n, d) for n, d in space.items()}
    maximize = study.direction == StudyDirection.MAXIMIZE
    found = top_params(model, task, k, space=ranges, names=names, fixed=fixed, maximize=maximize)
    for params in found:
        study.enqueue_trial(params)
    return found


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):
        return False


def __getattr__(name: str) -> Any:
    if name == "MetaPruner":  # another module, which builds on this one
        from metabench.interop.optuna_pruner import MetaPruner

        return MetaPruner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
