"""Ensembles of Gaussian processes: against scikit-learn, against brute force, and on a problem with one related source."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern as SklearnMatern

from metabench.metamodels.gp_mean import GPMean
from metabench.metamodels.gp_weighted import GPWeighted
from metabench.metamodels.parts.ensemble import Discordance
from metabench.metamodels.rgpe import RGPE
from metabench.search.base import History, Problem
from metabench.space import Float, Space
from metabench.testing import PlantedFamily, synthetic_source

SPACE = Space(x=Float(0, 1), y=Float(0, 1))
ENSEMBLES = (GPMean, GPWeighted, RGPE)


def one_in_ten(related: int, seed: int):
    """Ten sources, of which one has the target's bowl and nine are waves; and the target's scores."""
    rng = np.random.default_rng(seed)
    configs = SPACE.sample(64, seed=seed)
    points = SPACE.to_unit(configs)
    template = synthetic_source(1, 4).tasks[0]
    angle = rng.uniform(0, 2 * np.pi, size=10)
    waves = 9 * np.column_stack([np.cos(angle), np.sin(angle)])  # more than one period: no order of the bowl's
    values = np.sin(points @ waves.T + rng.uniform(0, 6, size=10)).T
    target = -((points - [0.2, 0.7]) ** 2).sum(1)
    values[related] = np.exp(3 * target)  # another scale, the same order
    tasks = [replace(template, task_id=f"t{i}", family=f"f{i}", features={}) for i in range(10)]
    source = replace(synthetic_source(1, 4), space=SPACE, configs=configs, tasks=tasks, scores=values[:, :, None])
    problem = Problem(SPACE, replace(template, features={}), configs.reset_index(drop=True), 20)
    return source, problem, target


def after(search, target, trials):
    """The history after some trials at random."""
    history = History()
    for c in np.random.default_rng(3).permutation(len(target))[:trials]:
        history.add(int(c), float(target[c]))
        search.weights(history)
    return history


def test_source_posteriors_are_those_of_scikit_learn():
    source, problem, _ = one_in_ten(4, seed=0)
    pool = SPACE.sample(20, seed=9)
    model = RGPE().fit(source)
    search = model.start(problem, 0)
    scales = model.source_.length_scales
    x = SPACE.to_unit(source.configs)
    theirs = GaussianProcessRegressor(SklearnMatern(scales, nu=2.5), alpha=model.noise, optimizer=None)
    theirs.fit(x, source.normal_scores.T)
    mean, covariance = theirs.predict(x, return_cov=True)
    np.testing.assert_allclose(search._means, mean.T, atol=1e-8)
    np.testing.assert_allclose(
        np.array([search.source_covariance(i) for i in range(64)]), covariance[..., 0], atol=1e-8
    )
    # on other configurations the smoothed values are interpolated: close to the posterior, and as uncertain
    other = model.start(replace(problem, candidates=pool), 0)
    mean, std = theirs.predict(SPACE.to_unit(pool), return_std=True)
    assert np.abs(other._means - mean.T).mean() < 0.1 * np.abs(mean).mean()
    assert np.corrcoef(np.sqrt(other._variance), std[:, 0])[0, 1] > 0.9


def test_the_target_process_is_that_of_scikit_learn():
    """With all weight on the target the ensemble is a plain Gaussian process, up to the affine map."""
    source, problem, target = one_in_ten(4, seed=0)

    class Alone(GPMean):
        def weights(self, history):
            return np.eye(11)[10]

    model = Alone().fit(source)
    search = model.start(problem, 0)
    history = after(search, target, 12)
    prediction = search.predict(history, np.arange(64))
    x = SPACE.to_unit(source.configs)
    theirs = GaussianProcessRegressor(SklearnMatern(model.source_.length_scales, nu=2.5), alpha=0.05, optimizer=None)
    theirs.fit(x[history.candidates], search.target(history)[0])
    mean, std = theirs.predict(x, return_std=True)
    np.testing.assert_allclose(prediction.mean, mean, atol=1e-8)
    np.testing.assert_allclose(prediction.std, std, atol=1e-8)


@pytest.mark.parametrize("related", [0, 6, 9])
@pytest.mark.parametrize("cls", [RGPE, GPWeighted])
def test_the_one_related_source_is_found_among_nine_others(cls, related):
    source, problem, target = one_in_ten(related, seed=related)
    search = (cls(bandwidth=0.3) if cls is GPWeighted else cls()).fit(source).start(problem, 0)
    history = after(search, target, 12)
    weights = search.weights(history)
    assert weights.shape == (11,) and weights.sum() == pytest.approx(1.0) and (weights >= 0).all()
    others = np.delete(weights[:-1], related)
    assert weights[related] > 4 * others.max()
    if cls is RGPE:
        assert search.ask(history) in np.argsort(-target)[:6]


def test_an_unrelated_source_loses_all_weight():
    """Weight dilution is prevented: with many trials the unrelated sources' weights are zero."""
    source, problem, target = one_in_ten(2, seed=1)
    search = RGPE().fit(source).start(problem, 0)
    weights = search.weights(after(search, target, 40))
    np.testing.assert_array_equal(np.delete(weights[:-1], 2), 0.0)


