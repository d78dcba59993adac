"""The MLP in torch, one run alone: what defines the workload."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import nn

from metabench.training import hashing
from metabench.training.layers import dropped


def initial_weight(seed: int, layer: int, rows: int, columns: int, scale: float) -> np.ndarray:
    """Weights [rows in, columns out] of one layer, float64: uniform with standard deviation scale / sqrt(rows)."""
    index = np.arange(rows * columns, dtype=np.uint32)
    u = hashing.uniform(hashing.key(seed, hashing.WEIGHTS + layer, 0), index).astype(np.float64)
    bound = np.float32(scale * np.sqrt(3.0 / rows))
    return (bound * (2.0 * u - 1.0)).reshape(rows, columns)


class Network(nn.Module):
    """One configuration as an ordinary module. ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        width, depth = int(config["width"]), int(config["depth"])
        sizes = [arrays.n_features, *[width] * depth, arrays.n_outputs]
        linear = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.linear = nn.ModuleList(linear)
        for i, layer in enumerate(linear):
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
            x = self.activation(norm(self.linear[i](x)))
            if self.training:
                x = dropped(x, self.dropout, self.seed, hashing.DROPOUT + i, self.step)
        return self.linear[-1](x)

    def take(self, weights: np.ndarray) -> None:
        """Parameters from one row of numbers, as the compiled kernel hands them over: layer by layer weights [in, out],
        biases, gamma and beta of a layer norm."""
        parts, rest = [], weights
        for i, layer in enumerate(self.linear):
            parts += [(layer.weight, True), (layer.bias, False)]
            if i < len(self.norm) and isinstance(self.norm[i], nn.LayerNorm):
                parts += [(self.norm[i].weight, False), (self.norm[i].bias, False)]
        for parameter, turned in parts:
            size, shape = parameter.numel(), parameter.shape
            values = torch.from_numpy(rest[:size].copy()).to(parameter.dtype)
            parameter.data = values.reshape(shape[::-1]).T.contiguous() if turned else values.reshape(shape)
            rest = rest[size:]
        if len(rest):
            raise ValueError(f"{len(rest)} numbers are left over")
