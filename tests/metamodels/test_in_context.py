"""Networks that read trials as a context: on draws of a Gaussian process they become its posterior."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from metabench.errors import UsageError
from metabench.metamodels.np_attentive import NPAttentive
from metabench.metamodels.np_transformer import NPTransformer
from metabench.metamodels.parts.bars import Bars
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.parts.neural import train
from metabench.metamodels.pfn import _IRRELEVANT, _NOISE, PFN, gp_draw
from metabench.testing import synthetic_source

POINTS, NOISE = 24, 0.05
X = np.linspace(-1, 1, POINTS, dtype=np.float32)[:, None]
KERNEL = matern(distances(X.astype(float), X.astype(float)) / 0.5)
#: equally likely values of a standard normal
QUANTILES = stats.norm.ppf((np.arange(200) + 0.5) / 200)


def draw(rng, tasks):
    """Functions of the Gaussian process, seen with noise, at all points in random order: x, y, and the order."""
    y = rng.multivariate_normal(np.zeros(POINTS), KERNEL + NOISE * np.eye(POINTS), tasks, method="cholesky")
    order = rng.permuted(np.tile(np.arange(POINTS), (tasks, 1)), axis=1)
    return torch.as_tensor(X[order]), torch.as_tensor(np.take_along_axis(y, order, 1), dtype=torch.float32), order


def exact(y, order, n):
    """Mean and variance [tasks, POINTS − n] of the process's posterior, noise included, given the first n values."""
    out = []
    for i, (a, b) in enumerate(zip(order[:, :n], order[:, n:], strict=True)):
        gain = np.linalg.solve(KERNEL[np.ix_(a, a)] + NOISE * np.eye(n), KERNEL[np.ix_(a, b)]).T
        out.append((gain @ y[i, :n].numpy(), 1 + NOISE - (gain * KERNEL[np.ix_(b, a)]).sum(1)))
    return np.array(out).transpose(1, 0, 2)


def divergence(mean, variance, other_mean, other_variance):
    """KL(N(mean, variance) ‖ N(other …)) in nats."""
    ratio = variance / other_variance
    return 0.5 * (ratio + (other_mean - mean) ** 2 / other_variance - 1 - np.log(ratio))


def from_bars(mean, variance, bars, logits):
    """KL(N(mean, variance) ‖ bars) in nats, the mean over all, over equally likely values of the normal."""
    y = torch.as_tensor(mean[..., None] + np.sqrt(variance[..., None]) * QUANTILES)
    entropy = 0.5 * np.log(2 * np.pi * np.e * variance).mean()
    return -bars.log_density(logits.double()[..., None, :].expand(*y.shape, -1), y).mean().item() - entropy


#: bounds on the divergence with 0, 1, 3 and 12 trials, in nats, and steps at a rate
MODELS = [
    (NPTransformer(width=32, layers=2), (0.005, 0.03, 0.08, 0.12), 700, 4e-3),
    (NPAttentive(width=32, layers=1, latent=0), (0.005, 0.03, 0.08, 0.12), 700, 4e-3),
    (NPAttentive(width=32, layers=1, latent=4), (0.03, 0.05, 0.12, 0.2), 500, 4e-3),
    (PFN(width=32, layers=2, bars=100), (0.04, 0.07, 0.15, 0.22), 700, 2e-3),
]


