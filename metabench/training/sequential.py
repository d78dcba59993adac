"""The sequential oracle: an ordinary ``torch.nn`` network and ``torch.optim`` loop, one run after another.

It is slow and plain on purpose; every other backend is checked against it. :class:`Supervised` is the loop of every
workload that predicts targets from inputs; one that learns otherwise gives its own :class:`Alone`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from metabench.schema import NUMERICS_VERSION
from metabench.tasks.task import Arrays
from metabench.training import hashing
from metabench.training.curves import Curves
from metabench.training.data import PARTS, Data
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


class Alone:
    """One run, trained by an ordinary loop."""

    def epoch(self, epoch: int) -> bool:
        """Train for an epoch (from 0 on); False, and no more, at the first loss that is not finite."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, tuple[float, float]]:
        """ "train", "valid", "test" → mean loss and score; the training score is not read."""
        raise NotImplementedError


class Supervised(Alone):
    """A workload's ``build`` network that learns to predict targets from rows."""

    def __init__(self, workload, arrays: Arrays, config: dict, seed: int, data: Data, epochs: int):
        self.arrays, self.config, self.seed, self.data = arrays, config, seed, data
        x, _ = data["train"]
        self.batch = min(int(config["batch_size"]), len(x))
        self.steps = len(x) // self.batch
        self.net = workload.build(arrays, config, seed).to(device=data.device, dtype=data.dtype)
        self.optimizer = make_optimizer(self.net.parameters(), config)
        self.rates = learning_rates(config, epochs * self.steps)
        self.smoothing, self.noise = (number(config, name) for name in ("label_smoothing", "input_noise"))

    def epoch(self, epoch: int) -> bool:
        x, y = self.data["train"]
        order = torch.as_tensor(hashing.permutation(self.seed, epoch, len(x)), device=x.device)
        self.net.train()
        for k in range(self.steps):
            rows = order[k * self.batch : (k + 1) * self.batch]
            step = epoch * self.steps + k
            inputs = self._noisy(x[rows], step) if self.noise else x[rows]
            self.net.step = step
            if not self._update(self._loss(self.net(inputs), y[rows]), self.rates[step]):
                return False
        return True

    def _noisy(self, inputs: torch.Tensor, step: int) -> torch.Tensor:
        a, b = (hashing.key(self.seed, s, step) for s in (hashing.NOISE_A, hashing.NOISE_B))
        z = hashing.normal(a, b, np.arange(inputs.numel(), dtype=np.uint32)).reshape(inputs.shape)
        return inputs + self.noise * torch.as_tensor(z, dtype=inputs.dtype, device=inputs.device)

    def _loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if targets.is_floating_point():
            return F.mse_loss(outputs, targets.view_as(outputs))
        return F.cross_entropy(outputs, targets, label_smoothing=self.smoothing)

    def _update(self, loss: torch.Tensor, rate: float) -> bool:
        if not math.isfinite(loss.item()):
            return False
        self.optimizer.zero_grad()
        loss.backward()
        if self.config["clip"] == "norm":
            nn.utils.clip_grad_norm_(self.net.parameters(), float(self.config["clip_norm"]))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return True

    def evaluate(self) -> dict[str, tuple[float, float]]:
        self.net.eval()
        found = {}
        with torch.no_grad():
            for part in PARTS:
                inputs, targets = self.data[part]
                outputs = self.net(inputs).double().cpu().numpy()
                found[part] = loss_and_score(outputs, targets.cpu().numpy(), self.arrays.metric)
        return found


def number(config: Mapping[str, Any], name: str) -> float:
    """A hyperparameter that is 0 where the space has none or it is not active."""
    value = config.get(name)
    return 0.0 if value is None or pd.isna(value) else float(value)


def run(
    workload, arrays: Arrays, configs: pd.DataFrame, seeds, checkpoints, device="cpu", dtype=torch.float32
) -> Curves:
    """Train run after run; arguments and result as :func:`metabench.training.run_cohort`."""
    engine = f"sequential-{NUMERICS_VERSION}/torch-{torch.__version__}"
    curves = Curves.empty(len(configs), checkpoints, engine, processor(device))
    data = Data.of(arrays, device, dtype)
    for i, (config, seed) in enumerate(zip(configs.to_dict("records"), seeds, strict=True)):
        started = time.perf_counter()
        curves.params[i] = workload.params(arrays, config)
        curves.flops[i] = workload.flops(arrays, config, max(checkpoints))
        alone = workload.alone(arrays, config, int(seed), data, max(checkpoints))
        curves.length[i] = _train(alone, checkpoints, curves, i)
        if curves.length[i] < len(checkpoints):
            curves.status[i] = "diverged"
        curves.seconds[i] = time.perf_counter() - started
    return curves


def _train(alone: Alone, checkpoints, curves: Curves, i: int) -> int:
    """One run; fills row ``i`` of ``curves`` and returns the number of checkpoints reached."""
    reached = 0
    for epoch in range(max(checkpoints)):
        if not alone.epoch(epoch):
            return reached
        if epoch + 1 == checkpoints[reached]:
            found = alone.evaluate()
            if not np.isfinite(
                np.array([*found["train"][:1], *found["valid"], *found["test"]], dtype=np.float32)
            ).all():
                return reached
            for part, (loss, score) in found.items():
                getattr(curves, f"{part}_loss")[i, reached] = loss
                if part != "train":
                    getattr(curves, f"{part}_score")[i, reached] = score
            reached += 1
    return reached
