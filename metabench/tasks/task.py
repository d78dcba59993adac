"""What a task is: a data set, a workload that trains on it, a metric, and fixed splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

#: epochs at which every run is evaluated; the last one gives the headline score
CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)
#: training rows beyond which a task has fewer epochs → its last one; an epoch has more steps there, so that all tasks
#: from 4,096 rows on train for some 200,000 to 300,000 examples
SHORTER = {4_096: 26, 8_192: 18}


def checkpoints(n_train: int) -> tuple[int, ...]:
    """The epochs at which runs of a task with this many training rows are evaluated."""
    last = min((epoch for rows, epoch in SHORTER.items() if n_train > rows), default=CHECKPOINTS[-1])
    return tuple(epoch for epoch in CHECKPOINTS if epoch <= last)


@dataclass(frozen=True)
class Arrays:
    """One split of a task, preprocessed: what a backend trains on.

    ``x_*`` are float32 [rows, features]; ``y_*`` are int32 class indices [rows], or float32 [rows] standardised by the
    training rows for regression.
    """

    kind: str
    metric: str
    n_classes: int
    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def n_features(self) -> int:
        return self.x_train.shape[1]

    @property
    def n_outputs(self) -> int:
        """Width of the network's last layer."""
        return self.n_classes if self.kind == "classification" else 1


@dataclass(frozen=True)
class Task:
    """A row of ``tasks.parquet`` together with the way to its arrays."""

    task_id: str
    dataset: str
    family: str
    source: str
    modality: str
    workload: str
    kind: str
    metric: str
    direction: str
    n_rows: int
    n_train: int
    n_valid: int
    n_test: int
    n_features: int
    n_classes: int
    n_splits: int
    split_hashes: tuple[str, ...]
    chance: float
    licence: str
    url: str
    #: task features, computed before any training; NaN where one does not apply
    features: Mapping[str, float]
    #: split index → Arrays
    load: Callable[[int], Arrays] = field(repr=False, compare=False)
    checkpoints: tuple[int, ...] = CHECKPOINTS

    def arrays(self, seed: int) -> Arrays:
        """The arrays that runs with this seed train on (data sets under 2,000 rows have five splits)."""
        return self.load(seed % self.n_splits)
