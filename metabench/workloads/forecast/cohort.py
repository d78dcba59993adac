"""The forecaster over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.cohort import Differentiated, Weight
from metabench.training.layers import Dropout, InputNoise
from metabench.training.recurrence import Gru
from metabench.workloads.forecast.network import shapes

#: rows predicted at a time
BLOCK = {"cpu": 128, "cuda": 1024}


class ForecastCohort(Differentiated):
    """R networks of one kind and one number of units. The hidden units, the inputs and a row of ones lie below one another;
    the output layer, the map of the inputs (fixed where the anchor is the last value) and the bias are one product."""

    chunk: ClassVar = {"cpu": 16, "cuda": 1024}

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return config["network"], int(config["units"])

    def __init__(self, arrays, configs, seeds, data, batch: int):
        super().__init__(arrays, configs, seeds, data, batch)
        like = self.dtype, self.device
        self.units, (self.moments, self.width) = int(self.configs[0]["units"]), arrays.shape
        self.block_rows, n = BLOCK[self.device.type], arrays.n_features
        self.features, self.block_features = (
            torch.zeros(self.runs, self.units + n + 1, columns, dtype=self.dtype, device=self.device)
            for columns in (batch, self.block_rows)
        )
        self.recurrent = self.configs[0]["network"] == "gru"
        if self.recurrent:
            size = self.runs, self.width, self.units, self.moments
            self.train, self.block = Gru(*size, batch, *like), Gru(*size, self.block_rows, *like, learns=False)
        for features in (self.features, self.block_features):
            features[:, -1] = 1.0
        self.noise = InputNoise(self.column("input_noise"), self.seeds, batch, n, *like)
        widths = np.full(self.runs, self.units)
        self.dropout = Dropout(self.column("dropout"), self.seeds, widths, hashing.DROPOUT, self.units, batch, *like)
        anchors = np.array([c["anchor"] for c in self.configs])
        learned, last = (torch.as_tensor(anchors == name, device=self.device) for name in ("linear", "last"))
        self.learned = learned[:, None, None].to(self.dtype)
        # the last moment's first number
        self.fixed = torch.zeros(self.runs, 1, n, dtype=self.dtype, device=self.device)
        self.fixed[:, 0, -self.width] = last.to(self.dtype)
        with torch.no_grad():
            self.w["skip"][:, :, -self.width] = learned[:, None].to(self.dtype)

    def weights(self) -> dict[str, Weight]:
        """The map of the inputs is 0, and stays it, where none is learned."""
        config, scale = self.configs[0], self.column("init_scale")
        outputs, units = self.arrays.n_outputs, int(config["units"])
        hidden = shapes(self.arrays, config)
        return {
            **{f"hidden {i}": Weight(shape, std * scale) for i, (shape, std) in enumerate(hidden)},
            "top": Weight((outputs, units), (3 * units) ** -0.5),
            "skip": Weight((outputs, self.arrays.n_features)),
            "bias": Weight((outputs,)),
        }

    @torch.no_grad()
    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1)).view(self.runs, self.batch, -1)
        if self.noise.active:
            self.noise.add_(x, step)
        self.features[:, self.units : -1] = x.transpose(1, 2)
        if self.recurrent:
            self.train.inputs.copy_(x.view(self.runs, self.batch, self.moments, self.width).permute(2, 0, 3, 1))
            self._load(self.train)
        h = self.train.forward() if self.recurrent else self._dense(self.features)
        self.h = self.features[:, : self.units]
        self.h.copy_(h)
        self.mask = self.dropout.mask(step) if self.dropout.active else None
        if self.mask is not None:
            self.h.mul_(self.mask)
        return self._outputs(self.features)

    @torch.no_grad()
    def predict(self, x):
        features, n, moments = self.block_features, len(x), x.permute(1, 2, 0)
        features[:, self.units : -1, :n] = x.flatten(1).T
        if self.recurrent:
            self._load(self.block)
            h = self.block.forward(lambda t: self.block.inputs[0][:, :, :n].copy_(moments[t].expand(self.runs, -1, -1)))
        else:
            h = self._dense(features)
        features[:, : self.units] = h
        return self._outputs(features)[:, :, :n]

    def _load(self, recurrence) -> None:
        recurrence.load(self.w["hidden 0"], self.w["hidden 1"])

    def _dense(self, features):
        return torch.bmm(self.w["hidden 0"], features[:, self.units :]).relu_()

    def _outputs(self, features):
        w = self.w
        self.linear = torch.cat([w["top"], w["skip"] + self.fixed, w["bias"][:, :, None]], 2)
        return torch.bmm(self.linear, features)

    @torch.no_grad()
    def backward(self, d_out):
        w, units = self.w, self.units
        d_linear = torch.bmm(d_out, self.features.transpose(1, 2))
        w["top"].grad.copy_(d_linear[:, :, :units])
        torch.mul(d_linear[:, :, units:-1], self.learned, out=w["skip"].grad)
        w["bias"].grad.copy_(d_linear[:, :, -1])
        d = torch.bmm(self.linear[:, :, :units].transpose(1, 2), d_out)
        if self.mask is not None:
            d.mul_(self.mask)
        if self.recurrent:
            for i, g in enumerate(self.train.backward(d)):
                w[f"hidden {i}"].grad.copy_(g)
            return
        # a unit that is 0 has no slope; one that was dropped has none either
        d.mul_(self.h > 0)
        torch.bmm(d, self.features[:, units:].transpose(1, 2), out=w["hidden 0"].grad)
