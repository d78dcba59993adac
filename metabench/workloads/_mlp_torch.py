"""The MLP in torch: the plain network that defines it, and the same over a run axis with a hand-written backward."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

from metabench.training import hashing
from metabench.training.runaxis import segments, torch_bits

#: widths that a cohort pads its runs to; a run's own width alone decides which, so its numbers never depend on company
BUCKETS = (32, 64, 128, 256)


def initial_weight(seed: int, layer: int, rows: int, columns: int, scale: float) -> np.ndarray:
    """Weights [rows in, columns out] of one layer, float64: uniform with standard deviation scale / sqrt(rows)."""
    index = np.arange(rows * columns, dtype=np.uint32)
    u = hashing.uniform(hashing.key(seed, hashing.WEIGHTS + layer, 0), index).astype(np.float64)
    bound = np.float32(scale * np.sqrt(3.0 / rows))
    return (bound * (2.0 * u - 1.0)).reshape(rows, columns)


def drop_limit(p: float) -> int:
    """Activations whose 24-bit hash lies under this are dropped."""
    return int(p * 2**24)


class Network(nn.Module):
    """One configuration as an ordinary module. ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        width, depth = int(config["width"]), int(config["depth"])
        sizes = [arrays.n_features, *[width] * depth, arrays.n_outputs]
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        for i, layer in enumerate(self.linear):
            scale = float(config["init_scale"]) if i < depth else 1.0
            w = initial_weight(seed, i, layer.in_features, layer.out_features, scale)
            layer.weight.data = torch.as_tensor(w.T.copy(), dtype=torch.float64)
            layer.bias.data = torch.zeros(layer.out_features, dtype=torch.float64)
        layered = config["norm"] == "layer"
        self.norm = nn.ModuleList(nn.LayerNorm(width) if layered else nn.Identity() for _ in range(depth))
        self.activation = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU("tanh"), "silu": nn.SiLU()}[
            config["activation"]
        ]
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0

    def forward(self, x):
        for i, norm in enumerate(self.norm):
            x = self._drop(self.activation(norm(self.linear[i](x))), i)
        return self.linear[-1](x)

    def _drop(self, h, layer: int):
        limit = drop_limit(self.dropout)
        if not self.training or not limit:
            return h
        index = np.arange(h.numel(), dtype=np.uint32)
        bits = hashing.bits(hashing.key(self.seed, hashing.DROPOUT + layer, self.step), index) >> np.uint32(8)
        keep = torch.as_tensor(bits >= limit, device=h.device).reshape(h.shape)
        return h * keep / (1.0 - self.dropout)


def _activate(name: str, z):
    """Value and derivative of an activation at z."""
    if name == "relu":
        return torch.relu(z), (z > 0).to(z.dtype)
    if name == "tanh":
        h = torch.tanh(z)
        return h, 1 - h * h
    if name == "silu":
        s = torch.sigmoid(z)
        return z * s, s * (1 + z * (1 - s))
    c, a = (2.0 / np.pi) ** 0.5, 0.044715
    t = torch.tanh(c * z * (1 + a * z * z))
    g = 0.5 * (1 + t)
    return z * g, g + 0.5 * z * (1 - t * t) * c * (1 + 3 * a * z * z)


