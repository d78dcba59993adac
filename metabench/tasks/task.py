"""What a task is: a data set, a workload that trains on it, a metric, and fixed splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from metabench.brief import brief

#: epochs at which every run is evaluated; the last one gives the headline score
CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)
#: training rows beyond which a task has fewer epochs → its last one; an epoch has more steps there, so that all tasks
#: from 4,096 rows on train for some 200,000 to 300,000 examples
SHORTER = {4_096: 26, 8_192: 18}


def checkpoints(n_train: int, most: int = CHECKPOINTS[-1]) -> tuple[int, ...]:
    """The epochs at which runs of a task with this many training rows are evaluated, of a workload that trains for
    ``most`` epochs."""
    last = min([most, *(epoch for rows, epoch in SHORTER.items() if n_train > rows)])
    return tuple(epoch for epoch in CHECKPOINTS if epoch <= last)


@brief
@dataclass(frozen=True)
class Arrays:
    """One split of a task, preprocessed: what a backend trains on.

    What ``x_*`` and ``y_*`` hold is the workload's view of the data (:mod:`metabench.tasks.views`): float32 inputs
    [rows, ...] or int32 tokens [rows, T]; int32 classes [rows] or tokens [rows, T], or float32 numbers [rows] or
    [rows, H], those of a regression standardised by the training rows.
    """

    kind: str
    metric: str
    #: classes, or kinds of token, of the targets; 0 where they are numbers
    n_classes: int
    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    #: kinds of token of the inputs; 0 where they are numbers
    vocabulary: int = 0
    #: name of the simulated system (:mod:`metabench.tasks.systems`) that the rows are start states of
    system: str = ""
    #: of episodes: rows of a class that one shows; ``n_classes`` are the classes of one, ``y_*`` those of the rows
    shots: int = 0
    #: of a transfer: training rows of what is learned first, and how many classes they have
    x_source: np.ndarray | None = None
    y_source: np.ndarray | None = None
    source_classes: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row's inputs."""
        return self.x_train.shape[1:]

    @property
    def n_features(self) -> int:
        """Numbers, or tokens, of a row's inputs."""
        return int(np.prod(self.shape))

    @property
    def n_outputs(self) -> int:
        """Width of the network's last layer."""
        return self.n_classes or int(np.prod(self.y_train.shape[1:]))


@brief
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
    #: shape of a row's inputs; kinds of token in them; width of the network's last layer
    shape: tuple[int, ...] = ()
    vocabulary: int = 0
    n_outputs: int = 1
    system: str = ""
    shots: int = 0
    source_classes: int = 0
    #: of a person's own data: what was done to it on its way to the network, a line each
    notes: tuple[str, ...] = ()

    def arrays(self, seed: int) -> Arrays:
        """The arrays that runs with this seed train on (data sets under 2,000 rows have five splits)."""
        return self.load(seed % self.n_splits)
