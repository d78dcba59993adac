"""The convolutional network over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.augment import STRENGTHS, Augment
from metabench.training.cohort import Differentiated, Weight
from metabench.training.layers import Dropout
from metabench.workloads.cnn.network import spread
from metabench.workloads.cnn.shape import blocks, features

_aten = torch.ops.aten
#: rows predicted at a time
BLOCK = {"cpu": 64, "cuda": 128}


class CnnCohort(Differentiated):
    """R networks of one shape, forward and backward by hand.

    Activations are [R, channels, height, width, B]: the batch is innermost, so that windows, pooling and the zeros around
    pictures are copies and sums of whole stretches. A convolution is a batched product with the windows of its input.
    """

    chunk = {"cpu": 4, "cuda": 256}  # noqa: RUF012

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return tuple(config[name] for name in ("channels", "blocks", "kernel", "pooling", "norm", "augmentation"))

    def __init__(self, arrays, configs, seeds, data, batch: int):
        config = configs.iloc[0].to_dict()
        self.blocks, self.pooling = blocks(arrays.shape, config), config["pooling"]
        self.normed, self.features = config["norm"] == "layer", features(self.blocks)
        super().__init__(arrays, configs, seeds, data, batch)
        self.block_rows = BLOCK[self.device.type]
        self.augment = None
        if config["augmentation"] == "random":
            strengths = {name: self.column(name) for name in STRENGTHS}
            self.augment = Augment(strengths, self.seeds, batch, arrays.shape, self.dtype, self.device)
        self.dropout = Dropout(
            self.column("dropout"),
            self.seeds,
            np.full(self.runs, self.features),
            hashing.DROPOUT,
            self.features,
            batch,
            self.dtype,
            self.device,
        )
        self.train, self.block = Pass(self, self.runs, batch), Pass(self, 1, self.block_rows)

    def weights(self) -> dict[str, Weight]:
        scale, made = self.column("init_scale"), {}
        for i, b in enumerate(self.blocks):
            made[f"conv{i}"] = Weight((b.outputs, b.inputs, b.kernel, b.kernel), spread(b, scale))
        made["linear"] = Weight((self.arrays.n_outputs, self.features), self.features**-0.5)
        for i, b in enumerate(self.blocks):
            made[f"bias{i}"] = Weight((b.outputs,))
            if self.normed:
                made[f"gamma{i}"], made[f"beta{i}"] = Weight((b.outputs,), start=1.0), Weight((b.outputs,))
        return made | {"bias": Weight((self.arrays.n_outputs,))}

    @torch.no_grad()
    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1))
        if self.augment:
            x = self.augment(x, step)
        self.train.show(x.view(*rows.shape, *x.shape[1:]))
        h = self.train.run()
        self.mask = self.dropout.mask(step) if self.dropout.active else None
        return self._outputs(h if self.mask is None else h.mul_(self.mask))

    def _outputs(self, h: torch.Tensor) -> torch.Tensor:
        return torch.bmm(self.w["linear"], h).add_(self.w["bias"][:, :, None])

    @torch.no_grad()
    def predict(self, x):
        self.block.show(x[None])
        return self._outputs(self.block.run())[:, :, : len(x)]

    @torch.no_grad()
    def backward(self, d_out):
        h, linear = self.train.features, self.w["linear"]
        torch.bmm(d_out, h.transpose(1, 2), out=linear.grad)
        torch.sum(d_out, 2, out=self.w["bias"].grad)
        d = torch.bmm(linear.transpose(1, 2), d_out)
        if self.mask is not None:
            d.mul_(self.mask)
        self.train.back(d)


class Pass:
    """The convolutions of a cohort on batches of a size, forward and backward: buffers, and views of them made once.

    ``seen`` is how many batches there are: one for each run, or one that all of them see.
    """

    def __init__(self, cohort: CnnCohort, seen: int, batch: int):
        x = cohort.x
        self.layers: list[Layer] = []
        for i, block in enumerate(cohort.blocks):
            runs = cohort.runs if i else seen
            padded = x.new_zeros(runs, block.inputs, *(side + block.kernel // 2 * 2 for side in block.seen), batch)
            if i:
                self.layers[-1].leave(inside(padded, block.kernel // 2))
            self.layers.append(Layer(cohort, i, padded))
        last = cohort.blocks[-1]
        self.features = x.new_empty(cohort.runs, cohort.features, batch)
        self.layers[-1].leave(self.features.view(cohort.runs, last.outputs, *last.left, batch))
        first = cohort.blocks[0]
        self.pictures = inside(self.layers[0].padded, first.kernel // 2)

    def show(self, x: torch.Tensor) -> None:
        """Take in pictures [R or 1, n, colours, height, width]."""
        self.pictures[..., : x.shape[1]].copy_(x.permute(0, 2, 3, 4, 1))

    def run(self) -> torch.Tensor:
        """Features [R, F, B] of the pictures shown last."""
        for layer in self.layers:
            layer.run()
        return self.features

    def back(self, d: torch.Tensor) -> None:
        """Fill the gradients of the convolutions from that of the features [R, F, B], which is overwritten."""
        d = d.view(self.layers[-1].left.shape)
        for layer in reversed(self.layers):
            d = cast(torch.Tensor, layer.back(d))  # nothing is left to do after the first layer, which gives None


def inside(padded: torch.Tensor, rim: int) -> torch.Tensor:
    """[..., height, width, B] without the zeros around."""
    return padded[..., rim:-rim, rim:-rim, :]


class Layer:
    """Block number ``index`` of a cohort on inputs ``padded`` [R or 1, channels, height + rim, width + rim, B]."""

    def __init__(self, cohort: CnnCohort, index: int, padded: torch.Tensor):
        block = self.block = cohort.blocks[index]
        self.padded, self.first, self.pooling = padded, index == 0, cohort.pooling
        runs, batch, k, (high, wide) = cohort.runs, padded.shape[-1], block.kernel, block.convolved
        self.matrix = (runs, block.outputs, high * wide * batch)
        # the windows of the input: for each offset in the kernel, all places of the output
        step = padded.stride()
        shape = (len(padded), block.inputs, k, k, high, wide, batch)
        moves = (step[2] * block.stride, step[3] * block.stride)
        self.windows = padded.as_strided(shape, (*step[:2], step[2], step[3], *moves, step[4]))
        self.columns = padded.new_empty(shape)
        self.flat_columns = self.columns.view(len(padded), block.fan_in, -1).expand(runs, -1, -1)
        self.z = padded.new_empty(runs, block.outputs, high, wide, batch)
        self.flat_z = self.z.view(self.matrix)
        w = cohort.w
        self.weight, self.bias = w[f"conv{index}"].view(runs, block.outputs, -1), w[f"bias{index}"]
        self.d_weight, self.d_bias = w[f"conv{index}"].grad.view(runs, block.outputs, -1), w[f"bias{index}"].grad
        self.norm = Norm(w[f"gamma{index}"], w[f"beta{index}"]) if cohort.normed else None
        # what only training needs is made when it is first needed
        self.d_z: torch.Tensor | None = None
        self.d_padded: torch.Tensor | None = None

    def leave(self, left: torch.Tensor) -> None:
        """Say where the outputs [R, channels, height, width, B] belong."""
        self.left = left

    def run(self) -> None:
        self.columns.copy_(self.windows)
        torch.bmm(self.weight, self.flat_columns, out=self.flat_z)
        self.z.add_(self.bias[:, :, None, None, None])
        if self.norm:
            self.norm.run(self.z)
        if not self.block.pooled:
            torch.clamp_min(self.z, 0, out=self.left)
        elif self.pooling == "max":
            a, b, c, d = self.quarters(self.z)
            self.rows = torch.maximum(a, b), torch.maximum(c, d)
            self.best = torch.maximum(*self.rows)
            torch.clamp_min(self.best, 0, out=self.left)
        else:
            self.z.clamp_min_(0)
            a, b, c, d = self.quarters(self.z)
            torch.add(a, b, out=self.left).add_(c).add_(d).mul_(0.25)

    def quarters(self, z: torch.Tensor) -> list[torch.Tensor]:
        """The four pixels of every pool, row by row."""
        high, wide = (2 * side for side in self.block.left)
        return [z[:, :, i:high:2, j:wide:2] for i in (0, 1) for j in (0, 1)]

    def back(self, d: torch.Tensor) -> torch.Tensor | None:
        """The gradient of the outputs → that of the inputs (of pictures: None); fills the gradients of the weights. What it
        returns is overwritten by the next call."""
        if self.d_z is None:
            self.d_z = torch.zeros_like(self.z)
        elif self.norm and self.block.pooled:
            self.d_z.zero_()  # the rim that no pool has: a norm leaves something there
        self.pooled_back(d)
        if self.norm:
            self.norm.back(self.d_z)
        flat = self.d_z.view(self.matrix)
        torch.bmm(flat, self.flat_columns.transpose(1, 2), out=self.d_weight)
        torch.sum(flat, 2, out=self.d_bias)
        if self.first:
            return None
        if self.d_padded is None:
            self.d_padded = torch.empty_like(self.padded)
        # the windows have served: their place is their gradients', which are added where they came from
        torch.bmm(self.weight.transpose(1, 2), flat, out=self.flat_columns)
        self.d_padded.zero_()
        stride, (high, wide) = self.block.stride, self.block.convolved
        for i in range(self.block.kernel):
            for j in range(self.block.kernel):
                part = self.d_padded[:, :, i : i + stride * high : stride, j : j + stride * wide : stride]
                part.add_(self.columns[:, :, i, j])
        return inside(self.d_padded, self.block.kernel // 2)

    def pooled_back(self, d: torch.Tensor) -> None:
        """The gradient of the outputs → that of the sums, ``d_z``."""
        assert self.d_z is not None
        if not self.block.pooled:
            _aten.threshold_backward.grad_input(d, self.z, 0, grad_input=self.d_z)
            return
        parts = self.quarters(self.d_z)
        if self.pooling == "average":
            for part, z in zip(parts, self.quarters(self.z), strict=True):
                torch.mul(d, (z > 0).to(d.dtype).mul_(0.25), out=part)
            return
        # to the first of the largest
        top, bottom = self.rows
        d = d * (self.best > 0)
        upper = d * (top >= bottom)
        a, _, c, _ = self.quarters(self.z)
        for left, right, whole, best, first in (
            (parts[0], parts[1], upper, top, a),
            (parts[2], parts[3], d.sub_(upper), bottom, c),
        ):
            torch.mul(whole, first >= best, out=left)
            torch.sub(whole, left, out=right)


class Norm:
    """Each picture over all its channels and pixels, then a scale and a shift a channel, [R, channels]."""

    def __init__(self, gamma: torch.Tensor, beta: torch.Tensor):
        self.gamma, self.beta = (w[:, :, None, None, None] for w in (gamma, beta))
        self.d_gamma, self.d_beta = gamma.grad, beta.grad

    def run(self, z: torch.Tensor) -> None:
        z.sub_(z.mean((1, 2, 3), keepdim=True))
        self.rstd = z.square().mean((1, 2, 3), keepdim=True).add_(1e-5).rsqrt_()
        self.normal = z.mul(self.rstd)
        torch.mul(self.normal, self.gamma, out=z).add_(self.beta)

    def back(self, d: torch.Tensor) -> None:
        torch.sum(d * self.normal, (2, 3, 4), out=self.d_gamma)
        torch.sum(d, (2, 3, 4), out=self.d_beta)
        d.mul_(self.gamma)
        slope = (d * self.normal).mean((1, 2, 3), keepdim=True)
        d.sub_(d.mean((1, 2, 3), keepdim=True)).sub_(self.normal.mul_(slope)).mul_(self.rstd)