class MlpCohort:
    """R networks of one depth over a leading run axis.

    All parameters of a run lie in one row of ``flat`` [R, P], their gradients in ``grad``; widths are padded to a
    bucket with zeros that stay zero.
    """

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        """Runs may share a cohort when they agree on this."""
        return int(config["depth"]), next(b for b in BUCKETS if int(config["width"]) <= b)

    def __init__(self, arrays, configs, seeds, device="cpu", dtype=torch.float32):
        rows = configs.to_dict("records")
        depth, width = self.group(arrays, rows[0])
        self.sizes = [arrays.n_features, *[width] * depth, arrays.n_outputs]
        self.depth, self.rows = depth, rows
        shapes = []
        for i, (a, b) in enumerate(zip(self.sizes, self.sizes[1:])):
            shapes += [(a, b), (1, b)] + ([(1, b), (1, b)] if i < depth else [])
        ends = np.cumsum([a * b for a, b in shapes])
        self.flat = torch.zeros(len(rows), int(ends[-1]), device=device, dtype=dtype)
        self.grad = torch.zeros_like(self.flat)
        starts = [0, *ends[:-1]]

        def views(flat):
            pieces = [flat[:, s : s + a * b].view(-1, a, b) for s, (a, b) in zip(starts, shapes)]
            return [pieces[4 * i : 4 * i + 4] for i in range(depth + 1)]

        self.value, self.slope = views(self.flat), views(self.grad)
        true = np.array([int(r["width"]) for r in rows])
        for r, row in enumerate(rows):
            real = [arrays.n_features, *[true[r]] * depth, arrays.n_outputs]
            for i, (a, b) in enumerate(itertools.pairwise(real)):
                w = initial_weight(int(seeds[r]), i, a, b, float(row["init_scale"]) if i < depth else 1.0)
                self.value[i][0][r, :a, :b] = torch.as_tensor(w)
                if i < depth:
                    self.value[i][2][r, 0, :b] = 1.0
        column = torch.arange(width, device=device)
        self.real = (column < torch.as_tensor(true, device=device)[:, None]).to(dtype)[:, None]  # [R, 1, width]
        self.true = torch.as_tensor(true, device=device, dtype=dtype)[:, None, None]
        self.layered = torch.tensor([row["norm"] == "layer" for row in rows], device=device)[:, None, None]
        self.any_layered = bool(self.layered.any())
        self.limit = torch.tensor([drop_limit(float(row["dropout"])) for row in rows], device=device)[:, None, None]
        self.keep_scale = 1.0 / (1.0 - torch.tensor([float(r["dropout"]) for r in rows], device=device, dtype=dtype))
        self.seeds = np.asarray(seeds)
        self.segments = segments([row["activation"] for row in rows])

    def forward(self, x, step: int | None = None):
        """Outputs [R, B, outputs] of inputs [R or 1, B, features]; ``step`` is the global step while training, else
        None. Keeps what :meth:`backward` needs."""
        training = step is not None
        h = x.expand(len(self.rows), -1, -1)
        self.saved = []
        for i in range(self.depth):
            w, b, gamma, beta = self.value[i]
            z = torch.bmm(h, w).add_(b)
            xhat = rstd = None
            if self.any_layered:
                mean = z.sum(2, keepdim=True) / self.true
                centred = (z - mean) * self.real
                rstd = torch.rsqrt((centred * centred).sum(2, keepdim=True) / self.true + 1e-5)
                xhat = centred * rstd
                z = torch.where(self.layered, xhat * gamma + beta, z)
            value, slope = torch.empty_like(z), torch.empty_like(z)
            for name, part in self.segments:
                value[part], slope[part] = _activate(name, z[part])
            if training and int(self.limit.max()):
                mask = self._mask(i, step, h.shape[1])
                value *= mask
                slope *= mask
            if training:
                self.saved.append((h, slope, xhat, rstd))
            h = value
        if training:
            self.saved.append((h,))
        w, b = self.value[-1][:2]
        return torch.bmm(h, w).add_(b)

    def _mask(self, layer: int, step: int, batch: int):
        """Dropout masks × 1 / (1 − p), [R, B, width]."""
        keys = hashing.key(self.seeds, hashing.DROPOUT + layer, step).astype(np.int64)
        keys = torch.as_tensor(keys, device=self.flat.device)[:, None, None]
        row = torch.arange(batch, device=self.flat.device)[None, :, None]
        column = torch.arange(self.sizes[1], device=self.flat.device)[None, None, :]
        bits = torch_bits(keys, row * self.true.long() + column) >> 8
        return (bits >= self.limit).to(self.flat.dtype) * self.keep_scale[:, None, None]

    def backward(self, d) -> None:
        """Fill ``grad`` from the gradient of the outputs, [R, B, outputs]."""
        for i in range(self.depth, -1, -1):
            h = self.saved[i][0]
            w = self.value[i][0]
            self.slope[i][0].copy_(torch.bmm(h.transpose(1, 2), d))
            self.slope[i][1].copy_(d.sum(1, keepdim=True))
            if i == 0:
                return
            _, slope, xhat, rstd = self.saved[i - 1]
            d = torch.bmm(d, w.transpose(1, 2)).mul_(slope)
            if self.any_layered:
                gamma = self.value[i - 1][2]
                on = self.layered.to(d.dtype)
                self.slope[i - 1][2].copy_((d * xhat).sum(1, keepdim=True) * on)
                self.slope[i - 1][3].copy_(d.sum(1, keepdim=True) * on)
                u = d * gamma
                mean = u.sum(2, keepdim=True) / self.true
                dot = (u * xhat).sum(2, keepdim=True) / self.true
                d = torch.where(self.layered, (u - mean - xhat * dot) * rstd * self.real, d)
