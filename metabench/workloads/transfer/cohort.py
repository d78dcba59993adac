"""Transfer over a run axis: many runs at once, forward and backward by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.data import PARTS
from metabench.training.learners import Learners
from metabench.training.losses import Evaluator, Loss
from metabench.training.optimizers import Optimizers
from metabench.training.runaxis import Keys, below, column, multiples, segments
from metabench.training.schedules import learning_rates
from metabench.workloads.transfer.network import STREAMS
from metabench.workloads.transfer.shape import DEPTH

#: runs are padded to these widths
WIDTHS = (64, 128)


class Group(Cohort):
    """Which runs may advance together: as wide, and at all times learning from the same."""

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        width = next(w for w in WIDTHS if int(config["width"]) <= w)
        return int(config["pretraining"]), config["mixing"], width

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        return config["activation"], config["optimizer"]


class Transferring(Learners):
    """R networks; activations are [R, features, n]. ``phase``: 0 the source is learned, 1 the target."""

    def __init__(self, workload, arrays, configs, seeds, data, epochs: int):
        rows, runs, dtype, device = configs.to_dict("records"), len(configs), data.dtype, data.device
        self.data, self.configs, self.batch = data, configs, int(rows[0]["batch_size"])
        self.steps, self.epochs = workload.steps(arrays, rows[0]), epochs
        self.first, self.mixing = workload.pretrained(rows[0], epochs), rows[0]["mixing"] == "yes"
        self.w = Parameters(_weights(arrays, rows), seeds, dtype, device)
        self.acts = segments([row["activation"] for row in rows])
        frozen = torch.as_tensor(column(configs, "frozen"), device=device)
        #: hidden layer → the runs [R, 1] in which it is frozen, if any
        self.shut = [(frozen > i)[:, None] if bool((frozen > i).any()) else None for i in range(DEPTH)]
        self.open = next((i for i in range(DEPTH) if not bool((frozen > i).all())), DEPTH)
        self.source_weight = torch.as_tensor(column(configs, "source_weight"), dtype=dtype, device=device)[
            :, None, None
        ]
        self.losses = {of: Loss(arrays, configs, data[of][1], dtype) for of in STREAMS}
        self.trouble = self.losses["source"].trouble = self.losses["train"].trouble
        self.keys = {of: Keys(seeds, stream, (runs, 1), device) for of, stream in STREAMS.items()}
        self.index = multiples(np.arange(self.batch)).to(device)
        self.evaluators = {p: Evaluator(data[p][1], arrays.metric, arrays.n_outputs) for p in PARTS}
        self._enter(0 if self.first else 1)

    def _enter(self, phase: int) -> None:
        """A new optimizer."""
        self.phase, grad = phase, self.w.grad.zero_()
        start, end = (self.first, self.epochs) if phase else (0, self.first)
        self.start, rates = start * self.steps, learning_rates(self.configs, (end - start) * self.steps)
        if phase == 0:
            body = [(slice(0, self.w.columns("target").start), np.ones(len(rates)))]
        else:
            ratio, frozen = column(self.configs, "body_rate"), column(self.configs, "frozen")
            body = [(self._columns(i), np.where(frozen > i, 0.0, ratio)) for i in range(DEPTH)]
            heads = slice(self.w.columns("source" if self.mixing else "target").start, grad.shape[1])
            body.append((heads, np.ones(len(rates))))
        self.update = Optimizers(self.w.flat, grad, self.configs, rates, shares=body)

    def _columns(self, i: int) -> slice:
        """Of hidden layer i: its weights and biases."""
        return slice(self.w.columns(f"w{i}").start, self.w.columns(f"b{i}").stop)

    def begin(self, epoch: int) -> None:
        if self.phase == 0 and epoch >= self.first:
            self._enter(1)

    def _hidden(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Inputs x [R, D, n] and the activations of every layer."""
        found = [x]
        for i in range(DEPTH):
            z = torch.baddbmm(self.w[f"b{i}"][:, :, None], self.w[f"w{i}"], found[-1])
            for name, s in self.acts:
                z[s].clamp_min_(0) if name == "relu" else z[s].tanh_()
            found.append(z)
        return found

    def _head(self, name: str, h: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.w[f"{name}_bias"][:, :, None], self.w[name], h)

    @torch.no_grad()
    def advance(self, step) -> None:
        learned = ["train"] * self.phase + ["source"] * (self.phase == 0 or self.mixing)
        rows = {of: below(self.keys[of].at(step), self.index, len(self.data[of][0])) for of in learned}
        x = [self.data[of][0].index_select(0, rows[of].view(-1)).view(*rows[of].shape, -1) for of in learned]
        hidden = self._hidden(torch.cat(x, 1).transpose(1, 2))
        slopes = []
        for of, h in zip(learned, hidden[-1].split(self.batch, 2), strict=True):
            name = "source" if of == "source" else "target"
            d = self.losses[of](self._head(name, h), rows[of])
            if of == "source" and self.phase:
                d.mul_(self.source_weight)
            self._gradient(name, f"{name}_bias", d, h)
            slopes.append(torch.bmm(self.w[name].transpose(1, 2), d))
        self._back(hidden, torch.cat(slopes, 2))
        self.update.step(step - self.start)

    def _gradient(self, weight: str, bias: str, d: torch.Tensor, h: torch.Tensor) -> None:
        torch.bmm(d, h.transpose(1, 2), out=self.w[weight].grad)
        torch.sum(d, 2, out=self.w[bias].grad)

    def _back(self, hidden: list[torch.Tensor], d: torch.Tensor) -> None:
        """Gradients of the hidden layers from that of what leaves the last one."""
        lowest = self.open if self.phase else 0
        for i in reversed(range(lowest, DEPTH)):
            h = hidden[i + 1]
            for name, s in self.acts:
                d[s].mul_(h[s] > 0) if name == "relu" else d[s].mul_(1.0 - h[s] * h[s])
            self._gradient(f"w{i}", f"b{i}", d, hidden[i])
            if self.phase and (shut := self.shut[i]) is not None:
                self.w.grad[:, self._columns(i)].masked_fill_(shut, 0.0)
            if i > lowest:
                d = torch.bmm(self.w[f"w{i}"].transpose(1, 2), d)
        if self.phase:  # what optimizers left of layers that are frozen in all runs
            self.w.grad[:, : self._columns(lowest - 1).stop if lowest else 0].zero_()

    @torch.no_grad()
    def evaluate(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        found, runs = {}, len(self.configs)
        for part, evaluator in self.evaluators.items():
            evaluator.start(runs)
            x, low = self.data[part][0], 0
            for block in x.split(Cohort.block_rows):
                evaluator.add(self._head("target", self._hidden(block.T.expand(runs, -1, -1))[-1]), low)
                low += len(block)
            found[part] = evaluator.result()
        return found

    def resume(self, old: Transferring, kept: torch.Tensor) -> None:
        self._enter(old.phase)
        self.w.flat.copy_(old.w.flat[kept])
        self.update.resume(old.update, kept)


def _weights(arrays, rows: list[dict[str, Any]]) -> dict[str, Weight]:
    """Parameters in the order of the plain network's streams, weights [outputs, inputs]: the body's layers, the source's
    head, the target's."""
    widths = [int(row["width"]) for row in rows]
    scale, inner = np.array([float(row["init_scale"]) for row in rows]), np.array(widths, dtype=float) ** -0.5
    _, _, padded = Group.group(arrays, rows[0])
    inputs, found = arrays.n_features, {}
    for i in range(DEPTH):
        own = [(w, w if i else inputs) for w in widths]
        std = scale * (inner if i else inputs**-0.5)
        found |= {f"w{i}": Weight((padded, padded if i else inputs), std, own=own), f"b{i}": Weight((padded,))}
    for name, outputs in (("source", arrays.source_classes), ("target", arrays.n_outputs)):
        own = [(outputs, w) for w in widths]
        found |= {name: Weight((outputs, padded), inner, own=own), f"{name}_bias": Weight((outputs,))}
    return found
