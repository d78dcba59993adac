"""MAML and Reptile: sinusoids as published, and the outer gradients as they are defined."""

import numpy as np
import pytest
import torch

from metabench.metamodels.maml import MAML
from metabench.metamodels.parts.inner import descend, forward, likelihood, moments, repeated, stack
from metabench.metamodels.parts.neural import train
from metabench.metamodels.reptile import Reptile, pull

#: points of a sinusoid that are seen, and steps on them
K, INNER = 10, 5


def sinusoids(rng, tasks, points):
    """Amplitudes in [.1, 5], phases in [0, π], x in [−5, 5] (Finn et al., 2017, Sec. 5.1)."""
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1)), rng.uniform(0, np.pi, (tasks, 1))
    x = rng.uniform(-5, 5, (tasks, points))
    y = amplitude * np.sin(x - phase)
    return torch.as_tensor(x[..., None], dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)


def squared(out, y):
    return ((out[..., 0] - y) ** 2).mean(-1).sum()


def maml(network, rng):
    x, y = sinusoids(rng, 16, 2 * K)
    adapted = descend(repeated(network, 16), [(x[:, :K], y[:, :K])] * INNER, squared, 0.01)
    return squared(forward(adapted, x[:, K:]), y[:, K:]) / 16


def reptile(network, rng):
    x, y = sinusoids(rng, 16, INNER * K)
    batches = list(zip(x.split(K, 1), y.split(K, 1), strict=True))
    return pull(network, descend(repeated(network, 16), batches, squared, 0.02))


@pytest.mark.parametrize(("outer", "rate"), [(maml, 0.01), (reptile, 0.02)])
def test_sinusoids(outer, rate):
    """Before a step some 3, what always guessing the mean costs; after five on ten points below .6, as published figures
    have it (Finn et al., Fig. 2; Nichol et al., Fig. 1). Training on all tasks together stays above 2 all along."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = stack(1, [1, 40, 40, 1])
    train(network, lambda: outer(network, rng), 1000, 3e-3, "sinusoids")
    x, y = sinusoids(np.random.default_rng(1), 200, K + 50)
    found = []
    for steps in (0, 1, 5, 20):
        adapted = descend(repeated(network, 200), [(x[:, :K], y[:, :K])] * steps, squared, rate)
        with torch.no_grad():
            found.append(squared(forward(adapted, x[:, K:]), y[:, K:]).item() / 200)
    assert found[0] > 2.0
    assert found[1] < 0.6 * found[0]
    assert found[3] < found[2] < 0.6


def test_perceptrons_side_by_side_do_not_meet():
    torch.manual_seed(0)
    network = stack(3, [4, 8, 2]).double()
    weights, x, y = list(network.parameters()), torch.randn(3, 5, 4).double(), torch.randn(3, 5).double()
    together = forward(descend(weights, [(x, y)] * 2, likelihood, 0.1), x)
    for i in range(3):
        mine = [w[i : i + 1] for w in weights]
        alone = descend(mine, [(x[i : i + 1], y[i : i + 1])] * 2, likelihood, 0.1)
        torch.testing.assert_close(forward(alone, x[i : i + 1])[0], together[i])
    plain = torch.relu(x[0] @ weights[0][0] + weights[1][0]) @ weights[2][0] + weights[3][0]
    torch.testing.assert_close(forward(weights, x)[0], plain)
    mean, std = moments(together)
    exact = -torch.distributions.Normal(mean, std).log_prob(y).mean(1).sum() - 1.5 * np.log(2 * np.pi)
    torch.testing.assert_close(likelihood(together, y), exact)


def test_outer_gradients():
    """MAML's is the loss's at the adapted weights; Reptile's is the weights minus the mean adapted ones."""
    torch.manual_seed(0)
    x, y = torch.randn(8, 6, 3), torch.randn(8, 6)
    for model in (MAML(width=5, inner=2), Reptile(width=5, inner=2)):
        network = model.network(3)
        found = torch.autograd.grad(model.outer(network, x, y[:, :3], y), list(network.parameters()))
        half = [(x[:, :3], y[:, :3]), (x[:, 3:], y[:, 3:])]
        batches = half[:1] * 2 if model.name == "maml" else half
        adapted = descend(repeated(network, 2), batches, likelihood, model.inner_rate)
        if model.name == "maml":
            slopes = torch.autograd.grad(likelihood(forward(adapted, x), y) / 8, adapted)
            expected = [s.unflatten(0, (4, 2)).sum(1) for s in slopes]
        else:
            means = [a.unflatten(0, (4, 2)).mean(1) for a in adapted]
            expected = [p - m for p, m in zip(network.parameters(), means, strict=True)]
        torch.testing.assert_close(list(found), expected)
