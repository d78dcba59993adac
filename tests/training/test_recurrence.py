"""Cells over lanes against torch.nn's, values and gradients, and that lanes do not see one another."""

import pytest
import torch
from torch import nn

from metabench.training.recurrence import CELLS

KINDS = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def drawn(name, lanes, inputs, units, moments, batch, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows = CELLS[name].gates * units
    shapes = (lanes, rows, inputs + 1), (lanes, rows, units), (moments, lanes, inputs, batch), (lanes, units, batch)
    return [0.4 * torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize("name", CELLS)
def test_values_and_gradients_are_those_of_torch(name):
    lanes, inputs, units, moments, batch = 3, 4, 8, 7, 11
    w, u, x, d = drawn(name, lanes, inputs, units, moments, batch)
    cells = CELLS[name](lanes, inputs, units, moments, batch, torch.float64, "cpu")
    for _ in range(2):  # nothing is left over from before
        cells.inputs.copy_(x)
        cells.load(w, u)
        final = cells.forward().clone()
        d_w, d_u = cells.backward(d)
    blind = CELLS[name](lanes, inputs, units, moments, batch, torch.float64, "cpu", learns=False)
    blind.load(w, u)
    for _ in range(2):
        again = blind.forward(lambda t: blind.inputs[0].copy_(x[t]))
    assert torch.equal(again, final)
    for lane in range(lanes):
        plain = KINDS[name](inputs + 1, units, bias=False).double()
        plain.weight_ih_l0.data, plain.weight_hh_l0.data = w[lane].clone(), u[lane].clone()
        ones = torch.ones(moments, batch, 1, dtype=torch.float64)
        state = plain(torch.cat([x[:, lane].transpose(1, 2), ones], 2))[1]
        h = (state[0] if name == "lstm" else state)[0].T
        (h * d[lane]).sum().backward()
        torch.testing.assert_close(final[lane], h, rtol=0, atol=1e-13)
        torch.testing.assert_close(d_w[lane], plain.weight_ih_l0.grad, rtol=0, atol=1e-12)
        torch.testing.assert_close(d_u[lane], plain.weight_hh_l0.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [16, 13])
@pytest.mark.parametrize("name", CELLS)
def test_a_lane_is_the_same_to_the_bit_in_company(name, batch):
    w, u, x, d = drawn(name, 5, 3, 16, 6, batch, torch.float32)
    found = []
    for part in (slice(None), slice(2, 3)):
        cells = CELLS[name](len(w[part]), 3, 16, 6, batch, torch.float32, "cpu")
        cells.inputs.copy_(x[:, part])
        cells.load(w[part], u[part])
        found.append((cells.forward().clone(), *cells.backward(d[part])))
    for together, alone in zip(*found, strict=True):
        assert torch.equal(together[2], alone[0])
