"""How fast the backends train here, side by side in one process and on one thread each."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

#: runs that each backend trains; the sequential loop gets fewer and is compared on the same ones
RUNS, FEW = 64, 8


def measure(repeats: int = 2) -> list[dict[str, Any]]:
    """Runs and GFLOP a second of every backend that can be used, best of ``repeats``, and the ratio to the sequential
    loop on the same configurations.

    Two jobs on scikit-learn's digits: a 64-64-10 MLP for 20 epochs with batches of 64 (SGD with momentum), and
    configurations of the whole mixed space for 18 epochs.
    """
    from metabench import registry, tasks
    from metabench.training import backends

    mlp = registry.create("workloads", "mlp")
    arrays = tasks.get("mlp-digits").arrays(0)
    plain = mlp.space.default() | {
        "optimizer": "momentum", "learning_rate": 0.05, "momentum": 0.9, "beta1": None, "beta2": None, "width": 64,
        "depth": 1, "dropout": 0.0, "schedule": "constant", "warmup": 0.0,
    }  # fmt: skip
    jobs = {"digits 64-64-10": (mlp.space.table([plain] * RUNS), 20), "mixed space": (mlp.space.sample(RUNS, 0), 18)}
    rows = []
    for job, (configs, epochs) in jobs.items():
        few = _seconds(mlp, arrays, configs[:FEW], epochs, "sequential", repeats)
        for backend in [name for name, reason in backends().items() if reason is None]:
            if backend == "sequential":
                n, seconds, ratio = FEW, few, 1.0
            else:
                n, seconds = RUNS, _seconds(mlp, arrays, configs, epochs, backend, repeats)
                ratio = few / _seconds(mlp, arrays, configs[:FEW], epochs, backend, repeats)
            flops = sum(mlp.flops(arrays, config, epochs) for config in configs[:n].to_dict("records"))
            rows.append({
                "job": job, "backend": backend, "runs": n, "runs_per_second": n / seconds,
                "gflops": flops / seconds / 1e9, "times_sequential": ratio,
            })  # fmt: skip
    return rows


def _seconds(workload, arrays, configs, epochs: int, backend: str, repeats: int) -> float:
    from metabench.training import run_cohort

    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run_cohort(workload, arrays, configs, np.zeros(len(configs), int), (epochs,), backend=backend)
        best = min(best, time.perf_counter() - began)
    return best
