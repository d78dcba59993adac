"""The engine: trains many configurations of a workload and returns their learning curves.

``run_cohort`` is the one way in. Behind it stand three backends that share every random number and agree on curves:
``sequential`` (plain torch, the oracle), ``batched`` (torch over a run axis) and ``resident`` (compiled, one run at a
time in cache; the fastest on a CPU).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest
from metabench.training.curves import Curves

BACKENDS = ("sequential", "batched", "resident")


def backends() -> dict[str, str | None]:
    """Backend → None when it can be used on this machine, else the reason why not."""
    from metabench.training import resident

    return {"sequential": None, "batched": None, "resident": resident.available()}


def choose(workload, device: str, backend: str = "auto") -> str:
    """The backend that a request ends up with; ``auto`` falls back from resident to batched with a one-line notice.

    Raises UsageError for an unknown backend or one that does not train this workload on this device, MetabenchError
    when the resident backend was asked for and cannot be built.
    """
    if backend not in ("auto", *BACKENDS):
        raise suggest(backend, ["auto", *BACKENDS], "backend")
    if backend in ("sequential", "batched"):
        return backend
    from metabench.training import resident

    if device != "cpu" or not resident.supports(workload):
        if backend == "resident":
            raise UsageError(f"backend resident trains {workload.name} on {device} not at all; use batched")
        return "batched"
    reason = resident.available()
    if reason is None:
        return "resident"
    if backend == "resident":
        raise MetabenchError(f"resident backend not available: {reason}")
    warnings.warn(f"resident backend not available ({reason}); using batched", stacklevel=3)
    return "batched"


@contextmanager
def _reproducible(device: str) -> Iterator[None]:
    """One thread, so that a run's curve is the same to the last bit in any company, and subnormal numbers as zero,
    which slow a saturated network down tenfold; both as before afterwards."""
    import torch

    threads, flushed = torch.get_num_threads(), not torch.tensor(2e-39).mul(0.5).item()
    if device == "cpu":
        torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def run_cohort(
    workload,
    arrays,
    configs,
    seeds,
    checkpoints,
    *,
    device: str = "cpu",
    backend: str = "auto",
    dtype=None,
    together: int | None = None,
) -> Curves:
    """Train R runs: run i is row i of the configuration table with ``seeds[i]``, all on the same arrays.

    ``checkpoints`` are ascending epochs; the last is the length of training. ``dtype`` (a torch dtype, default float32)
    is for tests; the resident backend knows float32 only. ``together`` is how many runs the batched backend advances at
    once (default: what suits the device); no curve depends on it. Raises UsageError for an unknown backend or a shape mismatch.
    """
    seeds = np.asarray(seeds, dtype=np.int64)
    if len(seeds) != len(configs):
        raise UsageError(f"{len(configs)} configurations but {len(seeds)} seeds")
    if list(checkpoints) != sorted(set(checkpoints)) or min(checkpoints) < 1:
        raise UsageError(f"checkpoints must be ascending epochs from 1 on, got {tuple(checkpoints)}")
    chosen = choose(workload, device, backend)
    if chosen == "resident":
        from metabench.training import resident

        return resident.run(workload, arrays, configs, seeds, checkpoints)
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("device cuda: torch finds no CUDA device here; use cpu")
    dtype = dtype or torch.float32
    with _reproducible(device):
        if chosen == "sequential":
            from metabench.training import sequential

            return sequential.run(workload, arrays, configs, seeds, checkpoints, device, dtype)
        from metabench.training import batched

        return batched.run(workload, arrays, configs, seeds, checkpoints, device, dtype, together)


__all__ = ["BACKENDS", "Curves", "backends", "choose", "run_cohort"]
