"""The variational autoencoder in torch, one run alone: what defines the workload."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from metabench.tasks.metrics import FLOOR
from metabench.training import hashing, sequential
from metabench.training.data import PARTS
from metabench.training.dense import PlainStack
from metabench.workloads.vae.shape import betas, sizes

LOG_TAU = math.log(2.0 * math.pi)


class Network(nn.Module):
    """The networks of one configuration; mean and log-variance of a latent number are neighbours among the outputs."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        encoder, decoder = sizes(arrays, config)
        settings = config["activation"], 0.0, seed
        self.encoder = PlainStack(encoder, *settings, 0, hashing.DROPOUT)
        self.decoder = PlainStack(decoder, *settings, 2 * len(encoder) - 2, hashing.DROPOUT)
        self.log_variance = nn.Parameter(torch.zeros(arrays.n_features, dtype=torch.float64))
        self.seed, self.step = seed, 0

    def forward(self, x):
        """Of rows [B, D] the two terms of the bound: -log p(x|z) and the divergence, [B] each."""
        streams = (hashing.LATENT_A, hashing.LATENT_B) if self.training else (hashing.JUDGED_A, hashing.JUDGED_B)
        mean, log = self.encoder(x, self.step).unflatten(1, (-1, 2)).unbind(2)
        a, b = (hashing.key(self.seed, stream, self.step) for stream in streams)
        noise = hashing.normal(a, b, np.arange(mean.numel(), dtype=np.uint32)).reshape(mean.shape)
        z = mean + (0.5 * log).exp() * torch.as_tensor(noise, dtype=x.dtype, device=x.device)
        variance = FLOOR + self.log_variance.exp()
        error = self.decoder(z, self.step) - x
        missed = 0.5 * (error.square() / variance + variance.log() + LOG_TAU).sum(1)
        return missed, 0.5 * (mean.square() + log.exp() - 1.0 - log).sum(1)


class Alone(sequential.Supervised):
    """One run by the ordinary loop, with a loss of its own."""

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        super().__init__(workload, arrays, config, seed, data, epochs)
        self.betas = betas(config, epochs * self.steps)

    def _loss(self, outputs, targets):
        missed, divergence = outputs
        return (missed + self.betas[self.net.step] * divergence).mean() / targets.shape[1]

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        self.net.eval()
        found = {}
        for self.net.step, part in enumerate(PARTS):
            x, _ = self.data[part]
            loss = cast(torch.Tensor, sum(self.net(x))).double().mean().item() / x.shape[1]
            found[part] = loss, loss
        return found
