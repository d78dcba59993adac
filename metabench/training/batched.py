"""The batched backend: many runs advance together over a leading run axis, on the CPU or on CUDA.

A workload's ``cohort`` holds the networks (forward and a hand-written backward); this module feeds it: data order,
noise, losses, clipping and updates, checkpoints, divergence.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training import hashing
from metabench.training.curves import Curves
from metabench.training.evaluation import loss_and_score
from metabench.training.machine import processor
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import torch_bits
from metabench.training.schedules import learning_rates

#: runs that advance together: enough to hide the cost of a call, few enough to stay in a core's cache
CHUNK = {"cpu": 32, "cuda": 4096}
#: rows evaluated at a time
EVALUATE = 1024


def run(
    workload, arrays: Arrays, configs: pd.DataFrame, seeds, checkpoints, device="cpu", dtype=torch.float32
) -> Curves:
    """Train all runs, chunk by chunk; arguments and result as :func:`metabench.training.run_cohort`."""
    engine = f"batched-{NUMERICS_VERSION}/torch-{torch.__version__}"
    curves = Curves.empty(len(configs), checkpoints, engine, processor(device))
    rows = configs.to_dict("records")
    n = len(arrays.x_train)
    kind = workload.cohort_class()
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault((min(int(row["batch_size"]), n), *kind.group(arrays, row)), []).append(i)
    data = _tensors(arrays, device, dtype)
    size = CHUNK["cuda" if device.startswith("cuda") else "cpu"]
    for (batch, *_), members in groups.items():
        members.sort(key=lambda i: (rows[i]["optimizer"], rows[i]["activation"]))
        for at in range(0, len(members), size):
            chunk = np.array(members[at : at + size])
            started = time.perf_counter()
            _train(
                workload, arrays, data, configs.iloc[chunk], np.asarray(seeds)[chunk], chunk, batch, checkpoints, curves
            )
            curves.seconds[chunk] = (time.perf_counter() - started) / len(chunk)
    for i, row in enumerate(rows):
        curves.params[i] = workload.params(arrays, row)
        curves.flops[i] = workload.flops(arrays, row, max(checkpoints))
        if curves.length[i] < len(checkpoints):
            curves.status[i] = "diverged"
    return curves


def _tensors(arrays: Arrays, device: str, dtype) -> dict:
    label = torch.long if arrays.kind == "classification" else dtype
    return {
        part: (
            torch.as_tensor(getattr(arrays, f"x_{part}"), dtype=dtype, device=device),
            torch.as_tensor(getattr(arrays, f"y_{part}"), dtype=label, device=device),
        )
        for part in ("train", "valid", "test")
    }


def _train(workload, arrays, data, configs, seeds, place, batch, checkpoints, curves: Curves) -> None:
    """Train one chunk; row ``place[r]`` of ``curves`` receives run r."""
    x, y = data["train"]
    n, epochs, device, dtype = len(x), max(checkpoints), x.device, x.dtype
    steps = n // batch
    cohort = workload.cohort_class()(arrays, configs, seeds, device, dtype)
    update = Optimizers(cohort.flat, cohort.rows)
    rates = torch.as_tensor(learning_rates(configs, epochs * steps), device=device)
    loss = Loss(arrays, configs, device, dtype)
    noise = torch.as_tensor(configs["input_noise"].to_numpy(copy=True), device=device, dtype=dtype)[:, None, None]
    noisy = bool((noise > 0).any())
    alive = torch.ones(len(configs), dtype=torch.bool, device=device)
    step = reached = 0
    for epoch in range(epochs):
        orders = {s: hashing.permutation(int(s), epoch, n) for s in np.unique(seeds)}
        order = torch.as_tensor(np.stack([orders[s] for s in seeds]), device=device)
        for k in range(steps):
            rows = order[:, k * batch : (k + 1) * batch]
            inputs = x.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
            if noisy:
                inputs = inputs + noise * _noise(seeds, step, inputs.shape, device, dtype)
            outputs = cohort.forward(inputs, step)
            value, gradient = loss(outputs, y[rows])
            alive &= torch.isfinite(value)
            cohort.backward(gradient)
            update.step(cohort.grad, rates[:, step : step + 1])
            step += 1
        if epoch + 1 == checkpoints[reached]:
            alive &= _checkpoint(cohort, arrays, data, alive, place, reached, curves)
            reached += 1
        if not bool(alive.any()):
            return


def _noise(seeds, step: int, shape, device, dtype):
    """:func:`metabench.training.hashing.normal` for every run, [R, B, features]."""
    index = torch.arange(shape[1] * shape[2], device=device)[None]
    total = 0
    for stream in (hashing.NOISE_A, hashing.NOISE_B):
        keys = torch.as_tensor(hashing.key(np.asarray(seeds), stream, step).astype(np.int64), device=device)[:, None]
        bits = torch_bits(keys, index)
        total = total + (bits & 0xFFFF) + (bits >> 16)
    z = (total.to(torch.float32) - 131070.0) * np.float32(3.0**0.5 / 65536.0)
    return z.to(dtype).view(shape)


class Loss:
    """Mean loss of each run's batch, [R], and its gradient by the outputs: cross-entropy with label smoothing, or mean
    squared error."""

    def __init__(self, arrays, configs, device, dtype):
        self.regression = arrays.kind == "regression"
        smoothing = configs["label_smoothing"].fillna(0.0).to_numpy(copy=True)
        self.smoothing = torch.as_tensor(smoothing, device=device, dtype=dtype)[:, None, None]

    def __call__(self, outputs, targets):
        batch = outputs.shape[1]
        if self.regression:
            e = outputs - targets.unsqueeze(2)
            return (e * e).mean((1, 2)), e * (2.0 / batch)
        log = outputs - torch.logsumexp(outputs, 2, keepdim=True)
        wanted = torch.zeros_like(log).scatter_(2, targets.unsqueeze(2), 1.0)
        wanted = wanted * (1 - self.smoothing) + self.smoothing / outputs.shape[2]
        return -(wanted * log).sum((1, 2)) / batch, (log.exp() - wanted) / batch


def _checkpoint(cohort, arrays, data, alive, place, reached: int, curves: Curves):
    """Evaluate the runs still alive; returns which of them stay so."""
    losses, scores = {}, {}
    for part, (x, y) in data.items():
        blocks = [cohort.forward(x[None, at : at + EVALUATE]).double() for at in range(0, len(x), EVALUATE)]
        outputs = torch.cat(blocks, 1).cpu().numpy()
        targets = y.cpu().numpy()
        pairs = [loss_and_score(out, targets, arrays.metric) for out in outputs]
        losses[part], scores[part] = np.array(pairs).T
    finite = np.isfinite(np.stack(list(losses.values()))).all(0) & alive.cpu().numpy()
    rows = place[finite]
    for part in data:
        getattr(curves, f"{part}_loss")[rows, reached] = losses[part][finite]
        if part != "train":
            getattr(curves, f"{part}_score")[rows, reached] = scores[part][finite]
    curves.length[rows] = reached + 1
    return torch.as_tensor(finite, device=alive.device)
