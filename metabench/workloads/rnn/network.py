"""The recurrent network in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from metabench.training import hashing
from metabench.training.cohort import initial
from metabench.training.layers import dropped
from metabench.training.recurrence import CELLS

KINDS = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def directions(config: dict[str, Any]) -> int:
    return 2 if config["direction"] == "both" else 1


def kept(config: dict[str, Any]) -> slice | None:
    """Rows of the bias that ``forget_bias`` is added to."""
    gate, units = CELLS[config["cell"]].keep, int(config["units"])
    return None if gate is None else slice(gate * units, (gate + 1) * units)


class Network(nn.Module):
    """One configuration as an ordinary module; inputs [B, T, D]. The biases are the weights of a further input of 1.
    ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        units, width, both = int(config["units"]), arrays.shape[1], directions(config) == 2
        self.cell = KINDS[config["cell"]](width + 1, units, bias=False, batch_first=True, bidirectional=both)
        self.linear = nn.Linear(units * directions(config), arrays.n_outputs)
        rows, std, gate = CELLS[config["cell"]].gates * units, (3 * units) ** -0.5, kept(config)
        for i, end in enumerate(("l0", "l0_reverse")[: directions(config)]):
            inputs = initial(seed, 3 * i, (rows, width + 1), std)
            hidden = initial(seed, 3 * i + 1, (rows, units), std * float(config["init_scale"]))
            if gate is not None:
                inputs[gate, -1] += float(config["forget_bias"])
            for name, values in ((f"weight_ih_{end}", inputs), (f"weight_hh_{end}", hidden)):
                getattr(self.cell, name).data = torch.as_tensor(values)
        std = (units * directions(config)) ** -0.5
        out = [initial(seed, 3 * i + 2, (arrays.n_outputs, units), std) for i in range(directions(config))]
        self.linear.weight.data = torch.as_tensor(np.concatenate(out, 1))
        self.linear.bias.data = torch.zeros(arrays.n_outputs, dtype=torch.float64)
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0

    def forward(self, x):
        _, states = self.cell(torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2))
        state = states[0] if isinstance(states, tuple) else states  # [directions, B, units]
        h = torch.cat(state.unbind(0), 1)
        if self.training:
            h = dropped(h, self.dropout, self.seed, hashing.DROPOUT, self.step)
        return self.linear(h)
