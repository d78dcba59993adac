"""What a sampler keeps of an Optuna study between suggestions, so that each trial is read once.

All of it follows from the study's trials; a sampler that has not seen the earlier ones makes the same of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from metabench.interop.ranges import ABSENT, Range, unpacked

if TYPE_CHECKING:
    import optuna

    from metabench.interop.guide import Guide

#: where a trial's proposal is kept, so that other processes see what runs and a study can be resumed
KEY = "metabench:params"
#: where Optuna keeps the values that a trial was enqueued with
QUEUED = "fixed_params"
#: ways to read one study that are kept: its ranges may have grown, or a trial be enqueued with some values
GUIDES = 4
#: a trial that runs this many times as long as the longest finished one is dead, but no sooner than after so many seconds
TIMES, LEAST = 10, 3600.0


@dataclass
class Followed:
    """A study as far as it was read."""

    storage: Any
    study_id: int
    _read: set[int] = field(default_factory=set)
    #: parameter → (number of the newest trial that has it, its range there)
    _ranges: dict[str, tuple[int, Range]] = field(default_factory=dict)
    #: ranges → (a guide, trial → its place in the guide's search; -1: it says nothing of guided parameters)
    _guides: dict[tuple, tuple[Guide, dict[int, int]]] = field(default_factory=dict)
    #: finished trial → its value, or the last that a pruned one reported
    _values: dict[int, float] = field(default_factory=dict)
    _longest: float = 0.0

    def ranges(self, trials: Sequence[FrozenTrial], range_of: Callable[[str, Any], Range]) -> dict[str, Range]:
        """The parameters of the trials so far, with the range that the newest trial gave."""
        for t in trials:
            if t._trial_id in self._read:
                continue
            for name, distribution in t.distributions.items():
                if self._ranges.get(name, (-1,))[0] <= t.number:
                    self._ranges[name] = t.number, range_of(name, distribution)
            if t.state.is_finished():
                self._read.add(t._trial_id)
        return {name: given for name, (_, given) in self._ranges.items()}

    def guide(self, ranges: MappingABC[str, Range], make: Callable[[], Guide]) -> Guide:
        """The guide for these ranges, made where there is none; the last GUIDES are kept."""
        key = tuple(sorted((n, repr(r)) for n, r in ranges.items()))
        found = self._guides.pop(key, None) or (make(), {})
        self._guides[key] = found
        while len(self._guides) > GUIDES:
            self._guides.pop(next(iter(self._guides)))
        return found[0]

    def trials(
        self,
        study: optuna.Study,
        number: int,
        guide: Guide,
        names: set[str],
        ranges: MappingABC[str, Range],
        pending_for: float | None,
    ) -> tuple[list[tuple[int, float | None]], int]:
        """What :meth:`Guide.propose` takes, for the trial with this number: the other trials in order, and how many run with
        values that nobody knows."""
        places = next(p for g, p in self._guides.values() if g is guide)
        all_trials = study.get_trials(deepcopy=False)
        scores = self.scores(all_trials, study.direction.name == "MAXIMIZE")
        dead = self._dead(study, all_trials, pending_for)
        out: list[tuple[int, float | None]] = []
        unknown = 0
        for t, score in zip(all_trials, scores, strict=True):
            if t.state.is_finished():
                place = places.get(t._trial_id)
                if place is None:
                    place = places[t._trial_id] = guide.place(t.params) if names & set(t.params) else -1
                if place >= 0:
                    out.append((place, score))
                continue
            if t.number == number or t._trial_id in dead:
                continue
            params = _begun(t, ranges)
            if t.state == TrialState.WAITING:
                params = {} if names - set(params) else params  # it is not known yet what goes with its values
            elif not params and t.number < number:
                unknown += 1
            if names & set(params):
                out.append((guide.place(params), None))
        return out, unknown

    def scores(self, trials: Sequence[FrozenTrial], maximize: bool) -> list[float]:
        """A number for each finished trial: NaN for failed ones; pruned ones as they stood, but no better than the median."""
        for t in trials:
            if t.state.is_finished() and t._trial_id not in self._values:
                last = t.intermediate_values[max(t.intermediate_values)] if t.intermediate_values else np.nan
                known = {TrialState.COMPLETE: t.value, TrialState.PRUNED: last if np.isfinite(last) else np.nan}
                self._values[t._trial_id] = float(known.get(t.state, np.nan))
                if t.datetime_start is not None and t.datetime_complete is not None:
                    took = (t.datetime_complete - t.datetime_start).total_seconds()
                    self._longest = max(self._longest, took)
        found = [self._values.get(t._trial_id, np.nan) for t in trials]
        done = [v for t, v in zip(trials, found, strict=True) if t.state == TrialState.COMPLETE]
        middle = float(np.median(done)) if done else np.nan
        worse = np.fmin if maximize else np.fmax
        return [
            float(worse(v, middle)) if t.state == TrialState.PRUNED and v == v else v
            for t, v in zip(trials, found, strict=True)
        ]

    def _dead(self, study: optuna.Study, trials: Sequence[FrozenTrial], pending_for: float | None) -> set[int]:
        """Trials that are said to run and do not: nobody will ever finish them."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        if not running:
            return set()
        out: set[int] = set()
        storage: Any = study._storage
        if getattr(storage, "get_heartbeat_interval", lambda: None)() is not None:
            out |= set(storage._get_stale_trial_ids(study._study_id))
        if pending_for is None and self._values:
            pending_for = max(TIMES * self._longest, LEAST)
        if pending_for is not None:
            now = datetime.now()
            for t in running:
                if t.datetime_start is not None and (now - t.datetime_start).total_seconds() > pending_for:
                    out.add(t._trial_id)
        return out


def _begun(trial: FrozenTrial, ranges: MappingABC[str, Range]) -> dict[str, Any]:
    """The values of a trial that has not ended: those that were proposed for it, or that it already has."""
    kept = json.loads(trial.system_attrs[KEY]) if KEY in trial.system_attrs else None
    if kept is not None and "params" in kept:
        proposed = {n: unpacked(ranges[n], v) for n, v in kept["params"].items() if n in ranges}
        return {n: v for n, v in proposed.items() if v is not ABSENT} | trial.params
    return trial.system_attrs.get(QUEUED, {}) | trial.params
