"""The comparison: who trains what, in which processes, and what the clock says."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.speed.jobs import JOBS, Job, Part, find
from metabench.speed.team import Member, team

#: seconds that a measurement of a plain job is to last: long beside a clock's tick, short beside a neighbour's pause
WINDOW = 0.7
#: what takes longer than this many seconds is measured once
SLOW = 10.0
#: a sequential loop that warms up at less than this share of the best one is out of the running (threads that wait for
#: one another on a busy machine can take a hundred times as long)
HOPELESS = 0.2


@dataclass(frozen=True)
class Contender:
    """A way to train runs: with ``trainer``, in ``processes`` (0: one a core) of ``threads`` each."""

    name: str
    trainer: str
    processes: int = 0
    threads: int = 1
    #: runs are counted in these, for each process
    chunk: int = 1
    #: of a mixed job: the "sample" that all train, or the "whole" plan
    scope: str = "sample"

    @property
    def sequential(self) -> bool:
        return self.trainer.startswith("loop")


@dataclass(frozen=True)
class Row:
    """A contender on a job. Rates are those of all its processes together."""

    job: str
    contender: str
    processes: int
    threads: int
    runs: int
    seconds: float
    runs_per_second: float
    gflops: float
    #: runs for each second that a core was busy with them: what a busy neighbour disturbs least
    runs_per_core_second: float
    #: times the best of the sequential loops, by runs a second
    ratio: float
    #: the same by runs a core-second; on a busy machine the fairer one, because what lasts long is disturbed most
    core_ratio: float
    #: shares of the measured peaks of as many processes
    of_product_peak: float
    of_fma_peak: float


@dataclass(frozen=True)
class Timing:
    """One measurement: seconds of wall time, core-seconds, runs, training operations."""

    seconds: float
    busy: float
    runs: int
    flops: float

    @property
    def rate(self) -> float:
        return self.runs / self.seconds


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def contenders(device: str, job: Job) -> list[Contender]:
    """Everything that can be compared here on a job."""
    from metabench import registry

    workload = registry.create("workloads", job.workload)
    engine = [name for name in ("batched", "resident") if _usable(workload, name, device)]
    together = workload.cohort_class().chunk["cpu" if device == "cpu" else "cuda"]
    if device != "cpu":
        together = min(together, 2048)
        found = [Contender("sequential", "loop", 1), Contender("sequential, for-each", "loop-foreach", 1)]
        found += [Contender(name, name, 1, chunk=together) for name in engine]
        return found + [Contender(f"{engine[-1]}, whole plan", engine[-1], 1, scope="whole")] * job.mixed
    n = cores()
    found = [
        Contender("sequential, 1 thread", "loop", 1),
        Contender(f"sequential, {n} threads", "loop", 1, n),
        Contender(f"sequential, {n} processes", "loop"),
        Contender(f"sequential, {n} processes, for-each", "loop-foreach"),
    ]
    for name in engine:
        found += [
            Contender(f"{name}, 1 process", name, 1, chunk=together),
            Contender(f"{name}, {n} processes", name, chunk=together),
        ]
    if job.mixed:
        found.append(Contender(f"{engine[-1]}, {n} processes, whole plan", engine[-1], scope="whole"))
    elif not job.standard and importlib.util.find_spec("jax"):
        from metabench.speed.xla import CHUNK

        found += [
            Contender("JAX, 1 process", "jax", 1, chunk=CHUNK),
            Contender(f"JAX, {n} processes", "jax", chunk=CHUNK),
        ]
    return found


def _usable(workload, backend: str, device: str) -> bool:
    from metabench.training import choose

    try:
        choose(workload, device, backend)
    except MetabenchError:
        return False
    return True


@dataclass
class _Peaks:
    """The best GFLOP/s seen, by kind and number of processes."""

    device: str
    best: dict[tuple[str, int], float] = field(default_factory=dict)

    def measure(self, workers: list[Member]) -> None:
        for kind in ("product", "fma"):
            for n in {1, len(workers) if self.device == "cpu" else 1}:
                for member in workers[:n]:
                    member.send(("peak", kind, self.device))
                found = float(sum(member.receive() for member in workers[:n]))
                self.best[kind, n] = max(found, self.best.get((kind, n), found))

    def summary(self) -> dict[str, float]:
        """``product`` and ``fma`` of all processes together, ``product_alone`` and ``fma_alone`` of one."""
        together = {kind: value for (kind, n), value in sorted(self.best.items())}
        return together | {f"{kind}_alone": value for (kind, n), value in self.best.items() if n == 1}


def measure(
    names: Sequence[str] = (), *, device: str = "cpu", repeats: int = 3, say: Callable[[str], None] = lambda text: None
) -> tuple[list[Row], dict[str, float]]:
    """Rows of every job and contender, and the peaks in GFLOP/s: ``product``, torch's matrix products, and ``fma``,
    multiply-adds in registers, of all cores at once; ``product_alone`` and ``fma_alone`` of one. On a GPU there is no
    ``fma`` (NaN).

    ``names`` are those of ``JOBS`` (default: all of them) or of workloads, which stand for their default configuration.
    ``say`` is told what is being done. Raises UsageError for an unknown job or a device that is not there, MetabenchError
    when a contender fails.
    """
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise UsageError(f"device {device}: torch finds no CUDA device here; use cpu")
    chosen = [find(name) for name in names or JOBS]
    entered = {job.name: contenders(device, job) for job in chosen}
    with_jax = any(c.trainer == "jax" for here in entered.values() for c in here)
    peaks, best = _Peaks(device), {}
    with team(cores() if device == "cpu" else 1, "torch") as members, team(cores() if with_jax else 0, "jax") as in_jax:
        for job in chosen:
            here = entered[job.name]
            timings = best[job.name] = {}
            for turn in range(-1, repeats):  # the first turn warms up: libraries, compilers, caches
                peaks.measure(members)
                for contender in here:
                    if turn >= 0 and _settled(contender, turn, timings, here):
                        continue
                    say(f"{job.name}: {contender.name}, {f'{turn + 1} of {repeats}' if turn >= 0 else 'warming up'}")
                    workers = in_jax if contender.trainer == "jax" else members
                    workers = workers[: contender.processes or len(workers)]
                    if turn < 0:
                        timing = _warm(job, contender, workers, device)
                    else:
                        timing = _time(job, _parts(job, contender, len(workers), timings), contender, workers, device)
                    if turn <= 0 or timing.rate > timings[contender.name].rate:
                        timings[contender.name] = timing
    return [row for job in chosen for row in _rows(job, entered[job.name], best[job.name], peaks)], peaks.summary()


def _settled(contender: Contender, turn: int, timings: dict[str, Timing], here: list[Contender]) -> bool:
    """Whether what was measured of a contender will do: it is slow, or a loop without a chance."""
    best = max(timings[c.name].rate for c in here if c.sequential)
    hopeless = contender.sequential and timings[contender.name].rate < HOPELESS * best
    return hopeless or (turn > 0 and timings[contender.name].seconds > SLOW)


def _rows(job: Job, entered: list[Contender], best: dict[str, Timing], peaks: _Peaks) -> list[Row]:
    loops = [best[c.name] for c in entered if c.sequential]
    base, core_base = max(t.rate for t in loops), max(t.runs / t.busy for t in loops)
    rows = []
    for c in entered:
        timing, processes = best[c.name], c.processes or cores()
        gflops = timing.flops / timing.seconds / 1e9
        used = 1 if processes * c.threads == 1 else max(n for _, n in peaks.best)
        rows.append(
            Row(
                job=job.name,
                contender=c.name,
                processes=processes,
                threads=c.threads,
                runs=timing.runs,
                seconds=timing.seconds,
                runs_per_second=timing.rate,
                runs_per_core_second=timing.runs / timing.busy,
                gflops=gflops,
                ratio=timing.rate / base,
                core_ratio=timing.runs / timing.busy / core_base,
                of_product_peak=gflops / peaks.best["product", used],
                of_fma_peak=gflops / peaks.best["fma", used],
            )
        )
    return rows


# ---------------------------------------------------------------- one measurement
def _parts(job: Job, contender: Contender, processes: int, timings: dict[str, Timing]) -> list[Part]:
    """What a contender trains: a mixed job's sample or all of it, or as many plain runs as fill the window."""
    if job.mixed:
        return job.parts(None if contender.scope == "whole" else job.sample)
    chunk = contender.chunk * processes
    return job.parts(chunk * max(1, round(timings[contender.name].rate * WINDOW / chunk)))


