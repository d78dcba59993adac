"""The variational autoencoder: its score is the bound it says, β and annealing weigh the divergence, draws are hashed."""

import numpy as np
import torch
from scipy.stats import multivariate_normal, norm

from metabench import registry
from metabench.tasks import metrics
from metabench.tasks.sample import sample
from metabench.training import hashing, run_cohort
from metabench.training.data import Data
from metabench.workloads.vae.shape import betas

WORKLOAD = registry.create("workloads", "vae")
ARRAYS = sample("reconstruction", 256)
BASE = WORKLOAD.space.default() | {"batch_size": 16}


def trained(changes: list[dict], epochs: int = 30):
    configs = WORKLOAD.space.table([BASE | change for change in changes])
    return run_cohort(WORKLOAD, ARRAYS, configs, np.zeros(len(changes), int), (epochs,), backend="batched")


def test_the_bound_lies_between_independent_gaussians_and_the_truth():
    """Rows are Gaussian: the score may come near the negative log-likelihood of their own covariance, not below it."""
    x, y = ARRAYS.x_train.astype(np.float64), ARRAYS.x_test.astype(np.float64)
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    truth = multivariate_normal(x.mean(0), (axes * np.maximum(values, metrics.FLOOR)) @ axes.T)
    best = -truth.logpdf(y).mean() / x.shape[1]
    independent = metrics.chance("nats", ARRAYS.y_train, ARRAYS.y_test)
    (score,) = trained([{"latent": 8}], epochs=60).test_score[:, -1]
    assert best - 0.02 < score < best + 0.5 * (independent - best)


def test_the_bound_is_that_of_its_definition():
    """Against a plain sum in float64 by scipy's densities, at the noise that is hashed for the test rows."""
    data = Data.of(ARRAYS, "cpu", torch.float64)
    run = WORKLOAD.alone(ARRAYS, BASE | {"beta": 3.0}, 4, data, 1)
    run.epoch(0)
    x, _ = data["test"]
    with torch.no_grad():
        mean, log = run.net.encoder(x, 0).unflatten(1, (-1, 2)).unbind(2)
        keys = [hashing.key(4, stream, 2) for stream in (hashing.JUDGED_A, hashing.JUDGED_B)]
        noise = torch.as_tensor(hashing.normal(*keys, np.arange(mean.numel()))).view(mean.shape)
        z = mean + (log / 2).exp() * noise
        spread = (metrics.FLOOR + run.net.log_variance.exp()).sqrt()
        density = norm(run.net.decoder(z, 0).numpy(), spread.numpy()).logpdf(x.numpy()).sum(1).mean()
    # Kingma & Welling, 2014, appendix B
    divergence = (-0.5 * (1.0 + log - mean**2 - log.exp())).sum(1).mean().item()
    bound = (divergence - density) / x.shape[1]
    loss, score = run.evaluate()["test"]
    assert loss == score and abs(loss - bound) < 1e-12


def test_beta_trades_what_is_coded_for_the_prior():
    """With β = 10 the code says less: reconstructions are worse, and so is the bound at β = 1 than after β = 1."""
    runs = [
        WORKLOAD.alone(ARRAYS, BASE | {"beta": beta}, 0, Data.of(ARRAYS, "cpu", torch.float64), 12) for beta in (1, 10)
    ]
    terms = []
    for run in runs:
        assert all(run.epoch(epoch) for epoch in range(12))
        run.net.eval()
        with torch.no_grad():
            terms.append([t.mean().item() for t in run.net(run.data["valid"][0])])
    (missed, coded), (missed_more, coded_less) = terms
    assert coded_less < 0.7 * coded and missed_more > missed
    assert missed + coded < missed_more + coded_less


def test_the_weight_of_the_divergence_rises_over_a_share_of_the_steps():
    weights = betas({"beta": 2.0, "anneal": 0.5}, 100)
    assert weights[0] == 2.0 / 50 and weights[24] == 1.0 and (weights[49:] == 2.0).all()
    assert (betas({"beta": 2.0, "anneal": 0.0}, 10) == 2.0).all()


def test_latent_numbers_are_drawn_for_each_run_and_step():
    configs = WORKLOAD.space.table([BASE] * 2)
    runs = WORKLOAD.learners(ARRAYS, configs, np.array([1, 2]), Data.of(ARRAYS, "cpu", torch.float64), 1)
    x = runs.networks.x[:16].expand(2, -1, -1)
    with torch.no_grad():
        first, again, later = (runs.networks.bound(x, runs.networks.draws, step)[0] for step in (0, 0, 1))
    assert torch.equal(first, again) and (first != later).all()


def test_chance_is_the_likelihood_of_independent_gaussians():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(1.0, 2.0, size=(n, 3)) for n in (4000, 4000))
    assert abs(metrics.chance("nats", x, y) - 0.5 * np.log(2 * np.pi * np.e * 4.0)) < 0.03
    flat = np.zeros((10, 2))
    assert metrics.chance("nats", flat, flat) == 0.5 * np.log(2 * np.pi * metrics.FLOOR)
    assert metrics.direction("nats") == "min"
