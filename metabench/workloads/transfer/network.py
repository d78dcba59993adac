"""Transfer in torch, one run alone: what defines the workload."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from metabench.training import hashing, sequential
from metabench.training.cohort import initial
from metabench.training.data import PARTS
from metabench.training.evaluation import loss_and_score
from metabench.training.schedules import learning_rates
from metabench.workloads.transfer.shape import DEPTH

#: what a batch is drawn from → its stream
STREAMS = {"source": hashing.FROM_SOURCE, "train": hashing.FROM_TARGET}


class Network(nn.Module):
    """The network of one configuration: rows → logits of the target's classes, or of the source's."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        kind, width = {"relu": nn.ReLU, "tanh": nn.Tanh}[config["activation"]], int(config["width"])
        sizes = [arrays.n_features] + [width] * DEPTH
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.body = nn.ModuleList(nn.Sequential(linear, kind()) for linear in linears)
        self.source, self.target = nn.Linear(width, arrays.source_classes), nn.Linear(width, arrays.n_outputs)
        for i, linear in enumerate([*linears, self.source, self.target]):
            std = (float(config["init_scale"]) if i < DEPTH else 1.0) / linear.in_features**0.5
            linear.weight.data = torch.as_tensor(initial(seed, 2 * i, tuple(linear.weight.shape), std))
            nn.init.zeros_(linear.bias)

    def forward(self, x, head: str = "target"):
        for layer in self.body:
            x = layer(x)
        return getattr(self, head)(x)


class Alone(sequential.Alone):
    """One run: first the source, then the target."""

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        self.arrays, self.config, self.seed, self.data = arrays, config, seed, data
        self.batch, self.steps = int(config["batch_size"]), workload.steps(arrays, config)
        self.net = workload.build(arrays, config, seed).to(device=data.device, dtype=data.dtype)
        self.first, self.epochs = workload.pretrained(config, epochs), epochs
        self.mixed = sequential.number(config, "source_weight")

    def _enter(self, start: int, end: int, *parts: tuple[float, list[nn.Module]]) -> None:
        """A new optimizer for the epochs from ``start`` to ``end``: what learning rates are multiplied by, and where."""
        self.net.zero_grad()
        self.factors, groups = [], []
        for factor, modules in parts:
            if weights := [w for module in modules for w in module.parameters()]:
                self.factors.append(factor)
                groups.append({"params": weights})
        self.optimizer = sequential.make_optimizer(groups, self.config)
        self.rates, self.start = learning_rates(self.config, (end - start) * self.steps), start * self.steps

    def _loss(self, of: str, step: int) -> torch.Tensor:
        x, y = self.data[of]
        drawn = hashing.bits(hashing.key(self.seed, STREAMS[of], step), np.arange(self.batch)) % len(x)
        rows = torch.as_tensor(drawn.astype(np.int64), device=x.device)
        return F.cross_entropy(self.net(x[rows], "source" if of == "source" else "target"), y[rows])

    def epoch(self, epoch: int) -> bool:
        learned, net = epoch >= self.first, self.net
        if epoch == self.first:
            frozen, heads = int(self.config["frozen"]), [net.target, net.source] if self.mixed else [net.target]
            net.body[:frozen].requires_grad_(False)
            self._enter(epoch, self.epochs, (float(self.config["body_rate"]), [*net.body[frozen:]]), (1.0, heads))
        elif epoch == 0:
            self._enter(0, self.first, (1.0, [net.body, net.source]))
        for step in range(epoch * self.steps, (epoch + 1) * self.steps):
            loss = self._loss("train" if learned else "source", step)
            if learned and self.mixed:
                loss = loss + self.mixed * self._loss("source", step)
            if not math.isfinite(loss.item()):
                return False
            self.optimizer.zero_grad()
            loss.backward()
            if self.config["clip"] == "norm":
                nn.utils.clip_grad_norm_(self.net.parameters(), float(self.config["clip_norm"]))
            for group, factor in zip(self.optimizer.param_groups, self.factors, strict=True):
                group["lr"] = self.rates[step - self.start] * factor
            self.optimizer.step()
        return True

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        found = {}
        for part in PARTS:
            x, y = self.data[part]
            found[part] = loss_and_score(self.net(x).double().cpu().numpy(), y.cpu().numpy(), self.arrays.metric)
        return found
