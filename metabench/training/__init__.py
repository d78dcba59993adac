"""The engine: trains many configurations of a workload and returns their learning curves.

``run_cohort`` is the one way in. Behind it stand three backends that share every random number and agree on curves:
``sequential`` (plain torch, the oracle), ``batched`` (torch over a run axis) and ``resident`` (compiled, a run at a time
stays in cache; the fastest: C++ on the CPU, Triton on a GPU).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from metabench import extras
from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest
from metabench.training.curves import Curves
from metabench.training.machine import ask_for_reproducible_products, driver

ask_for_reproducible_products()

BACKENDS = ("sequential", "batched", "resident")


def backends(device: str = "cpu") -> dict[str, str | None]:
    """Backend → None when it can be used on this machine's ``device``, else the reason why not."""
    if not extras.has("torch"):
        return dict.fromkeys(BACKENDS, str(extras.absent("torch", "training")))
    absent = _absent(device)
    return {"sequential": absent, "batched": absent, "resident": absent or _resident(device).available()}


def _resident(device: str):
    """The module of the resident backend on a device."""
    if device.startswith("cuda"):
        from metabench.training import resident_cuda

        return resident_cuda
    from metabench.training import resident

    return resident


def _absent(device: str) -> str | None:
    """Why there is no such device here; None when there is."""
    if not device.startswith("cuda"):
        return None
    absent = "torch finds no CUDA device here"
    if not driver():
        return absent
    import torch

    return None if torch.cuda.is_available() else absent


def choose(workload, device: str, backend: str = "auto") -> str:
    """The backend that a request ends up with; ``auto`` falls back from resident to batched with a one-line notice.

    Raises UsageError for an unknown backend or one that does not train this workload on this device, MetabenchError
    when the resident backend was asked for and cannot be built.
    """
    if backend not in ("auto", *BACKENDS):
        raise suggest(backend, ["auto", *BACKENDS], "backend")
    extras.need("torch", "training")
    if backend in ("sequential", "batched"):
        return backend
    resident = _resident(device)
    if not resident.supports(workload):
        if backend == "resident":
            raise UsageError(f"backend resident trains {workload.name} on {device} not at all; use batched")
        return "batched"
    reason = resident.available(workload.name)
    if reason is None:
        return "resident"
    if backend == "resident":
        raise MetabenchError(f"resident backend not available: {reason}")
    warnings.warn(f"resident backend not available ({reason}); using batched", stacklevel=3)
    return "batched"


@contextmanager
def plain_loop(device: str = "cpu") -> Iterator[None]:
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
    extras.need("torch", "training")
    absent = _absent(device)
    if absent:
        raise UsageError(f"device {device}: {absent}; use cpu")
    chosen = choose(workload, device, backend)
    if chosen == "resident":
        given = () if device == "cpu" else (device,)
        return _resident(device).run(workload, arrays, configs, seeds, checkpoints, *given)
    import torch

    dtype = dtype or torch.float32
    with plain_loop(device):
        if chosen == "sequential":
            from metabench.training import sequential

            return sequential.run(workload, arrays, configs, seeds, checkpoints, device, dtype)
        from metabench.training import batched

        return batched.run(workload, arrays, configs, seeds, checkpoints, device, dtype, together)


__all__ = ["BACKENDS", "Curves", "backends", "choose", "plain_loop", "run_cohort"]