def _warm(job: Job, contender: Contender, workers: list[Member], device: str) -> Timing:
    """A taste, twice: what is compiled or cached is so the second time. Of a plain job it foretells the rate."""
    parts = job.parts(len(job.tasks) * len(workers) if job.mixed else contender.chunk * len(workers))
    return [_time(job, parts, contender, workers, device) for _ in range(1 if job.mixed else 2)][-1]


def _time(job: Job, parts: list[Part], contender: Contender, workers: list[Member], device: str) -> Timing:
    """Train ``parts``, spread over the workers by their operations."""
    costs = [job.flops(task, configs) for task, configs, _ in parts]
    shares = shared(parts, costs, len(workers))
    began = time.perf_counter()
    for member, share in zip(workers, shares, strict=True):
        member.send(("train", contender.trainer, job.workload, contender.threads, device, job.epochs, share))
    busy = sum(member.receive() for member in workers)
    seconds = time.perf_counter() - began
    return Timing(seconds, busy, sum(len(seeds) for *_, seeds in parts), float(sum(cost.sum() for cost in costs)))


def shared(parts: list[Part], costs: list[np.ndarray], n: int) -> list[list[Part]]:
    """``parts`` dealt to ``n`` workers, run by run, the dearest first and each to whoever has least (Graham, 1969)."""
    load, taken = np.zeros(n), [[[] for _ in parts] for _ in range(n)]
    runs = [(cost, i, k) for i, some in enumerate(costs) for k, cost in enumerate(some)]
    for cost, i, k in sorted(runs, reverse=True):
        worker = int(load.argmin())
        load[worker] += cost
        taken[worker][i].append(k)
    return [
        [(task, configs.iloc[sorted(k)], seeds[sorted(k)]) for (task, configs, seeds), k in zip(parts, mine) if k]
        for mine in taken
    ]


__all__ = ["Contender", "Row", "contenders", "cores", "measure"]
