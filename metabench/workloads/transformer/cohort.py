"""The transformer over a run axis: many runs at once, forward and backward by hand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.cohort import Differentiated, Weight
from metabench.training.layers import Dropout, LayerNorm
from metabench.workloads.transformer.network import parts, sinusoids
from metabench.workloads.transformer.shape import WIDER

_aten = torch.ops.aten
#: windows predicted at a time
BLOCK = {"cpu": 16, "cuda": 64}


def slopes(gradient: torch.Tensor, d: torch.Tensor, x: torch.Tensor) -> None:
    """Gradient [R, out, in + 1] of weights and biases, from that of what they gave, d [R, out, n], and what they read and
    ones, x [R, in + 1, n]. A product of as many columns as a vector has is faster than with the ones."""
    gradient[:, :, :-1] = torch.bmm(d, x[:, :-1].transpose(1, 2))
    torch.sum(d, 2, out=gradient[:, :, -1])


class Layer:
    """A layer of R runs on B windows, forward and back; activations are feature-major [R, features, B T], but for the queries,
    keys and values of the heads: [R, B T, features]."""

    def __init__(self, cohort: TransformerCohort, number: int, batch: int, room: dict[str, torch.Tensor]):
        self.cohort, self.room, self.batch = cohort, room, batch
        width, moments, heads = cohort.width, cohort.moments, cohort.heads
        self.size = cohort.runs * batch, moments
        names = ("qkv", "merge", "up", "down")
        self.qkv, self.merge, self.up, self.down = (cohort.w[f"{name} {number}"] for name in names)
        self.norms = [cohort.norm(f"{side} {number}") for side in ("attention", "feed")]
        each = width // heads
        self.columns = [slice(h * each, (h + 1) * each) for h in range(heads)]
        self.scale = each**-0.5
        room["a"][:, -1] = room["f"][:, -1] = 1.0
        room["o"][:, :, -1] = 1.0
        qkv = room["qkv"].view(*self.size, 3, width)
        self.q, self.k, self.v = ([qkv[:, :, i, s] for s in self.columns] for i in range(3))
        self.o = [room["o"].view(*self.size, width + 1)[:, :, s] for s in self.columns]

    @staticmethod
    def rooms(cohort: TransformerCohort, batch: int) -> dict[str, torch.Tensor]:
        """Buffers of a layer."""
        runs, width, n, heads = cohort.runs, cohort.width, batch * cohort.moments, cohort.heads
        shapes = {
            "a": (runs, width + 1, n),
            "f": (runs, width + 1, n),
            "u": (runs, WIDER * width, n),
            "qkv": (runs, n, 3 * width),
            "o": (runs, n, width + 1),
            "normal a": (runs, width, n),
            "normal f": (runs, width, n),
            "p": (heads, runs * batch, cohort.moments, cohort.moments),
            "head": (runs * batch, cohort.moments, width // heads),
        }
        return {name: cohort.flat.new_zeros(shape) for name, shape in shapes.items()}

    def forward(self, x: torch.Tensor, y: torch.Tensor, masks) -> None:
        """x [R, W, B T] in place; y is scratch of its shape; masks of both dropouts, or None."""
        room, pre = self.room, self.cohort.pre
        room["a"][:, :-1] = x
        if pre:
            self.norms[0].forward(room["a"][:, :-1], room["normal a"])
        torch.bmm(room["a"].transpose(1, 2), self.qkv.transpose(1, 2), out=room["qkv"])
        self._attend()
        torch.bmm(self.merge, room["o"].transpose(1, 2), out=y)
        x.add_(y if masks[0] is None else y.mul_(masks[0]))
        if not pre:
            self.norms[0].forward(x, room["normal a"])
        room["f"][:, :-1] = x
        if pre:
            self.norms[1].forward(room["f"][:, :-1], room["normal f"])
        torch.bmm(self.up, room["f"], out=room["u"])
        torch.bmm(self.down[:, :, :-1], room["u"].relu_(), out=y)
        y.add_(self.down[:, :, -1:])
        x.add_(y if masks[1] is None else y.mul_(masks[1]))
        if not pre:
            self.norms[1].forward(x, room["normal f"])

    def _attend(self) -> None:
        causal = self.cohort.causal.expand(self.size[0], -1, -1)
        for q, k, v, o, p in zip(self.q, self.k, self.v, self.o, self.room["p"], strict=True):
            torch.baddbmm(causal, q, k.transpose(1, 2), alpha=self.scale, out=p)
            o.copy_(torch.bmm(torch.softmax(p, 2, out=p), v, out=self.room["head"]))

    def backward(self, dx: torch.Tensor, masks, spare: dict[str, torch.Tensor]) -> None:
        """Gradient of the output → gradient of the input, in place; fills those of the weights. ``spare`` are buffers."""
        room, pre, (norm_a, norm_f) = self.room, self.cohort.pre, self.norms
        dy, du, df = spare["y"], spare["u"], spare["x"]
        if not pre:
            norm_f.backward(dx, room["normal f"], dy)
        d = dx if masks[1] is None else torch.mul(dx, masks[1], out=dy)
        self.down.grad[:, :, :-1] = torch.bmm(room["u"], d.transpose(1, 2)).transpose(1, 2)
        torch.sum(d, 2, out=self.down.grad[:, :, -1])
        torch.bmm(self.down[:, :, :-1].transpose(1, 2), d, out=du)
        _aten.threshold_backward.grad_input(du, room["u"], 0, grad_input=du)
        slopes(self.up.grad, du, room["f"])
        torch.bmm(self.up[:, :, :-1].transpose(1, 2), du, out=df)
        if pre:
            norm_f.backward(df, room["normal f"], dy)
        dx.add_(df)
        if not pre:
            norm_a.backward(dx, room["normal a"], dy)
        d = dx if masks[0] is None else torch.mul(dx, masks[0], out=dy)
        self.merge.grad[:, :, :-1] = torch.bmm(d, room["o"][:, :, :-1])
        torch.sum(d, 2, out=self.merge.grad[:, :, -1])
        torch.bmm(d.transpose(1, 2), self.merge[:, :, :-1], out=spare["o"])
        self._attend_back(spare)
        d_qkv = spare["qkv"].transpose(1, 2)
        slopes(self.qkv.grad, d_qkv, room["a"])
        torch.bmm(self.qkv[:, :, :-1].transpose(1, 2), d_qkv, out=df)
        if pre:
            norm_a.backward(df, room["normal a"], dy)
        dx.add_(df)

    @staticmethod
    def spares(cohort: TransformerCohort, batch: int) -> dict[str, torch.Tensor]:
        """What all layers use on the way back."""
        runs, width, moments, n = cohort.runs, cohort.width, cohort.moments, batch * cohort.moments
        shapes = {
            "x": (runs, width, n),
            "y": (runs, width, n),
            "u": (runs, WIDER * width, n),
            "o": (runs, n, width),
            "qkv": (runs, n, 3 * width),
            "p": (runs * batch, moments, moments),
            "head": (runs * batch, moments, width // cohort.heads),
        }
        return {name: cohort.flat.new_zeros(shape) for name, shape in shapes.items()}

    def _attend_back(self, spare: dict[str, torch.Tensor]) -> None:
        """Gradient of what the heads say, [R, B T, W] → that of queries, keys and values, [R, B T, 3 W]."""
        d, do = spare["qkv"].view(*self.size, 3, -1), spare["o"].view(*self.size, -1)
        dp, head = spare["p"], spare["head"]
        for q, k, v, s, p in zip(self.q, self.k, self.v, self.columns, self.room["p"], strict=True):
            here = do[:, :, s]
            d[:, :, 2, s] = torch.bmm(p.transpose(1, 2), here, out=head)
            torch.bmm(here, v.transpose(1, 2), out=dp)
            _aten._softmax_backward_data.out(dp, p, 2, p.dtype, grad_input=dp)
            torch.mul(torch.bmm(dp, k, out=head), self.scale, out=d[:, :, 0, s])
            torch.mul(torch.bmm(dp.transpose(1, 2), q, out=head), self.scale, out=d[:, :, 1, s])


class TransformerCohort(Differentiated):
    """R transformers of one width and as many heads and layers."""

    chunk: ClassVar = {"cpu": 8, "cuda": 256}

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return int(config["width"]), int(config["heads"]), int(config["layers"]), config["norm"]

    def __init__(self, arrays, configs, seeds, data, batch: int):
        super().__init__(arrays, configs, seeds, data, batch)
        self.width, self.heads, self.depth, norm = self.group(arrays, self.configs[0])
        self.pre, self.moments, self.block_rows = norm == "pre", arrays.shape[0], BLOCK[self.device.type]
        n, like = batch * self.moments, (self.dtype, self.device)
        with torch.no_grad():
            for name, weight in self.w.named.items():
                if name.split()[0] in ("qkv", "merge", "up", "down", "head"):
                    weight[:, :, -1] = 0.0
        kinds = np.array([c["positions"] for c in self.configs])
        waves = (self.column("embedding_scale") * (kinds == "sinusoid"))[:, None, None]
        self.fixed = torch.as_tensor(waves * sinusoids(self.moments, self.width), dtype=self.dtype, device=self.device)
        self.learned = torch.as_tensor(kinds == "learned", dtype=self.dtype, device=self.device)[:, None, None]
        self.causal = torch.full((1, self.moments, self.moments), -torch.inf, dtype=self.dtype, device=self.device)
        self.causal.triu_(1)
        # the table of tokens is the first block of every run's parameters
        self.first = self.flat.shape[1] // self.width * torch.arange(self.runs, device=self.device)[:, None, None]
        widths = np.full(self.runs, self.width)
        self.dropouts = [
            Dropout(self.column("dropout"), self.seeds, widths, hashing.DROPOUT + site, self.width, n, *like)
            for site in range(2 * self.depth + 1)
        ]
        self.final = self.norm("final") if self.pre else None
        self.rooms: dict[int, tuple] = {}
        self.train, self.spares = self._room(batch, self.depth), Layer.spares(self, batch)
        self.dx = torch.empty_like(self.spares["x"])

    def weights(self) -> dict[str, Weight]:
        """Positions are 0, and stay it, where they are not learned."""
        config = self.configs[0]
        scale = self.column("embedding_scale"), self.column("init_scale")
        learned = np.array([c["positions"] == "learned" for c in self.configs])
        weights = {
            name: Weight(shape, std * learned if name == "positions" else std)
            for name, (shape, std) in parts(self.arrays, config, scale).items()
        }
        sides = [f"{side} {i}" for i in range(int(config["layers"])) for side in ("attention", "feed")]
        for side in [*sides, *(["final"] if config["norm"] == "pre" else [])]:
            weights[f"gamma {side}"] = Weight((int(config["width"]),), start=1.0)
            weights[f"beta {side}"] = Weight((int(config["width"]),))
        return weights

    def norm(self, side: str) -> LayerNorm:
        gamma, beta = self.w[f"gamma {side}"], self.w[f"beta {side}"]
        widths = torch.full((self.runs,), self.width, device=self.device)
        return LayerNorm(widths, gamma.detach(), beta.detach(), gamma.grad, beta.grad)

    def _room(self, batch: int, layers: int):
        """Layers with their buffers, and those of the end; ``layers`` of them with buffers of their own."""
        rooms = [Layer.rooms(self, batch) for _ in range(layers)]
        n = batch * self.moments
        stack = [Layer(self, i, batch, rooms[i % layers]) for i in range(self.depth)]
        f = self.flat.new_ones(self.runs, self.width + 1, n)
        x, y, normal = (self.flat.new_empty(self.runs, self.width, n) for _ in range(3))
        return stack, f, x, y, normal

    @torch.no_grad()
    def forward(self, rows, step):
        tokens = self.x.index_select(0, rows.view(-1)).view(self.runs, self.batch, -1)
        self.masks = [dropout.mask(step) if dropout.active else None for dropout in self.dropouts]
        return self._outputs(tokens, self.train, self.masks)

    @torch.no_grad()
    def predict(self, x):
        if len(x) not in self.rooms:
            self.rooms[len(x)] = self._room(len(x), 1)
        return self._outputs(x.expand(self.runs, *x.shape), self.rooms[len(x)], [None] * len(self.dropouts))

    def _outputs(self, tokens, room, masks):
        """Outputs [R, C, B T] of tokens [R, B, T]."""
        stack, f, x, y, _ = room
        self.rows = (tokens + self.first).view(-1)
        embedded = self.flat.view(-1, self.width).index_select(0, self.rows)
        embedded = embedded.view(*tokens.shape, self.width).add_((self.w["positions"] + self.fixed)[:, None])
        x.copy_(embedded.view(self.runs, -1, self.width).transpose(1, 2))
        if masks[0] is not None:
            x.mul_(masks[0])
        for i, layer in enumerate(stack):
            layer.forward(x, y, masks[2 * i + 1 : 2 * i + 3])
        f[:, :-1] = x
        if self.final is not None:
            self.final.forward(f[:, :-1], room[-1])
        return torch.bmm(self.w["head"], f)

    @torch.no_grad()
    def backward(self, d_out):
        stack, f, _, y, normal = self.train
        self.grad.zero_()
        head = self.w["head"]
        slopes(head.grad, d_out, f)
        dx = torch.bmm(head[:, :, :-1].transpose(1, 2), d_out, out=self.dx)
        if self.final is not None:
            self.final.backward(dx, normal, y)
        for i in range(self.depth - 1, -1, -1):
            stack[i].backward(dx, self.masks[2 * i + 1 : 2 * i + 3], self.spares)
        if self.masks[0] is not None:
            dx.mul_(self.masks[0])
        by_token = dx.transpose(1, 2).contiguous()
        of_moments = by_token.view(self.runs, self.batch, self.moments, self.width).sum(1)
        torch.mul(of_moments, self.learned, out=self.w["positions"].grad)
        self.grad.view(-1, self.width).index_add_(0, self.rows, by_token.view(-1, self.width))
