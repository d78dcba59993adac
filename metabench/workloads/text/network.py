"""The bag of embeddings in torch, one run alone: what defines the workload."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from metabench.training import hashing
from metabench.training.cohort import initial
from metabench.training.layers import dropped

#: odd numbers that spread a pair of neighbours over the buckets
FIRST, SECOND = 7_919, 104_729


def bags(tokens: torch.Tensor, vocabulary: int, buckets: int) -> torch.Tensor:
    """Tokens [..., T] → rows of the table of embeddings [..., T or 2T - 1], 0 where there is none: the tokens, then the
    buckets of neighbours, which follow the vocabulary."""
    if not buckets:
        return tokens
    left, right = tokens[..., :-1], tokens[..., 1:]
    pairs = vocabulary + (left * FIRST + right * SECOND) % buckets
    return torch.cat([tokens, torch.where(right > 0, pairs, 0)], -1)


class Network(nn.Module):
    """One configuration as an ordinary module. ``step`` (global step) selects the dropout masks while training."""

    def __init__(self, arrays, config: dict[str, Any], seed: int):
        super().__init__()
        self.vocabulary, self.buckets = arrays.vocabulary, int(config["buckets"]) if config["ngrams"] == "pairs" else 0
        width, size = int(config["width"]), self.vocabulary + self.buckets
        self.embedding = nn.EmbeddingBag(size, width, mode="sum")
        self.linear = nn.Linear(width, arrays.n_outputs)
        table = initial(seed, 0, (size, width), float(config["init_scale"]) / width**0.5)
        self.embedding.weight.data = torch.as_tensor(table)
        self.linear.weight.data = torch.as_tensor(
            initial(seed, 1, (width, arrays.n_outputs), width**-0.5)
        ).T.contiguous()
        self.linear.bias.data = torch.zeros(arrays.n_outputs, dtype=torch.float64)
        self.dropout, self.seed, self.step = float(config["dropout"]), seed, 0

    def forward(self, tokens):
        rows = bags(tokens, self.vocabulary, self.buckets)
        there = (rows > 0).to(self.linear.weight.dtype)
        mean = self.embedding(rows, per_sample_weights=there) / there.sum(1, keepdim=True).clamp_min(1.0)
        if self.training:
            mean = dropped(mean, self.dropout, self.seed, hashing.DROPOUT, self.step)
        return self.linear(mean)
