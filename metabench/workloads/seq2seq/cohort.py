"""Encoder and decoder over a run axis: many runs at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.cohort import Cohort, Parameters, Weight
from metabench.training.layers import Dropout
from metabench.training.learners import Supervised
from metabench.training.recurrence import CELLS
from metabench.training.runaxis import Keys, column, multiples, uniform
from metabench.workloads.seq2seq.network import SPREAD, after_end, packed
from metabench.workloads.seq2seq.shape import COMPARED, END, GATES, NONE

#: room for the embeddings of every run: runs of all widths keep company
EMBEDDING = 16
#: rows predicted at a time
BLOCK = {"cpu": 128, "cuda": 256}


class Coder:
    """Reader and writer of R runs for so many rows, and where their tokens and gradients go."""

    def __init__(self, kind: type, runs: int, units: int, source: int, target: int, rows: int, like):
        self.reads, self.writes = (kind(runs, EMBEDDING, units, moments, rows, *like) for moments in (source, target))
        self.rows = rows

    @staticmethod
    def states(recurrence, rows: int) -> torch.Tensor:
        """The states after every moment, [R, B, T, units]."""
        return torch.stack(recurrence.h[1:]).permute(1, 3, 0, 2)[:, :rows].contiguous()


class Seq2seqCohort(Cohort):
    """R networks of one cell, number of units and attention; embeddings that a run has not stay zero."""

    chunk: ClassVar = {"cpu": 16, "cuda": 512}

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        return config["cell"], int(config["units"]), config["attention"]

    def __init__(self, arrays, configs, seeds, data, batch: int):
        self.arrays, self.x, self.dtype, self.device = arrays, data["train"][0], data.dtype, data.device
        self.rows = configs.to_dict("records")
        self.runs, first = len(self.rows), self.rows[0]
        self.units, self.attention = int(first["units"]), first["attention"]
        self.sources, self.places, self.outputs = arrays.shape[0], arrays.y_train.shape[1], arrays.n_outputs
        self.seen = self.units if self.attention == "none" else 2 * self.units
        self.w = Parameters(self.weights(first["cell"]), np.asarray(seeds), self.dtype, self.device)
        self.flat, self.grad = self.w.flat, self.w.grad
        self.head = [name for name in ("says", "bias", "query", "key", "weigh") if name in self.w.named]
        self.block_rows = BLOCK[self.device.type]
        shape = self.units, self.sources, self.places
        self.train, self.block = (
            Coder(CELLS[first["cell"]], self.runs, *shape, n, (self.dtype, self.device))
            for n in (batch, self.block_rows)
        )
        count = batch * self.places
        self.dropout = Dropout(
            column(configs, "dropout"),
            seeds,
            np.full(self.runs, self.seen),
            hashing.DROPOUT,
            self.seen,
            count,
            self.dtype,
            self.device,
        )
        forcing = column(configs, "teacher_forcing")
        self.forced = bool((forcing == 1.0).all())
        self.forcing = torch.as_tensor(forcing, dtype=torch.float64, device=self.device)[:, None]
        self.keys, self.place = Keys(seeds, hashing.FORCED, (self.runs, 1), self.device), multiples(np.arange(count))
        self.place = self.place.to(self.device)
        self.d_inputs = [
            torch.zeros(n, self.runs, EMBEDDING, batch + batch % 2, dtype=self.dtype, device=self.device)
            for n in (self.sources, self.places)
        ]

    def weights(self, cell: str) -> dict[str, Weight]:
        units, gates, outputs = self.units, GATES[cell] * self.units, self.outputs
        widths = [int(row["embedding"]) for row in self.rows]
        std = (3 * units) ** -0.5
        found = {
            name: Weight((size, EMBEDDING), SPREAD, own=[(size, w) for w in widths])
            for name, size in (("source", self.arrays.vocabulary), ("target", outputs))
        }
        for name in ("reads", "writes"):
            found[f"{name} inputs"] = Weight((gates, EMBEDDING), std, own=[(gates, w) for w in widths])
            found[f"{name} state"] = Weight((gates, units), std)
        found |= {"says": Weight((self.seen, outputs), self.seen**-0.5), "bias": Weight((outputs,))}
        found |= {f"{name} bias": Weight((gates,)) for name in ("reads", "writes")}
        if self.attention == "additive":
            found |= {name: Weight((units, COMPARED), units**-0.5) for name in ("query", "key")}
            found["weigh"] = Weight((COMPARED,), COMPARED**-0.5)
        return found

    def _embedded(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [T, R, E, B] of tokens [R, B, T]."""
        run = torch.arange(self.runs, device=self.device)[:, None, None]
        return self.w[name].detach()[run, tokens].permute(2, 0, 3, 1)

    def _load(self, name: str, recurrence) -> None:
        w = self.w
        recurrence.load(torch.cat([w[f"{name} inputs"], w[f"{name} bias"][:, :, None]], 2), w[f"{name} state"])

    def _read(self, coder: Coder, tokens: torch.Tensor) -> None:
        """Read sources [R, B, S]."""
        rows = tokens.shape[1]
        coder.reads.inputs[..., :rows].copy_(self._embedded("source", tokens))
        self._load("reads", coder.reads)
        self._load("writes", coder.writes)
        coder.reads.forward()
        self.read, self.missing = Coder.states(coder.reads, rows), (tokens == 0)[:, :, None]

    def _write(self, coder: Coder, told: torch.Tensor) -> torch.Tensor:
        """States [R, B, T, units] of the writer that is told tokens [R, B, T]."""
        rows = told.shape[1]
        coder.writes.inputs[..., :rows].copy_(self._embedded("target", told))
        coder.writes.go_on(coder.reads)
        coder.writes.forward()
        return Coder.states(coder.writes, rows)

    def _say(self, h: torch.Tensor, read: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs [R, C, B * T] of the writer's states [R, B, T, units] and the reader's."""
        runs, rows, places, units = h.shape
        if self.attention != "none":
            flat = read.view(runs * rows, self.sources, units)
            if self.attention == "dot":
                scores = torch.bmm(h.view(-1, places, units), flat.transpose(1, 2)).mul(units**-0.5)
                scores = scores.view(runs, rows, places, -1)
            else:
                query, key = (
                    torch.bmm(v.reshape(runs, -1, units), self.w[name]).view(runs, rows, -1, COMPARED)
                    for v, name in ((h, "query"), (read, "key"))
                )
                scores = torch.tanh(query[:, :, :, None] + key[:, :, None])
                scores = (scores * self.w["weigh"][:, None, None, None]).sum(4)
            weights = torch.softmax(scores.masked_fill(self.missing, -torch.inf), 3)
            h = torch.cat([h, torch.bmm(weights.view(runs * rows, places, -1), flat).view(h.shape)], 3)
        features = h.reshape(runs, rows * places, -1).transpose(1, 2)
        if mask is not None:
            features = features * mask
        return torch.bmm(self.w["says"].transpose(1, 2), features) + self.w["bias"][:, :, None]

    def _said(self, outputs: torch.Tensor, places: int) -> torch.Tensor:
        """The likeliest tokens [R, B, T]; none is never said."""
        return (1 + outputs[:, 1:].argmax(1)).view(self.runs, -1, places)

    @torch.no_grad()
    def forward(self, rows, step):
        x = self.x.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        tokens, told = x[..., : self.sources], x[..., self.sources :]
        self._read(self.train, tokens)
        if not self.forced:
            said = self._said(self._say(self._write(self.train, told), self.read), self.places)
            u = uniform(self.keys.at(step), self.place, torch.float64)
            true = (u < self.forcing).view(told.shape)
            true[:, :, 0] = True
            told = torch.where(true, told, said.roll(1, 2))
        self.tokens, self.told = tokens, told
        self.h = self._write(self.train, told).requires_grad_()
        self.read.requires_grad_()
        with torch.enable_grad():
            self.kept = self._say(self.h, self.read, self.dropout.mask(step) if self.dropout.active else None)
        return self.kept.detach()

    @torch.no_grad()
    def backward(self, d_out):
        leaves = [self.w[name] for name in self.head]
        seen = [self.h] if self.attention == "none" else [self.h, self.read]
        found = torch.autograd.grad(self.kept, [*leaves, *seen], d_out)
        for leaf, gradient in zip(leaves, found, strict=False):
            leaf.grad.copy_(gradient)
        slopes = [gradient.permute(2, 0, 3, 1) for gradient in found[len(leaves) :]]
        coder, (d_source, d_target) = self.train, self.d_inputs
        self._fill("writes", coder.writes.through(slopes[0], d_target))
        self._fill("reads", coder.reads.through(slopes[1] if len(slopes) > 1 else None, d_source, coder.writes))
        for name, tokens, d in (("source", self.tokens, d_source), ("target", self.told, d_target)):
            table = self.w[name].grad
            size = table.shape[1]
            run = size * torch.arange(self.runs, device=self.device)[:, None, None]
            total = table.new_zeros(self.runs * size, EMBEDDING)
            total.index_add_(
                0, (tokens + run).reshape(-1), d[..., : tokens.shape[1]].permute(1, 3, 0, 2).reshape(-1, EMBEDDING)
            )
            table.copy_(total.view(table.shape))

    def _fill(self, name: str, gradients) -> None:
        inputs, state = gradients
        self.w[f"{name} inputs"].grad.copy_(inputs[:, :, :-1])
        self.w[f"{name} bias"].grad.copy_(inputs[:, :, -1])
        self.w[f"{name} state"].grad.copy_(state)

    @torch.no_grad()
    def judge(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [R, C, B * T] of rows that all runs share, told the truth."""
        x = x.expand(self.runs, -1, -1)
        self._read(self.block, x[..., : self.sources])
        return self._say(self._write(self.block, x[..., self.sources :]), self.read)

    @torch.no_grad()
    def decode(self) -> torch.Tensor:
        """What is written without being told, [R, B, T], of the rows that were judged last."""
        writes, rows = self.block.writes, self.read.shape[1]
        writes.go_on(self.block.reads)
        # a product with one column goes another way alone than in company: of one row the place stands there twice
        places = 2 if rows == 1 else 1
        tokens = self.read.new_zeros(self.runs, rows, self.places + 1, dtype=torch.long)
        ended = torch.zeros_like(tokens[:, :, 0], dtype=torch.bool)
        for t in range(self.places):
            writes.inputs[t][..., :rows].copy_(self._embedded("target", tokens[:, :, t : t + 1])[0])
            writes.step(t)
            h = writes.h[t + 1].transpose(1, 2)[:, :rows, None].expand(-1, -1, places, -1).contiguous()
            tokens[:, :, t + 1] = self._said(self._say(h, self.read), places)[:, :, 0]
            ended |= tokens[:, :, t + 1] == END
            if ended.all():
                break
        return tokens[:, :, 1:]


class Writers(Supervised):
    """R encoders and decoders that learn together; places without a target do not count."""

    def __init__(self, arrays, configs, seeds, data, epochs: int):
        super().__init__(Seq2seqCohort, arrays, configs, seeds, packed(data), epochs)

    def advance(self, step):
        rows = self.batches.at(step % self.steps)
        outputs = self.networks.forward(rows, step)
        y = self.data["train"][1].index_select(0, rows.view(-1)).view(len(outputs), 1, -1)
        there = (y > 0).to(outputs.dtype)
        share = there / there.sum(2, keepdim=True)
        log = torch.log_softmax(outputs, 1)
        self.trouble.add_((log.gather(1, y) * share).sum((1, 2)).mul_(0.0))
        gradient = log.exp_().scatter_add_(1, y, torch.full_like(share, -1.0)).mul_(share)
        self.networks.backward(gradient)
        self.update.step(step)

    @torch.no_grad()
    def evaluate(self):
        found, networks, runs = {}, self.networks, len(self.seeds)
        for part, (x, y) in self.data.parts.items():
            loss, right = (torch.zeros(runs, dtype=torch.float64, device=x.device) for _ in range(2))
            for low in range(0, len(x), networks.block_rows):
                some = y[low : low + networks.block_rows]
                log = torch.log_softmax(networks.judge(x[low : low + networks.block_rows]), 1)
                flat = some.reshape(1, 1, -1).expand(runs, -1, -1)
                loss -= torch.where(flat > 0, log.gather(1, flat), 0.0).double().sum((1, 2))
                if part != "train":
                    right += ((networks.decode() == some) | after_end(some)).all(2).sum(1)
            found[part] = loss / (y > NONE).sum(), right / len(y)
        return found
