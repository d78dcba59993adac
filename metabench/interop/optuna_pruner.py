"""An Optuna pruner that knows learning curves: a trial is stopped once it will hardly end better than the best one did.

Where a curve ends is told by the meta-model ``curve`` (:mod:`metabench.metamodels.curve`), fitted on a table's learning curves:
how curves of this configuration went on the source tasks, and what this study's trials showed so far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy import special

from metabench.errors import UsageError
from metabench.interop.mapping import Mapping
from metabench.interop.optuna_ranges import own_range
from metabench.interop.ranges import Range
from metabench.metatrain import TaskInfo
from metabench.search.fidelity import Curves, FidelityProblem

if TYPE_CHECKING:
    from metabench.metamodels.curve import Curve
    from metabench.tasks import Task

#: steps at which curves are looked at, at most
CHECKPOINTS = 12


class MetaPruner(BasePruner):
    """Prunes a trial when the probability that it ends better than the best finished one is under ``chance``.

    ``model`` is a fitted ``curve``; ``task`` a Task or TaskInfo, or None where nothing is known. Trials report to Optuna at
    steps 0 … ``n_steps`` − 1, or 1 … ``n_steps``, the last of which is the end of training. ``names`` and ``fixed``:
    :meth:`metabench.interop.mapping.Mapping.build`. Nothing is pruned before a trial has finished. Raises UsageError for fewer
    than two steps or a chance outside (0, 1).
    """

    def __init__(
        self,
        model: Curve,
        task: Task | TaskInfo | None = None,
        *,
        n_steps: int,
        chance: float = 0.05,
        names: MappingABC[str, Any] | None = None,
        fixed: MappingABC[str, Any] | None = None,
    ):
        if n_steps < 2 or not 0 < chance < 1:
            raise UsageError(f"MetaPruner: n_steps {n_steps} must be at least 2, chance {chance} between 0 and 1")
        self.model, self.n_steps, self.chance = model, n_steps, chance
        unknown = TaskInfo("unknown", "unknown", "", "", "classification", "", "max", {})
        known = {f.name: getattr(task, f.name) for f in dataclasses.fields(TaskInfo)} if task is not None else None
        self.task = unknown if known is None else TaskInfo(**known)
        self._names, self._fixed = names, fixed
        steps = np.unique(np.round(np.geomspace(1, n_steps, min(CHECKPOINTS, n_steps))).astype(int))
        self.checkpoints = tuple(int(s) for s in steps)

    @classmethod
    def from_table(cls, table, workload: str, task: Task | TaskInfo | None = None, **settings) -> MetaPruner:
        """Fit the curve model on all tasks of a workload in a table that have learning curves."""
        from metabench.metamodels.curve import Curve
        from metabench.search.curve_source import with_curves

        ids = table.tasks.loc[table.tasks["workload"] == workload, "task_id"].tolist()
        whole = [i for i, ran in zip(ids, table.ran(workload, ids).all(axis=(1, 2)), strict=True) if ran]
        if not whole:
            raise UsageError(f"table {table.name} has no complete task of {workload}")
        return cls(Curve().fit(with_curves(table.meta_train(workload, whole), table, workload)), task, **settings)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        trials = study.get_trials(deepcopy=False)
        first = min((min(t.intermediate_values) for t in [*trials, trial] if t.intermediate_values), default=0)
        begun = [
            (t, curve)
            for t in [*(t for t in trials if t.number != trial.number), trial]
            if t.state != TrialState.FAIL and (curve := self._curve(t, first))
        ]
        done = [i for i, (t, _) in enumerate(begun) if t.state == TrialState.COMPLETE]
        if not done or not begun or begun[-1][0].number != trial.number:
            return False
        ranges: dict[str, Range] = {n: own_range(n, d) for t, _ in begun for n, d in t.distributions.items()}
        mapping = Mapping.build(self.model.source_.space, ranges, self._names, self._fixed)
        pool = mapping.table([mapping.config(t.params) for t, _ in begun])
        direction = "max" if study.direction == StudyDirection.MAXIMIZE else "min"
        task = dataclasses.replace(self.task, direction=direction)
        problem = FidelityProblem(self.model.source_.space, task, pool, len(pool), self.checkpoints)
        history = Curves(self.checkpoints)
        for i, (_, curve) in enumerate(begun):
            history.add(i, curve)
        said = self.model.start(problem, 0).ends(history)
        best = max(done, key=lambda i: said.mean[i])
        better = said.mean[-1] - said.mean[best]
        return bool(special.ndtr(better / np.hypot(said.std[-1], said.std[best])) < self.chance)

    def _curve(self, trial: FrozenTrial, first: int) -> Sequence[float]:
        """Its values at the checkpoints that it has reached: at each, the last one reported by then."""
        steps = sorted(trial.intermediate_values)
        reached = [s + (1 - min(first, 1)) for s in steps]
        out = []
        for checkpoint in self.checkpoints:
            before = [s for s, r in zip(steps, reached, strict=True) if r <= checkpoint]
            if not before or reached[-1] < checkpoint:
                break
            value = float(trial.intermediate_values[before[-1]])
            out.append(value if np.isfinite(value) else float("nan"))
            if not np.isfinite(value):
                break
        return out
