"""The MLP over a run axis, with a hand-written backward: R networks advance in a few large products."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.cohort import Cohort
from metabench.training.data import Data
from metabench.training.layers import Dropout, InputNoise, LayerNorm, activate, deactivate_
from metabench.training.runaxis import column, segments
from metabench.workloads.mlp.network import initial_weight

#: widths that runs are padded to; a run's own width alone decides which, so its numbers never depend on company
WIDTHS = (32, 64, 96, 128, 192, 256)
#: rows predicted at a time
BLOCK = {"cpu": 256, "cuda": 2048}


def padded(width: int) -> int:
    """The padded width; a multiple of 32, so that every run fills whole vectors."""
    return next((w for w in WIDTHS if width <= w), -(-width // 64) * 64)


class MlpCohort(Cohort):
    """R networks of one padded width over a leading run axis; depths may differ.

    Activations are feature-major, [R, width, B]. A bias is the last row of its layer's weights and meets a row of ones.
    Each run's parameters lie in one row of ``flat`` [R, P]: the output layer, then layer by layer weights [in + 1,
    out], gamma and beta; a shallower run uses the leading columns only. Runs are sorted by falling depth, so that the
    runs that have a layer are the first ones. Padding is 0 and stays 0.
    """

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return (padded(int(config["width"])),)

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        """Falling depth; then stretches of what costs most calls when it changes."""
        return -int(config["depth"]), config["norm"], config["optimizer"], config["activation"]

    def __init__(self, arrays, configs, seeds, data: Data, batch: int):
        x, dtype, device = data["train"][0], data.dtype, data.device
        rows = configs.to_dict("records")
        depths, widths = (configs[name].to_numpy(np.int64) for name in ("depth", "width"))
        self.runs, self.depth, self.width = len(rows), int(depths[0]), padded(int(widths[0]))
        self.inputs, self.outputs = arrays.n_features, arrays.n_outputs
        # a product with one column goes another way alone than in a batch and rounds otherwise: pad it to two
        self.columns = max(2, self.outputs)
        #: runs that have hidden layer l
        self.with_layer = [int((depths > layer).sum()) for layer in range(self.depth)]
        self._allocate(depths, dtype, device)
        self._initialise(rows, seeds, depths, widths)
        self.x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        self.batch_x = x.new_empty(self.runs, batch, self.inputs + 1)
        self.flat_x, self.bare_x = self.batch_x.view(-1, self.inputs + 1), self.batch_x[:, :, :-1]
        self.block_rows = BLOCK[device.type]
        self.block_x = x.new_ones(self.inputs + 1, self.block_rows)
        kinds = [[row["activation"] for row in rows], [row["norm"] for row in rows]]
        norms = self._norms(kinds[1], widths)
        self.train = Pass(self, self.batch_x.transpose(1, 2), kinds[0], norms)
        self.block = Pass(self, self.block_x.expand(self.runs, -1, -1), kinds[0], norms)
        self.back = Backward(self, self.train)
        p = column(configs, "dropout")
        self.dropouts = [
            Dropout(p[:n], seeds[:n], widths[:n], hashing.DROPOUT + layer, self.width, batch, dtype, device)
            for layer, n in enumerate(self.with_layer)
        ]
        self.noise = InputNoise(column(configs, "input_noise"), seeds, batch, self.inputs, dtype, device)

    def _allocate(self, depths, dtype, device) -> None:
        """``flat``, ``grad`` and the views of each layer into them; blocks start at whole vectors."""
        shapes = [(self.width + 1, self.columns)]
        for layer in range(self.depth):
            n_in = self.width if layer else self.inputs
            shapes += [(n_in + 1, self.width), (1, self.width), (1, self.width)]
        ends = np.cumsum([-(-a * b // 32) * 32 for a, b in shapes])
        starts = [0, *ends[:-1]]
        self.used = ends[3 * depths]
        self.flat = torch.zeros(self.runs, int(ends[-1]), dtype=dtype, device=device)
        self.grad = torch.zeros_like(self.flat)

        def views(flat: torch.Tensor) -> list[torch.Tensor]:
            return [flat[:, s : s + a * b].view(-1, a, b) for s, (a, b) in zip(starts, shapes, strict=True)]

        (self.out_w, *w), (self.out_g, *g) = views(self.flat), views(self.grad)
        self.w = [v[:n] for v, n in zip(w[::3], self.with_layer, strict=True)]
        self.g = [v[:n] for v, n in zip(g[::3], self.with_layer, strict=True)]
        self.scales = [[v[:, 0] for v in (w[i + 1], w[i + 2], g[i + 1], g[i + 2])] for i in range(0, len(w), 3)]
        #: stretches of runs of one depth
        self.depths = [(int(depth), part) for depth, part in segments(list(depths))]

    def _initialise(self, rows, seeds, depths, widths) -> None:
        for r, (row, seed, depth, width) in enumerate(zip(rows, seeds, depths, widths, strict=True)):
            for layer in range(depth):
                n_in = width if layer else self.inputs
                w = initial_weight(int(seed), layer, n_in, width, float(row["init_scale"]))
                self.w[layer][r, :n_in, :width] = torch.as_tensor(w)
                if row["norm"] == "layer":
                    self.scales[layer][0][r, :width] = 1.0
            w = initial_weight(int(seed), int(depth), width, self.outputs, 1.0)
            self.out_w[r, :width, : self.outputs] = torch.as_tensor(w)

    def _norms(self, kinds: list[str], widths) -> list[list[tuple[slice, LayerNorm]]]:
        """Layer norms of each layer: (stretch of runs, block)."""
        widths = torch.tensor(widths, device=self.flat.device)
        norms = []
        for n, scales in zip(self.with_layer, self.scales, strict=True):
            parts = [part for norm, part in segments(kinds[:n]) if norm == "layer"]
            norms.append([(s, LayerNorm(widths[s], *(v[s] for v in scales))) for s in parts])
        return norms

    def forward(self, rows: torch.Tensor, step: int) -> torch.Tensor:
        torch.index_select(self.x, 0, rows.view(-1), out=self.flat_x)
        if self.noise.active:
            self.noise.add_(self.bare_x, step)
        self.kept = [dropout.mask(step) if dropout.active else None for dropout in self.dropouts]
        return self.train.run(self.kept)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        self.block_x[:-1, : len(x)].copy_(x.T)
        return self.block.run([None] * self.depth)[:, :, : len(x)]

    def backward(self, d_out: torch.Tensor) -> None:
        self.back.run(d_out, self.kept)


class Pass:
    """The forward pass of a cohort on inputs [R, features + 1, B], its buffers, and views of them made once."""

    def __init__(self, cohort: MlpCohort, inputs: torch.Tensor, activations: list[str], norms):
        batch, width, counts = inputs.shape[2], cohort.width, cohort.with_layer
        new = cohort.flat.new_zeros
        self.z = [new(n, width, batch) for n in counts]
        self.h = [new(n, width + 1, batch) for n in counts]
        for h in self.h:
            h[:, -1] = 1.0
        self.out = new(cohort.runs, cohort.columns, batch)
        self.real = self.out[:, : cohort.outputs]
        below = [inputs[: counts[0]], *(h[:n] for h, n in zip(self.h, counts[1:], strict=False))]
        self.below = below
        self.products = [(w.transpose(1, 2), b, z) for w, b, z in zip(cohort.w, below, self.z, strict=True)]
        self.values = [h[:, :-1] for h in self.h]
        self.acts = [
            [(name, z[s], v[s]) for name, s in segments(activations[:n])]
            for n, z, v in zip(counts, self.z, self.values, strict=True)
        ]
        self.norms = [
            [(norm, z[s], torch.empty_like(z[s])) for s, norm in layer] for layer, z in zip(norms, self.z, strict=True)
        ]
        self.tops = [(cohort.out_w[s].transpose(1, 2), self.h[d - 1][s], self.out[s]) for d, s in cohort.depths]

    def run(self, masks: list[torch.Tensor | None]) -> torch.Tensor:
        """Outputs [R, C, B], with dropout where there are masks."""
        for (w, below, z), norms, acts, values, mask in zip(
            self.products, self.norms, self.acts, self.values, masks, strict=True
        ):
            torch.bmm(w, below, out=z)
            for norm, part, normal in norms:
                norm.forward(part, normal)
            for name, part, value in acts:
                activate(name, part, value)
            if mask is not None:
                values.mul_(mask)
        for w, h, out in self.tops:
            torch.bmm(w, h, out=out)
        return self.real


class Backward:
    """The backward pass that belongs to a forward one, from the last hidden layer down; views made once."""

    def __init__(self, cohort: MlpCohort, forward: Pass):
        # the gradient of a layer's activations lives in one of two buffers by turns
        slopes = [torch.zeros_like(forward.z[0]) for _ in range(2)]
        scratch = torch.empty_like(slopes[0])
        self.d_out = torch.zeros_like(forward.out)
        self.real = self.d_out[:, : cohort.outputs]
        self.layers = []
        for layer in reversed(range(cohort.depth)):
            n = cohort.with_layer[layer]
            d, spare = slopes if layer % 2 else slopes[::-1]
            tops = [
                (forward.h[layer][s], self.d_out[s], cohort.out_g[s], cohort.out_w[s, :-1], d[s])
                for depth, s in cohort.depths
                if depth == layer + 1  # runs whose last hidden layer this is
            ]
            acts = [
                (name, d[s], forward.z[layer][s])
                for name, s in segments([name for name, part, _ in forward.acts[layer] for _ in range(len(part))])
            ]
            norms, start = [], forward.z[layer].data_ptr()
            for norm, part, normal in forward.norms[layer]:
                low = (part.data_ptr() - start) // (part.stride(0) * part.element_size())
                s = slice(low, low + len(part))
                norms.append((norm, d[s], normal, scratch[s]))
            down = (cohort.w[layer][:, :-1], spare[:n]) if layer else None
            self.layers.append((layer, tops, d[:n], acts, norms, forward.below[layer], cohort.g[layer], down))

    def run(self, d_out: torch.Tensor, masks: list[torch.Tensor | None]) -> None:
        """Fill the gradients from that of the outputs."""
        self.real.copy_(d_out)
        for layer, tops, d, acts, norms, below, g, down in self.layers:
            for h, d_run, out_g, out_w, d_top in tops:
                torch.bmm(h, d_run.transpose(1, 2), out=out_g)
                torch.bmm(out_w, d_run, out=d_top)
            if masks[layer] is not None:
                d.mul_(masks[layer])
            for name, part, z in acts:
                deactivate_(name, part, z)
            for norm, part, normal, scratch in norms:
                norm.backward(part, normal, scratch)
            torch.bmm(below, d.transpose(1, 2), out=g)
            if down is not None:
                torch.bmm(down[0], d, out=down[1])
