"""Training what a plan says, here or on a Ray cluster, into a table that survives a kill at any time."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import cluster, registry
from metabench.errors import UsageError
from metabench.generate.cost import CostModel, cost_model
from metabench.generate.executor import Answer, Executor
from metabench.generate.plan import Chunk, Plan, chosen_configs, grid_ids, make_plan
from metabench.generate.progress import Progress
from metabench.registry import suggest
from metabench.table import Table, TableWriter, load_table, manifest, rows
from metabench.table.place import Place, place

#: rows wait at most this many seconds for the next shard
FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class Report:
    """What a call of :func:`generate` did."""

    trained: int
    stored_before: int
    missing: int
    diverged: int
    #: runs that are asked for and have failed, in this call or in an earlier one
    failed: int
    seconds: float
    flops: float
    #: share of the workers' time, from when they were ready, in which they had nothing to do
    idle: float

    @property
    def runs_per_second(self) -> float:
        return self.trained / self.seconds if self.seconds else 0.0


def generate(
    path: str | Place,
    workload: str,
    task_ids: Sequence[str],
    *,
    n_configs: int | None = 256,
    n_seeds: int = 2,
    also: Sequence[str] = (),
    only: np.ndarray | None = None,
    device: str = "cpu",
    backend: str = "auto",
    executor: str = "local",
    workers: int | None = None,
    budget: float | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Report:
    """Train every run of tasks × configurations × seeds that the table in ``path`` (a folder or URI) lacks, and store it.

    Configurations are the first ``n_configs`` of the Sobol part and those whose origin ``also`` names: ``default`` (the
    workload's, which is stored first where the table lacks it), ``elite`` (all that are stored), ``elite:<task>``, ….

    The executor ``local`` trains on ``workers`` processes (default: the cores on the CPU, one on a GPU), ``ray`` on that
    many slots (default: all) of the cluster that RAY_ADDRESS names; ``device`` auto takes GPUs where there are any. A
    run's curve does not depend on who trains it. ``budget`` seconds end the work cleanly with runs missing. Calling it
    again trains only what is missing; ``retry_failed`` also what failed. ``n_configs`` None takes the configurations that
    the table has, and ``only`` (run_ids, int64) leaves all other runs out. Raises UsageError for unknown names,
    MetabenchError when the table cannot be written or the cluster not reached.
    """
    from metabench import tasks

    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker imports the caller's script
        raise UsageError("generate is called on import; put the call under `if __name__ == '__main__':`")
    network = registry.create("workloads", workload)
    chosen = [tasks.get(task_id) for task_id in task_ids]
    if not chosen:
        raise UsageError("no tasks to train on")
    with _target(executor, network, device, backend, workers) as target, TableWriter(path) as table:
        if n_configs is not None:
            table.put_configs(workload, network.space, n_configs)
        if "default" in also:
            table.add_configs(workload, network.space, network.space.table([network.space.default()]), ["default"])
        table.put_tasks(chosen)
        if retry_failed:
            table.drop_failed(workload)
        stored = Table(table.path)
        configs = stored.configs(workload)
        if n_configs is not None:
            configs = chosen_configs(configs, stored.origins(workload), n_configs, also)
        model = cost_model(network, target.device, target.backend)
        known = table.keys(workload)
        if only is not None:
            known = np.union1d(known, np.setdiff1d(grid_ids(task_ids, configs.index, n_seeds), only))
        plan = make_plan(network, chosen, configs, n_seeds, known, model, target.workers)
        run = _Run(table, plan, target.device, budget)
        with Progress(plan.missing, plan.seconds, enabled=progress) as shown:
            if plan.chunks:
                settings = workload, configs, target.device, target.backend, model.together
                run.all(target.executor(min(target.workers, len(plan.chunks)), *settings), shown)
        table.compact(workload)
        table.check_whole()
        failed = table.count_failed(workload, [task.task_id for task in chosen], configs.index.to_numpy(), n_seeds)
    return Report(
        trained=run.trained,
        stored_before=plan.stored,
        missing=plan.missing - run.trained,
        diverged=run.diverged,
        failed=failed,
        seconds=run.seconds,
        flops=run.flops,
        idle=run.idle,
    )


def preview(
    path: str | Place,
    workload: str,
    task_ids: Sequence[str],
    *,
    n_configs: int = 256,
    n_seeds: int = 2,
    also: Sequence[str] = (),
    device: str = "cpu",
    backend: str = "auto",
    workers: int | None = None,
    rate: float | None = None,
) -> dict:
    """What :func:`generate` would train, without writing anything: runs wanted, stored, missing, their operations, the
    hours of work that they are, and the minutes that they would take ``workers`` (default: here, one a core).

    Prices are those measured on this machine (see :mod:`metabench.generate.cost`), or follow from a ``rate``: GFLOP/s of
    one worker, as :func:`generate` tells it while it trains. Raises UsageError for unknown names, and for a rate that is
    none.
    """
    from metabench import tasks
    from metabench.training import choose

    network = registry.create("workloads", workload)
    chosen = [tasks.get(task_id) for task_id in task_ids]
    if not chosen:
        raise UsageError("no tasks to train on")
    stored = np.empty(0, np.int64)
    configs = network.space.sample(n_configs, seed=0)
    origins = pd.Series(["sobol"] * n_configs)
    if manifest.read(path):
        table = load_table(path)
        if workload in table.workloads:
            stored = np.sort(table.runs(workload, ["run_id"])["run_id"].to_numpy())
            if len(known := table.configs(workload)) > n_configs:
                configs, origins = known, table.origins(workload)
    if "default" in also and "default" not in origins.tolist():  # generate stores it first
        configs = pd.concat([configs, network.space.table([network.space.default()])], ignore_index=True)
        origins = pd.concat([origins, pd.Series(["default"])], ignore_index=True)
    configs = chosen_configs(configs, origins, n_configs, also)
    workers = workers or (os.cpu_count() or 1 if device == "cpu" else 1)
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"rate is {rate}; GFLOP/s of a worker are a positive number")
    priced = (
        CostModel({"flops": 1e-9 / rate}) if rate else cost_model(network, device, choose(network, device, backend))
    )
    plan = make_plan(network, chosen, configs, n_seeds, stored, priced, workers)
    return {
        "table": str(place(path)),
        "workload": workload,
        "tasks": len(chosen),
        "runs": plan.wanted,
        "stored": plan.stored,
        "missing": plan.missing,
        "chunks": len(plan.chunks),
        "gflop": round(plan.flops / 1e9),
        "hours": round(plan.seconds / 3600, 2),
        "workers": workers,
        "minutes": round(plan.seconds / workers / 60, 2),
    }


@dataclass(frozen=True)
class ExecutionTarget:
    """Where a plan is trained, by how many workers at once, and how to have them: (number, settings …) → Executor."""

    device: str
    backend: str
    workers: int
    executor: Callable[..., Executor]


@contextlib.contextmanager
def _target(name: str, workload, device: str, backend: str, workers: int | None) -> Iterator[ExecutionTarget]:
    from metabench.training import choose
    from metabench.training.machine import pick_device

    if name == "local":
        from metabench.generate.processes import Processes

        device = pick_device(device)
        n = workers or (os.cpu_count() or 1 if device == "cpu" else 1)
        yield ExecutionTarget(device, choose(workload, device, backend), n, Processes)
    elif name == "ray":
        from metabench.generate.ray_cluster import Cluster

        with cluster.connected() as ray:
            if device == "auto":
                device = "cuda" if cluster.slots(ray, "cuda") else "cpu"
            n = workers or cluster.slots(ray, device)
            if not n:
                what = "GPUs" if device == "cuda" else "cores"
                raise UsageError(f"the Ray cluster has no {what}; where an autoscaler adds them, say how many: workers")
            if device == "cpu":  # nodes with GPUs choose for themselves: the driver need not have one
                backend = choose(workload, device, backend)
            yield ExecutionTarget(device, backend, n, lambda _, *settings: Cluster(ray, workers, *settings))
    else:
        raise suggest(name, cluster.EXECUTORS, "executor")


class _Run:
    """One pass over a plan."""

    def __init__(self, table: TableWriter, plan: Plan, device: str, budget: float | None):
        self.table, self.plan, self.device = table, plan, device
        self.queue = deque(plan.chunks)
        #: runs that are tried alone because a worker died over their chunk
        self.suspects: set[int] = set()
        self.waiting: list[pa.Table] = []
        self.started = self.flushed = time.monotonic()
        self.deadline = None if budget is None else self.started + budget
        self.trained = self.diverged = self.failed = 0
        self.flops = self.seconds = self.predicted = self.idle = 0.0

    def all(self, executor: Executor, shown: Progress) -> None:
        """Train until nothing is left or the budget is spent; store what was trained whatever happens."""
        try:
            while True:
                while self.queue and executor.vacant and not self._over():
                    executor.give(self.queue.popleft())
                if not executor.given:
                    break
                for answer in executor.answers(1.0):
                    self._receive(answer, shown)
                if time.monotonic() - self.flushed > FLUSH_SECONDS:
                    self._flush()
                shown.update(self.trained, self.flops, self.predicted)
        finally:
            try:
                self._flush()
            finally:
                self.seconds, self.idle = time.monotonic() - self.started, executor.idle
                executor.close()

    def _over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _receive(self, answer: Answer, shown: Progress) -> None:
        """A chunk over which a worker died is tried once more, each run alone; the one that kills again has failed."""
        chunk = answer.chunk
        if answer.rows is not None:
            self._store(chunk, answer.rows)
        elif not answer.died or id(chunk) in self.suspects:
            self._store(chunk, self._failed(chunk, answer.reason))
        else:
            singles = chunk.singles()
            self.suspects |= set(map(id, singles))
            self.queue.extend(singles)
        if answer.died:
            shown.note(f"{answer.reason}; its work goes to another")

    def _failed(self, chunk: Chunk, reason: str) -> pa.Table:
        cohort = rows.cohort_id(rows.run_ids([chunk.task_id] * len(chunk), chunk.config_ids, chunk.seeds))
        return rows.failed(chunk.task_id, chunk.config_ids, chunk.seeds, reason, cohort, self.device)

    def _store(self, chunk: Chunk, table: pa.Table) -> None:
        status = table["status"].to_pylist()
        self.waiting.append(table)
        self.trained += len(table)
        self.diverged += status.count("diverged")
        self.failed += status.count("failed")
        self.flops += chunk.flops
        self.predicted += chunk.seconds

    def _flush(self) -> None:
        self.flushed = time.monotonic()
        if self.waiting:
            table, self.waiting = pa.concat_tables(self.waiting, promote_options="permissive"), []
            self.table.append(self.plan.workload, table)
