"""The transformer neural process: what it learns is a posterior, and it is one of a set."""

import numpy as np
import pytest
import torch

from metabench.errors import UsageError
from metabench.metamodels._matern import distances, matern
from metabench.metamodels._neural import gaussian_loss, train
from metabench.metamodels.np_transformer import NPTransformer, transformer
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

POINTS, NOISE = 24, 0.05
X = np.linspace(-1, 1, POINTS, dtype=np.float32)[:, None]
KERNEL = matern(distances(X.astype(float), X.astype(float)) / 0.5)


def draw(rng, tasks):
    """Functions of the Gaussian process, seen with noise, at all points in random order: x, y, and the order."""
    y = rng.multivariate_normal(np.zeros(POINTS), KERNEL + NOISE * np.eye(POINTS), tasks, method="cholesky")
    order = rng.permuted(np.tile(np.arange(POINTS), (tasks, 1)), axis=1)
    return torch.as_tensor(X[order]), torch.as_tensor(np.take_along_axis(y, order, 1), dtype=torch.float32), order


def divergence(mean, variance, other_mean, other_variance):
    """KL(N(mean, variance) ‖ N(other …)) in nats."""
    ratio = variance / other_variance
    return 0.5 * (ratio + (other_mean - mean) ** 2 / other_variance - 1 - np.log(ratio))


def test_on_a_gaussian_process_it_is_near_the_exact_posterior():
    """Mean KL(exact ‖ predicted) of the marginals: below .001 with no trials, .02 with one, .05 with three and .08 nats
    with twelve after 700 steps; that of the prior is .26, .57 and 1.1 nats with one, three and twelve."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = transformer(1, width=32, layers=2, heads=4)

    def loss():
        n = int(rng.integers(13))
        x, y, _ = draw(rng, 32)
        return gaussian_loss(*network(x[:, :n], y[:, :n], x[:, n:]), y[:, n:])

    train(network, loss, 700, 4e-3, "np_transformer")
    rng = np.random.default_rng(1)
    for n, bound in ((0, 0.005), (1, 0.03), (3, 0.08), (12, 0.12)):
        x, y, order = draw(rng, 64)
        with torch.no_grad():
            found = network(x[:, :n], y[:, :n], x[:, n:])
        mean, variance = found[0].numpy(), found[1].numpy() ** 2
        gap, prior = [], []
        for i, (a, b) in enumerate(zip(order[:, :n], order[:, n:], strict=True)):
            gain = np.linalg.solve(KERNEL[np.ix_(a, a)] + NOISE * np.eye(n), KERNEL[np.ix_(a, b)]).T
            exact = gain @ y[i, :n].numpy(), 1 + NOISE - (gain * KERNEL[np.ix_(b, a)]).sum(1)
            gap.append(divergence(*exact, mean[i], variance[i]).mean())
            prior.append(divergence(*exact, 0.0, 1 + NOISE).mean())
        assert np.mean(gap) < bound
        assert n == 0 or np.mean(gap) < 0.12 * np.mean(prior)


def test_the_context_is_a_set_and_other_points_do_not_count():
    torch.manual_seed(0)
    network = transformer(3, width=16, layers=2, heads=2)
    x, y, new = torch.randn(2, 6, 3), torch.randn(2, 6), torch.randn(2, 5, 3)
    with torch.no_grad():
        mean, std = network(x, y, new)
        turned = network(x.flip(1), y.flip(1), new)
        alone = network(x, y, new[:, 2:3])
        other = network(x, y + 1.0, new)
    assert mean.shape == std.shape == (2, 5) and (std > 0.05).all()
    torch.testing.assert_close(turned, (mean, std))
    torch.testing.assert_close(alone, (mean[:, 2:3], std[:, 2:3]))
    assert not torch.allclose(other[0], mean, atol=1e-3)


def test_predictions_depend_on_order_and_units_no_more_than_they_should():
    family, configs = PlantedFamily(seed=3), SPACE.sample(40, 3)
    model = NPTransformer(layers=1, width=16, epochs=2).fit(family.source(range(8), configs))
    problem, scores = family.problem(100, configs, 20)
    tried = [3, 17, 30, 8, 21]
    plain = model.start(problem, 0).posterior(History(tried, scores[tried].tolist()))
    for history in (
        History(tried[::-1], scores[tried[::-1]].tolist()),
        History(tried, (1e3 * scores[tried] - 7.0).tolist()),
    ):
        np.testing.assert_allclose(model.start(problem, 0).posterior(history), plain, atol=1e-5)


def test_settings_that_make_no_network():
    with pytest.raises(
        UsageError, match=r"^np_transformer: needs layers >= 1 and a width that is a multiple of heads$"
    ):
        NPTransformer(width=30)
