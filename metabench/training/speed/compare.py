"""The comparison: who trains what, in which processes, and what the clock says."""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from metabench.errors import MetabenchError
from metabench.registry import suggest
from metabench.training.speed.jobs import JOBS, Job

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Contender:
    """A way to train runs: with ``trainer``, in as many processes as there are cores, or alone with ``threads``."""

    name: str
    trainer: str
    #: processes; 0: one a core
    processes: int = 0
    threads: int = 1
    #: runs of a plain job that each process trains to be measured, and of the mixed plan (0: it is not run; −1: all)
    plain: int = 32
    mixed: int = -1

    @property
    def sequential(self) -> bool:
        return self.trainer.startswith("loop")


@dataclass(frozen=True)
class Row:
    """A contender on a job. Rates are those of all processes together."""

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
    #: shares of the measured peaks of this many processes
    of_product_peak: float
    of_fma_peak: float


@dataclass(frozen=True)
class _Timing:
    """One measurement: seconds of wall time, core-seconds, runs, training operations."""

    seconds: float
    busy: float
    runs: int
    flops: float


#: a contender that needs this many seconds is measured once
SLOW = 20.0


def contenders(device: str = "cpu") -> list[Contender]:
    """Everything that can be compared here."""
    from metabench.training import backends

    if device != "cpu":
        return [
            Contender("sequential", "loop", 1, plain=8, mixed=16),
            *(Contender(name, name, 1, plain=2048) for name in ("batched", "resident") if backends()[name] is None),
        ]
    loops = [
        Contender("sequential, 1 thread", "loop", 1, 1, plain=8, mixed=16),
        Contender(f"sequential, {_cores()} threads", "loop", 1, _cores(), plain=4, mixed=16),
        Contender(f"sequential, {_cores()} processes", "loop", 0, 1, plain=8, mixed=16),
        Contender(f"sequential, {_cores()} processes, for-each", "loop-foreach", 0, 1, plain=8, mixed=16),
    ]
    engine = [
        Contender(name, name) for name in ("batched", "resident") if backends()[name] is None
    ]  # fmt: skip
    jax = [Contender("JAX jit(vmap(scan))", "jax", plain=64, mixed=0)] if importlib.util.find_spec("jax") else []
    return [*loops, *engine, *jax]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(
    names: Sequence[str] = (), *, device: str = "cpu", repeats: int = 3, say: Callable[[str], None] = lambda text: None
) -> tuple[list[Row], dict[str, float]]:
    """Rows of every job and contender, and the peaks in GFLOP/s (``product``: matrix products of torch, ``fma``: chained
    multiply-adds in registers; of all cores together, NaN on a GPU).

    ``say`` is told what is being done. Raises UsageError for an unknown job, MetabenchError when a contender fails.
    """
    chosen = [_job(name) for name in names or JOBS]
    field = contenders(device)
    rows: list[Row] = []
    with _team(_cores(), "torch") as torch_team, _team(_cores() if _has_jax(field) else 0, "jax") as jax_team:
        peaks = _peaks(torch_team) if device == "cpu" else dict.fromkeys(("product", "fma"), float("nan"))
        for job in chosen:
            best: dict[str, _Timing] = {}
            for turn in range(-1, repeats):  # the first turn warms up: libraries, compilers, caches
                for contender in field:
                    if (job.mixed and contender.mixed == 0) or (turn >= 1 and best[contender.name].seconds > SLOW):
                        continue
                    team = jax_team if contender.trainer == "jax" else torch_team
                    say(
                        f"{job.name}: {contender.name}"
                        + (f", {turn + 1} of {repeats}" if turn >= 0 else ", warming up")
                    )
                    found = _time(job, contender, team, device, warm=turn < 0)
                    if turn >= 0 and (contender.name not in best or found.seconds < best[contender.name].seconds):
                        best[contender.name] = found
            rows += _rows(job, field, best, peaks)
    return rows, peaks


def _job(name: str) -> Job:
    if name not in JOBS:
        raise suggest(name, list(JOBS), "job")
    return JOBS[name]


def _has_jax(field: list[Contender]) -> bool:
    return any(c.trainer == "jax" for c in field)


def _rows(job: Job, field: list[Contender], best: dict[str, _Timing], peaks: dict[str, float]) -> list[Row]:
    rate = {name: timing.runs / timing.seconds for name, timing in best.items()}
    base = max(rate[c.name] for c in field if c.sequential)
    rows = []
    for c in (c for c in field if c.name in best):
        timing = best[c.name]
        busy = (c.processes or _cores()) * c.threads / _cores()
        gflops = timing.flops / timing.seconds / 1e9
        rows.append(
            Row(
                job=job.name,
                contender=c.name,
                processes=c.processes or _cores(),
                threads=c.threads,
                runs=timing.runs,
                seconds=timing.seconds,
                runs_per_second=rate[c.name],
                runs_per_core_second=timing.runs / timing.busy,
                gflops=gflops,
                ratio=rate[c.name] / base,
                of_product_peak=gflops / (peaks["product"] * busy),
                of_fma_peak=gflops / (peaks["fma"] * busy),
            )
        )
    return rows


