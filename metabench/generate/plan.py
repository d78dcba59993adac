"""What has to be trained: the runs that a table lacks, cut into chunks of work, largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.table import rows
from metabench.tasks.task import Task

#: a chunk holds at most this many runs, and at most about this many floating-point operations
CHUNK_RUNS, CHUNK_FLOPS = 128, 4e10


@dataclass(frozen=True)
class Chunk:
    """Runs of one task and one split that a worker trains together."""

    task_id: str
    config_ids: np.ndarray
    seeds: np.ndarray
    flops: float

    def __len__(self) -> int:
        return len(self.config_ids)

    def singles(self) -> list[Chunk]:
        """The same runs, each a chunk of its own."""
        pairs = [(self.config_ids[i : i + 1], self.seeds[i : i + 1]) for i in range(len(self))]
        return [Chunk(self.task_id, ids, seeds, self.flops / len(self)) for ids, seeds in pairs]


@dataclass(frozen=True)
class Plan:
    """Chunks to train, largest first, and how much is wanted and stored already."""

    workload: str
    chunks: tuple[Chunk, ...]
    wanted: int
    stored: int

    @property
    def missing(self) -> int:
        return sum(len(c) for c in self.chunks)

    @property
    def flops(self) -> float:
        """Floating-point operations of everything missing."""
        return sum(c.flops for c in self.chunks)


def make_plan(workload, tasks: Sequence[Task], configs: pd.DataFrame, n_seeds: int, stored: np.ndarray) -> Plan:
    """The runs of ``tasks`` × all ``configs`` (indexed by config_id) × seeds 0 … n_seeds − 1 whose run_id is not among
    ``stored`` (sorted int64).

    Inside a task and split, runs are sorted by what decides their shape, so that a batch finds its like together.
    """
    if n_seeds < 1 or n_seeds > 1000:
        raise UsageError(f"the number of seeds must lie in 1 … 1000, got {n_seeds}")
    shape = [name for name in ("batch_size", "depth", "width") if name in configs]
    order = configs.sort_values(shape).index.to_numpy() if shape else configs.index.to_numpy()
    records = configs.to_dict("index")
    chunks: list[Chunk] = []
    wanted = present = 0
    for task in tasks:
        cost = _costs(workload, task, records)
        for split in range(min(task.n_splits, n_seeds)):
            seeds = np.arange(split, n_seeds, task.n_splits)
            config_ids, run_seeds = np.repeat(order, len(seeds)), np.tile(seeds, len(order))
            ids = rows.run_ids([task.task_id] * len(config_ids), config_ids, run_seeds)
            missing = ~np.isin(ids, stored)
            wanted += len(ids)
            present += int((~missing).sum())
            chunks += _cut(task.task_id, config_ids[missing], run_seeds[missing], cost)
    chunks.sort(key=lambda c: (-c.flops, c.task_id, int(c.config_ids[0])))
    return Plan(workload.name, tuple(chunks), wanted, present)


def _costs(workload, task: Task, records: dict) -> dict[int, float]:
    """Training operations of each configuration on a task, from its sizes alone."""
    outputs = task.n_classes if task.kind == "classification" else 1
    sizes = SimpleNamespace(n_features=task.n_features, n_outputs=outputs, x_train=range(task.n_train))
    return {i: float(workload.flops(sizes, config, max(task.checkpoints))) for i, config in records.items()}


def _cut(task_id: str, config_ids: np.ndarray, seeds: np.ndarray, cost: dict[int, float]) -> list[Chunk]:
    chunks, start, flops = [], 0, 0.0
    for i, config_id in enumerate(config_ids):
        flops += cost[config_id]
        full = i + 1 - start == CHUNK_RUNS or flops >= CHUNK_FLOPS
        if full or i + 1 == len(config_ids):
            chunks.append(Chunk(task_id, config_ids[start : i + 1], seeds[start : i + 1], flops))
            start, flops = i + 1, 0.0
    return chunks
