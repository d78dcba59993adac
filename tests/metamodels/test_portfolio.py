"""Covers of small loss tables against all there are."""

import itertools

import numpy as np
import pytest

from metabench.metamodels.portfolio import greedy_cover, impute, regrets
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


def test_weights_decide_who_is_served_first():
    loss = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert greedy_cover(loss, 2, weights=np.array([0.9, 0.1]))[0] == 0
    assert greedy_cover(loss, 2, weights=np.array([0.1, 0.9]))[0] == 1


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
