"""The variational autoencoder over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metabench.tasks.metrics import FLOOR
from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.dense import Stack, weights
from metabench.training.learners import Supervised
from metabench.training.runaxis import Keys, Steps, multiples, normal
from metabench.workloads.vae.network import LOG_TAU
from metabench.workloads.vae.shape import betas, sizes

#: room for the latent numbers of every run: runs of all latent widths keep company
LATENT = 16


class VaeCohort(Cohort):
    """R networks of one width and depth; latent numbers that a run has not stay zero."""

    block_rows = 128

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return int(config["width"]), int(config["depth"])

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return config["optimizer"], config["activation"]

    def __init__(self, arrays, configs, seeds, data, batch: int):
        self.runs, self.x, self.dtype, device = len(configs), data["train"][0], data.dtype, data.device
        rows, kinds = configs.to_dict("records"), configs["activation"].tolist()
        own = [sizes(arrays, row) for row in rows]
        encoder, decoder = [*own[0][0][:-1], 2 * LATENT], [LATENT, *own[0][1][1:]]
        named = weights("encoder", encoder, [e for e, _ in own]) | weights("decoder", decoder, [d for _, d in own])
        self.w = Parameters(
            named | {"log_variance": Weight((arrays.n_features,))}, np.asarray(seeds), self.dtype, device
        )
        self.flat, self.grad = self.w.flat, self.w.grad
        self.encoder, self.decoder = (Stack(self.w, prefix, kinds, None) for prefix in ("encoder", "decoder"))
        shape = (self.runs, 1, 1)
        self.draws, self.judged = (
            [Keys(seeds, stream, shape, device) for stream in streams]
            for streams in ((hashing.LATENT_A, hashing.LATENT_B), (hashing.JUDGED_A, hashing.JUDGED_B))
        )
        # a row's number k is hash number row * latent + k of its run
        latent = torch.as_tensor(configs["latent"].to_numpy(np.int64), device=device)[:, None, None]
        number = torch.arange(LATENT, device=device)[None, :, None]
        longest = max(len(x) for x, _ in data.parts.values())
        self.number = multiples(np.arange(LATENT)).to(device)[None, :, None]
        self.row = multiples(np.outer(configs["latent"].to_numpy(np.int64), np.arange(longest))).to(device)[:, None, :]
        self.real = (number < latent).to(self.dtype)

    def bound(self, x: torch.Tensor, draws, at, low: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows x [R, B, D], number ``low`` on of the draws ``at``, the two terms of the bound, [R] each: sums over rows;
        keeps what :meth:`backward` needs."""
        x = x.transpose(1, 2)
        code = self.encoder.forward(x, None)
        mean, log = code[:, 0::2], code[:, 1::2]
        index = self.number + self.row[:, :, low : low + x.shape[2]]
        a, b = (keys.at(at) for keys in draws)
        noise = normal(a, b, index, self.dtype).mul_(self.real)
        spread = log.mul(0.5).exp_()
        noise.mul_(spread)
        error = self.decoder.forward(noise + mean, None).sub_(x)
        shape = self.w["log_variance"].exp()
        variance = shape + FLOOR
        scaled = error / variance[:, :, None]
        # [R, D]: the squared errors of an input in its variances, over all rows
        squares = torch.linalg.vector_norm(error, dim=2).square_() / variance
        missed = 0.5 * (squares + x.shape[2] * (variance.log() + LOG_TAU)).sum(1)
        variances = spread.square()
        divergence = 0.5 * (mean.square() + variances - 1.0 - log).sum((1, 2))
        self.kept = mean, noise, variances, scaled, squares, shape / variance
        return missed, divergence

    def backward(self, share: float, beta: torch.Tensor) -> None:
        """Fill ``grad`` from ``share`` times the sums of :meth:`bound`, the second weighted by ``beta`` [R, 1, 1]."""
        mean, noise, variances, scaled, squares, slope = self.kept
        n = scaled.shape[2]
        torch.mul((n - squares).mul_(0.5 * share), slope, out=self.w["log_variance"].grad)
        d_z = self.decoder.backward(scaled.mul_(share), down=True)
        weight = beta * share
        d_code = torch.stack([mean * weight + d_z, (noise * d_z + (variances - 1.0) * weight).mul_(0.5)], 2)
        self.encoder.backward(d_code.view(len(d_z), -1, n))


class Variational(Supervised):
    """R variational autoencoders that learn together."""

    def __init__(self, arrays, configs, seeds, data, epochs: int):
        super().__init__(VaeCohort, arrays, configs, seeds, data, epochs)
        self.inputs = arrays.n_features
        weights = np.stack([betas(row, epochs * self.steps) for row in configs.to_dict("records")], 1)
        self.betas = Steps(torch.as_tensor(weights, dtype=data.dtype, device=data.device)[:, :, None, None])

    def advance(self, step):
        rows, networks = self.batches.at(step % self.steps), self.networks
        x = networks.x.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        missed, divergence = networks.bound(x, networks.draws, step)
        self.trouble.add_(missed.add_(divergence).mul_(0.0))
        networks.backward(1.0 / (rows.shape[1] * self.inputs), self.betas.at(step))
        self.update.step(step)

    def evaluate(self):
        found, size, networks = {}, self.networks.block_rows, self.networks
        for number, (part, (x, _)) in enumerate(self.data.parts.items()):
            total = torch.zeros(networks.runs, dtype=torch.float64, device=x.device)
            for low in range(0, len(x), size):
                block = x[low : low + size].expand(networks.runs, -1, -1)
                total += sum(networks.bound(block, networks.judged, number, low))
            total /= len(x) * self.inputs
            found[part] = total, total
        return found
