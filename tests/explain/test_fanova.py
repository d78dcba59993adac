"""Functional ANOVA against brute force, closed forms and Optuna's, on mixed and conditional spaces."""

import itertools

import numpy as np
import pandas as pd
import pytest

from metabench.errors import UsageError
from metabench.explain.fanova import Forest
from metabench.explain.grid import INACTIVE, Grid
from metabench.space import Choice, Float, Int, Ordinal, Space, when

MIXED = Space(
    optimizer=Choice("sgd", "adam", "lion"),
    beta=Float(0.0, 1.0, when=when("optimizer", "adam", "lion")),
    amsgrad=Choice("no", "yes", when=when("optimizer", "adam")),
    learning_rate=Float(1e-4, 1.0, log=True),
    depth=Int(1, 4, log=True),
    clip=Choice("none", "norm"),
    clip_norm=Ordinal(1, 2, 3, when=when("clip", "norm")),
)


@pytest.fixture(scope="module")
def forest():
    """A forest on noise and structure over MIXED, with few steps so that the whole grid can be enumerated."""
    grid = Grid.of(MIXED, steps=4)
    codes = grid.codes(MIXED.sample(256, 0))
    y = np.random.default_rng(0).normal(size=256)
    y += codes[:, 3] * (codes[:, 0] - 1) + 2 * (codes[:, 1] > 1) * (codes[:, 0] == 1) + (codes[:, 5] == 1) * codes[:, 4]
    return Forest(grid, codes, y)


@pytest.fixture(scope="module")
def whole(forest):
    """Predictions on every point of the grid, and the weight of each."""
    axes = forest.grid.axes
    points = np.array(list(itertools.product(*[range(len(a)) for a in axes])), dtype=np.int16)
    weights = np.prod([a.weights[points[:, i]] for i, a in enumerate(axes)], axis=0)
    shape = [len(a) for a in axes]
    return forest.predict(points).reshape(shape), weights.reshape(shape)


def mean_over(whole, keep, rows=slice(None)):
    """E[prediction | axes of ``keep``] by enumeration, restricted to ``rows`` of the first axis."""
    values, weights = (a[rows] for a in whole)
    rest = tuple(i for i in range(values.ndim) if i not in keep)
    out = (values * weights).sum(rest) / weights.sum(rest)
    return out if list(keep) == sorted(keep) else out.T


def test_marginals_are_the_means_over_all_points(forest, whole):
    assert forest.mean == pytest.approx((whole[0] * whole[1]).sum(), abs=1e-12)
    names = [axis.name for axis in forest.grid.axes]
    for keep in [*itertools.permutations(range(7), 1), *itertools.permutations(range(7), 2)]:
        found = forest.marginal([names[i] for i in keep])
        np.testing.assert_allclose(found, mean_over(whole, keep), atol=1e-12, err_msg=str(keep))


def test_where_active_restricts_the_parents(forest, whole):
    np.testing.assert_allclose(forest.marginal(["beta"], True), mean_over(whole, (1,), slice(1, 3)), atol=1e-12)
    found = forest.marginal(["beta", "amsgrad"], where_active=True)
    np.testing.assert_allclose(found, mean_over(whole, (1, 2), slice(1, 2)), atol=1e-12)
    assert np.ptp(forest.marginal(["beta"], True)) > np.ptp(forest.marginal(["beta"])) > 0


def test_what_is_inactive_does_not_matter(forest, whole):
    values, _ = whole
    assert np.ptp(values[0], axis=0).max() == 0  # sgd has no beta
    assert np.ptp(values[..., 0, :], axis=-1).max() == 0 and np.ptp(values[..., 1, :], axis=-1).max() > 0


def test_shares_are_those_of_the_variance_over_all_points(forest, whole):
    values, weights = whole
    variance = (weights * (values - forest.mean) ** 2).sum()
    shares = forest.decompose()
    assert shares.variance == pytest.approx(variance, rel=0.03)
    for i, axis in enumerate(forest.grid.axes):
        exact = (axis.weights * (mean_over(whole, (i,)) - forest.mean) ** 2).sum()
        assert shares.main[i] * shares.variance == pytest.approx(exact, abs=1e-12)
        rest = np.expand_dims(mean_over(whole, tuple(j for j in range(7) if j != i)), i)
        total = (weights * (values - rest) ** 2).sum()
        assert shares.total[i] == pytest.approx(total / variance, abs=0.03)
        assert shares.total[i] > shares.main[i] - 0.02
    assert shares.main.sum() + shares.pairs.sum() < 1.02


