"""The dense autoencoder over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters
from metabench.training.dense import Stack, weights
from metabench.training.layers import Dropout, InputNoise
from metabench.training.runaxis import column
from metabench.workloads.autoencoder.shape import sizes

#: room for the latent numbers of every run: runs of all latent widths keep company
LATENT = 32


class AutoencoderCohort(Cohort):
    """R autoencoders of one width and depth; latent numbers that a run has not stay zero."""

    block_rows = 128

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return int(config["width"]), int(config["depth"])

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return config["optimizer"], config["activation"]

    def __init__(self, arrays, configs, seeds, data, batch: int):
        self.runs, self.x, dtype, device = len(configs), data["train"][0], data.dtype, data.device
        own = [sizes(arrays, config) for config in configs.to_dict("records")]
        encoder, layers = [*own[0][0][:-1], LATENT], len(own[0][0]) - 1
        named = weights("encoder", encoder, [e for e, _ in own]) | weights(
            "decoder", encoder[::-1], [d for _, d in own]
        )
        self.w = Parameters(named, np.asarray(seeds), dtype, device)
        self.flat, self.grad = self.w.flat, self.w.grad
        width, p = int(configs["width"].iloc[0]), column(configs, "dropout")
        self.stacks = [
            Stack(
                self.w,
                prefix,
                configs["activation"].tolist(),
                [
                    Dropout(p, seeds, np.full(self.runs, width), stream + i, width, batch, dtype, device)
                    for i in range(layers - 1)
                ],
            )
            for prefix, stream in (("encoder", hashing.DROPOUT), ("decoder", hashing.DROPOUT + layers))
        ]
        self.noise = InputNoise(column(configs, "input_noise"), seeds, batch, arrays.n_features, dtype, device)

    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        if self.noise.active:
            self.noise.add_(x, step)
        return self._outputs(x, step)

    def predict(self, x):
        return self._outputs(x.expand(self.runs, *x.shape), None)

    def _outputs(self, x, step):
        encoder, decoder = self.stacks
        return decoder.forward(encoder.forward(x.transpose(1, 2), step), step)

    def backward(self, d_out):
        encoder, decoder = self.stacks
        encoder.backward(decoder.backward(d_out, down=True))
