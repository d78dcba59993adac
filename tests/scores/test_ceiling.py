"""Bounds on what any method could reach, on planted scores whose expectations are known."""

import numpy as np
import pytest

from metabench.errors import UsageError
from metabench.scores.aggregate import Hierarchy
from metabench.scores.ceiling import _greedy, _order, _others, _single, ceilings, simulate
from metabench.scores.regret import Reference

MARKS = (1, 2, 5, 10)


def planted(noise, tasks=12, configs=256, seeds=2, seed=0):
    """Expectations with a ceiling, less noise near it, a shift that all configurations of a seed share, divergence."""
    rng = np.random.default_rng(seed)
    expected = 1.0 - rng.gamma(2.0, 0.1, size=(tasks, configs, 1))
    deviation = noise * (0.5 + 2.0 * (1.0 - expected))
    scores = expected + deviation * rng.normal(size=(tasks, configs, seeds)) + rng.normal(size=(tasks, 1, seeds))
    scores[:, 3, 0] = np.nan
    return np.where(np.isnan(scores).any(2, keepdims=True), -np.inf, expected), deviation, scores


def regret(reference, order, families):
    cells = reference.regrets(order[None], np.arange(order.shape[1])).valid[0]
    return [float(Hierarchy.build(families, order.shape[1], 2).estimate(cells[..., m - 1])) for m in MARKS]


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_the_simulated_bound_is_that_of_the_true_expectations(noise):
    families = [f"f{t}" for t in range(12)]
    expected, deviation, scores = planted(noise)
    found = ceilings(scores, families, MARKS, resamples=2)
    rng = np.random.default_rng(1)
    many = np.where(np.isinf(expected), np.nan, expected) + deviation * rng.normal(size=(12, 256, 60))
    true = regret(Reference(many, many), np.repeat(_order(expected, 10), 60, axis=1), families)
    simulated = found[found["bound"] == "expectation"]["valid_regret"].to_numpy()
    np.testing.assert_allclose(simulated, true, rtol=0.3, atol=0.02)
    again = {name: rows["valid_regret"].to_numpy() for name, rows in found.groupby("bound")}
    np.testing.assert_allclose(again["simulated rerun"], again["rerun"], rtol=0.4, atol=0.04)
    assert (again["simulated rerun"] > simulated).all()


def test_without_noise_nothing_bounds_but_the_list():
    _, _, scores = planted(0.0)
    found = ceilings(scores, [f"f{t}" for t in range(12)], (1, 5), resamples=2).set_index(["bound", "mark"])
    assert found.loc["rerun", "valid_regret"].to_list() == [0, 0]
    assert (found.loc["expectation", "valid_regret"] < 0.01).all()
    assert found.loc[("list", 1), "valid_regret"] > 0.4


def test_the_list_is_greedy():
    """Two kinds of tasks, and a configuration that is second best everywhere."""
    valid = np.zeros((4, 6, 2))
    valid[:2, 0], valid[2:, 1], valid[:, 2] = 1.0, 1.0, 0.8
    alone = _single(Reference(valid, valid))
    np.testing.assert_allclose(alone[0, :, 0], [0, 1, 0.2, 1, 1, 1])
    weights = np.full((4, 2), 1 / 8)
    assert _greedy(alone, weights, 3).tolist() == [2, 0, 1]
    assert _greedy(alone, weights * np.array([1, 1, 0, 0])[:, None], 1).tolist() == [0]


def test_a_rerun_is_ordered_by_the_other_seeds():
    valid = np.array([[[0.1, 0.9, 0.2], [0.5, 0.1, 0.3], [0.9, 0.4, np.nan]]])
    # for seed 0 by (.9 + .2)/2, (.1 + .3)/2, diverged
    np.testing.assert_array_equal(_others(valid, 3)[0], [[0, 1, 2], [1, 0, 2], [2, 0, 1]])


def test_simulated_tasks_keep_what_diverged_and_what_is_worse():
    expected, scores, again = simulate(planted(0.05)[2], 7, np.random.default_rng(0))
    assert np.isnan(scores[:, 3]).all() and np.isneginf(expected[:, 3]).all()
    ran = np.delete(np.arange(256), 3)
    assert np.isfinite(scores[:, ran]).all() and np.isfinite(again[:, ran]).sum() == 12 * 128 * 7
    low = np.isneginf(expected[:, ran])
    assert (scores[:, ran][low].reshape(12, 127, 7) <= scores[:, ran].max(axis=1, keepdims=True)).all()


def test_one_seed_tells_nothing_of_noise():
    with pytest.raises(UsageError, match="single seed"):
        ceilings(np.zeros((2, 4, 1)), ["a", "b"], (1,))
