"""Covers of small loss tables against all there are."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from metabench.errors import UsageError
from metabench.metamodels.portfolio import Portfolio, greedy_cover, impute, regrets
from metabench.testing import synthetic_source


@pytest.mark.parametrize("seed", range(8))
def test_the_cover_of_specialists_is_optimal(seed):
    """Groups of tasks, each with a configuration of its own: greedy finds the best cover of one and of two."""
    rng = np.random.default_rng(seed)
    loss = 0.5 + 0.4 * rng.random((10, 12))
    a, b = rng.permutation(12)[:2]
    loss[:6, a], loss[6:, b] = 0.01, 0.02
    order = greedy_cover(loss, 12)

    def cost(columns):
        return loss[:, list(columns)].min(1).mean()

    assert order[0] == min(range(12), key=lambda c: cost([c]))
    assert set(order[:2]) == set(min(itertools.combinations(range(12), 2), key=cost)) == {a, b}
    assert sorted(order) == list(range(12))


def test_the_cover_starts_anew_when_nothing_helps_any_more():
    loss = np.array([[0.0, 0.1, 0.9, 0.5], [0.0, 0.2, 0.1, 0.5]])
    assert greedy_cover(loss, 4).tolist() == [0, 1, 2, 3]  # 0 serves both; then 1 does; 2 helps the second task still


def test_what_lies_beyond_the_size_follows_by_mean_loss():
    loss = np.random.default_rng(1).random((5, 9))
    order = greedy_cover(loss, 3)
    assert np.all(np.diff(loss.mean(0)[order[3:]]) >= 0)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_near_the_best_of_all_covers(seed):
    """On any table the first n gain at least 1 − (1 − 1/n)ⁿ of what the best n gain, and the first is the best one."""
    loss = np.random.default_rng([seed, 7]).random((6, 9)) ** 0.5
    order = greedy_cover(loss, 9)

    def gain(columns):
        return 1.0 - loss[:, list(columns)].min(1).mean()

    for n in (1, 2, 3, 4):
        best = max(gain(c) for c in itertools.combinations(range(9), n))
        assert gain(order[:n]) >= (1 - (1 - 1 / n) ** n) * best - 1e-12
    assert gain(order[:1]) == pytest.approx(max(gain([c]) for c in range(9)))


def test_cost_is_what_a_gain_is_divided_by():
    """Two specialists and one that serves both somewhat: which comes first depends on what they cost."""
    loss = np.array([[0.0, 1.0, 0.4], [1.0, 0.0, 0.4]])
    assert greedy_cover(loss, 3)[0] == 2
    assert greedy_cover(loss, 3, cost=np.array([2.0, 1.0, 1.0]))[0] == 2
    assert greedy_cover(loss, 3, cost=np.array([1.0, 0.5, 1.0]))[:2].tolist() == [1, 0]


def test_a_cost_aware_portfolio_is_cheaper():
    """Seconds fifty times apart at random: the list's first entries cost far less, its losses not much more."""
    source = synthetic_source(12, 40, seed=5)
    seconds = 50.0 ** np.random.default_rng(0).random(40) * np.arange(1, 13)[:, None]
    source = replace(source, seconds=seconds)
    free, aware = Portfolio().fit(source), Portfolio(cost=1.0).fit(source)
    spent = [seconds[:, m.order_[:3]].mean() for m in (free, aware)]
    lost = [m.loss_[:, m.order_[:3]].min(1).mean() for m in (free, aware)]
    assert spent[1] < 0.5 * spent[0]
    assert lost[0] <= lost[1] < lost[0] + 0.2
    np.testing.assert_allclose(aware.seconds_, seconds[0] / np.exp(np.log(seconds[0]).mean()))
    with pytest.raises(UsageError, match="cost needs training seconds"):
        Portfolio(cost=1.0).fit(replace(source, seconds=None))


def test_missing_losses_are_imputed_between_task_and_configuration():
    loss = np.array([[0.2, 0.4, np.nan], [0.0, 0.6, 0.8], [np.nan, np.nan, np.nan]])
    filled = impute(loss)
    assert filled[0, 2] == pytest.approx(0.5 * (0.3 + 0.8))
    np.testing.assert_allclose(filled[2], 0.5 * (0.5 + np.array([0.1, 0.5, 0.8])))
    np.testing.assert_array_equal(filled[1], loss[1])


def test_regrets_run_from_the_best_to_the_median():
    source = synthetic_source(3, 9, seed=2, diverge=False)
    u, r = source.utility, regrets(source)
    for row, regret in zip(u, r, strict=True):
        assert regret[row.argmax()] == 0
        assert regret[np.argsort(row)[4]] == pytest.approx(1.0)
        assert ((regret >= 0) & (regret <= 1)).all()
