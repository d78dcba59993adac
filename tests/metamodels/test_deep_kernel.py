"""The deep kernel: its likelihood and its posterior are a Gaussian process's, and learning over tasks pays."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from metabench.metamodels.deep_kernel import DeepKernel
from metabench.metamodels.parts.deep_process import NOISE
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=3), SPACE.sample(40, 3)
SOURCE = FAMILY.source(range(8), CONFIGS)


def reference(network) -> GaussianProcessRegressor:
    """scikit-learn's with the scales of a network."""
    length, variance = (s.exp().item() for s in (network.log_length, network.log_variance))
    noise = network.log_noise.exp().item() + NOISE + 1e-6
    kernel = ConstantKernel(variance) * Matern(length, nu=2.5) + WhiteKernel(noise)
    return GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)


@pytest.mark.parametrize("layers", [0, 3])
def test_the_likelihood_is_that_of_a_gaussian_process(layers):
    """On what the encoder makes of x: scikit-learn's, a point; with no layers that is x itself."""
    rng = np.random.default_rng(0)
    model = DeepKernel(layers=layers, width=5)
    network = model.network(4).double()
    x, y = rng.normal(size=(2, 12, 4)), rng.normal(size=(2, 12))
    with torch.no_grad():
        z = network.encoder(torch.as_tensor(x)).numpy()
        found = model.negative_likelihood(network, torch.as_tensor(x), torch.as_tensor(y)).item()
    if layers == 0:
        np.testing.assert_array_equal(z, x)
    plain = [-reference(network).fit(*task).log_marginal_likelihood() / 12 for task in zip(z, y, strict=True)]
    assert found == pytest.approx(np.mean(plain), rel=1e-7)


def test_without_an_encoder_it_is_a_gaussian_process():
    """The posterior given trials is scikit-learn's of (y − a)/b around the source's mean, with the learned scales."""
    model = DeepKernel(layers=0, epochs=3, adapt=0).fit(SOURCE)
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    tried = [3, 17, 30, 8, 21]
    search, history = model.start(problem, 0), History(tried, [float(s) for s in scores[tried]])
    mean, variance = search.posterior(history)
    y = np.array(history.scores)
    assert y.min() > np.median(y) - 3 * np.ptp(y)  # nothing is clipped
    _, _, a, b = search._gp.posterior(search._mean, y)
    x, network = search._x.astype(float), search.fitted_network().double()
    plain = reference(network).fit(x[tried], (y - a) / b - model.mean_[tried])
    residual, std = plain.predict(x, return_std=True)
    np.testing.assert_allclose(mean, model.mean_ + residual, atol=1e-5)
    np.testing.assert_allclose(variance, std**2 - plain.kernel_.k2.noise_level, atol=1e-5)


def test_learning_over_tasks_explains_new_ones_better():
    """Likelihood of unseen planted tasks: better than before learning, and than without an encoder."""
    unseen = FAMILY.source(range(100, 120), CONFIGS)
    source, found = FAMILY.source(range(24), CONFIGS), {}
    for layers, epochs in ((0, 60), (3, 1), (3, 60)):
        model = DeepKernel(layers=layers, epochs=epochs, rate=3e-3)
        tasks, _ = model.prepare(unseen)
        model.fit(source)
        network = model.network(tasks.x.shape[1])
        torch.nn.utils.vector_to_parameters(torch.as_tensor(model.weights_), network.parameters())
        episodes = tasks.draw(np.random.default_rng(0), 20, 30)
        with torch.no_grad():
            inputs = [torch.as_tensor(v) for v in (episodes.x, episodes.seen)]
            found[layers, epochs] = model.negative_likelihood(network, *inputs).item()
    assert found[3, 60] < found[3, 1] - 0.05
    assert found[3, 60] < found[0, 60]


def test_adapting_explains_the_trials_better():
    model = DeepKernel(epochs=5, adapt=10, adapt_rate=1e-2).fit(SOURCE)
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    finite = np.flatnonzero(np.isfinite(scores))[:15]
    history = History(finite.tolist(), scores[finite].tolist())
    before, after = (model.start(problem, 0) for _ in range(2))
    before.adapt = 0
    rest = np.setdiff1d(np.flatnonzero(np.isfinite(scores)), finite)
    assert not np.allclose(before.predict(history, rest).mean, after.predict(history, rest).mean)
    again = model.start(problem, 0)
    for n in (3, 9, 15):  # whatever was asked before
        said = again.predict(History(history.candidates[:n], history.scores[:n]), rest)
    np.testing.assert_allclose(said.mean, after.predict(history, rest).mean, rtol=1e-9)


def test_it_adapts_by_adam_on_every_parameter():
    """The steps on one vector are those of an optimiser of the separate parameters; the fitted weights stay."""
    model = DeepKernel(epochs=2, adapt=7, adapt_rate=1e-2).fit(SOURCE)
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    tried = np.flatnonzero(np.isfinite(scores))[:8]
    history = History(tried.tolist(), scores[tried].tolist())
    search = model.start(problem, 0)
    plain, start = search.fitted_network().double(), model.weights_.copy()
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-2)
    x, y = torch.as_tensor(search._x[tried].astype(float))[None], torch.as_tensor(search.seen(history)[1])[None]
    for _ in range(7):
        optimiser.zero_grad()
        model.negative_likelihood(plain, x, y).backward()
        optimiser.step()
    search.posterior(history)
    for mine, theirs in zip(search._network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(model.weights_, start)
