"""The recurrent network over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.cohort import Cohort, Differentiated, Weight
from metabench.training.layers import Dropout, InputNoise
from metabench.training.recurrence import CELLS
from metabench.workloads.rnn.network import directions, kept

#: rows predicted at a time
BLOCK = {"cpu": 128, "cuda": 1024}


class RnnCohort(Differentiated):
    """R networks of one cell and one number of units. A run has a lane of the recurrence for each direction: the forward
    lanes of all, then the backward ones of the first runs, which read both ways."""

    chunk: ClassVar = {"cpu": 16, "cuda": 512}

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return config["cell"], int(config["units"])

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return (-directions(config), *Cohort.order(config))

    def __init__(self, arrays, configs, seeds, data, batch: int):
        super().__init__(arrays, configs, seeds, data, batch)
        (self.moments, self.inputs), like = arrays.shape, (self.dtype, self.device)
        self.block_rows = BLOCK[self.device.type]
        units, ways = self.units, np.array([directions(c) for c in self.configs])
        self.two = int((ways == 2).sum())
        gate = kept(self.configs[0])
        if gate is not None:
            bias = torch.as_tensor(self.column("forget_bias"), dtype=self.dtype, device=self.device)
            with torch.no_grad():
                self.w["ahead inputs"][:, gate, -1] += bias[:, None]
                self.w["back inputs"][: self.two, gate, -1] += bias[: self.two, None]
        cell, size = CELLS[self.configs[0]["cell"]], (self.inputs, units, self.moments)
        lanes = self.runs + self.two
        self.train = cell(lanes, *size, batch, *like)
        self.block = cell(lanes, *size, self.block_rows, *like, learns=False)
        self.noise = InputNoise(
            self.column("input_noise"),
            self.seeds,
            batch,
            self.moments * self.inputs,
            *like,
        )
        self.dropout = Dropout(
            self.column("dropout"), self.seeds, ways * units, hashing.DROPOUT, 2 * units, batch, *like
        )
        # the last states of both directions, and ones; the linear layer, padded to two outputs
        self.features, self.block_features = (
            torch.zeros(self.runs, 2 * units + 1, n, dtype=self.dtype, device=self.device)
            for n in (batch, self.block_rows)
        )
        for features in (self.features, self.block_features):
            features[:, -1] = 1.0
        shape = self.runs, max(2, arrays.n_outputs), 2 * units + 1
        self.linear, self.d_linear = (torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2))
        self.d_out = torch.zeros(*shape[:2], batch, dtype=self.dtype, device=self.device)

    @property
    def units(self) -> int:
        return int(self.configs[0]["units"])

    def weights(self) -> dict[str, Weight]:
        """Those of the backward cell are 0, and stay it, where there is none."""
        units, outputs = self.units, self.arrays.n_outputs
        rows, width = CELLS[self.configs[0]["cell"]].gates * units, self.arrays.shape[1] + 1
        ways = np.array([directions(c) for c in self.configs])
        std, scale = (3 * units) ** -0.5, self.column("init_scale")
        weights = {}
        for name, here in (("ahead", ways > 0), ("back", ways > 1)):
            weights |= {
                f"{name} inputs": Weight((rows, width), std * here),
                f"{name} state": Weight((rows, units), std * scale * here),
                f"{name} linear": Weight((outputs, units), (units * ways) ** -0.5 * here),
            }
        return weights | {"bias": Weight((outputs,))}

    def _load(self, recurrence) -> None:
        """Hand the weights to the lanes and to the linear layer."""
        w, two, units, outputs = self.w, self.two, self.units, self.arrays.n_outputs
        recurrence.load(*(torch.cat([w[f"ahead {part}"], w[f"back {part}"][:two]]) for part in ("inputs", "state")))
        self.linear[:, :outputs, :units] = w["ahead linear"]
        self.linear[:, :outputs, units:-1] = w["back linear"]
        self.linear[:, :outputs, -1] = w["bias"]

    @torch.no_grad()
    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1)).view(self.runs, self.batch, -1)
        if self.noise.active:
            self.noise.add_(x, step)
        x = x.view(self.runs, self.batch, self.moments, self.inputs).permute(2, 0, 3, 1)
        self.train.inputs[:, : self.runs].copy_(x)
        if self.two:
            self.train.inputs[:, self.runs :].copy_(x[:, : self.two].flip(0))
        self._load(self.train)
        self.mask = self.dropout.mask(step) if self.dropout.active else None
        return self._outputs(self.train.forward(), self.features, self.mask)

    @torch.no_grad()
    def predict(self, x):
        lanes, moments, n = self.block.inputs[0], x.permute(1, 2, 0), len(x)

        def feed(t: int) -> None:
            lanes[: self.runs, :, :n] = moments[t]
            lanes[self.runs :, :, :n] = moments[-1 - t]

        self._load(self.block)
        return self._outputs(self.block.forward(feed), self.block_features, None)[:, :, :n]

    def _outputs(self, final, features, mask):
        """Outputs [R, C, B] from the last states of all lanes."""
        features[:, : self.units] = final[: self.runs]
        features[: self.two, self.units : -1] = final[self.runs :]
        if mask is not None:
            features[:, :-1].mul_(mask)
        return torch.bmm(self.linear, features)[:, : self.arrays.n_outputs]

    @torch.no_grad()
    def backward(self, d_out):
        outputs, units, two, runs = self.arrays.n_outputs, self.units, self.two, self.runs
        self.d_out[:, :outputs] = d_out
        torch.bmm(self.d_out, self.features.transpose(1, 2), out=self.d_linear)
        d = torch.bmm(self.linear[:, :, :-1].transpose(1, 2), self.d_out)
        if self.mask is not None:
            d.mul_(self.mask)
        gradients = self.train.backward(torch.cat([d[:, :units], d[:two, units:]]))
        w = self.w
        for part, g in zip(("inputs", "state"), gradients, strict=True):
            w[f"ahead {part}"].grad.copy_(g[:runs])
            w[f"back {part}"].grad[:two] = g[runs:]
        w["ahead linear"].grad.copy_(self.d_linear[:, :outputs, :units])
        w["back linear"].grad[:two] = self.d_linear[:two, :outputs, units:-1]
        w["bias"].grad.copy_(self.d_linear[:, :outputs, -1])