@pytest.mark.parametrize(
    ("model", "bounds", "steps", "rate"), MODELS, ids=["transformer", "attentive", "latent", "pfn"]
)
def test_on_a_gaussian_process_it_is_near_the_exact_posterior(model, bounds, steps, rate):
    """Mean KL(exact ‖ predicted) of the marginals, in nats, where that of the prior is 0, .20, .61 and 1.1 with 0, 1, 3 and
    12 trials. Measured: transformer 0, .02, .06, .09; attentive 0, .02, .07, .08; with a latent .02, .04, .08, .11; bars
    .02, .05, .11, .18."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = model.network(1)
    if isinstance(model, PFN):
        model.borders_ = Bars.of(draw(rng, 400)[1].numpy().ravel(), model.bars).borders

    def loss():
        n = int(rng.integers(13))
        x, y, _ = draw(rng, 32)
        return model.loss(network, rng, x[:, :n], y[:, :n], x[:, n:], y[:, n:])

    train(network, loss, steps, rate, model.name)
    rng = np.random.default_rng(1)
    for n, bound in zip((0, 1, 3, 12), bounds, strict=True):
        x, y, order = draw(rng, 64)
        asked = network, x[:, :n], y[:, :n], x[:, n:]
        mean, variance = exact(y, order, n)
        with torch.no_grad():
            if isinstance(model, PFN):
                gap = from_bars(mean, variance, Bars(model.borders_), network(*asked[1:]))
            else:
                gap = divergence(mean, variance, *(t.numpy() for t in model.moments(*asked))).mean()
        assert gap < bound


def test_bars_are_a_density():
    """Mass, mean, variance and expected improvement, against sums over a fine grid; tails matter."""
    rng = np.random.default_rng(0)
    bars, logits = Bars.of(rng.normal(size=2000), 12), rng.normal(size=12)
    mass = np.exp(logits) / np.exp(logits).sum()
    y, step = np.linspace(-25, 25, 200_001, retstep=True)
    one = torch.as_tensor(logits).expand(len(y), -1)
    density = bars.log_density(one, torch.as_tensor(y)).exp().numpy()
    assert density.sum() * step == pytest.approx(1.0, abs=1e-3)
    mean, variance = (m.item() for m in bars.moments(mass[None]))
    assert mean == pytest.approx((density * y).sum() * step, abs=5e-3)
    assert variance == pytest.approx((density * (y - mean) ** 2).sum() * step, rel=5e-3)
    for best in (-4.0, bars.low, 0.3, bars.high, 4.0):
        found = bars.improvement(mass[None], np.array([best])).item()
        assert found == pytest.approx((density * np.maximum(y - best, 0)).sum() * step, abs=5e-3)


def test_pfn_on_a_synthetic_prior_learns_nothing_of_the_source():
    """Whatever the scores of the source tasks, it becomes the same network; on a real or mixed prior it does not."""
    source = synthetic_source(5, 20, seed=3)
    other = replace(source, scores=source.scores[::-1, ::-1])
    for prior in ("synthetic", "real", "mixed"):
        one, two = (PFN(prior=prior, layers=1, width=16, epochs=2, bars=10).fit(s) for s in (source, other))
        assert np.array_equal(one.weights_, two.weights_) == (prior == "synthetic")
        assert one.mean_.any() == (prior != "synthetic")


def test_synthetic_tasks_have_unit_variance_and_ignore_what_has_no_effect():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    draws = np.stack([gp_draw(rng, x, [2, 1, 2]) for _ in range(600)])
    assert draws.var() == pytest.approx(1.0, abs=0.1)
    # two points infinitely far in the second block alone: as different as can be, but for noise alike where it has no effect
    pair = np.zeros((2, 5))
    pair[1, 2] = 1e6
    apart = np.array([np.diff(gp_draw(rng, pair, [2, 1, 2]))[0] ** 2 for _ in range(2000)])
    shares = np.subtract(*_NOISE) / np.log(np.divide(*_NOISE))
    assert apart.mean() == pytest.approx(2 * (1 - _IRRELEVANT + _IRRELEVANT * shares), rel=0.1)


@pytest.mark.parametrize(
    ("cls", "settings", "told"),
    [
        (
            NPAttentive,
            {"latent": -1},
            "np_attentive: needs layers >= 0, latent >= 0 and a width that is a multiple of heads",
        ),
        (PFN, {"prior": "none"}, "pfn: unknown prior 'none'; known: synthetic, real, mixed"),
        (PFN, {"bars": 2}, "pfn: needs bars >= 4, layers >= 1 and a width that is a multiple of heads"),
    ],
)
def test_settings_that_make_no_network(cls, settings, told):
    with pytest.raises(UsageError) as error:
        cls(**settings)
    assert str(error.value) == told
