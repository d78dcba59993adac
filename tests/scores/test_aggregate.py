import numpy as np
import pytest
from scipy import stats

from metabench.scores.aggregate import Hierarchy, expanded_tail, iqm


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


def test_a_resample_holds_whole_families():
    hierarchy = Hierarchy.build(["a", "b", "a", "c"], seeds=3, resamples=2000)
    assert hierarchy.draws.shape == (2000, 3) and set(hierarchy.draws.ravel()) == {0, 1, 2}
    counts = np.bincount(hierarchy.draws.ravel()) / 6000
    np.testing.assert_allclose(counts, 1 / 3, atol=0.02)


def test_draws_are_seeded():
    a, b, c = (Hierarchy.build(["a", "b"], 2, resamples=20, seed=s).draws for s in (0, 0, 1))
    assert (a == b).all() and (a != c).any()


def test_intervals_are_percentiles_of_the_resampled_estimates():
    rng = np.random.default_rng(0)
    hierarchy = Hierarchy.build([f"f{i // 2}" for i in range(12)], seeds=2, resamples=300)
    cells = rng.normal(size=(150, 12, 2))  # more than one chunk
    low, high = hierarchy.interval(cells)
    tail = 100 * stats.norm.cdf(-np.sqrt(6 / 5) * stats.t.ppf(0.975, 5))
    assert 0.1 < tail < 0.3  # a plain percentile interval takes 2.5
    for i in (0, 149):
        means = cells[i].reshape(6, 4).mean(axis=1)
        by_hand = [stats.trim_mean(means[draw], 0.25) for draw in hierarchy.draws]
        assert (low[i], high[i]) == pytest.approx(np.percentile(by_hand, [tail, 100 - tail]))


def test_many_families_need_no_correction():
    assert expanded_tail(10_000) == pytest.approx(0.025, rel=0.01)
    assert expanded_tail(10_000, 0.9) == pytest.approx(0.05, rel=0.01)


def test_one_family_has_no_interval():
    low, high = Hierarchy.build(["a", "a"], seeds=2).interval(np.ones((3, 2, 2)))
    assert np.isnan(low).all() and np.isnan(high).all() and low.shape == (3,)


def simulated(kind, families, rng, n=500):
    """Cells [n, 2 × families, 2] with effects of family, task and seed; ``regret`` squeezes them into [0, 1], skewed."""
    z = rng.normal(size=(n, families, 1, 1)) + 0.5 * rng.normal(size=(n, families, 2, 1))
    z = (z + 0.5 * rng.normal(size=(n, families, 2, 2))).reshape(n, 2 * families, 2)
    return z if kind == "normal" else 1 / (1 + np.exp(2.0 - 1.5 * z))


@pytest.mark.parametrize("families", [5, 8, 12, 21, 40])
def test_intervals_cover_the_truth_in_93_to_97_of_100(families):
    """Over 2 × 500 simulated boards; the truth is the interquartile mean of very many families.

    The bounds allow for the 1,000 simulations' own error (two standard errors are .014).
    """
    rng = np.random.default_rng(families)
    hierarchy = Hierarchy.build([f"f{i // 2}" for i in range(2 * families)], seeds=2)
    inside = []
    for kind in ("normal", "regret"):
        truth = stats.trim_mean(simulated(kind, 200_000, rng, n=1)[0].reshape(-1, 4).mean(axis=1), 0.25)
        low, high = hierarchy.interval(simulated(kind, families, rng))
        inside += ((low <= truth) & (truth <= high)).tolist()
    assert 0.93 - 0.014 <= np.mean(inside) <= 0.97 + 0.014
