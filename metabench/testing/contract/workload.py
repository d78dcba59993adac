"""The contract of workloads: the engine and the plain network agree."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metabench.testing.contract.requirement import require


def check_workload(workload, arrays, n: int = 6) -> None:
    """Check a workload on a task's arrays: runs together and by an ordinary loop have the same curves in float64, finite
    for most configurations of its space; in float32 a run's curve is the same, to the last bit, alone and in company.

    Raises ContractError with one line at the first violation.
    """
    import torch

    from metabench.training import run_cohort

    workload = workload() if isinstance(workload, type) else workload
    workload.space.validate(workload.space.default())
    configs = workload.space.sample(n, seed=0)
    configs["learning_rate"] = np.minimum(configs["learning_rate"], 1e-3)
    curves = [
        run_cohort(workload, arrays, configs, np.arange(n), (1, 2), backend=b, dtype=torch.float64)
        for b in ("sequential", "batched")
    ]
    for name in ("train_loss", "valid_loss", "test_loss", "valid_score"):
        slow, fast = (getattr(c, name) for c in curves)
        require(np.isfinite(slow).any(), f"{workload.name}: no configuration gives a finite {name}")
        gap = np.nanmax(np.abs(slow - fast) / np.maximum(np.abs(slow), 1e-3))
        require(gap < 1e-5, f"{workload.name}: {name} of cohort and plain network differ by {gap:.1e}")
    _twins(workload, arrays, configs)
    _alone_and_together(workload, arrays, configs)
    config = configs.iloc[0].to_dict()
    network = workload.build(arrays, config, 0)
    true = sum(p.numel() for p in network.parameters())
    said = workload.params(arrays, config)
    require(true == said, f"{workload.name}: params says {said}, the network has {true}")


def _twins(workload, arrays, configs: pd.DataFrame) -> None:
    """An epoch of each run, to 1e-8 of what an ordinary loop makes of it."""
    import torch

    from metabench.training.data import Data

    data = Data.of(arrays, "cpu", torch.float64)
    for i, config in enumerate(configs.to_dict("records")):
        plain = workload.alone(arrays, config, i, data, 2)
        plain.epoch(0)
        with torch.no_grad():
            runs = workload.learners(arrays, configs.iloc[[i]], np.array([i]), data, 2)
            runs.begin(0)
            for step in range(runs.steps):
                runs.advance(step)
            found = runs.evaluate()
        for part, (loss, _) in plain.evaluate().items():
            gap = abs(found[part][0].item() - loss) / max(abs(loss), 1e-3)
            require(
                gap < 1e-8, f"{workload.name}: {part} loss of cohort and plain network differ by {gap:.1e} in float64"
            )


def _alone_and_together(workload, arrays, configs: pd.DataFrame) -> None:
    from metabench.training import run_cohort

    same = configs.iloc[[0, 0, 1, 0]].reset_index(drop=True)  # the seeds make runs of one shape company
    seeds = np.array([3, 0, 0, 5])
    together = run_cohort(workload, arrays, same, seeds, (1, 2), backend="batched")
    alone = run_cohort(workload, arrays, same.iloc[[1]], seeds[[1]], (1, 2), backend="batched")
    for name in ("train_loss", "valid_loss", "valid_score"):
        equal = np.array_equal(getattr(together, name)[1], getattr(alone, name)[0], equal_nan=True)
        require(equal, f"{workload.name}: {name} of a run depends on the runs it is trained with")
