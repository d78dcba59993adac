"""Training what a plan says, on worker processes of one thread each, into a table that survives a kill at any time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import pyarrow as pa

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.generate import worker
from metabench.generate.cost import cost_model
from metabench.generate.plan import Chunk, Plan, make_plan
from metabench.generate.progress import Progress
from metabench.table import TableWriter, load_table, rows

#: rows wait at most this many seconds for the next shard
FLUSH_SECONDS = 5.0
#: so many workers in a row may die before they are ready for work
STILLBORN = 2


@dataclass(frozen=True)
class Report:
    """What a call of :func:`generate` did."""

    trained: int
    stored_before: int
    missing: int
    diverged: int
    failed: int
    seconds: float
    flops: float
    #: share of the workers' time, from when they were ready, in which they had nothing to do
    idle: float

    @property
    def runs_per_second(self) -> float:
        return self.trained / self.seconds if self.seconds else 0.0


def generate(
    path: str | Path,
    workload: str,
    task_ids: Sequence[str],
    *,
    n_configs: int = 256,
    n_seeds: int = 2,
    device: str = "cpu",
    backend: str = "auto",
    workers: int | None = None,
    budget: float | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Report:
    """Train every run of tasks × configurations × seeds that the table in ``path`` lacks, and store it.

    ``workers`` processes (default: the cores on the CPU, one on a GPU) train one chunk each; ``budget`` seconds end the
    work cleanly with runs missing. Calling it again trains only what is missing; ``retry_failed`` also what failed.
    Raises UsageError for unknown names, MetabenchError when the table cannot be written.
    """
    from metabench import tasks
    from metabench.training import choose

    if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker imports the caller's script
        raise UsageError("generate is called on import; put the call under `if __name__ == '__main__':`")
    load = registry.create("workloads", workload)
    chosen = [tasks.get(task_id) for task_id in task_ids]
    if not chosen:
        raise UsageError("no tasks to train on")
    backend = choose(load, device, backend)
    workers = workers or (os.cpu_count() or 1 if device == "cpu" else 1)
    with TableWriter(path) as table:
        table.put_configs(workload, load.space, n_configs)
        table.put_tasks(chosen)
        if retry_failed:
            table.drop_failed(workload)
        configs = worker.stored_configs(table.path, workload).iloc[:n_configs]
        model = cost_model(load, device, backend)
        plan = make_plan(load, chosen, configs, n_seeds, table.keys(workload), model, workers)
        run = _Run(table, plan, device, backend, model.together, budget)
        with Progress(plan.missing, plan.seconds, enabled=progress) as shown:
            run.all(min(workers, max(1, len(plan.chunks))), shown)
        table.compact(workload)
    return Report(
        trained=run.trained, stored_before=plan.stored, missing=plan.missing - run.trained, diverged=run.diverged,
        failed=run.failed, seconds=run.seconds, flops=run.flops, idle=run.idle,
    )  # fmt: skip


def preview(
    path: str | Path,
    workload: str,
    pattern: str,
    *,
    n_configs: int = 256,
    n_seeds: int = 2,
    device: str = "cpu",
    backend: str = "auto",
    workers: int | None = None,
) -> dict:
    """What :func:`generate` would train, without writing anything: runs wanted, stored, missing, their operations, and
    the minutes that they would take here (measured once, see :mod:`metabench.generate.cost`).

    ``pattern`` selects tasks as in :func:`metabench.tasks.select`.
    """
    from metabench import tasks
    from metabench.training import choose

    load = registry.create("workloads", workload)
    chosen = [tasks.get(task_id) for task_id in tasks.select(workload, pattern)]
    stored = np.empty(0, np.int64)
    if (Path(path) / "SHA256SUMS").exists():
        table = load_table(path)
        if workload in table.workloads:
            stored = np.sort(table.runs(workload, ["run_id"])["run_id"].to_numpy())
    workers = workers or (os.cpu_count() or 1 if device == "cpu" else 1)
    model = cost_model(load, device, choose(load, device, backend))
    plan = make_plan(load, chosen, load.space.sample(n_configs, seed=0), n_seeds, stored, model, workers)
    return {
        "table": str(path), "workload": workload, "tasks": len(chosen), "runs": plan.wanted, "stored": plan.stored,
        "missing": plan.missing, "chunks": len(plan.chunks), "gflop": round(plan.flops / 1e9),
        "workers": workers, "minutes": round(plan.seconds / workers / 60, 2),
    }  # fmt: skip


class _Worker:
    def __init__(self, *settings):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=worker.main, args=(theirs, os.getpid(), *settings), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()
        self.chunk: Chunk | None = None
        #: when it was ready for work, and seconds of work since
        self.ready: float | None = None
        self.given = self.busy = 0.0

    def give(self, chunk: Chunk) -> None:
        self.chunk, self.given = chunk, time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # a dead worker is noticed by its closed pipe
            self.pipe.send_bytes(worker.request(chunk.task_id, chunk.config_ids, chunk.seeds))

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


@contextlib.contextmanager
def _one_thread():
    """Numerical libraries of processes started inside use one thread."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Run:
    """One pass over a plan."""

    def __init__(
        self, table: TableWriter, plan: Plan, device: str, backend: str, together: int | None, budget: float | None
    ):
        self.table, self.plan, self.device = table, plan, device
        self.settings = (str(table.path), plan.workload, device, backend, together)
        self.queue = deque(plan.chunks)
        #: runs that are tried alone because a worker died over their chunk
        self.suspects: set[int] = set()
        self.stillborn = 0
        self.waiting: list[pa.Table] = []
        self.started = self.flushed = time.monotonic()
        self.deadline = None if budget is None else self.started + budget
        self.trained = self.diverged = self.failed = 0
        self.flops = self.seconds = self.predicted = self.idle = 0.0

    def all(self, n: int, shown: Progress) -> None:
        """Train until nothing is left or the budget is spent; store what was trained whatever happens."""
        team: list[_Worker] = []
        try:
            if self.queue:
                team = [_Worker(*self.settings) for _ in range(n)]
                for member in team:
                    self._next(member)
            while any(member.chunk for member in team):
                ready = wait([member.pipe for member in team if member.chunk], timeout=1.0)
                for member in [m for m in team if m.pipe in ready]:
                    self._receive(member, team, shown)
                if time.monotonic() - self.flushed > FLUSH_SECONDS:
                    self._flush()
                shown.update(self.trained, self.flops, self.predicted)
        finally:
            try:
                self._flush()
            finally:
                ended = time.monotonic()
                self.seconds = ended - self.started
                there = [ended - member.ready for member in team if member.ready is not None]
                self.idle = 1.0 - sum(member.busy for member in team) / sum(there) if sum(there) else 0.0
                for member in team:
                    member.stop()

    def _next(self, member: _Worker) -> None:
        member.chunk = None
        if self.queue and (self.deadline is None or time.monotonic() < self.deadline):
            member.give(self.queue.popleft())

    def _receive(self, member: _Worker, team: list[_Worker], shown: Progress) -> None:
        chunk = member.chunk
        try:
            answer = member.pipe.recv_bytes()
        except (EOFError, ConnectionResetError):
            member.process.join()
            reason = f"the worker process died (exit code {member.process.exitcode})"
            self._died(chunk, member.ready is not None, reason)
            shown.note(f"{reason}; starting another")
            member.stop()
            place = team.index(member)
            member = team[place] = _Worker(*self.settings)
        else:
            if answer == worker.READY:
                member.ready = member.given = time.monotonic()
                self.stillborn = 0
                return
            member.busy += time.monotonic() - member.given
            good = answer.startswith(worker.ROWS)
            self._store(chunk, worker.decode(answer) if good else self._failed(chunk, answer[1:].decode()))
        self._next(member)

    def _died(self, chunk: Chunk, ready: bool, reason: str) -> None:
        """A worker died over a chunk: its runs are tried once more, each alone; the one that kills again has failed."""
        if not ready:
            self.queue.appendleft(chunk)
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                raise MetabenchError(
                    f"worker processes cannot start: {reason}; a script that generates needs "
                    "its call under `if __name__ == '__main__':`"
                )
        elif id(chunk) in self.suspects:
            self._store(chunk, self._failed(chunk, reason))
        else:
            singles = chunk.singles()
            self.suspects |= set(map(id, singles))
            self.queue.extend(singles)

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
