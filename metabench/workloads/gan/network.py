"""The adversarial network in torch, one run alone: what defines the workload."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from metabench.tasks import kernels
from metabench.training import hashing, sequential
from metabench.training.cohort import initial
from metabench.training.data import PARTS
from metabench.training.schedules import learning_rates
from metabench.workloads.gan.shape import sizes

#: images that a generator is judged by
JUDGED = 256
#: under the root of a squared slope
TINY = 1e-12


class Network(nn.Module):
    """Generator and critic of one configuration."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        nets, index = [], 0
        for units in sizes(arrays, config):
            layers: list[nn.Module] = []
            for n_in, n_out in itertools.pairwise(units):
                linear = nn.Linear(n_in, n_out)
                linear.weight.data = torch.as_tensor(initial(seed, index, (n_in, n_out), n_in**-0.5)).T.contiguous()
                linear.bias.data = torch.zeros(n_out, dtype=torch.float64)
                layers += [linear, nn.LeakyReLU(float(config["leak"]))]
                index += 2
            nets.append(nn.Sequential(*layers[:-1]))
        self.generator, self.critic = nets


class Alone(sequential.Alone):
    """One run, an update after the other."""

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        self.config, self.seed, self.data = config, seed, data
        n, self.updates = len(data["train"][0]), int(config["critic_steps"])
        self.batch = min(int(config["batch_size"]), n)
        self.steps = n // self.batch
        self.net = workload.build(arrays, config, seed).to(device=data.device, dtype=data.dtype)
        self.nets = self.net.generator, self.net.critic
        self.optimizers = [sequential.make_optimizer(net.parameters(), config) for net in self.nets]
        self.rates = [learning_rates(c, epochs * steps) for c, steps in paces(config, self.steps)]

    def _normal(self, streams: tuple[int, int], draw: int, rows: int) -> torch.Tensor:
        index = np.arange(rows * int(self.config["latent"]), dtype=np.uint32)
        a, b = (hashing.key(self.seed, stream, draw) for stream in streams)
        z = hashing.normal(a, b, index)
        return torch.as_tensor(z.reshape(rows, -1), dtype=self.data.dtype, device=self.data.device)

    def _made(self, draw: int) -> torch.Tensor:
        return self.net.generator(self._normal((hashing.LATENT_A, hashing.LATENT_B), draw, self.batch))

    def epoch(self, epoch: int) -> bool:
        x, _ = self.data["train"]
        order = torch.as_tensor(hashing.permutation(self.seed, epoch, len(x)), device=x.device)
        for k in range(self.steps):
            step = epoch * self.steps + k
            for j in range(self.updates):
                low = (k * self.updates + j) % self.steps * self.batch
                update = step * self.updates + j
                if not self._update(1, self._critic_loss(x[order[low : low + self.batch]], step, j), update):
                    return False
            verdict = self.net.critic(self._made(step * (self.updates + 1) + self.updates))
            loss = -verdict if self.config["loss"] == "wasserstein" else F.softplus(-verdict)
            if not self._update(0, loss.mean(), step):
                return False
        return True

    def _critic_loss(self, real: torch.Tensor, step: int, j: int) -> torch.Tensor:
        with torch.no_grad():
            made = self._made(step * (self.updates + 1) + j)
        yes, no = self.net.critic(real), self.net.critic(made)
        loss = (no - yes if self.config["loss"] == "wasserstein" else F.softplus(no) + F.softplus(-yes)).mean()
        if self.config["penalty"] == "none":
            return loss
        key = hashing.key(self.seed, hashing.MIXED, step * self.updates + j)
        share = torch.as_tensor(hashing.uniform(key, np.arange(self.batch, dtype=np.uint32))).to(real)[:, None]
        mixed = (real + share * (made - real)).requires_grad_()
        (slope,) = torch.autograd.grad(self.net.critic(mixed).sum(), mixed, create_graph=True)
        steep = (slope.square().sum(1) + TINY).sqrt()
        return loss + float(self.config["penalty_weight"]) * (steep - 1.0).square().mean()

    def _update(self, which: int, loss: torch.Tensor, t: int) -> bool:
        if not math.isfinite(loss.item()):
            return False
        net, optimizer = self.nets[which], self.optimizers[which]
        for p, gradient in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
            p.grad = gradient
        if self.config["clip"] == "norm":
            nn.utils.clip_grad_norm_(net.parameters(), float(self.config["clip_norm"]))
        for group in optimizer.param_groups:
            group["lr"] = self.rates[which][t]
        optimizer.step()
        return True

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        made = self.net.generator(self._normal((hashing.JUDGED_A, hashing.JUDGED_B), 0, JUDGED))
        found = {part: kernels.distance(made, kernels.compared(self.data[part][0])).item() for part in PARTS}
        return {part: (far, far) for part, far in found.items()}


def paces(configs, steps: int) -> list[tuple[Any, int]]:
    """Of generator and critic: the settings of the learning rate, updates an epoch."""
    slower = {"learning_rate": configs["learning_rate"] * configs["ratio"]}
    first = configs.assign(**slower) if hasattr(configs, "assign") else configs | slower
    updates = configs["critic_steps"]
    return [(first, steps), (configs, steps * int(updates.iloc[0] if hasattr(updates, "iloc") else updates))]
