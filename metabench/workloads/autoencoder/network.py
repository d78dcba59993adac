"""The dense autoencoder in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

from torch import nn

from metabench.training import hashing
from metabench.training.dense import PlainStack
from metabench.workloads.autoencoder.shape import sizes


class Network(nn.Module):
    """One configuration as an ordinary module. ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        settings = config["activation"], float(config["dropout"]), seed
        encoder, decoder = sizes(arrays, config)
        layers = len(encoder) - 1
        self.encoder = PlainStack(encoder, *settings, 0, hashing.DROPOUT)
        self.decoder = PlainStack(decoder, *settings, 2 * layers, hashing.DROPOUT + layers)
        self.step = 0

    def forward(self, x):
        return self.decoder(self.encoder(x, self.step), self.step)
