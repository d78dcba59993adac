"""Prototypical networks and MAML in torch, one run alone: what defines the workload."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metabench.tasks.episodes import JUDGED, QUERIES, fixed, usable
from metabench.training import hashing, sequential
from metabench.training.cohort import initial
from metabench.training.data import PARTS
from metabench.training.evaluation import loss_and_score
from metabench.training.schedules import learning_rates
from metabench.workloads.fewshot.shape import sizes


def judged(data, ways: int, shots: int) -> dict[str, torch.Tensor]:
    """Part → rows of the episodes that losses and scores are means over, [JUDGED, ways * shots + ways * QUERIES]; what is
    shown comes first, both class by class."""
    found = {}
    for part in PARTS:
        x, y = data[part]
        drawn = torch.as_tensor(fixed(y.cpu().numpy(), ways, shots, JUDGED), device=x.device)
        found[part] = sides(drawn, shots)
    return found


def sides(rows: torch.Tensor, shots: int) -> torch.Tensor:
    """Rows [..., ways, shots + QUERIES] → [..., all that are shown, then all that are asked about]."""
    return torch.cat([rows[..., :shots].flatten(-2), rows[..., shots:].flatten(-2)], -1)


class Network(nn.Module):
    """The network of one configuration: rows [n, D] → embeddings or logits."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        kind = {"relu": nn.ReLU, "tanh": nn.Tanh}[config["activation"]]
        units, layers = sizes(arrays, config), []
        for i, (rows, columns) in enumerate(itertools.pairwise(units)):
            linear, last = nn.Linear(rows, columns), i == len(units) - 2
            std = (1.0 if last else float(config["init_scale"])) / rows**0.5
            linear.weight.data = torch.as_tensor(initial(seed, i, (rows, columns), std).T.copy())
            linear.bias.data = torch.zeros(columns, dtype=torch.float64)
            layers += [linear, kind()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return self.layers(x)


class Alone(sequential.Alone):
    """One run, an episode after the other."""

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        self.config, self.seed, self.data = config, seed, data
        self.ways, self.shots, self.batch = arrays.n_outputs, arrays.shots, int(config["batch_size"])
        self.steps = workload.steps(arrays, config)
        self.net = workload.build(arrays, config, seed).to(device=data.device, dtype=data.dtype)
        self.optimizer = sequential.make_optimizer(self.net.parameters(), config)
        self.rates = learning_rates(config, epochs * self.steps)
        self.classes = usable(data["train"][1].cpu().numpy(), self.shots)
        self.judged = judged(data, self.ways, self.shots)
        way = torch.arange(self.ways, device=data.device)
        self.shown, self.asked = way.repeat_interleave(self.shots), way.repeat_interleave(QUERIES)

    def _draw(self, step: int, episode: int) -> torch.Tensor:
        """Rows of an episode of a step."""
        most, rows = max(map(len, self.classes)), []
        numbers = np.arange(len(self.classes)) + episode * len(self.classes)
        order = np.argsort(hashing.bits(hashing.key(self.seed, hashing.CLASSES, step), numbers), kind="stable")
        for way, c in enumerate(order[: self.ways]):
            numbers = np.arange(len(self.classes[c])) + (episode * self.ways + way) * most
            place = np.argsort(hashing.bits(hashing.key(self.seed, hashing.SHOWN, step), numbers), kind="stable")
            rows.append(self.classes[c][place[: self.shots + QUERIES]])
        return sides(torch.as_tensor(np.array(rows), device=self.data.device), self.shots)

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        """[ways * QUERIES, ways] of an episode's inputs."""
        shown, asked, c = x[: len(self.shown)], x[len(self.shown) :], self.config
        if c["method"] == "prototypes":
            z, centres = self.net(asked), self.net(shown).view(self.ways, self.shots, -1).mean(1)
            if c["distance"] == "cosine":
                near = F.cosine_similarity(z[:, None], centres[None], -1)
            else:
                near = -(z[:, None] - centres[None]).square().mean(-1)
            return near / float(c["temperature"])
        weights = dict(self.net.named_parameters())
        for _ in range(int(c["inner_steps"])):
            with torch.enable_grad():
                loss = F.cross_entropy(functional_call(self.net, weights, (shown,)), self.shown)
                slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=c["order"] == "second")
            rate = float(c["inner_rate"])
            weights = {name: w - rate * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}
            if not torch.is_grad_enabled():
                weights = {name: w.requires_grad_() for name, w in weights.items()}
        return functional_call(self.net, weights, (asked,))

    def epoch(self, epoch: int) -> bool:
        x, _ = self.data["train"]
        for step in range(epoch * self.steps, (epoch + 1) * self.steps):
            losses = [F.cross_entropy(self._logits(x[self._draw(step, e)]), self.asked) for e in range(self.batch)]
            loss = torch.stack(losses).mean()
            if not math.isfinite(loss.item()):
                return False
            self.optimizer.zero_grad()
            loss.backward()
            if self.config["clip"] == "norm":
                nn.utils.clip_grad_norm_(self.net.parameters(), float(self.config["clip_norm"]))
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[step]
            self.optimizer.step()
        return True

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        found = {}
        for part, episodes in self.judged.items():
            x, _ = self.data[part]
            outputs = torch.cat([self._logits(x[rows]) for rows in episodes]).double().cpu().numpy()
            found[part] = loss_and_score(outputs, self.asked.repeat(JUDGED).cpu().numpy(), "accuracy")
        return found
