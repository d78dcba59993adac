"""A stack of linear layers over a run axis, forward and backward by hand: what dense workloads are built of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, overload

import numpy as np
import torch
from torch import nn

from metabench.training.cohort import Parameters, Weight, initial
from metabench.training.layers import Dropout, activate, deactivate_, dropped
from metabench.training.runaxis import segments

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": lambda: nn.GELU("tanh"), "silu": nn.SiLU}


def weights(prefix: str, sizes: Sequence[int], own: Sequence[Sequence[int]] | None = None) -> dict[str, Weight]:
    """The parameters of a stack of layers with so many units (inputs first): ``<prefix><i>``, its weights [in, out] with
    standard deviation 1 / sqrt(fan-in), and ``<prefix><i>_bias``. ``own`` [R] are every run's own units where ``sizes``
    have room for more."""
    found = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        fan_in = np.full(1, n_in) if own is None else np.array([units[i] for units in own])
        shapes = None if own is None else [(units[i], units[i + 1]) for units in own]
        found[f"{prefix}{i}"] = Weight((n_in, n_out), fan_in**-0.5, own=shapes)
        found[f"{prefix}{i}_bias"] = Weight((n_out,))
    return found


class Stack:
    """R stacks: linear layers, each but the last followed by its run's activation and, while training, dropout.

    Activations are feature-major, [R, units, B]. ``dropouts`` are those of the hidden layers, if any.
    """

    def __init__(
        self, parameters: Parameters, prefix: str, activations: Sequence[str], dropouts: Sequence[Dropout] | None
    ):
        self.layers = []
        for i in itertools.count():
            if f"{prefix}{i}" not in parameters.named:
                break
            w, b = parameters[f"{prefix}{i}"], parameters[f"{prefix}{i}_bias"]
            self.layers.append((w.detach(), b.detach()[:, :, None], w.grad, b.grad))
        self.kinds, self.dropouts = segments(activations), dropouts

    def forward(self, x: torch.Tensor, step: int | torch.Tensor | None) -> torch.Tensor:
        """Outputs [R, units, B] of x [R, inputs, B]; keeps what :meth:`backward` needs. ``step`` is None where the
        networks are evaluated."""
        self.kept = []
        for i, (w, b, *_) in enumerate(self.layers):
            z, below, mask = torch.bmm(w.transpose(1, 2), x).add_(b), x, None
            if i + 1 == len(self.layers):
                x = z
            else:
                x = torch.empty_like(z)
                for name, s in self.kinds:
                    activate(name, z[s], x[s])
                if step is not None and self.dropouts and self.dropouts[i].active:
                    mask = self.dropouts[i].mask(step)
                    x.mul_(mask)
            self.kept.append((below, z, mask))
        return x

    @overload
    def backward(self, d: torch.Tensor, down: Literal[True]) -> torch.Tensor: ...
    @overload
    def backward(self, d: torch.Tensor, down: bool = False) -> torch.Tensor | None: ...
    def backward(self, d: torch.Tensor, down: bool = False) -> torch.Tensor | None:
        """Fill the gradients from that of the outputs, which may be overwritten; with ``down`` returns the inputs'."""
        last = len(self.layers) - 1
        for i in range(last, -1, -1):
            (w, _, w_grad, b_grad), (below, z, mask) = self.layers[i], self.kept[i]
            if i < last:
                if mask is not None:
                    d.mul_(mask)
                for name, s in self.kinds:
                    deactivate_(name, d[s], z[s])
            torch.bmm(below, d.transpose(1, 2), out=w_grad)
            torch.sum(d, 2, out=b_grad)
            if i or down:
                d = torch.bmm(w, d)
        return d if down else None


class PlainStack(nn.Module):
    """One run of a :class:`Stack` as an ordinary module; its parameters are numbers ``index`` … of the network's, its
    hidden layers drop by streams ``stream`` …"""

    def __init__(self, sizes: Sequence[int], activation: str, dropout: float, seed: int, index: int, stream: int):
        super().__init__()
        linear = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        self.linear = nn.ModuleList(linear)
        for i, layer in enumerate(linear):
            shape = layer.in_features, layer.out_features
            layer.weight.data = torch.as_tensor(initial(seed, index + 2 * i, shape, shape[0] ** -0.5)).T.contiguous()
            layer.bias.data = torch.zeros(layer.out_features, dtype=torch.float64)
        self.activation, self.dropout, self.seed, self.stream = ACTIVATIONS[activation](), dropout, seed, stream

    def forward(self, x: torch.Tensor, step: int) -> torch.Tensor:
        for i, layer in enumerate(self.linear[:-1]):
            x = self.activation(layer(x))
            if self.training:
                x = dropped(x, self.dropout, self.seed, self.stream + i, step)
        return self.linear[-1](x)


__all__ = ["ACTIVATIONS", "PlainStack", "Stack", "weights"]
