"""The transformer in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from metabench.training import hashing
from metabench.training.cohort import initial
from metabench.training.layers import dropped
from metabench.workloads.transformer.shape import WIDER


def sinusoids(moments: int, width: int) -> np.ndarray:
    """[T, W] sines and cosines by turns, of wavelengths from 2π to 10000 · 2π (Vaswani et al., 2017), standard deviation 1."""
    angle = np.arange(moments)[:, None] / 10_000.0 ** (2 * (np.arange(width) // 2) / width)
    return 2.0**0.5 * np.where(np.arange(width) % 2, np.cos(angle), np.sin(angle))


def parts(arrays, config: dict[str, Any], scale) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Name → shape and standard deviation of every parameter that is drawn, in order; of a linear layer's weights the last
    column are the biases. ``scale`` are the hyperparameters ``embedding_scale`` and ``init_scale``."""
    width, layers = int(config["width"]), int(config["layers"])
    wide, (embedding, init) = WIDER * width, scale
    summed = init / (2 * layers) ** 0.5
    found = {"tokens": ((arrays.vocabulary, width), embedding), "positions": ((arrays.shape[0], width), embedding)}
    for layer in range(layers):
        found |= {
            f"qkv {layer}": ((3 * width, width + 1), init * width**-0.5),
            f"merge {layer}": ((width, width + 1), summed * width**-0.5),
            f"up {layer}": ((wide, width + 1), init * width**-0.5),
            f"down {layer}": ((width, wide + 1), summed * wide**-0.5),
        }
    return found | {"head": ((arrays.n_outputs, width + 1), width**-0.5)}


class HashedDropout(nn.Module):
    """Dropout number ``site`` of a network, its masks those of the run."""

    def __init__(self, network: Network, site: int):
        super().__init__()
        self.network, self.site = [network], site  # in a list: no child of its child

    def forward(self, x):
        network = self.network[0]
        if not network.training:
            return x
        return dropped(x, network.dropout, network.seed, hashing.DROPOUT + self.site, network.step)


class Network(nn.Module):
    """One configuration as an ordinary module; tokens [B, T] → [B, classes, T]. ``step`` (global step) selects the dropout
    masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        width, layers, pre = int(config["width"]), int(config["layers"]), config["norm"] == "pre"
        scale = float(config["embedding_scale"]), float(config["init_scale"])
        drawn = {
            name: torch.as_tensor(initial(seed, i, shape, std))
            for i, (name, (shape, std)) in enumerate(parts(arrays, config, scale).items())
        }
        self.tokens = nn.Embedding(arrays.vocabulary, width)
        self.tokens.weight.data = drawn["tokens"]
        fixed = scale[0] * torch.as_tensor(sinusoids(arrays.shape[0], width))
        if config["positions"] == "learned":
            self.positions = nn.Parameter(drawn["positions"])
        else:
            self.register_buffer("positions", fixed * (config["positions"] == "sinusoid"))
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0
        self.first = HashedDropout(self, 0)
        self.layers = nn.ModuleList()
        for i in range(layers):
            layer: Any = nn.TransformerEncoderLayer(
                width, int(config["heads"]), WIDER * width, 0.0, batch_first=True, norm_first=pre
            )
            layer.dropout1, layer.dropout2 = HashedDropout(self, 2 * i + 1), HashedDropout(self, 2 * i + 2)
            attention = layer.self_attn
            attention.in_proj_weight.data = drawn[f"qkv {i}"][:, :-1].contiguous()
            for name, linear in ("merge", attention.out_proj), ("up", layer.linear1), ("down", layer.linear2):
                linear.weight.data = drawn[f"{name} {i}"][:, :-1].contiguous()
            for bias in (attention.in_proj_bias, attention.out_proj.bias, layer.linear1.bias, layer.linear2.bias):
                nn.init.zeros_(bias)
            self.layers.append(layer)
        self.norm = nn.LayerNorm(width) if pre else nn.Identity()
        self.head = nn.Linear(width, arrays.n_outputs)
        self.head.weight.data = drawn["head"][:, :-1].contiguous()
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens):
        x = self.first(self.tokens(tokens) + self.positions)
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], x.device, x.dtype)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.head(self.norm(x)).transpose(1, 2)
