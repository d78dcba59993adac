"""The bag of embeddings over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from metabench.training import hashing
from metabench.training.cohort import Differentiated, Weight
from metabench.training.layers import Dropout
from metabench.workloads.text.network import bags


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``torch.bmm`` of [R, i, j] and [R, j, k], the same to the last bit whatever R is: alone, a product that is a vector's
    would be taken by another kernel than in company, so it is computed twice."""
    if len(a) > 1 or min(a.shape[1:] + b.shape[2:]) > 1:
        return torch.bmm(a, b)
    # copies lie in memory as the originals do: another order would be another kernel's again
    a, b = (x.mT.repeat(2, 1, 1).mT if x.mT.is_contiguous() else x.repeat(2, 1, 1) for x in (a, b))
    return torch.bmm(a, b)[:1]


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
            self.column("dropout"),
            self.seeds,
            np.full(self.runs, self.width),
            hashing.DROPOUT,
            self.width,
            batch,
            self.dtype,
            self.device,
        )

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
