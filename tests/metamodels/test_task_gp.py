"""Tasks that resemble each other in what is known of them: the kernel over tasks, and the process built on it."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from metabench.errors import UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.parts.task_kernel import Standardiser, TaskKernel, negative_likelihood
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE


def planted(tasks=40, configs=60, features=6, seed=0):
    """Features [tasks, features] of which the first alone tells what the targets [tasks, configs] are like."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tasks, features))
    shapes = rng.normal(size=(2, configs))
    z = np.cos(1.5 * x[:, :1]) * shapes[0] + np.sin(1.5 * x[:, :1]) * shapes[1]
    return x, z + 0.2 * rng.normal(size=z.shape)


def test_the_gradient_of_the_likelihood_is_that_of_differences():
    x, z = planted(tasks=9)
    squared, gram = (x.T[:, :, None] - x.T[:, None]) ** 2, z @ z.T / z.shape[1]
    for theta in np.random.default_rng(1).normal(-1.0, 1.0, (3, x.shape[1] + 2)):
        _, gradient = negative_likelihood(theta, squared, gram, 0.7)
        numeric = approx_fprime(theta, lambda t: negative_likelihood(t, squared, gram, 0.7)[0], 1e-6)
        np.testing.assert_allclose(gradient, numeric, atol=2e-4)


def test_the_feature_that_matters_is_found():
    x, z = planted()
    kernel = TaskKernel.fit(x[:30], z[:30])
    assert kernel.relevance[0] > 20 * kernel.relevance[1:].max()
    said = np.stack([kernel.weights(row)[0] @ z[:30] for row in x[30:]])
    assert ((z[30:] - said) ** 2).mean() < 0.5 * ((z[30:] - z[:30].mean(0)) ** 2).mean()


def test_left_out_groups_are_predicted_by_the_others_alone():
    x, z = planted(tasks=12)
    kernel, groups = TaskKernel.fit(x, z), np.arange(12) // 3
    rest, variance = kernel.left_out(z, groups)
    for group in range(4):
        others = groups != group
        alone = TaskKernel(x[others], kernel.relevance, kernel.common, kernel.noise)
        for t in np.flatnonzero(~others):
            weights, left = alone.weights(x[t])
            np.testing.assert_allclose(rest[t], z[t] - weights @ z[others], atol=1e-9)
            assert variance[t] == pytest.approx(left)


def test_predicted_variances_are_those_found():
    """On new tasks what is left is as large as predicted and as found on the source, more so far from its tasks."""
    x, z = planted(tasks=200, features=2)
    kernel = TaskKernel.fit(x[:40], z[:40])
    said = [kernel.weights(row) for row in x[40:]]
    left = np.array([((z[40 + i] - w @ z[:40]) ** 2).mean() for i, (w, _) in enumerate(said)])
    rest, expected = kernel.left_out(z[:40], np.arange(40))
    variance = np.array([v for _, v in said]) * np.mean(rest**2 / expected[:, None])
    far = variance > np.quantile(variance, 0.9)
    assert left.mean() / variance.mean() == pytest.approx(1.0, abs=0.5)
    assert left[far].mean() > 1.5 * left[~far].mean()


def test_unknown_and_constant_features_do_not_count():
    raw = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.inf], [np.nan, 5.0, np.nan]])
    standard = Standardiser.fit(raw)
    np.testing.assert_array_equal(standard(raw), [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert standard(np.array([100.0, np.nan, 1.0])).tolist() == [3.0, 0.0, 0.0]


def test_features_tell_where_to_begin():
    """On unseen planted tasks the prediction before any trial ranks the pool better than the source's mean does; after
    twenty trials both know the task."""
    family, configs = PlantedFamily(seed=5), SPACE.sample(64, 5)
    source = family.source(range(40), configs)
    found = {}
    for cls in (TaskGP, EmpiricalGP):
        model = cls().fit(source)
        for n in (0, 20):
            rho = []
            for task in range(100, 130):
                problem, scores = family.problem(task, configs, 30)
                tried = np.flatnonzero(np.isfinite(scores))[:n]
                history = History(tried.tolist(), scores[tried].tolist())
                rest = np.setdiff1d(np.flatnonzero(np.isfinite(scores)), tried)
                mean = model.start(problem, 0).predict(history, rest).mean
                ranks = [np.argsort(np.argsort(v)) for v in (mean, scores[rest])]
                rho.append(np.corrcoef(*ranks)[0, 1])
            found[cls.name, n] = np.mean(rho)
    assert found["task_gp", 0] > found["empirical_gp", 0] + 0.05
    assert found["task_gp", 20] > found["empirical_gp", 20] - 0.03 > found["task_gp", 0] - 0.03


@pytest.mark.parametrize("settings", [{"alpha": 0.0}, {"noise": 0.0}, {"sparsity": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError, match="task_gp: needs"):
        TaskGP(**settings)
