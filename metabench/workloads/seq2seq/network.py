"""Encoder and decoder in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from metabench.training import hashing, sequential
from metabench.training.cohort import initial
from metabench.training.data import PARTS, Data
from metabench.training.layers import dropped
from metabench.workloads.seq2seq.shape import COMPARED, END, GATES, NONE

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}
#: standard deviation of embeddings
SPREAD = 0.5


def packed(data: Data) -> Data:
    """Inputs are the source, aligned at its end, and the target's tokens one place later: what the decoder is told."""

    def inputs(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        size = x.shape[1]
        place = torch.arange(size, device=x.device) - (size - (x > 0).sum(1))[:, None]
        aligned = torch.where(place < 0, 0, x.gather(1, place.clamp_min(0)))
        return torch.cat([aligned, torch.zeros_like(y[:, :1]), y[:, :-1]], 1)

    return Data({part: (inputs(x, y), y) for part, (x, y) in data.parts.items()}, data.dtype)


def after_end(y: torch.Tensor) -> torch.Tensor:
    """Places of targets [n, T] that do not count."""
    ended = y == END
    return (ended.cumsum(1) - ended.long()) > 0


class Network(nn.Module):
    """One configuration as an ordinary module. Biases of the cells are the weights of a further input of 1. ``step`` (global
    step) selects masks and what is told while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        units, width = int(config["units"]), int(config["embedding"])
        self.sources, self.outputs, self.attention = arrays.shape[0], arrays.n_outputs, config["attention"]
        self.source, self.target = (nn.Embedding(size, width) for size in (arrays.vocabulary, self.outputs))
        for i, embedding in enumerate((self.source, self.target)):
            embedding.weight.data = torch.as_tensor(initial(seed, i, tuple(embedding.weight.shape), SPREAD))
        settings = {"bias": False, "batch_first": True}
        self.reads, self.writes = (KINDS[config["cell"]](width + 1, units, **settings) for _ in range(2))
        rows, std = GATES[config["cell"]] * units, (3 * units) ** -0.5
        for i, cell in enumerate((self.reads, self.writes)):
            inputs = initial(seed, 2 + 2 * i, (rows, width), std)
            cell.weight_ih_l0.data = torch.as_tensor(np.concatenate([inputs, np.zeros((rows, 1))], 1))
            cell.weight_hh_l0.data = torch.as_tensor(initial(seed, 3 + 2 * i, (rows, units), std))
        seen = units if self.attention == "none" else 2 * units
        self.says = nn.Linear(seen, self.outputs)
        self.says.weight.data = torch.as_tensor(initial(seed, 6, (seen, self.outputs), seen**-0.5)).T.contiguous()
        self.says.bias.data = torch.zeros(self.outputs, dtype=torch.float64)
        if self.attention == "additive":
            self.query, self.key = (nn.Linear(units, COMPARED, bias=False) for _ in range(2))
            self.weigh = nn.Linear(COMPARED, 1, bias=False)
            for i, layer in enumerate((self.query, self.key)):
                values = initial(seed, 10 + i, (units, COMPARED), units**-0.5)
                layer.weight.data = torch.as_tensor(values).T.contiguous()
            self.weigh.weight.data = torch.as_tensor(initial(seed, 12, (COMPARED,), COMPARED**-0.5))[None]
        self.dropout, self.forcing = float(config["dropout"]), float(config["teacher_forcing"])
        self.seed, self.step = seed, 0

    @staticmethod
    def _run(cell: nn.RNNBase, inputs: torch.Tensor, state=None):
        return cell(torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], 2), state)

    def read(self, tokens: torch.Tensor):
        """The reader's states [B, S, units], its last one, and which tokens there are [B, S]."""
        states, last = self._run(self.reads, self.source(tokens))
        return states, last, tokens > 0

    def write(self, told: torch.Tensor, read, state=None, drops: bool = False):
        """Outputs [B, C, T] of tokens told before each [B, T], and the last state; from the reader's last state at first."""
        states, last, there = read
        h, state = self._run(self.writes, self.target(told), last if state is None else state)
        if self.attention != "none":
            if self.attention == "dot":
                scores = h @ states.transpose(1, 2) / h.shape[2] ** 0.5
            else:
                scores = self.weigh(torch.tanh(self.query(h)[:, :, None] + self.key(states)[:, None]))[..., 0]
            weights = torch.softmax(scores.masked_fill(~there[:, None], -torch.inf), 2)
            h = torch.cat([h, weights @ states], 2)
        if drops:
            h = dropped(h, self.dropout, self.seed, hashing.DROPOUT, self.step)
        return self.says(h).transpose(1, 2), state

    def forward(self, x):
        tokens, told = x[:, : self.sources], x[:, self.sources :]
        read = self.read(tokens)
        if self.training and self.forcing < 1.0:
            with torch.no_grad():
                said = 1 + self.write(told, read)[0][:, 1:].argmax(1)
            u = hashing.uniform(
                hashing.key(self.seed, hashing.FORCED, self.step), np.arange(told.numel(), dtype=np.uint32)
            )
            true = torch.as_tensor(u.astype(np.float64) < self.forcing, device=x.device).view(told.shape)
            true[:, 0] = True
            told = torch.where(true, told, said.roll(1, 1))
        return self.write(told, read, drops=self.training)[0]

    def decode(self, tokens: torch.Tensor, length: int) -> torch.Tensor:
        """The likeliest token at each of ``length`` places, told those before: [B, length]."""
        read, state, said = self.read(tokens), None, [torch.zeros_like(tokens[:, :1])]
        for _ in range(length):
            outputs, state = self.write(said[-1], read, state)
            said.append(1 + outputs[:, 1:].argmax(1))
        return torch.cat(said[1:], 1)


class Alone(sequential.Supervised):
    """One run by the ordinary loop; places without a target do not count."""

    def __init__(self, workload, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        super().__init__(workload, arrays, config, seed, packed(data), epochs)

    def _loss(self, outputs, targets):
        return F.cross_entropy(outputs, targets, ignore_index=NONE)

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[float, float]]:
        self.net.eval()
        found = {}
        for part in PARTS:
            x, y = self.data[part]
            loss, score = self._loss(self.net(x).double(), y).item(), 0.0
            if part != "train":
                said = self.net.decode(x[:, : self.net.sources], y.shape[1])
                score = ((said == y) | after_end(y)).all(1).double().mean().item()
            found[part] = loss, score
        return found
