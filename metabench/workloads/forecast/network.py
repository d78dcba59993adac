"""The forecaster in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metabench.training import hashing
from metabench.training.cohort import initial
from metabench.training.layers import dropped


def shapes(arrays, config: dict[str, Any]) -> list[tuple[tuple[int, int], float]]:
    """Shape of the hidden layer's weights, the last column of the first the biases, and their standard deviation."""
    units, width = int(config["units"]), arrays.shape[1]
    if config["network"] == "gru":
        return [((3 * units, width + 1), (3 * units) ** -0.5), ((3 * units, units), (3 * units) ** -0.5)]
    return [((units, arrays.n_features + 1), (3 * arrays.n_features) ** -0.5)]


class Network(nn.Module):
    """One configuration as an ordinary module; inputs [B, T, D], the value to forecast in the first of D. A GRU's biases
    are the weights of a further input of 1. ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        units, outputs, self.anchor = int(config["units"]), arrays.n_outputs, config["anchor"]
        scale = float(config["init_scale"])
        first, *second = (
            torch.as_tensor(initial(seed, i, shape, std * scale))
            for i, (shape, std) in enumerate(shapes(arrays, config))
        )
        self.recurrent = config["network"] == "gru"
        if self.recurrent:
            self.hidden = nn.GRU(arrays.shape[1] + 1, units, bias=False, batch_first=True)
            self.hidden.weight_ih_l0.data, self.hidden.weight_hh_l0.data = first, second[0]
        else:
            self.hidden = nn.Linear(arrays.n_features, units)
            self.hidden.weight.data, self.hidden.bias.data = first[:, :-1].contiguous(), first[:, -1].contiguous()
        self.top = nn.Linear(units, outputs)
        self.top.weight.data = torch.as_tensor(initial(seed, 1 + len(second), (outputs, units), (3 * units) ** -0.5))
        self.top.bias.data = torch.zeros(outputs, dtype=torch.float64)
        if self.anchor == "linear":
            self.skip = nn.Linear(arrays.n_features, outputs, bias=False)
            self.skip.weight.data = torch.zeros(outputs, arrays.n_features, dtype=torch.float64)
            self.skip.weight.data[:, -arrays.shape[1]] = 1.0
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0

    def forward(self, x):
        if self.recurrent:
            h = self.hidden(torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2))[1][0]
        else:
            h = torch.relu(self.hidden(x.flatten(1)))
        if self.training:
            h = dropped(h, self.dropout, self.seed, hashing.DROPOUT, self.step)
        out = self.top(h)
        if self.anchor == "last":
            return out + x[:, -1, :1]
        return out + self.skip(x.flatten(1)) if self.anchor == "linear" else out
