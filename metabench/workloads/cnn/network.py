"""The convolutional network in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metabench.training import hashing
from metabench.training.augment import STRENGTHS, augmented
from metabench.training.cohort import initial
from metabench.training.layers import dropped
from metabench.workloads.cnn.shape import Block, blocks, features


class Network(nn.Module):
    """One configuration as an ordinary module. ``step`` (global step) selects the dropout masks and how images are
    augmented while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        made = blocks(arrays.shape, config)
        self.body = nn.Sequential()
        for block in made:
            self.body.append(nn.Conv2d(block.inputs, block.outputs, block.kernel, block.stride, block.kernel // 2))
            if config["norm"] == "layer":
                self.body.append(nn.GroupNorm(1, block.outputs))
            self.body.append(nn.ReLU())
            if block.pooled:
                self.body.append(nn.MaxPool2d(2) if config["pooling"] == "max" else nn.AvgPool2d(2))
        self.linear = nn.Linear(features(made), arrays.n_outputs)
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for i, layer in enumerate([*convolutions, self.linear]):
            block = made[i] if i < len(made) else None
            std = spread(block, config["init_scale"]) if block else features(made) ** -0.5
            layer.weight.data = torch.as_tensor(initial(seed, i, tuple(layer.weight.shape), std))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.strengths = (
            {name: float(config[name]) for name in STRENGTHS} if config["augmentation"] == "random" else None
        )
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0

    def forward(self, x):
        if self.training and self.strengths:
            x = augmented(x, self.strengths, self.seed, self.step)
        h = self.body(x).flatten(1)
        if self.training:
            h = dropped(h, self.dropout, self.seed, hashing.DROPOUT, self.step)
        return self.linear(h)


def spread(block: Block, scale):
    """Standard deviation of a convolution's initial weights."""
    return scale * (2.0 / block.fan_in) ** 0.5
