"""The live objective: a trial is really trained. The one door from searching to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from metabench.errors import MetabenchError
from metabench.search.continuous import Outcome, Trial

if TYPE_CHECKING:
    from metabench.training.curves import Curves


class Live:
    """Trains what is asked for; a search with seed s trains with seed s modulo ``n_seeds``, as a table's runs with that
    seed were. Without ``n_seeds`` every search trains with a seed of its own.

    A run's result does not depend on what is trained beside it, so answers are the same to the last bit in whatever
    company, order or process on one kind of processor (``Outcome.device``) with one engine (``Outcome.engine``).
    """

    def __init__(self, workload: str, device: str = "cpu", backend: str = "auto", n_seeds: int | None = None):
        self.workload, self.device, self.backend, self.n_seeds = workload, device, backend, n_seeds

    @classmethod
    def from_table(cls, table, workload: str, task_ids: Sequence[str], **settings) -> Live:
        """The objective of some tasks of a table, whose seeds are the table's, so that its rows measure every search.

        Raises MetabenchError when a task's splits here are not those that the table was made with, and what
        :func:`metabench.tasks.get` raises when its data cannot be had.
        """
        from metabench import tasks

        known = table.tasks.set_index("task_id")["split_hashes"]
        for task_id in task_ids:
            if list(known[task_id]) != list(tasks.get(task_id).split_hashes):
                raise MetabenchError(f"{task_id}: the data set's splits are not those that the table was made with")
        return cls(workload, **{"n_seeds": table.n_seeds(workload), **settings})

    def answer(self, trials: Sequence[Trial]) -> list[Outcome]:
        """The outcome of each trial. Those of one task and split are trained together, equal ones once."""
        outcomes = []
        for curves, i in self.curves(trials):
            ok = curves.status[i] == "ok"
            valid, test = (float(s[i, -1]) if ok else np.nan for s in (curves.valid_score, curves.test_score))
            outcomes.append(
                Outcome(valid, test, curves.status[i], float(curves.seconds[i]), curves.engine, curves.device)
            )
        return outcomes

    def curves(self, trials: Sequence[Trial]) -> list[tuple[Curves, int]]:
        """For each trial the curves of the cohort that it was trained in, and its position there; see :meth:`answer`."""
        from metabench import registry, tasks
        from metabench.search.continuous import to_text
        from metabench.training import run_cohort

        workload = registry.create("workloads", self.workload)
        if self.n_seeds is not None:
            trials = [replace(t, seed=t.seed % self.n_seeds) for t in trials]
        found: dict[tuple, tuple[Curves, int]] = {}
        cohorts: dict[tuple[str, int], dict[tuple, Trial]] = {}
        keys = [(t.task_id, t.seed, to_text(workload.space, t.config)) for t in trials]
        for key, trial in zip(keys, trials, strict=True):
            split = trial.seed % tasks.get(trial.task_id).n_splits
            cohorts.setdefault((trial.task_id, split), {})[key] = trial
        for (task_id, _), members in cohorts.items():
            task, asked = tasks.get(task_id), list(members.values())
            curves = run_cohort(
                workload,
                task.arrays(asked[0].seed),
                workload.space.table([t.config for t in asked]),
                [t.seed for t in asked],
                task.checkpoints,
                device=self.device,
                backend=self.backend,
            )
            found |= {key: (curves, i) for i, key in enumerate(members)}
        return [found[key] for key in keys]
