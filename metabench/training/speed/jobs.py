"""What is trained to measure speed: jobs on scikit-learn's bundled data, so that they need no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

#: the plain networks' common settings: nothing but the network, the optimizer and a constant learning rate
_PLAIN = {
    "beta1": None, "beta2": None, "clip": "none", "clip_norm": None, "dropout": 0.0, "input_noise": 0.0, "init_scale": 1.0,
    "label_smoothing": 0.0, "norm": "none", "schedule": "constant", "warmup": 0.0, "weight_decay": 1e-4,
    "activation": "relu", "batch_size": 64, "optimizer": "momentum", "learning_rate": 0.05, "momentum": 0.9,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """Networks to train on some tasks: one configuration, or (``config`` None) a sample of the whole mixed space."""

    name: str
    title: str
    tasks: tuple[str, ...]
    epochs: int
    #: changes to the plain network's settings; None for the mixed space
    config: Mapping[str, object] | None
    #: configurations of the mixed space, a power of two
    configs: int = 1
    workload: str = "mlp"

    @property
    def mixed(self) -> bool:
        return self.config is None

    @cached_property
    def table(self) -> pd.DataFrame:
        """The configuration table: the mixed space's in order of cost, or the single row."""
        from metabench import registry

        space = registry.create("workloads", self.workload).space
        if self.config is not None:
            return space.table([_PLAIN | dict(self.config)])
        return space.sample(self.configs, seed=0)

    def runs(self, n: int) -> list[tuple[str, pd.DataFrame, np.ndarray]]:
        """About ``n`` runs as (task, configurations, seeds), an equal number for each task.

        Of the mixed space every k-th configuration in order of its training operations, so that any number of them
        costs alike; of a single configuration as many seeds.
        """
        each = max(1, n // len(self.tasks))
        if not self.mixed:
            configs = pd.concat([self.table] * each, ignore_index=True)
            return [(task, configs, np.arange(each)) for task in self.tasks]
        if each >= len(self.table):
            return [(task, self.table, np.zeros(len(self.table), dtype=int)) for task in self.tasks]
        out = []
        for task in self.tasks:
            order = np.argsort(self.flops(task, self.table), kind="stable")
            middle = (np.arange(each) + 0.5) * len(order) / each
            out.append(
                (task, self.table.iloc[order[middle.astype(int)]].reset_index(drop=True), np.zeros(each, dtype=int))
            )
        return out

    def flops(self, task: str, configs: pd.DataFrame) -> np.ndarray:
        """Training operations of each configuration on a task, float64 [configs]."""
        from metabench import registry, tasks

        workload, arrays = registry.create("workloads", self.workload), tasks.get(task).arrays(0)
        records = configs.astype(object).where(configs.notna(), None).to_dict("records")
        return np.array([workload.flops(arrays, row, self.epochs) for row in records], dtype=float)


JOBS = {
    job.name: job
    for job in (
        Job("digits", "64-64-10, momentum, digits", ("mlp-digits",), 20, {"width": 64, "depth": 1}),
        Job("wide", "64-256-256-10, momentum, digits", ("mlp-digits",), 20, {"width": 256, "depth": 2}),
        Job(
            "adam", "64-64-64-64-10, Adam, digits", ("mlp-digits",), 20,
            {"width": 64, "depth": 3, "optimizer": "adam", "learning_rate": 1e-3, "momentum": None, "beta1": 0.9, "beta2": 0.999},
        ),
        Job(
            "plan", "256 configurations of the mixed space × 4 data sets",
            ("mlp-breast_cancer", "mlp-diabetes", "mlp-digits", "mlp-wine"), 18, None, 256,
        ),
    )
}  # fmt: skip
