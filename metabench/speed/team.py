"""Worker processes that train and are timed: each has one thread unless it is told otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from metabench.errors import MetabenchError
from metabench.processes import Worker, ignore_interrupts


class Member(Worker):
    """A worker process that measures (:func:`_serve`)."""

    def __init__(self, kind: str, core: int):
        super().__init__(_serve, kind, core)

    def send(self, message: tuple) -> None:
        self.pipe.send(message)

    def receive(self):
        """The answer to the last message. Raises MetabenchError when there was an error, or the process died."""
        try:
            value, error = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise MetabenchError(f"a process died while it was measured ({self.process.exitcode})") from None
        if error:
            raise MetabenchError(error)
        return value


@contextlib.contextmanager
def team(n: int, kind: str) -> Iterator[list[Member]]:
    """``n`` workers that are ready; ``kind`` is torch, or jax: bound to a core each, because XLA asks the system how
    many threads to start."""
    members: list[Member] = []
    try:
        members += [Member(kind, i) for i in range(n)]
        for member in members:
            member.receive()  # it is ready
        yield members
    finally:
        for member in members:
            member.end()


def _serve(pipe: Connection, kind: str, core: int) -> None:
    """Body of a worker: (what, arguments) in, (value, None) or (None, message) out."""
    ignore_interrupts()
    if kind == "jax":
        from metabench.speed import xla

        xla.one_thread(core)
    pipe.send((None, None))
    with contextlib.suppress(EOFError):
        while True:
            what, *rest = pipe.recv()
            try:
                pipe.send(({"train": train, "peak": peak}[what](*rest), None))
            except Exception as error:
                pipe.send((None, f"{what} {rest[0]}: {type(error).__name__}: {error}"))


def train(trainer: str, workload: str, threads: int, device: str, epochs: int, share: list) -> float:
    """Train (task, configurations, seeds) of a share; the seconds that this process kept cores busy with it."""
    from metabench import registry
    from metabench.speed.jobs import arrays as arrays_of

    began, network = time.process_time(), registry.create("workloads", workload)
    for task, configs, seeds in share:
        arrays = arrays_of(workload, task)
        if trainer == "jax":
            from metabench.speed import xla

            xla.train(arrays, configs.iloc[0], seeds, epochs)
        elif trainer.startswith("loop"):
            import torch

            from metabench.speed import loop

            torch.set_num_threads(threads)
            for config, seed in zip(configs.to_dict("records"), seeds.tolist(), strict=True):
                loop.train(network, arrays, config, seed, epochs, device, fused=trainer == "loop")
        else:
            from metabench.training import run_cohort

            run_cohort(network, arrays, configs, seeds, (epochs,), device=device, backend=trainer)
    return time.process_time() - began


def peak(kind: str, device: str = "cpu", seconds: float = 0.1) -> float:
    """GFLOP/s over about ``seconds``: ``product``, torch's matrix products of the best size; ``fma``, independent
    multiply-adds that touch registers alone (NaN where that kernel cannot be built, and on a GPU)."""
    if kind == "fma":
        import ctypes

        from metabench.training import resident

        try:
            library = ctypes.CDLL(str(resident.build("peak.cpp")))
        except (MetabenchError, OSError):
            return float("nan")
        library.fma_peak.restype = ctypes.c_double
        return library.fma_peak(ctypes.c_double(seconds)) if device == "cpu" else float("nan")
    import torch

    torch.set_num_threads(1)
    best = 0.0
    for n in (256, 512, 1024) if device == "cpu" else (2048, 8192):
        a, b, out = (torch.randn(n, n, device=device) for _ in range(3))
        best = max(best, _products(a, b, out, seconds / 3))
    return best


def _products(a, b, out, seconds: float) -> float:
    import torch

    torch.mm(a, b, out=out)
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        torch.mm(a, b, out=out)
        if out.is_cuda:
            torch.cuda.synchronize()
        done += 1
    return done * 2 * len(a) ** 3 / (time.perf_counter() - began) / 1e9
