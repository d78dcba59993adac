"""The batched backend: many runs advance together over a leading run axis, on the CPU or on CUDA.

A workload gives the runs that learn together (:mod:`metabench.training.learners`); this module moves them: epochs,
checkpoints, divergence, on CUDA graphs of a step. With one thread (as here on the CPU) the curve of a run is the same to
the last bit whatever it is trained with: the kernels that serve a run depend on its own shape alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training.curves import Curves
from metabench.training.data import Data
from metabench.training.learners import Learners
from metabench.training.machine import processor

#: share of a chunk's runs under which those that go on are taken out of it
CROWDED = 0.75


def run(
    workload,
    arrays: Arrays,
    configs: pd.DataFrame,
    seeds,
    checkpoints,
    device="cpu",
    dtype=torch.float32,
    together=None,
) -> Curves:
    """Train all runs, chunk by chunk; arguments and result as :func:`metabench.training.run_cohort`."""
    engine = f"batched-{NUMERICS_VERSION}/torch-{torch.__version__}"
    curves = Curves.empty(len(configs), checkpoints, engine, processor(device))
    seeds = np.asarray(seeds)
    for i, row in enumerate(configs.to_dict("records")):
        curves.params[i] = workload.params(arrays, row)
        curves.flops[i] = workload.flops(arrays, row, max(checkpoints))
    data = Data.of(arrays, device, dtype)
    with torch.no_grad():
        size = together or workload.cohort_class().chunk[torch.device(device).type]
        for chunk in plan(workload, arrays, configs, size):
            started = time.perf_counter()
            _train(workload, arrays, data, configs.iloc[chunk], seeds[chunk], chunk, checkpoints, curves)
            share = curves.flops[chunk] / curves.flops[chunk].sum()
            curves.seconds[chunk] = (time.perf_counter() - started) * share
    for i in np.flatnonzero(curves.length < len(checkpoints)):
        curves.status[i] = "diverged"
    return curves


def plan(workload, arrays: Arrays, configs: pd.DataFrame, size: int) -> list[np.ndarray]:
    """Rows of the configuration table that are trained together: at most ``size`` of one group, in the order that its
    cohort likes best."""
    kind, n = workload.cohort_class(), len(arrays.x_train)
    groups: dict[tuple, list[tuple]] = {}
    for i, row in enumerate(configs.to_dict("records")):
        key = (min(int(row["batch_size"]), n), *kind.group(arrays, row))
        groups.setdefault(key, []).append((*kind.order(row), i))
    chunks = []
    for members in groups.values():
        places = np.array([m[-1] for m in sorted(members)])
        chunks += np.array_split(places, -(-len(places) // size))
    return chunks


class _Graph:
    """Steps of runs on CUDA as one captured graph, so that a step costs the host one launch instead of dozens.

    The first steps are taken one kernel at a time, which also warms up what a capture may not see for the first time.
    """

    WARM = 3

    def __init__(self, learners: Learners):
        self.learners, self.graph, self.calls, self.next = learners, None, 0, -1
        self.step = torch.zeros(1, dtype=torch.long, device=learners.trouble.device)

    def advance(self, step: int) -> None:
        self.calls += 1
        if self.calls <= self.WARM:
            self.learners.advance(step)
            return
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):  # records, runs nothing
                self.learners.advance(self.step)
                self.step += 1
        if step != self.next:
            self.step.fill_(step)
        self.graph.replay()
        self.next = step + 1


def _train(workload, arrays, data: Data, configs, seeds, place, checkpoints, curves: Curves) -> None:
    """Train one chunk; row ``place[r]`` of ``curves`` receives run r. Runs that diverged leave at the end of an epoch,
    once they are a quarter of the chunk."""

    def learners(kept) -> Learners:
        return workload.learners(arrays, configs.iloc[kept], seeds[kept], data, epochs)

    epochs, reached, here = max(checkpoints), 0, np.arange(len(seeds))
    runs = learners(here)
    advance, phase = _stepper(runs), runs.phase
    for epoch in range(epochs):
        runs.begin(epoch)
        if runs.phase != phase:
            advance, phase = _stepper(runs), runs.phase
        for step in range(epoch * runs.steps, (epoch + 1) * runs.steps):
            advance(step)
        if epoch + 1 == checkpoints[reached]:
            _checkpoint(runs, place[here], reached, curves)
            reached += 1
        alive = torch.isfinite(runs.trouble).cpu().numpy()
        if not alive.any() or epoch + 1 == epochs:
            return
        if alive.mean() <= CROWDED:
            # what they would do in company they do to the last bit
            kept = np.flatnonzero(alive)
            here, old = here[kept], runs
            runs = learners(here)
            runs.resume(old, torch.as_tensor(kept, device=old.trouble.device))
            advance = _stepper(runs)


def _stepper(runs: Learners) -> Callable[[int], None]:
    """Takes a step of runs, the fastest way that the device has."""
    return _Graph(runs).advance if runs.trouble.device.type == "cuda" else runs.advance


def _checkpoint(runs: Learners, place, reached: int, curves: Curves) -> None:
    """Evaluate every run; those that are still finite get a point on their curves."""
    found = runs.evaluate()
    for part, values in found.items():
        for value in values if part != "train" else values[:1]:
            # as the curves will hold them: a score that overflows is no score
            runs.trouble.add_(value.to(torch.float32).mul(0.0).to(runs.trouble.dtype))
    finite = torch.isfinite(runs.trouble).cpu().numpy()
    rows = place[finite]
    for part, (mean, score) in found.items():
        getattr(curves, f"{part}_loss")[rows, reached] = mean.cpu().numpy()[finite]
        if part != "train":
            getattr(curves, f"{part}_score")[rows, reached] = score.cpu().numpy()[finite]
    curves.length[rows] = reached + 1
