"""The sequential oracle: an ordinary ``torch.nn`` network and ``torch.optim`` loop, one run after another.

It is slow and plain on purpose; every other backend is checked against it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training import hashing
from metabench.training.curves import Curves
from metabench.training.evaluation import loss_and_score
from metabench.training.machine import processor
from metabench.training.schedules import learning_rates


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum, decoupled weight decay (Chen et al., 2023, "Symbolic Discovery of Optimization
    Algorithms", Algorithm 2)."""

    def __init__(self, params, lr: float, betas: tuple[float, float], weight_decay: float):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                direction = (b1 * m + (1 - b1) * p.grad).sign_()
                p.sub_(group["lr"] * (direction + group["weight_decay"] * p))
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


def make_optimizer(parameters, config: dict) -> torch.optim.Optimizer:
    """The ``torch.optim`` optimizer that a configuration names; its learning rate is set step by step."""
    lr, wd, name = float(config["learning_rate"]), float(config["weight_decay"]), config["optimizer"]
    if name in ("sgd", "momentum", "nesterov"):
        momentum = 0.0 if name == "sgd" else float(config["momentum"])
        return torch.optim.SGD(parameters, lr, momentum, weight_decay=wd, nesterov=name == "nesterov")
    if name == "adagrad":
        return torch.optim.Adagrad(parameters, lr, weight_decay=wd)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr, alpha=float(config["beta2"]), weight_decay=wd)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "lion": Lion}[name]
    return kind(parameters, lr=lr, betas=(float(config["beta1"]), float(config["beta2"])), weight_decay=wd)


def run(
    workload, arrays: Arrays, configs: pd.DataFrame, seeds, checkpoints, device="cpu", dtype=torch.float32
) -> Curves:
    """Train run after run; arguments and result as :func:`metabench.training.run_cohort`."""
    engine = f"sequential-{NUMERICS_VERSION}/torch-{torch.__version__}"
    curves = Curves.empty(len(configs), checkpoints, engine, processor(device))
    data = {
        part: (
            torch.as_tensor(getattr(arrays, f"x_{part}"), dtype=dtype, device=device),
            torch.as_tensor(
                getattr(arrays, f"y_{part}"), dtype=dtype if arrays.kind == "regression" else torch.long, device=device
            ),
        )
        for part in ("train", "valid", "test")
    }
    for i, (config, seed) in enumerate(zip(configs.to_dict("records"), seeds, strict=True)):
        started = time.perf_counter()
        curves.params[i] = workload.params(arrays, config)
        curves.flops[i] = workload.flops(arrays, config, max(checkpoints))
        curves.length[i] = _train(workload, arrays, data, config, int(seed), checkpoints, curves, i, dtype)
        if curves.length[i] < len(checkpoints):
            curves.status[i] = "diverged"
        curves.seconds[i] = time.perf_counter() - started
    return curves


def _train(workload, arrays, data, config, seed, checkpoints, curves, i, dtype) -> int:
    """One run; fills row ``i`` of ``curves`` and returns the number of checkpoints reached."""
    x, y = data["train"]
    n, epochs = len(x), max(checkpoints)
    batch = min(int(config["batch_size"]), n)
    steps = n // batch
    net = workload.build(arrays, config, seed).to(device=x.device, dtype=dtype)
    optimizer = make_optimizer(net.parameters(), config)
    rates = learning_rates(config, epochs * steps)
    smoothing = 0.0 if pd.isna(config["label_smoothing"]) else float(config["label_smoothing"])
    noise = float(config["input_noise"])
    step = reached = 0
    for epoch in range(epochs):
        order = torch.as_tensor(hashing.permutation(seed, epoch, n), device=x.device)
        net.train()
        for k in range(steps):
            rows = order[k * batch : (k + 1) * batch]
            inputs, targets = x[rows], y[rows]
            if noise:
                keys = (hashing.key(seed, s, step) for s in (hashing.NOISE_A, hashing.NOISE_B))
                z = hashing.normal(*keys, np.arange(inputs.numel(), dtype=np.uint32)).reshape(inputs.shape)
                inputs = inputs + noise * torch.as_tensor(z, dtype=dtype, device=x.device)
            net.step = step
            out = net(inputs)
            if arrays.kind == "regression":
                loss = F.mse_loss(out[:, 0], targets)
            else:
                loss = F.cross_entropy(out, targets, label_smoothing=smoothing)
            if not math.isfinite(loss.item()):
                return reached
            optimizer.zero_grad()
            loss.backward()
            if config["clip"] == "norm":
                nn.utils.clip_grad_norm_(net.parameters(), float(config["clip_norm"]))
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.step()
            step += 1
        if reached < len(checkpoints) and epoch + 1 == checkpoints[reached]:
            net.eval()
            with torch.no_grad():
                for part, (inputs, targets) in data.items():
                    out = net(inputs).double().cpu().numpy()
                    loss, score = loss_and_score(out, targets.cpu().numpy(), arrays.metric)
                    if not np.isfinite(np.float32([loss, score])).all():
                        _clear(curves, i, reached)
                        return reached
                    getattr(curves, f"{part}_loss")[i, reached] = loss
                    if part != "train":
                        getattr(curves, f"{part}_score")[i, reached] = score
            reached += 1
    return reached


def _clear(curves: Curves, i: int, checkpoint: int) -> None:
    for name in ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score"):
        getattr(curves, name)[i, checkpoint] = np.nan
