"""Source tasks beside a new one: which are most like it by their features, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.metatrain import TaskInfo


@brief
@dataclass(frozen=True)
class Neighbour:
    """A source task beside a new one."""

    task_id: str
    #: share of the source tasks that lie no nearer, in [0, 1]
    nearer_than: float
    #: root mean square difference over the task features, in their standard deviations over the source tasks
    distance: float
    #: the features that say most of why it is near: (name, value on the new task, value on this one)
    why: tuple[tuple[str, float, float], ...]
    #: the configuration that was best on it, and its validation score
    config: dict[str, Any]
    score: float
    metric: str


class Features:
    """The features of source tasks, standardised over them and clipped at ±3."""

    def __init__(self, infos: Sequence[TaskInfo]):
        self.infos = list(infos)

    @cached_property
    def names(self) -> list[str]:
        return sorted({name for info in self.infos for name in info.features})

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        raw = np.array([[info.feature(n) for n in self.names] for info in self.infos])
        some = np.isfinite(raw).any(0)
        mean = np.nanmean(np.where(some, raw, 0.0), axis=0)
        spread = np.nanstd(np.where(some, raw, 0.0), axis=0)
        return mean, np.where(spread > 1e-12, spread, 1.0)

    def _standard(self, infos: Sequence[TaskInfo]) -> np.ndarray:
        raw = np.array([[info.feature(n) for n in self.names] for info in infos])
        return np.clip((raw - self._moments[0]) / self._moments[1], -3.0, 3.0)

    @cached_property
    def _known(self) -> np.ndarray:
        return self._standard(self.infos)

    def nearest(
        self, info: TaskInfo, k: int, reasons: int
    ) -> list[tuple[int, float, float, tuple[tuple[str, float, float], ...]]]:
        """The k nearest source tasks, nearest first.

        Features that are not known of both tasks do not count. A feature says the more the nearer both tasks are to one
        another in it: the reasons are those with the largest typical squared difference (2, for standardised ones) less
        their own, weighed by how unusual the value is.

        Args:
            info: what is known of the new task.
            k: how many tasks.
            reasons: how many features say why, at most.

        Returns:
            For each task its position, the share of source tasks that lie no nearer, its distance, and the reasons: name,
            value on the new task, value on this one.

        Raises:
            UsageError: when no feature is known of the new task and of a source task.
        """
        mine, theirs = self._standard([info])[0], self._known
        both = np.isfinite(mine) & np.isfinite(theirs)
        if not both.any():
            raise UsageError("nothing is known of the task's features, so no task is near it")
        apart = np.where(both, (theirs - mine) ** 2, 0.0)
        distance = np.sqrt(apart.sum(1) / np.maximum(both.sum(1), 1))
        distance[~both.any(1)] = np.inf
        out = []
        for i in np.argsort(distance, kind="stable")[:k]:
            weight = np.where(both[i], np.abs(mine) * np.exp(-apart[i]), -1.0)
            why = [self.names[j] for j in np.argsort(-weight, kind="stable")[:reasons] if weight[j] >= 0]
            said = tuple((name, info.feature(name), self.infos[i].feature(name)) for name in why)
            out.append((int(i), float(np.mean(distance >= distance[i])), float(distance[i]), said))
        return out