def _time(job: Job, contender: Contender, team: list[_Member], device: str, warm: bool) -> _Timing:
    members = team[: contender.processes or len(team)]
    n = contender.mixed if job.mixed else contender.plain * len(members)
    n = len(job.tasks) * len(job.table) if n < 0 else n
    if warm:  # compiled shapes are those that are timed, all else needs a taste only
        n = n if contender.trainer == "jax" else min(n, len(job.tasks) * len(members))
    parts = job.runs(n)
    shares = [
        [(task, configs.iloc[i :: len(members)], seeds[i :: len(members)]) for task, configs, seeds in parts]
        for i in range(len(members))
    ]
    began = time.perf_counter()
    for member, share in zip(members, shares, strict=True):
        member.send(("train", contender.trainer, contender.threads, device, job.epochs, share))
    busy = sum(member.receive() for member in members)
    seconds = time.perf_counter() - began
    flops = sum(job.flops(task, configs).sum() for task, configs, _ in parts)
    return _Timing(seconds, busy, sum(len(seeds) for *_, seeds in parts), float(flops))


# ---------------------------------------------------------------- processes
class _Member:
    """A worker process and the pipe to it."""

    def __init__(self, kind: str, core: int):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, kind, core), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: tuple) -> None:
        self.pipe.send(message)

    def receive(self):
        try:
            value, error = self.pipe.recv()
        except EOFError:
            raise MetabenchError(f"a process died while it was measured ({self.process.exitcode})") from None
        if error:
            raise MetabenchError(error)
        return value


@contextlib.contextmanager
def _team(n: int, kind: str) -> Iterator[list[_Member]]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    members: list[_Member] = []
    try:
        members += [_Member(kind, i) for i in range(n)]
        for member in members:
            member.receive()  # it is ready
        yield members
    finally:
        for member in members:
            member.process.terminate()
            member.process.join()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(pipe: Connection, kind: str, core: int) -> None:
    """Body of a worker: messages in, (value, None) or (None, message) out."""
    if kind == "jax":
        from metabench.training.speed import xla

        xla.one_thread(core)
    pipe.send((None, None))
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            what, *rest = pipe.recv()
            try:
                pipe.send(((_train if what == "train" else _peak)(*rest), None))
            except Exception as error:
                pipe.send((None, f"{what} {rest[0]}: {type(error).__name__}: {error}"))


def _train(trainer: str, threads: int, device: str, epochs: int, share: list) -> float:
    """Train a share of the runs; the seconds that this process kept cores busy."""
    from metabench import registry, tasks

    began = time.process_time()

    mlp = registry.create("workloads", "mlp")
    for task, configs, seeds in share:
        arrays = tasks.get(task).arrays(0)
        if trainer == "jax":
            from metabench.training.speed import xla

            xla.train(arrays, configs.iloc[0], seeds, epochs)
        elif trainer.startswith("loop"):
            import torch

            from metabench.training.speed import loop

            torch.set_num_threads(threads)
            for config, seed in zip(configs.to_dict("records"), seeds.tolist(), strict=True):
                loop.train(arrays, config, seed, epochs, device, fused=trainer == "loop")
        else:
            from metabench.training import run_cohort

            run_cohort(mlp, arrays, configs, seeds, (epochs,), device=device, backend=trainer)
    return time.process_time() - began


# ---------------------------------------------------------------- peaks
def _peaks(team: list[_Member]) -> dict[str, float]:
    """GFLOP/s of all cores at once; NaN where a kernel cannot be built."""
    out = {}
    for kind in ("product", "fma"):
        for member in team:
            member.send(("peak", kind))
        out[kind] = float(sum(member.receive() for member in team))
    return out


def _peak(kind: str) -> float:
    if kind == "fma":
        import ctypes

        from metabench.training import resident

        try:
            library = ctypes.CDLL(str(resident.build("peak.cpp")))
        except (MetabenchError, OSError):
            return float("nan")
        library.fma_peak.restype = ctypes.c_double
        return max(library.fma_peak(ctypes.c_double(0.3)) for _ in range(3))
    import torch

    torch.set_num_threads(1)
    best = 0.0
    for n in (256, 512, 1024):
        a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
        repeats = max(2, int(2e10 / (2 * n**3)))
        torch.mm(a, b, out=out)
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            best = max(best, repeats * 2 * n**3 / (time.perf_counter() - began) / 1e9)
    return best


__all__ = ["Contender", "Row", "contenders", "measure"]