def ishigami(u):
    """Ishigami & Homma (1990) with a = 7, b = .1 on the unit cube; its Sobol indices are known in closed form."""
    x = (2 * u - 1) * np.pi
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def test_sobol_indices_of_a_known_function():
    a, b = 7.0, 0.1
    first = 0.5 * (1 + b * np.pi**4 / 5) ** 2
    pair = b**2 * np.pi**8 * (1 / 18 - 1 / 50)
    variance = first + a**2 / 8 + pair
    space = Space(x=Float(0, 1), y=Float(0, 1), z=Float(0, 1), w=Float(0, 1))
    grid, configs = Grid.of(space), space.sample(2048, 1)
    # a forest of 2,048 points smooths the function a little; with 16,384 the errors are under .02
    shares = Forest(grid, grid.codes(configs), ishigami(configs.to_numpy())).decompose()
    np.testing.assert_allclose(shares.main, [first / variance, a**2 / 8 / variance, 0, 0], atol=0.06)
    expected = [pair / variance if p == (0, 2) else 0.0 for p in grid.pairs]
    np.testing.assert_allclose(shares.pairs, expected, atol=0.04)
    assert shares.total == pytest.approx([(first + pair) / variance, a**2 / 8 / variance, pair / variance, 0], abs=0.06)
    assert shares.r2 > 0.85


def test_a_childs_share_counts_where_it_is_active():
    """y = 1[adam] β: variance 1/2·1/3 − 1/16; the parent's share is (1/2)²/4, the child's 1/4·1/12, the rest the pair's."""
    space = Space(optimizer=Choice("sgd", "adam"), beta=Float(0, 1, when=when("optimizer", "adam")))
    grid, configs = Grid.of(space), space.sample(2048, 0)
    y = configs["beta"].fillna(0.0).to_numpy()
    shares = Forest(grid, grid.codes(configs), y, leaf=1).decompose()
    variance = 1 / 6 - 1 / 16
    expected = np.array([1 / 16, 1 / 48, 1 / 48]) / variance
    np.testing.assert_allclose([*shares.main, *shares.pairs], expected, atol=0.01)


def test_optuna_agrees_on_the_same_data():
    """Its importances are those of single trees, ours of their mean: the same order, ours nearer to the truth."""
    optuna = pytest.importorskip("optuna")
    space = Space(a=Float(0, 1), b=Float(0, 1), c=Float(0, 1), d=Choice("p", "q", "r"), e=Float(0, 1))
    configs = space.sample(256, 3)
    ranges = {
        n: optuna.distributions.CategoricalDistribution(p.options)
        if isinstance(p, Choice)
        else optuna.distributions.FloatDistribution(0, 1)
        for n, p in space.items()
    }
    jump = configs["d"].map({"p": 0.0, "q": 1.0, "r": 0.3}).to_numpy()
    y = 2 * configs["a"].to_numpy() ** 2 + configs["b"].to_numpy() + jump
    study = optuna.create_study()
    for row, value in zip(configs.to_dict("records"), y):
        study.add_trial(optuna.trial.create_trial(params=row, distributions=ranges, value=float(value)))
    theirs = optuna.importance.FanovaImportanceEvaluator(n_trees=12, seed=0).evaluate(study)
    grid = Grid.of(space)
    shares = Forest(grid, grid.codes(configs), y).decompose()
    ours = dict(zip(space, shares.main))
    assert sorted(ours, key=ours.get)[2:] == sorted(theirs, key=theirs.get)[2:]
    parts = np.array([4 * (1 / 5 - 1 / 9), 1 / 12, 0.0, np.var([0, 1, 0.3]), 0.0])
    np.testing.assert_allclose(shares.main, parts / parts.sum(), atol=0.04)
    for name in space:
        assert ours[name] == pytest.approx(theirs[name], abs=0.08)


def test_codes_there_and_back():
    grid = Grid.of(MIXED)
    configs = MIXED.sample(64, 0)
    codes = grid.codes(configs)
    assert ((codes == INACTIVE) == configs.isna().to_numpy()).all()
    again = grid.decode(codes)
    assert (grid.codes(again) == codes).all()
    for name in ("optimizer", "depth", "clip_norm"):
        pd.testing.assert_series_equal(again[name], configs[name])
    assert (
        sum(grid.axes[4].weights) == pytest.approx(1)
        and list(grid.axes[4].weights) == sorted(grid.axes[4].weights)[::-1]
    )


def test_a_constant_score_has_no_shares():
    grid = Grid.of(MIXED)
    shares = Forest(grid, grid.codes(MIXED.sample(32, 0)), np.ones(32)).decompose()
    assert shares.variance == 0 and not shares.main.any() and not shares.pairs.any()


def test_what_cannot_be_explained_is_said():
    grid, configs = Grid.of(MIXED), MIXED.sample(16, 0)
    with pytest.raises(UsageError, match="4 configurations are too few"):
        Forest(grid, grid.codes(configs[:4]), np.arange(4.0))
    configs.loc[3, "learning_rate"] = np.nan
    with pytest.raises(UsageError, match="configuration 3: hyperparameter learning_rate has no value"):
        grid.codes(configs)
