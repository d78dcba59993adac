"""What has to be trained: the runs that a table lacks, cut into chunks of work, largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from metabench.errors import UsageError
from metabench.generate.cost import CostModel, sizes_of
from metabench.table import rows
from metabench.tasks.task import Task

#: a chunk holds at most this many runs
CHUNK_RUNS = 128
#: and takes about this share of what one worker has to do, within these seconds: with the largest chunks first, workers
#: end within one of the smallest of each other, and a kill loses seconds
CHUNK_SHARE, CHUNK_SECONDS = 0.01, (0.1, 4.0)


@dataclass(frozen=True)
class Chunk:
    """Runs of one task and one split that a worker trains together."""

    task_id: str
    config_ids: np.ndarray
    seeds: np.ndarray
    flops: float
    #: predicted, on one thread
    seconds: float

    def __len__(self) -> int:
        return len(self.config_ids)

    def singles(self) -> list[Chunk]:
        """The same runs, each a chunk of its own."""
        pairs = [(self.config_ids[i : i + 1], self.seeds[i : i + 1]) for i in range(len(self))]
        n = len(self)
        return [Chunk(self.task_id, ids, seeds, self.flops / n, self.seconds / n) for ids, seeds in pairs]


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

    @property
    def seconds(self) -> float:
        """Predicted seconds of everything missing, on one thread."""
        return sum(c.seconds for c in self.chunks)


def chosen_configs(configs: pd.DataFrame, origins: pd.Series, n: int, also: Sequence[str] = ()) -> pd.DataFrame:
    """The configurations to train, with their own config_ids.

    Args:
        configs: all of a table, indexed by config_id.
        origins: how each came to be, as :meth:`metabench.table.Table.origins` has it.
        n: how many of the Sobol part.
        also: origins of others: ``default``, ``elite``, or the beginning of one up to a colon, ``elite:<task>``.

    Returns:
        rows of ``configs``.

    Raises:
        UsageError: no stored configuration has one of the origins.
    """
    keep = (origins == "sobol").to_numpy() & (np.arange(len(configs)) < n)
    for origin in also:
        hits = ((origins == origin) | origins.str.startswith(f"{origin}:")).to_numpy()
        if not hits.any():
            known = ", ".join(sorted({o.split(":")[0] for o in origins}))
            raise UsageError(f"the table has no configuration of origin {origin!r}; it has {known}")
        keep |= hits
    return configs[keep]


def make_plan(
    workload,
    tasks: Sequence[Task],
    configs: pd.DataFrame,
    n_seeds: int,
    stored: np.ndarray,
    model: CostModel | None = None,
    workers: int = 1,
) -> Plan:
    """The runs of ``tasks`` × all ``configs`` (indexed by config_id) × seeds 0 … n_seeds − 1 whose run_id is not among
    ``stored`` (sorted int64).

    Inside a task and split, runs are sorted by what decides their shape, so that a batch finds its like together. Chunks
    are cut by their predicted seconds, for so many ``workers`` (``model`` None: by operations alone).
    """
    model = model or CostModel()
    if n_seeds < 1 or n_seeds > 1000:
        raise UsageError(f"the number of seeds must lie in 1 … 1000, got {n_seeds}")
    shape = [name for name in ("batch_size", "depth", "width") if name in configs]
    order = configs.sort_values(shape).index.to_numpy() if shape else configs.index.to_numpy()
    records = configs.to_dict("index")
    parts = []
    wanted = present = 0
    for task in tasks:
        cost = _costs(workload, task, records, model)
        for split in range(min(task.n_splits, n_seeds)):
            seeds = np.arange(split, n_seeds, task.n_splits)
            config_ids, run_seeds = np.repeat(order, len(seeds)), np.tile(seeds, len(order))
            ids = rows.run_ids([task.task_id] * len(config_ids), config_ids, run_seeds)
            missing = ~np.isin(ids, stored)
            wanted += len(ids)
            present += int((~missing).sum())
            parts.append((task.task_id, config_ids[missing], run_seeds[missing], cost))
    total = sum(cost[i][1] for _, ids, _, cost in parts for i in ids.tolist())
    most = min(max(CHUNK_SHARE * total / workers, CHUNK_SECONDS[0]), CHUNK_SECONDS[1])
    chunks = [chunk for task_id, ids, seeds, cost in parts for chunk in _cut(task_id, ids, seeds, cost, most)]
    chunks.sort(key=lambda c: (-c.seconds, c.task_id, int(c.config_ids[0])))
    return Plan(workload.name, tuple(chunks), wanted, present)


def grid_ids(task_ids: Sequence[str], config_ids: Sequence[int] | pd.Index, n_seeds: int) -> np.ndarray:
    """run_ids of tasks × configurations × seeds 0 … n_seeds − 1, int64."""
    codes, ids, seeds = np.meshgrid(np.arange(len(task_ids)), np.asarray(config_ids), np.arange(n_seeds), indexing="ij")
    return rows.run_ids_of(list(task_ids), codes.ravel(), ids.ravel(), seeds.ravel())


def _costs(workload, task: Task, records: dict, model: CostModel) -> dict[int, tuple[float, float]]:
    """Training operations and predicted seconds of each configuration on a task, from its sizes alone."""
    sizes, last = sizes_of(task), max(task.checkpoints)
    return {
        i: (float(workload.flops(sizes, config, last)), model.seconds(workload.work(sizes, config, task.checkpoints)))
        for i, config in records.items()
    }


def _cut(task_id: str, config_ids: np.ndarray, seeds: np.ndarray, cost: dict, most: float) -> list[Chunk]:
    chunks, start, flops, seconds = [], 0, 0.0, 0.0
    for i, config_id in enumerate(config_ids):
        operations, took = cost[config_id]
        flops, seconds = flops + operations, seconds + took
        if i + 1 - start == CHUNK_RUNS or seconds >= most or i + 1 == len(config_ids):
            chunks.append(Chunk(task_id, config_ids[start : i + 1], seeds[start : i + 1], flops, seconds))
            start, flops, seconds = i + 1, 0.0, 0.0
    return chunks
