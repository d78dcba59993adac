"""The adversarial network over a run axis: many runs at once."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from metabench.tasks import kernels
from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.data import PARTS
from metabench.training.dense import weights
from metabench.training.learners import Learners
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Keys, Steps, column, multiples, normal, orders, uniform
from metabench.training.schedules import learning_rates
from metabench.workloads.gan.network import JUDGED, TINY, paces
from metabench.workloads.gan.shape import sizes

#: room for the latent numbers of every run: runs of all latent widths keep company
LATENT = 32
#: runs whose images are compared at a time
EACH = {"cpu": 1, "cuda": 64}


class Group(Cohort):
    """Which runs may advance together: networks of one shape, as many updates a step."""

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return int(config["width"]), int(config["depth"]), int(config["critic_steps"]), config["penalty"]


class Adversaries(Learners):
    """R generators and their critics. Rows are feature-major, [R, features, B]; latent numbers that a run has not stay zero,
    as does the second output of a critic: a product with one column goes another way alone than in company."""

    def __init__(self, arrays, configs, seeds, data, epochs: int):
        self.data, self.seeds, self.dtype, device = data, np.asarray(seeds), data.dtype, data.device
        rows, runs, n = configs.to_dict("records"), len(configs), len(data["train"][0])
        batch, self.updates = min(int(rows[0]["batch_size"]), n), int(rows[0]["critic_steps"])
        self.steps, self.penalised = n // batch, rows[0]["penalty"] == "gradient"
        self._parameters(arrays, rows, device)
        columns = slice(self.edge), slice(self.edge, None)
        self.optimizers = [
            Optimizers(self.w.flat[:, part], self.w.grad[:, part], configs, learning_rates(paced, epochs * steps))
            for part, (paced, steps) in zip(columns, paces(configs, self.steps), strict=True)
        ]

        def along(values, ndim: int = 3) -> torch.Tensor:
            return torch.as_tensor(values, dtype=self.dtype, device=device).view(-1, *[1] * (ndim - 1))

        self.leak, self.weight = along(column(configs, "leak")), along(column(configs, "penalty_weight"), 1)
        logistic = (configs["loss"] == "logistic").to_numpy(copy=True)
        self.logistic = torch.as_tensor(logistic, device=device)[:, None] if logistic.any() else None
        self.draws, self.judges = (
            [Keys(self.seeds, stream, (runs, 1, 1), device) for stream in streams]
            for streams in ((hashing.LATENT_A, hashing.LATENT_B), (hashing.JUDGED_A, hashing.JUDGED_B))
        )
        self.mixes, self.mixed = (
            Keys(self.seeds, hashing.MIXED, (runs, 1), device),
            multiples(np.arange(batch)).to(device),
        )
        # number k of a row is hash number row * latent + k of its run
        latent = configs["latent"].to_numpy(np.int64)
        self.number = multiples(np.arange(LATENT)).to(device)[None, :, None]
        self.row = multiples(np.outer(latent, np.arange(max(batch, JUDGED)))).to(device)[:, None, :]
        self.real = along(np.arange(LATENT) < latent[:, None]).view(runs, LATENT, 1)
        self.rows = torch.empty(self.steps, runs, batch, dtype=torch.long, device=device)
        self.batches = Steps(self.rows)
        self.compared = {part: kernels.compared(data[part][0]) for part in PARTS}
        self.alike = {part: kernels.within(rows) for part, rows in self.compared.items()}
        self.trouble = torch.zeros(runs, dtype=self.dtype, device=device)

    def _parameters(self, arrays, rows: list[dict[str, Any]], device) -> None:
        own = [sizes(arrays, row) for row in rows]
        generator, critic = [LATENT, *own[0][0][1:]], own[0][1]
        named = weights("makes", generator, [first for first, _ in own]) | weights("tells", critic)
        last = len(critic) - 2
        shape = named[f"tells{last}"].shape
        named[f"tells{last}"] = Weight((shape[0], 2), shape[0] ** -0.5, own=[shape] * len(rows))
        named[f"tells{last}_bias"] = Weight((2,))
        self.w = Parameters(named, self.seeds, self.dtype, device)
        self.layers = {
            prefix: [(self.w[f"{prefix}{i}"], self.w[f"{prefix}{i}_bias"]) for i in range(last + 1)]
            for prefix in ("makes", "tells")
        }
        self.leaves = {prefix: list(itertools.chain(*layers)) for prefix, layers in self.layers.items()}
        #: where the critic's parameters begin
        self.edge = self.w["tells0"].storage_offset()

    def _run(self, prefix: str, x: torch.Tensor) -> torch.Tensor:
        for i, (w, b) in enumerate(self.layers[prefix]):
            if i:
                x = x * torch.where(x > 0, 1.0, self.leak)
            x = torch.bmm(w.transpose(1, 2), x) + b[:, :, None]
        return x

    def _made(self, draws, draw, rows: int) -> torch.Tensor:
        a, b = (keys.at(draw) for keys in draws)
        z = normal(a, b, self.number + self.row[:, :, :rows], self.dtype)
        return self._run("makes", z * self.real)

    def _verdict(self, x: torch.Tensor) -> torch.Tensor:
        """[R, B]"""
        return self._run("tells", x)[:, 0]

    def begin(self, epoch: int) -> None:
        steps, runs, batch = self.rows.shape
        order = orders(self.seeds, epoch, len(self.data["train"][0]))[:, : steps * batch]
        self.rows.copy_(torch.from_numpy(order).view(runs, steps, batch).transpose(0, 1))

    def advance(self, step) -> None:
        for j in range(self.updates):
            self._update(1, "tells", self._critic_loss(step, j), step * self.updates + j)
        with torch.enable_grad():
            batch = self.rows.shape[2]
            verdict = self._verdict(self._made(self.draws, step * (self.updates + 1) + self.updates, batch))
            loss = -verdict
            if self.logistic is not None:
                loss = torch.where(self.logistic, F.softplus(loss), loss)
            loss = loss.mean(1)
        self._update(0, "makes", loss, step)

    def _critic_loss(self, step, j: int) -> torch.Tensor:
        """[R]"""
        rows = self.batches.at((step % self.steps * self.updates + j) % self.steps)
        real = self.data["train"][0].index_select(0, rows.view(-1)).view(*rows.shape, -1).transpose(1, 2)
        made = self._made(self.draws, step * (self.updates + 1) + j, rows.shape[1])
        with torch.enable_grad():
            yes, no = self._verdict(real), self._verdict(made)
            loss = no - yes
            if self.logistic is not None:
                loss = torch.where(self.logistic, F.softplus(no) + F.softplus(-yes), loss)
            loss = loss.mean(1)
            if not self.penalised:
                return loss
            share = uniform(self.mixes.at(step * self.updates + j), self.mixed, self.dtype)[:, None]
            mixed = (real + share * (made - real)).requires_grad_()
            (slope,) = torch.autograd.grad(self._verdict(mixed).sum(), mixed, create_graph=True)
            steep = (slope.square().sum(1) + TINY).sqrt()
            return loss + self.weight * (steep - 1.0).square().mean(1)

    def _update(self, which: int, prefix: str, loss: torch.Tensor, t) -> None:
        leaves = self.leaves[prefix]
        for leaf, gradient in zip(leaves, torch.autograd.grad(loss, leaves, torch.ones_like(loss)), strict=True):
            leaf.grad.copy_(gradient)
        self.trouble.add_(loss.detach() * 0.0)
        self.optimizers[which].step(t)

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        made = self._made(self.judges, 0, JUDGED).transpose(1, 2).contiguous()
        found = {part: [] for part in PARTS}
        for some in made.split(EACH[made.device.type]):
            alike = kernels.within(some)
            for part, rows in self.compared.items():
                found[part].append(
                    alike + self.alike[part] - 2.0 * kernels.between(some, rows.expand(len(some), -1, -1))
                )
        scores = {part: torch.cat(some).double() for part, some in found.items()}
        return {part: (score, score) for part, score in scores.items()}

    def resume(self, old: Adversaries, kept: torch.Tensor) -> None:
        self.w.flat.copy_(old.w.flat[kept])
        for mine, theirs in zip(self.optimizers, old.optimizers, strict=True):
            mine.resume(theirs, kept)
