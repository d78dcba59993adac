"""The batched backend: many runs advance together over a leading run axis, on the CPU or on CUDA.

A workload's ``cohort_class`` holds the networks (forward and a hand-written backward); this module feeds it: data
order, losses, clipping and updates, checkpoints, divergence. With one thread (as here on the CPU) the curve of a run is
the same to the last bit whatever it is trained with: the kernels that serve a run depend on its own shape alone.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training.curves import Curves
from metabench.training.losses import Evaluator, Loss
from metabench.training.machine import processor
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import orders
from metabench.training.schedules import learning_rates

#: runs that advance together: enough to hide the cost of a call, few enough to stay in a core's cache
CHUNK = {"cpu": 32, "cuda": 4096}
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
    data = _tensors(arrays, device, dtype)
    with torch.no_grad():
        for chunk in plan(workload, arrays, configs, together or CHUNK[torch.device(device).type]):
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


def _tensors(arrays: Arrays, device: str, dtype) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    label = torch.long if arrays.kind == "classification" else dtype
    return {
        part: (
            torch.as_tensor(getattr(arrays, f"x_{part}"), dtype=dtype, device=device),
            torch.as_tensor(getattr(arrays, f"y_{part}"), dtype=label, device=device),
        )
        for part in ("train", "valid", "test")
    }


class _Runs:
    """The runs of a chunk that advance together: their networks, updates and loss."""

    def __init__(self, workload, arrays: Arrays, data, configs: pd.DataFrame, seeds, place, steps: int, total: int):
        x, y = data["train"]
        self.workload, self.arrays, self.data, self.steps, self.total = workload, arrays, data, steps, total
        self.configs, self.seeds, self.place = configs, seeds, place
        self.batch = min(int(configs["batch_size"].iloc[0]), len(x))
        self.cohort = workload.cohort_class()(arrays, configs, seeds, x, self.batch)
        rates = learning_rates(configs, total)
        self.update = Optimizers(self.cohort.flat, self.cohort.grad, configs, rates, self.cohort.used)
        self.loss = Loss(arrays, configs, y, x.dtype)

    def epoch(self, epoch: int) -> None:
        """One pass over the training rows."""
        x = self.data["train"][0]
        shape = (len(self.seeds), self.steps, self.batch)
        order = orders(self.seeds, epoch, len(x))[:, : self.steps * self.batch].reshape(shape).swapaxes(0, 1)
        rows = torch.as_tensor(np.ascontiguousarray(order), device=x.device)
        for k in range(self.steps):
            step = epoch * self.steps + k
            self.cohort.backward(self.loss(self.cohort.forward(rows[k], step), rows[k]))
            self.update.step(step)

    def alive(self) -> np.ndarray:
        """bool [R]: every loss so far was finite."""
        return torch.isfinite(self.loss.trouble).cpu().numpy()

    def only(self, alive: np.ndarray) -> _Runs:
        """Those runs alone, where they stand: what they would do in company they do to the last bit."""
        kept = np.flatnonzero(alive)
        some = _Runs(
            self.workload, self.arrays, self.data, self.configs.iloc[kept], self.seeds[kept], self.place[kept],
            self.steps, self.total,
        )  # fmt: skip
        at = torch.as_tensor(kept, device=self.cohort.flat.device)
        some.cohort.flat.copy_(self.cohort.flat[at, : some.cohort.flat.shape[1]])
        some.update.resume(self.update, at)
        return some


def _train(workload, arrays, data, configs, seeds, place, checkpoints, curves: Curves) -> None:
    """Train one chunk; row ``place[r]`` of ``curves`` receives run r. Runs that diverged leave at the end of an epoch,
    once they are a quarter of the chunk."""
    n, epochs = len(data["train"][0]), max(checkpoints)
    steps = n // min(int(configs["batch_size"].iloc[0]), n)
    runs = _Runs(workload, arrays, data, configs, seeds, place, steps, epochs * steps)
    evaluators = {part: Evaluator(t, arrays.metric, arrays.n_outputs) for part, (_, t) in data.items()}
    reached = 0
    for epoch in range(epochs):
        runs.epoch(epoch)
        if epoch + 1 == checkpoints[reached]:
            _checkpoint(runs.cohort, data, evaluators, runs.loss, runs.place, reached, curves)
            reached += 1
        alive = runs.alive()
        if not alive.any() or epoch + 1 == epochs:
            return
        if alive.mean() <= CROWDED:
            runs = runs.only(alive)


def _checkpoint(cohort, data, evaluators, loss: Loss, place, reached: int, curves: Curves) -> None:
    """Evaluate every run; those that are still finite get a point on their curves."""
    found = {}
    for part, (x, _) in data.items():
        evaluator, size = evaluators[part], cohort.block_rows
        evaluator.start(len(place))
        for low in range(0, len(x), size):
            evaluator.add(cohort.predict(x[low : low + size]), low)
        found[part] = evaluator.result()
        watched = found[part] if part != "train" else found[part][:1]
        for value in watched:  # as the curves will hold them: a score that overflows is no score
            loss.trouble.add_(value.to(torch.float32).mul(0.0).to(loss.trouble.dtype))
    finite = torch.isfinite(loss.trouble).cpu().numpy()
    rows = place[finite]
    for part, (mean, score) in found.items():
        getattr(curves, f"{part}_loss")[rows, reached] = mean.cpu().numpy()[finite]
        if part != "train":
            getattr(curves, f"{part}_score")[rows, reached] = score.cpu().numpy()[finite]
    curves.length[rows] = reached + 1