def test_discordant_pairs_are_those_of_a_double_loop():
    rng = np.random.default_rng(0)
    values, y = rng.normal(size=(30, 3, 2)), rng.integers(0, 6, 30).astype(float)
    y[[4, 9]] = np.nan  # diverged: worse than all others, equal to one another
    count = Discordance((3, 2))
    for v, score in zip(values, y, strict=True):
        count.add(v, score)
    low = np.where(np.isnan(y), -np.inf, y)
    expected, pairs = np.zeros((3, 2)), 0
    for j in range(30):
        for k in range(j):
            if low[j] != low[k]:
                expected += (values[j] < values[k]) != (low[j] < low[k])
                pairs += 1
    np.testing.assert_array_equal(count.counts, expected)
    assert count.pairs == pairs


def test_draws_of_sources_have_their_posterior_covariance():
    source, problem, target = one_in_ten(3, seed=2)
    search = RGPE(draws=4000).fit(source).start(problem, 0)
    history = after(search, target, 5)
    drawn = search._discordance._values[:5, 3]  # [trials, draws]
    tried = history.candidates
    np.testing.assert_allclose(drawn.mean(1), search._means[3, tried], atol=0.02)
    expected = np.array([search.source_covariance(i)[tried] for i in tried])
    np.testing.assert_allclose(np.cov(drawn), expected, atol=0.1 * expected.max())


def test_target_losses_are_those_of_leaving_one_out():
    """Against as many Gaussian processes as there are trials, each without one of them."""
    source, problem, target = one_in_ten(3, seed=4)
    model = RGPE(draws=4000).fit(source)
    search = model.start(problem, 0)
    history = after(search, target + 0.05 * np.random.default_rng(1).normal(size=64), 9)
    x, z = SPACE.to_unit(source.configs)[history.candidates], search.target(history)[0]
    rng, expected = np.random.default_rng(5), np.zeros(4000)
    for j in range(9):
        rest = np.arange(9) != j
        gp = GaussianProcessRegressor(SklearnMatern(model.source_.length_scales, nu=2.5), alpha=0.05, optimizer=None)
        mean, std = gp.fit(x[rest], z[rest]).predict(x[[j]], return_std=True)
        f = rng.normal(mean, std, 4000)
        expected += ((f[:, None] < z[rest]) != (z[j] < z[rest])).sum(1)
    got = search._target_losses(z)
    assert got.mean() == pytest.approx(expected.mean(), rel=0.05)
    assert got.std() == pytest.approx(expected.std(), rel=0.15)


def test_equal_weights_are_equal():
    source, problem, target = one_in_ten(0, seed=0)
    search = GPMean().fit(source).start(problem, 0)
    np.testing.assert_allclose(search.weights(after(search, target, 6)), 1 / 11)


@pytest.mark.parametrize("cls", ENSEMBLES)
def test_a_thousand_trials_that_were_made_before(cls):
    """Handed over at once they weigh as they do one by one; then the search goes on."""
    family = PlantedFamily(seed=3)
    source = synthetic_source(6, 48, seed=3)
    pool = source.space.sample(1024, seed=5)
    scores = family.scores(50, pool)[:, 0]
    tried = np.random.default_rng(0).permutation(1024)[:1000]
    problem = Problem(source.space, family.info(50), pool, 1024)
    model = cls(draws=32) if cls is RGPE else cls()
    history = History(tried.tolist(), scores[tried].tolist())
    search = model.fit(source).start(problem, 0)
    assert search.ask(history) not in history
    short = History(history.candidates[:20], history.scores[:20])
    one, all_at_once = model.start(problem, 0), model.start(problem, 0)
    for n in range(21):
        one.predict(History(short.candidates[:n], short.scores[:n]), np.arange(2))
    np.testing.assert_allclose(one.predict(short, np.arange(50)).mean, all_at_once.predict(short, np.arange(50)).mean)
    # a search that is asked for a shorter or another history starts its counts anew
    again = search.predict(short, np.arange(50)).mean
    np.testing.assert_allclose(again, all_at_once.predict(short, np.arange(50)).mean)
