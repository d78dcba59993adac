"""The bag of embeddings in torch: the plain network that defines it, and its twin over a run axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from metabench.training import hashing
from metabench.training.cohort import Differentiated, Weight, initial
from metabench.training.layers import Dropout, dropped

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


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``torch.bmm`` of [R, i, j] and [R, j, k], the same to the last bit whatever R is: alone, a product that is a vector's
    would be taken by another kernel than in company, so it is computed twice."""
    if len(a) > 1 or min(a.shape[1:] + b.shape[2:]) > 1:
        return torch.bmm(a, b)
    # copies lie in memory as the originals do: another order would be another kernel's again
    a, b = (x.mT.repeat(2, 1, 1).mT if x.mT.is_contiguous() else x.repeat(2, 1, 1) for x in (a, b))
    return torch.bmm(a, b)[:1]


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


class TextCohort(Differentiated):
    """R bags of one width and one number of buckets."""

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return int(config["width"]), int(config["buckets"]) if config["ngrams"] == "pairs" else 0

    def __init__(self, arrays, configs, seeds, data, batch: int):
        super().__init__(arrays, configs, seeds, data, batch)
        self.width, self.buckets = self.group(arrays, self.configs[0])
        # the table of embeddings is the first block of every run's parameters
        self.first = self.flat.shape[1] // self.width * torch.arange(self.runs, device=self.device)[:, None, None]
        self.dropout = Dropout(
            self.column("dropout"), self.seeds, np.full(self.runs, self.width), hashing.DROPOUT, self.width, batch,
            self.dtype, self.device,
        )  # fmt: skip

    def weights(self) -> dict[str, Weight]:
        width, buckets = self.group(self.arrays, self.configs[0])
        outputs = self.arrays.n_outputs
        return {
            "embedding": Weight((self.arrays.vocabulary + buckets, width), self.column("init_scale") / width**0.5),
            "linear": Weight((width, outputs), width**-0.5),
            "bias": Weight((outputs,)),
        }

    # the gradient of a table of embeddings is worth writing by hand: rows are added where they belong, in place
    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        mask = self.dropout.mask(step).transpose(1, 2) if self.dropout.active else None
        return self._outputs(x, mask)

    def predict(self, x):
        return self._outputs(x.expand(self.runs, *x.shape), None)

    @torch.no_grad()
    def _outputs(self, x, mask):
        runs, n, _ = x.shape
        rows = bags(x, self.arrays.vocabulary, self.buckets)
        there = rows > 0
        counts = there.sum(2)
        self.rows, self.counts, self.mask = (rows + self.first)[there], counts, mask
        ends = counts.view(-1).cumsum(0)
        total = F.embedding_bag(self.rows, self.flat.view(-1, self.width), ends - counts.view(-1), mode="sum")
        mean = total.view(runs, n, self.width) / counts[:, :, None].clamp_min(1)
        self.mean = mean if mask is None else mean.mul_(mask)
        out = product(self.w["linear"].transpose(1, 2), self.mean.transpose(1, 2))
        return out.add_(self.w["bias"][:, :, None])

    @torch.no_grad()
    def backward(self, d_out):
        self.grad.zero_()
        self.w["linear"].grad.copy_(product(self.mean.transpose(1, 2), d_out.transpose(1, 2)))
        torch.sum(d_out, 2, out=self.w["bias"].grad)
        d_mean = product(d_out.transpose(1, 2), self.w["linear"].transpose(1, 2))
        if self.mask is not None:
            d_mean.mul_(self.mask)
        d_mean.div_(self.counts[:, :, None].clamp_min(1))
        each = d_mean.view(-1, self.width).repeat_interleave(self.counts.view(-1), 0)
        self.grad.view(-1, self.width).index_add_(0, self.rows, each)
