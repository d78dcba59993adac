"""Recurrent cells over a run axis, forward and back through time by hand: no graph of T moments, buffers made once.

A *lane* is one cell that reads one sequence; a run has one, or two where it reads backwards too. Everything is
feature-major, [lanes, features, B]. The state that a moment starts from, its inputs and a row of ones (whose weights are
the biases) lie below one another, so that the gates are one product of the lot.

======= ================================================================================================ ==========
cell    next state                                                                                       gates
======= ================================================================================================ ==========
elman   h' = tanh(n) (Elman, 1990)                                                                       n
lstm    c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c') (Gers et al., 2000)                               i, f, g, o
gru     h' = (1 - σ(z)) tanh(n) + σ(z) h, n = W x + b + σ(r) U h (Cho et al., 2014; the reset after the  r, z, n
        product)
======= ================================================================================================ ==========

The gates are in the order of ``torch.nn``, whose cells without biases are the same on inputs with a further one of 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

_aten = torch.ops.aten


class Recurrence:
    """L cells of H units that read T moments of D numbers, B sequences each.

    ``inputs`` [T, L, D, B] are filled from outside. A recurrence that does not learn keeps one moment only, has no way
    back, and asks for the inputs of each. An odd B is padded, so that vectors do not reach from one lane into the next.
    """

    #: rows of weights per unit
    gates: ClassVar[int]
    #: number of the gate that keeps the state
    keep: ClassVar[int | None] = None

    def __init__(
        self, lanes: int, inputs: int, units: int, moments: int, batch: int, dtype, device, *, learns: bool = True
    ):
        self.lanes, self.units, self.moments, self.learns = lanes, units, moments, learns
        self.columns, self.like = batch + batch % 2, {"dtype": dtype, "device": device}
        cells = self.new(moments + 1 if learns else 1, units + inputs + 1)
        cells[:, :, -1] = 1.0
        self.inputs = cells[: moments if learns else 1, :, units:-1, :batch]
        self.cells = self.per_moment(cells, moments + 1)
        self.h = [cell[:, :units] for cell in self.cells]
        #: [L, H, B] the last state
        self.final = self.h[-1][:, :, :batch]
        self.x1 = [cell[:, units:] for cell in self.cells]
        if learns:
            # the gradient of the state goes back and forth between two
            self.slopes = self.new(2, units).unbind(0)
            self.columns_t = [cell.transpose(1, 2) for cell in self.cells]
        self.allocate()

    def new(self, slots: int, features: int) -> torch.Tensor:
        """Zeros [slots, L, features, B]."""
        return torch.zeros(slots, self.lanes, features, self.columns, **self.like)

    @staticmethod
    def per_moment(slots: torch.Tensor, moments: int) -> list[torch.Tensor]:
        """A view for every moment; all of them the only slot where there is one."""
        return list(slots.unbind(0)) * (moments if len(slots) == 1 else 1)

    def buffers(self, features: int, slots: int = 0) -> list[torch.Tensor]:
        """Room [L, features, B] for what each moment makes (or each of so many ``slots``)."""
        slots = slots or self.moments
        return self.per_moment(self.new(slots if self.learns else 1, features), slots)

    def load(self, inputs: torch.Tensor, hidden: torch.Tensor) -> None:
        """Take weights of the inputs and a constant, [L, G H, D + 1], and of the state, [L, G H, H]."""
        self.weights = torch.cat([hidden, inputs], 2)

    def forward(self, feed: Callable[[int], object] | None = None) -> torch.Tensor:
        """The last state [L, H, B], a view. ``feed`` fills ``inputs`` [1, L, D, B] for a moment."""
        if not self.learns:
            self.reset()
        for t in range(self.moments):
            if feed is not None:
                feed(t)
            self.step(t)
        return self.final

    def backward(self, d_final: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of what :meth:`load` took, from that of the last state [L, H, B]."""
        slope, spare = self.slopes
        slope[:, :, : d_final.shape[2]].copy_(d_final)
        self.turn()
        for t in range(self.moments - 1, -1, -1):
            slope, spare = self.back(t, slope, spare)
        return self.gradients()

    def go_on(self, first: Recurrence) -> None:
        """Start from the last state of another recurrence."""
        self.h[0].copy_(first.h[-1])

    def through(
        self, slopes: torch.Tensor | None, d_inputs: torch.Tensor, after: Recurrence | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`backward`, from the gradients of the states after every moment, [T, L, H, B]; fills those of the inputs
        as well, [T, L, D, columns]. ``after`` went on from the last state, and back already."""
        slope, spare = self.slopes
        self.turn()
        if after is None:
            slope.zero_()
        else:
            self.take(after, slope)
        weights, d = self.of_inputs()
        for t in range(self.moments - 1, -1, -1):
            if slopes is not None:
                real = slope if slope.shape == slopes[t].shape else slope[:, :, : slopes.shape[3]]
                real.add_(slopes[t])
            slope, spare = self.back(t, slope, spare)
            torch.bmm(weights, d, out=d_inputs[t])
        self.slopes = slope, spare
        return self.gradients()

    def take(self, after: Recurrence, slope: torch.Tensor) -> None:
        """The gradient of the state that a recurrence started from, as it has gone back to it."""
        slope.copy_(after.slopes[0])

    def of_inputs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Whose product is the gradient of the inputs of the moment last gone back, on this way back: weights [L, D, G H] and
        a buffer of the gates' slopes."""
        raise NotImplementedError

    def gradients(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.d_weights[:, :, self.units :], self.d_weights[:, :, : self.units]

    def allocate(self) -> None:
        """Make what a cell needs besides."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the state."""
        self.h[0].zero_()

    def turn(self) -> None:
        """Prepare the way back."""
        self.back_weights = self.weights[:, :, : self.units].transpose(1, 2)
        self.d_weights = torch.zeros_like(self.weights)

    def step(self, t: int) -> None:
        """From moment t to the next."""
        raise NotImplementedError

    def back(self, t: int, slope: torch.Tensor, spare: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add to the gradients what moment t gives; the gradient of the state after it → that before it, and the other."""
        raise NotImplementedError


class Elman(Recurrence):
    gates = 1

    def allocate(self):
        (self.n,) = self.buffers(self.units, 1)

    def step(self, t):
        torch.bmm(self.weights, self.cells[t], out=self.n)
        torch.tanh(self.n, out=self.h[t + 1])

    def back(self, t, slope, spare):
        _aten.tanh_backward.grad_input(slope, self.h[t + 1], grad_input=self.n)
        self.d_weights.baddbmm_(self.n, self.columns_t[t])
        return torch.bmm(self.back_weights, self.n, out=spare), slope

    def of_inputs(self):
        return self.weights[:, :, self.units : -1].transpose(1, 2), self.n


class Lstm(Recurrence):
    """Inside, the gates stand in the order i, f, o, g: three that share an activation, and one."""

    gates = 4
    keep = 1

    def allocate(self):
        units = self.units
        values = self.buffers(4 * units)
        self.values, self.open, self.g = (
            values,
            [v[:, : 3 * units] for v in values],
            [v[:, 3 * units :] for v in values],
        )
        self.i, self.f, self.o = ([v[:, k * units : (k + 1) * units] for v in values] for k in range(3))
        self.c = self.buffers(units, self.moments + 1)
        self.tanh_c = self.buffers(units)
        if self.learns:
            (d, self.dc, self.scratch) = (self.buffers(size, 1)[0] for size in (4 * units, units, units))
            self.d, self.d_open, self.d_g = d, d[:, : 3 * units], d[:, 3 * units :]
            self.d_i, self.d_f, self.d_o = (d[:, k * units : (k + 1) * units] for k in range(3))

    def reset(self):
        super().reset()
        self.c[0].zero_()

    def go_on(self, first: Any):
        super().go_on(first)
        self.c[0].copy_(first.c[-1])

    def take(self, after: Any, slope):
        super().take(after, slope)
        self.dc.copy_(after.dc)

    def of_inputs(self):
        return self.weights[:, :, self.units : -1].transpose(1, 2), self.d

    def _swapped(self, rows: torch.Tensor) -> torch.Tensor:
        """i, f, g, o ↔ i, f, o, g."""
        first, third, fourth = rows.split([2 * self.units, self.units, self.units], 1)
        return torch.cat([first, fourth, third], 1)

    def load(self, inputs, hidden):
        super().load(self._swapped(inputs), self._swapped(hidden))

    def gradients(self):
        inputs, hidden = super().gradients()
        return self._swapped(inputs), self._swapped(hidden)

    def turn(self):
        super().turn()
        self.dc.zero_()

    def step(self, t):
        c = self.c[t + 1]
        torch.bmm(self.weights, self.cells[t], out=self.values[t])
        self.open[t].sigmoid_()
        self.g[t].tanh_()
        torch.mul(self.f[t], self.c[t], out=c).addcmul_(self.i[t], self.g[t])
        torch.mul(self.o[t], torch.tanh(c, out=self.tanh_c[t]), out=self.h[t + 1])

    def back(self, t, slope, spare):
        dc, scratch = self.dc, self.scratch
        torch.mul(slope, self.tanh_c[t], out=self.d_o)
        torch.mul(slope, self.o[t], out=scratch)
        dc.add_(_aten.tanh_backward.grad_input(scratch, self.tanh_c[t], grad_input=scratch))
        torch.mul(dc, self.g[t], out=self.d_i)
        torch.mul(dc, self.c[t], out=self.d_f)
        torch.mul(dc, self.i[t], out=self.d_g)
        dc.mul_(self.f[t])
        _aten.sigmoid_backward.grad_input(self.d_open, self.open[t], grad_input=self.d_open)
        _aten.tanh_backward.grad_input(self.d_g, self.g[t], grad_input=self.d_g)
        self.d_weights.baddbmm_(self.d, self.columns_t[t])
        return torch.bmm(self.back_weights, self.d, out=spare), slope


class Gru(Recurrence):
    """Inputs and state meet in n only after the reset, so their products stay apart. Gradients stand in the order n (of
    the inputs), r, z, n (of the state): either side's are neighbours."""

    gates = 3
    keep = 1

    def allocate(self):
        units = self.units
        self.open, self.n = self.buffers(2 * units), self.buffers(units)
        self.r, self.z = ([v[:, k * units : (k + 1) * units] for v in self.open] for k in range(2))
        self.from_state = self.buffers(units)
        if self.learns:
            d, self.scratch = (self.buffers(size, 1)[0] for size in (4 * units, units))
            self.d_inputs, self.d_open, self.d_state = d[:, : 3 * units], d[:, units : 3 * units], d[:, units:]
            self.d_n, self.d_r, self.d_z, self.d_m = (d[:, k * units : (k + 1) * units] for k in range(4))
            self.h_t = [h.transpose(1, 2) for h in self.h]
            self.x1_t = [x1.transpose(1, 2) for x1 in self.x1]

    def load(self, inputs, hidden):
        super().load(inputs, hidden)
        units = self.units
        self.of_open = self.weights[:, : 2 * units].contiguous()
        self.of_state = hidden.contiguous()
        self.of_n = [self.of_state[:, 2 * units :].contiguous(), inputs[:, 2 * units :].contiguous()]

    def of_inputs(self):
        return self.back_inputs, self.d_inputs

    def gradients(self):
        d, units = self.d_of_inputs, self.units
        return torch.cat([d[:, units:], d[:, :units]], 1), self.d_of_state

    def turn(self):
        self.back_weights = self.of_state.transpose(1, 2)
        inputs, gates = self.weights[:, :, self.units : -1], 2 * self.units
        self.back_inputs = torch.cat([inputs[:, gates:], inputs[:, :gates]], 1).transpose(1, 2)
        rows, width = self.weights.shape[1:]
        self.d_of_inputs, self.d_of_state = (
            self.weights.new_zeros(self.lanes, rows, n) for n in (width - self.units, self.units)
        )

    def step(self, t):
        h, n = self.h[t], self.n[t]
        torch.bmm(self.of_open, self.cells[t], out=self.open[t]).sigmoid_()
        torch.bmm(self.of_n[0], h, out=self.from_state[t])
        torch.bmm(self.of_n[1], self.x1[t], out=n)
        n.addcmul_(self.r[t], self.from_state[t]).tanh_()
        torch.lerp(n, h, self.z[t], out=self.h[t + 1])

    def back(self, t, slope, spare):
        n, r, z, d_n = self.n[t], self.r[t], self.z[t], self.d_n
        torch.mul(slope, torch.sub(self.h[t], n, out=self.scratch), out=self.d_z)
        torch.mul(slope, z, out=spare)
        torch.sub(slope, spare, out=d_n)
        _aten.tanh_backward.grad_input(d_n, n, grad_input=d_n)
        torch.mul(d_n, r, out=self.d_m)
        torch.mul(d_n, self.from_state[t], out=self.d_r)
        _aten.sigmoid_backward.grad_input(self.d_open, self.open[t], grad_input=self.d_open)
        self.d_of_inputs.baddbmm_(self.d_inputs, self.x1_t[t])
        self.d_of_state.baddbmm_(self.d_state, self.h_t[t])
        return spare.baddbmm_(self.back_weights, self.d_state), slope


CELLS: dict[str, type[Recurrence]] = {"elman": Elman, "lstm": Lstm, "gru": Gru}

__all__ = ["CELLS", "Elman", "Gru", "Lstm", "Recurrence"]
