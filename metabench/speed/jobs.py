"""What is trained to measure speed: jobs on scikit-learn's bundled data or made-up rows, so that they need no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

#: the plain networks' common settings: nothing but the network, the optimizer and a constant learning rate
_PLAIN = {
    "beta1": None,
    "beta2": None,
    "clip": "none",
    "clip_norm": None,
    "dropout": 0.0,
    "input_noise": 0.0,
    "init_scale": 1.0,
    "label_smoothing": 0.0,
    "norm": "none",
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 1e-4,
    "activation": "relu",
    "batch_size": 64,
    "optimizer": "momentum",
    "learning_rate": 0.05,
    "momentum": 0.9,
}


#: in place of a task's name: rows made up in the manner of the workload's view, so many for training
MADE_UP, ROWS = "made up", 512

#: runs on a task: its name, their configurations, their seeds
Part = tuple[str, pd.DataFrame, np.ndarray]


@dataclass(frozen=True)
class Job:
    """Networks to train on some tasks: one configuration, or (``config`` None) ``configs`` of the whole mixed space.

    ``standard``: the workload's default configuration as it is.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    epochs: int
    #: changes to the plain network's settings; None for the mixed space
    config: Mapping[str, object] | None
    #: configurations of the mixed space, a power of two
    configs: int = 1
    #: runs of a mixed job that every contender trains, so that ratios are between the same ones
    sample: int = 32
    workload: str = "mlp"
    standard: bool = False

    @property
    def mixed(self) -> bool:
        return self.config is None and not self.standard

    @cached_property
    def table(self) -> pd.DataFrame:
        """The configurations: a prefix of the mixed space's Sobol sequence, or the single row."""
        from metabench import registry

        space = registry.create("workloads", self.workload).space
        if self.standard:
            return space.table([space.default()])
        if self.config is not None:
            return space.table([_PLAIN | dict(self.config)])
        return space.sample(self.configs, seed=0)

    def parts(self, n: int | None = None) -> list[Part]:
        """About ``n`` runs, an equal number for each task; None: a run of every configuration on every task.

        Of the mixed space every k-th configuration in order of its training operations, so that any number of them
        stands for all; of a single configuration as many seeds.
        """
        each = len(self.table) if n is None else max(1, n // len(self.tasks))
        if not self.mixed:
            return [(task, self.table.iloc[[0] * each].reset_index(drop=True), np.arange(each)) for task in self.tasks]
        return [
            (task, self._spread(task, min(each, len(self.table))), np.zeros(each, dtype=int)) for task in self.tasks
        ]

    def _spread(self, task: str, n: int) -> pd.DataFrame:
        order = np.argsort(self.flops(task, self.table), kind="stable")
        middle = (np.arange(n) + 0.5) * len(order) / n
        return self.table.iloc[order[middle.astype(int)]].reset_index(drop=True)

    def flops(self, task: str, configs: pd.DataFrame) -> np.ndarray:
        """Training operations of each configuration on a task, float64 [configs]."""
        from metabench import registry

        workload, data = registry.create("workloads", self.workload), arrays(self.workload, task)
        records = configs.astype(object).where(configs.notna(), None).to_dict("records")
        return np.array([workload.flops(data, row, self.epochs) for row in records], dtype=float)


JOBS = {
    job.name: job
    for job in (
        Job("digits", "64-64-10, momentum, digits", ("mlp-digits",), 20, {"width": 64, "depth": 1}),
        Job("wide", "64-256-256-10, momentum, digits", ("mlp-digits",), 20, {"width": 256, "depth": 2}),
        Job(
            "adam",
            "64-64-64-64-10, Adam, digits",
            ("mlp-digits",),
            20,
            {
                "width": 64,
                "depth": 3,
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "momentum": None,
                "beta1": 0.9,
                "beta2": 0.999,
            },
        ),
        Job(
            "plan",
            "256 configurations of the mixed space × 4 data sets; ratios on 32 of these runs, spread over their cost",
            ("mlp-breast_cancer", "mlp-diabetes", "mlp-digits", "mlp-wine"),
            18,
            None,
            256,
        ),
    )
}


def find(name: str) -> Job:
    """The job of that name: one of ``JOBS``, or that of a workload. Raises UsageError for an unknown one."""
    from metabench import registry

    workloads = registry.names("workloads")
    if name in JOBS:
        return JOBS[name]
    if name not in workloads:
        raise registry.suggest(name, [*JOBS, *workloads], "job")
    digits = registry.load("workloads", name).view in ("flat", "image", "reconstruction")
    task = f"{name}-digits" if digits else MADE_UP
    where = "digits" if digits else f"{ROWS} made-up rows"
    return Job(name, f"{name}'s default configuration, {where}", (task,), 6, None, workload=name, standard=True)


@cache
def arrays(workload: str, task: str):
    """The arrays of a job's task."""
    from metabench import registry, tasks
    from metabench.tasks.sample import sample

    return sample(registry.load("workloads", workload).view, ROWS) if task == MADE_UP else tasks.get(task).arrays(0)
