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

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metabench.interop.guide import Guide
from metabench.interop.mapping import Link, Mapping, Range, packed, unpacked
from metabench.interop.optuna_ranges import own_range
from metabench.plain import plain

if TYPE_CHECKING:
    from metabench.pretrained import Pretrained

#: where a trial's proposal is kept, so that other processes see what runs and a study can be resumed
KEY = "metabench:params"


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
    """

    def __init__(
        self, model: Pretrained, task=None, *, space: MappingABC[str, Any] | None = None,
        names: MappingABC[str, Any] | None = None, fixed: MappingABC[str, Any] | None = None,
        fallback: BaseSampler | None = None, seed: int = 0,
    ):  # fmt: skip
        self.model, self.task, self.seed = model, task, seed
        self._names, self._fixed = names, fixed
        self._space = None if space is None else {n: own_range(n, d) for n, d in space.items()}
        self._fallback = TPESampler(seed=seed) if fallback is None else fallback
        self._lock = threading.Lock()
        self._guides: dict[Any, Guide] = {}
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
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_guides")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _guides={})

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
            ranges = self._ranges(study)
            kept = self._first(study) if not ranges else self._proposal(study, trial, ranges)
            study._storage.set_trial_system_attr(trial._trial_id, KEY, json.dumps(kept))

    def sample_independent(
        self, study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        kept = json.loads(trial.system_attrs.get(KEY) or study._storage.get_trial_system_attrs(trial._trial_id)[KEY])
        value = None
        given = own_range(param_name, param_distribution)
        if kept is not None and "params" in kept:
            if param_name in kept["params"]:
                value = unpacked(given, kept["params"][param_name])
        elif kept is not None:
            link = self._link(param_name, given)
            config = kept["config"]
            if link is not None and config.get(link.hyperparameter) is not None:
                value = link.own(config[link.hyperparameter])
        if value is None or not param_distribution._contains(param_distribution.to_internal_repr(value)):
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
    def _ranges(self, study: optuna.Study | None) -> dict[str, Range]:
        """The study's parameters: as they were given, or as the trials have them."""
        if self._space is not None:
            return self._space
        trials = [] if study is None else study.get_trials(deepcopy=False)
        return {n: own_range(n, d) for trial in trials for n, d in trial.distributions.items()}

    def _mapping(self, ranges: MappingABC[str, Range]) -> Mapping:
        return Mapping.build(self.model.space, ranges, self._names, self._fixed)

    def _guide(self, study: optuna.Study, ranges: MappingABC[str, Range]) -> Guide:
        maximize = study.direction == StudyDirection.MAXIMIZE
        key = maximize, tuple(sorted((n, repr(r)) for n, r in ranges.items()))
        if key not in self._guides:
            self._guides[key] = Guide(self.model, self.task, self._mapping(ranges), maximize, self.seed)
        return self._guides[key]

    def _first(self, study: optuna.Study) -> dict[str, Any]:
        """A trial of which nothing is known, its parameters neither: the configuration itself is kept."""
        running = sum(t.state == TrialState.RUNNING for t in study.get_trials(deepcopy=False))
        row = self.model.ask(self.task, None, max(running, 1), seed=self.seed).iloc[-1]
        return {"config": {n: plain(v) for n, v in row.items()}}

    def _proposal(
        self, study: optuna.Study, trial: FrozenTrial, ranges: MappingABC[str, Range]
    ) -> dict[str, Any] | None:
        guide = self._guide(study, ranges)
        if not guide.mapping.links:
            return None
        finished, pending, unknown = [], [], 0
        for t in study.get_trials(deepcopy=False):
            if t.state.is_finished():
                finished.append((t.params, t))
            elif t.state == TrialState.RUNNING and t.number != trial.number:
                kept = json.loads(t.system_attrs[KEY]) if KEY in t.system_attrs else None
                if kept is not None and "params" in kept:
                    own = {n: unpacked(ranges[n], v) for n, v in kept["params"].items() if n in ranges}
                    pending.append(own | t.params)
                elif t.params:
                    pending.append(t.params)
                elif t.number < trial.number:
                    unknown += 1
        scores = _scores([t for _, t in finished], study.direction == StudyDirection.MAXIMIZE)
        params = guide.propose([(p, s) for (p, _), s in zip(finished, scores, strict=True)], pending, unknown)
        return None if params is None else {"params": {n: packed(ranges[n], v) for n, v in params.items()}}

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


# ---------------------------------------------------------------- Optuna's words
def _scores(trials: Sequence[FrozenTrial], maximize: bool) -> list[float]:
    """A number for each finished trial: NaN for failed ones; pruned ones as they stood, but no better than the median."""
    done = [t.value for t in trials if t.state == TrialState.COMPLETE]
    middle = float(np.median(done)) if done else np.nan
    out = []
    for t in trials:
        if t.state == TrialState.COMPLETE:
            out.append(float(t.value))
        elif t.state == TrialState.PRUNED and t.intermediate_values:
            last = float(t.intermediate_values[max(t.intermediate_values)])
            worse = np.fmin if maximize else np.fmax
            out.append(float(worse(last, middle)) if np.isfinite(last) else np.nan)
        else:
            out.append(np.nan)
    return out


def __getattr__(name: str) -> Any:
    if name == "MetaPruner":  # another module, which builds on this one
        from metabench.interop.optuna_pruner import MetaPruner

        return MetaPruner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
