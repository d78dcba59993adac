import numpy as np
import pytest
from scipy import stats

from metabench.scores.aggregate import Hierarchy, iqm


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 22])
def test_interquartile_mean_is_scipys(n):
    values = np.random.default_rng(n).normal(size=(6, n))
    np.testing.assert_allclose(iqm(values), stats.trim_mean(values, 0.25, axis=1))


def test_seeds_then_tasks_then_families():
    # family a has tasks 0 and 2; every family weighs the same
    cells = np.array([[1.0, 3.0], [10.0, 20.0], [4.0, 4.0]])
    hierarchy = Hierarchy.build(["a", "b", "a"], seeds=2, resamples=10)
    np.testing.assert_allclose(hierarchy.families(cells), [3.0, 15.0])
    assert hierarchy.estimate(cells) == pytest.approx(9.0)
    np.testing.assert_allclose(hierarchy.estimate(np.stack([cells, cells + 1])), [9.0, 10.0])


def test_every_resample_is_an_average_within_one_family_a_slot():
    hierarchy = Hierarchy.build(["a", "b", "a", "c"], seeds=3, resamples=200)
    draws = hierarchy.draws.reshape(200, 3, 4, 3)
    np.testing.assert_allclose(draws.sum(axis=(2, 3)), 1.0)
    touched = draws.sum(axis=3) > 0
    assert not (touched[..., 1] & (touched[..., 0] | touched[..., 2] | touched[..., 3])).any()
    assert (touched[..., 0] & touched[..., 2]).any() and (touched[..., 0] & ~touched[..., 2]).any()
    # on average every family, and within it every cell, weighs the same
    np.testing.assert_allclose(draws.mean(axis=(0, 1)).sum(axis=1), [1 / 6, 1 / 3, 1 / 6, 1 / 3], atol=0.05)


def test_draws_are_seeded():
    a, b, c = (Hierarchy.build(["a", "b"], 2, resamples=20, seed=s).draws for s in (0, 0, 1))
    assert (a == b).all() and (a != c).any()


def test_intervals_are_percentiles_of_the_resampled_estimates():
    rng = np.random.default_rng(0)
    hierarchy = Hierarchy.build([f"f{i // 2}" for i in range(12)], seeds=2, resamples=300)
    cells = rng.normal(size=(150, 12, 2))  # more than one chunk
    low, high = hierarchy.interval(cells)
    for i in (0, 149):
        by_hand = [stats.trim_mean(draw @ cells[i].ravel(), 0.25) for draw in hierarchy.draws]
        assert (low[i], high[i]) == pytest.approx(np.percentile(by_hand, [2.5, 97.5]))


def test_intervals_cover_the_truth():
    """Families, tasks and seeds with effects of their own; the interquartile mean of the population is 0."""
    rng = np.random.default_rng(7)
    hierarchy = Hierarchy.build([f"f{i // 2}" for i in range(40)], seeds=3, resamples=300)
    cells = np.repeat(rng.normal(size=(300, 20, 1)), 2, axis=1) + 0.5 * rng.normal(size=(300, 40, 1))
    low, high = hierarchy.interval(cells + 0.5 * rng.normal(size=(300, 40, 3)))
    coverage = ((low <= 0) & (high >= 0)).mean()
    assert 0.90 <= coverage <= 0.99
