"""Prototypical networks and MAML over a run axis: many runs at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from metabench.tasks.episodes import JUDGED, QUERIES, usable
from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.learners import Learners
from metabench.training.losses import Evaluator
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Keys, column, hashed, multiples, segments
from metabench.training.schedules import learning_rates
from metabench.training.sequential import number
from metabench.workloads.fewshot.network import judged, sides
from metabench.workloads.fewshot.shape import sizes

#: episodes that are adapted to at a time where runs are judged
BLOCK = 8
#: runs are padded to this width and to as many dimensions of the embedding
WIDTH, EMBEDDING = 128, 64


class Group(Cohort):
    """Which runs may advance together: those of a method, a depth and as many inner steps."""

    chunk = {"cpu": 8, "cuda": 256}  # noqa: RUF012

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return config["method"], int(config["depth"]), int(number(config, "inner_steps"))

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return config["activation"], config["optimizer"]


class Draws:
    """Rows of the episodes of R runs, step after step."""

    def __init__(self, seeds, y: np.ndarray, ways: int, shots: int, batch: int, device):
        classes = usable(y, shots)
        count, most = len(classes), max(map(len, classes))
        self.ways, self.shots, self.most = ways, shots, most
        table = np.stack([np.pad(rows, (0, most - len(rows))) for rows in classes])
        self.table = torch.as_tensor(table, device=device).view(-1)
        self.sizes = torch.as_tensor([len(rows) for rows in classes], device=device)
        self.keys = [
            Keys(seeds, stream, (len(seeds), *ones), device)
            for stream, ones in ((hashing.CLASSES, (1, 1)), (hashing.SHOWN, (1, 1, 1)))
        ]
        self.class_numbers = multiples(np.arange(batch * count)).view(batch, count).to(device)
        self.row_numbers = multiples(np.arange(batch * ways * most)).view(batch, ways, most).to(device)
        self.place = torch.arange(most, device=device)

    def at(self, step) -> torch.Tensor:
        """[R, batch, ways * (shots + QUERIES)] of a step."""
        chosen = first(hashed(self.keys[0].at(step), self.class_numbers), self.ways)
        absent = self.place >= self.sizes[chosen][..., None]
        place = first(hashed(self.keys[1].at(step), self.row_numbers), self.shots + QUERIES, absent)
        return sides(self.table[chosen[..., None] * self.most + place], self.shots)


def first(bits: torch.Tensor, n: int, absent: torch.Tensor | None = None) -> torch.Tensor:
    """Places of the n smallest of unsigned words [..., M] (int32 of the same bits), in order, [..., n]."""
    most = bits.shape[-1]
    # the place makes equal words unequal
    ranked = (bits.long() & 0xFFFFFFFF) * most + torch.arange(most, device=bits.device)
    if absent is not None:
        ranked.masked_fill_(absent, 2**62)
    return ranked.topk(n, largest=False).values % most


class Episodic(Learners):
    """R networks, padded to one width."""

    def __init__(self, workload, arrays, configs, seeds, data, epochs: int):
        rows, runs, dtype, device = configs.to_dict("records"), len(configs), data.dtype, data.device
        self.data, self.ways, self.shots = data, arrays.n_outputs, arrays.shots
        self.batch, self.steps = int(rows[0]["batch_size"]), workload.steps(arrays, rows[0])
        self.depth, self.inner = int(rows[0]["depth"]), int(number(rows[0], "inner_steps"))
        self.w = Parameters(_weights(arrays, rows), seeds, dtype, device)
        self.update = Optimizers(self.w.flat, self.w.grad, configs, learning_rates(configs, epochs * self.steps))
        self.acts = segments([row["activation"] for row in rows])

        def each(values) -> torch.Tensor:
            return torch.as_tensor(np.array(values), device=device)[:, None, None]

        if self.inner:
            self.rate = each(column(configs, "inner_rate") / (self.ways * self.shots)).to(dtype)
            self.second = each(configs["order"] == "second")
            self.through = bool(self.second.any())
            self.onehot = torch.eye(self.ways, dtype=dtype, device=device).repeat_interleave(self.shots, 0)
        else:
            cosine = (configs["distance"] == "cosine").to_numpy()
            self.cosine, self.kinds = each(cosine)[..., None], (not cosine.all(), cosine.any())
            self.dimensions = each(column(configs, "embedding")).to(dtype)[..., None]
            self.temperature = each(column(configs, "temperature")).to(dtype)[..., None]
        self.draws = Draws(seeds, data["train"][1].cpu().numpy(), self.ways, self.shots, self.batch, device)
        self.judged = judged(data, self.ways, self.shots)
        wanted = torch.arange(self.ways, device=device).repeat_interleave(QUERIES).repeat(JUDGED)
        self.evaluator = Evaluator(wanted, "accuracy", self.ways)
        self.trouble = torch.zeros(runs, dtype=dtype, device=device)

    def begin(self, epoch: int) -> None:
        """Nothing: episodes are hashed from the step."""

    def advance(self, step) -> None:
        rows = self.draws.at(step)
        x = self.data["train"][0]
        x = x.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        with torch.enable_grad():
            out = self._adapted(x) if self.inner else self._near(self._embedded(x.flatten(1, 2)).view(*rows.shape, -1))
            log = torch.log_softmax(out, -1).view(len(out), self.batch, self.ways, QUERIES, self.ways)
            loss = -log.diagonal(dim1=2, dim2=4).mean((1, 2, 3))
        self.w.backward(loss, torch.ones_like(loss))
        self.trouble.add_(loss.detach() * 0.0)
        self.update.step(step)

    def _layer(self, i: int, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.w[f"b{i}"][:, None], x, self.w[f"w{i}"])

    def _per_activation(self, x: torch.Tensor, relu: Callable, tanh: Callable) -> torch.Tensor:
        parts = [(relu if name == "relu" else tanh)(x[s]) for name, s in self.acts]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _active(self, z: torch.Tensor) -> torch.Tensor:
        return self._per_activation(z, torch.relu, torch.tanh)

    def _slope(self, h: torch.Tensor) -> torch.Tensor:
        """Of the activation, where its value is h."""
        return self._per_activation(h, lambda h: (h > 0).to(h.dtype), lambda h: 1.0 - h * h)

    # ------------------------------------------------------------------------------------------------------- prototypes
    def _embedded(self, x: torch.Tensor) -> torch.Tensor:
        """Embeddings [R, n, E] of rows [R, n, D]."""
        for i in range(self.depth):
            x = self._active(self._layer(i, x))
        return self._layer(self.depth, x)

    def _near(self, z: torch.Tensor) -> torch.Tensor:
        """Logits [R, B, ways * QUERIES, ways] of embedded episodes [R, B, n, E]."""
        there = self.ways * self.shots
        centres, asked = z[:, :, :there].unflatten(2, (self.ways, self.shots)).mean(3), z[:, :, there:]
        near = []
        if self.kinds[0]:
            lengths = asked.square().sum(-1)[..., None] + centres.square().sum(-1)[..., None, :]
            near.append((2.0 * asked @ centres.transpose(2, 3) - lengths) / self.dimensions)
        if self.kinds[1]:
            near.append(F.normalize(asked, dim=-1, eps=1e-8) @ F.normalize(centres, dim=-1, eps=1e-8).transpose(2, 3))
        return (torch.where(self.cosine, near[1], near[0]) if len(near) > 1 else near[0]) / self.temperature

    # ------------------------------------------------------------------------------------------------------------- maml
    def _adapted(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [R, B, ways * QUERIES, ways] of episodes x [R, B, n, D], each by a network that learned what it shows.

        The weights that a step of gradient descent leads to are never made: a layer that was taken from W by steps on inputs
        H with gradients D of its outputs (times the rate) maps h to h W - (h Hᵀ) D (Irie et al., 2022, equation 4), with
        (h Hᵀ + 1) D where it has a bias.
        """
        runs, episodes, n, _ = x.shape
        there = self.ways * self.shots

        def per_run(a: torch.Tensor) -> torch.Tensor:
            return a.reshape(runs, -1, a.shape[-1])

        def per_episode(a: torch.Tensor) -> torch.Tensor:
            return a.reshape(runs * episodes, -1, a.shape[-1])

        first = per_episode(self._layer(0, x.flatten(1, 2)))
        x = per_episode(x)
        # all steps see the same inputs: their gradients are summed
        gram, total = torch.bmm(x, x[:, :there].transpose(1, 2)).add_(1.0), None
        learned: list[list] = [[[], []] for _ in range(self.depth)]

        def forward(part: slice) -> tuple[list[torch.Tensor], torch.Tensor]:
            z = first[:, part] if total is None else torch.baddbmm(first[:, part], gram[:, part], total, alpha=-1)
            hidden = []
            for i, (inputs, slopes) in enumerate(learned, 1):
                hidden.append(self._active(per_run(z)))
                z, h = per_episode(self._layer(i, hidden[-1])), per_episode(hidden[-1])
                if inputs:
                    like = torch.bmm(h, torch.cat(inputs, 1).transpose(1, 2)) + 1.0
                    z = torch.baddbmm(z, like, torch.cat(slopes, 1), alpha=-1)
            return hidden, z

        with torch.set_grad_enabled(torch.is_grad_enabled() and self.through):
            for _ in range(self.inner):
                hidden, z = forward(slice(there))
                d = per_run(torch.softmax(z, -1) - self.onehot) * self.rate
                for i in reversed(range(self.depth)):
                    inputs, slopes = learned[i]
                    back = torch.bmm(d, self.w[f"w{i + 1}"].transpose(1, 2))
                    if inputs:
                        like = torch.bmm(per_episode(d), torch.cat(slopes, 1).transpose(1, 2))
                        back = back - per_run(torch.bmm(like, torch.cat(inputs, 1)))
                    inputs.append(per_episode(self._cut(hidden[i])))
                    slopes.append(per_episode(self._cut(d)))
                    d = back * self._slope(hidden[i])
                d = per_episode(self._cut(d))
                total = d if total is None else total + d
        return forward(slice(there, n))[1].view(runs, episodes, n - there, -1)

    def _cut(self, a: torch.Tensor) -> torch.Tensor:
        """a, through which runs of first order send no gradient."""
        return torch.where(self.second, a, a.detach()) if a.requires_grad else a

    # ---------------------------------------------------------------------------------------------------------- the rest
    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        found, runs, each = {}, len(self.trouble), self.ways * QUERIES
        for part, episodes in self.judged.items():
            x, _ = self.data[part]
            if not self.inner:
                blocks = x.split(Cohort.block_rows)
                z = torch.cat([self._embedded(block.expand(runs, *block.shape)) for block in blocks], 1)
            self.evaluator.start(runs)
            for low in range(0, JUDGED, BLOCK):
                rows = episodes[low : low + BLOCK]
                out = self._adapted(x[rows].expand(runs, *rows.shape, -1)) if self.inner else self._near(z[:, rows])
                self.evaluator.add(out.flatten(1, 2).transpose(1, 2), low * each)
            found[part] = self.evaluator.result()
        return found

    def resume(self, old: Episodic, kept: torch.Tensor) -> None:
        self.w.flat.copy_(old.w.flat[kept])
        self.update.resume(old.update, kept)


def _weights(arrays, rows: list[dict[str, Any]]) -> dict[str, Weight]:
    """Parameters in the order of the plain network's streams: the weights of all layers, then the biases."""
    own = [sizes(arrays, row) for row in rows]
    scale = np.array([float(row["init_scale"]) for row in rows])
    depth, outputs = len(own[0]) - 2, EMBEDDING if rows[0]["method"] == "prototypes" else arrays.n_outputs
    units = [arrays.n_features, *[WIDTH] * depth, outputs]
    weights, biases = {}, {}
    for i, shape in enumerate(itertools.pairwise(units)):
        shapes = [(size[i], size[i + 1]) for size in own]
        std = np.array([inputs for inputs, _ in shapes], dtype=float) ** -0.5 * (scale if i < depth else 1.0)
        weights[f"w{i}"], biases[f"b{i}"] = Weight(shape, std, own=shapes), Weight((shape[1],))
    return weights | biases
