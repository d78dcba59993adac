"""Chunks on a Ray cluster. Ray decides where they run, and runs those of a lost node, or of a dead process, elsewhere."""

from __future__ import annotations

import contextlib
import time
import warnings
from functools import cache
from types import ModuleType

import pandas as pd
import pyarrow as pa

from metabench import cluster, registry, schema
from metabench.errors import MetabenchError
from metabench.generate import worker
from metabench.generate.executor import Answer
from metabench.generate.plan import Chunk

#: chunks given for each slot: one at work, one that waits, so that no node waits for the driver
AHEAD = 2
#: the size of the cluster, which may grow and shrink, is asked for so often (seconds)
LOOK = 2.0


class Cluster:
    """An :class:`~metabench.generate.executor.Executor` of ``most`` slots, or all (None) that the cluster has."""

    def __init__(
        self,
        ray: ModuleType,
        most: int | None,
        workload: str,
        configs: pd.DataFrame,
        device: str,
        backend: str,
        together: int | None,
    ):
        self._ray, self._most, self._device = ray, most, device
        self._slots, self._looked = 0, float("-inf")
        self._train = ray.remote(**cluster.needs(device))(train)
        self._job = ray.put((schema.NUMERICS_VERSION, workload, configs, device, backend, together))
        self._chunks: dict = {}  # ObjectRef of the answer → Chunk
        self._began: float | None = None
        self._busy = self._there = 0.0

    @property
    def slots(self) -> int:
        now = time.monotonic()
        if now - self._looked > LOOK:
            self._looked, self._slots = now, cluster.slots(self._ray, self._device)
        return self._slots if self._most is None else min(self._slots, self._most)

    @property
    def given(self) -> int:
        return len(self._chunks)

    @property
    def vacant(self) -> int:
        ahead = AHEAD if self._most is None else 1
        return max(0, ahead * max(self.slots, 1) - self.given)

    @property
    def idle(self) -> float:
        there = 0.0 if self._began is None else (time.monotonic() - self._began) * max(self.slots, 1)
        return max(0.0, 1.0 - self._busy / there) if there else 0.0

    def give(self, chunk: Chunk) -> None:
        answer = self._train.remote(self._job, chunk.task_id, chunk.config_ids, chunk.seeds)
        self._chunks[answer] = chunk

    def answers(self, seconds: float) -> list[Answer]:
        waiting = list(self._chunks)
        if self._ray.wait(waiting, num_returns=1, timeout=seconds)[0]:
            waiting = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
            return [self._receive(ref) for ref in waiting]
        return []

    def close(self) -> None:
        for ref in self._chunks:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=True)

    def _receive(self, ref) -> Answer:
        try:
            rows, reason, seconds = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            reason = cluster.lost(self._ray, error)
            return Answer(self._chunks.pop(ref), reason=reason, died=True)
        if self._began is None:
            self._began = time.monotonic() - seconds
        self._busy += seconds
        return Answer(self._chunks.pop(ref), rows, reason)


def train(job: tuple, task_id: str, config_ids, seeds) -> tuple[pa.Table | None, str, float]:
    """Runs on a node: rows or the reason why there are none, and the seconds that it took.

    Raises MetabenchError on a node whose metabench makes rows of other numerics than the driver's.
    """
    numerics, workload, configs, device, backend, together = job
    if numerics != schema.NUMERICS_VERSION:
        raise MetabenchError(
            f"a node's metabench makes rows of numerics version {schema.NUMERICS_VERSION}, the table holds version "
            f"{numerics}: install the same metabench on all nodes"
        )
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the driver has told about the backend once
        try:
            table = worker.train(_workload(workload), task_id, configs, config_ids, seeds, device, backend, together)
        except Exception as error:  # a task that cannot be had fails all its runs
            return None, f"{type(error).__name__}: {error}", time.monotonic() - began
    return table, "", time.monotonic() - began


@cache
def _workload(name: str):
    return registry.create("workloads", name)
