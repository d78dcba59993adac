import numpy as np
import pytest

from metabench.scores.regret import Reference, crossfit_best, median_configuration

#: one task, five configurations, two table seeds; the last configuration diverged
VALID = np.array([[[0.5, 0.4], [0.9, 0.6], [0.7, 0.8], [0.6, 0.5], [np.nan, np.nan]]])
TEST = np.array([[[0.45, 0.45], [0.7, 0.65], [0.75, 0.85], [0.5, 0.55], [np.nan, np.nan]]])


def search(*configs, seeds=2):
    """One group, one task; every seed tries the same configurations."""
    return np.tile(np.array(configs), (1, 1, seeds, 1))


def test_valid_regret_by_hand():
    # seed 0: y* .9, median configuration .6; seed 1: y* .8, median .5
    got = Reference(VALID, TEST).regrets(search(4, 0, 3, 2, 1), np.arange(2))
    np.testing.assert_allclose(got.valid[0, 0, 0], [1, 1, 1, 2 / 3, 0])
    np.testing.assert_allclose(got.valid[0, 0, 1], [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(got.incumbent[0, 0, 0], [-np.inf, 0.5, 0.6, 0.7, 0.9])


def test_minmax_regret_by_hand():
    got = Reference(VALID, TEST).regrets(search(4, 0, 3, 2, 1), np.arange(2))
    np.testing.assert_allclose(got.minmax[0, 0, 0], [1, 1, 0.75, 0.5, 0])


def test_test_regret_by_hand():
    # chosen on seed 1: configuration 2, on seed 0 worth .75; chosen on seed 0: configuration 1, on seed 1 worth .65
    reference = Reference(VALID, TEST)
    np.testing.assert_allclose(reference.test_best, [[0.75, 0.65]])
    # on validation they are worth .7 and .6, the median configurations .6 and .5: the denominator is .1
    np.testing.assert_allclose(reference.test_span, [0.1])
    got = reference.regrets(search(4, 0, 3, 2, 1), np.arange(2))
    np.testing.assert_allclose(got.test[0, 0, 0], [1, 1, 1, 0, 0.5])
    np.testing.assert_allclose(got.test[0, 0, 1], [1, 1, 1, -1, -1])
    # the valid oracle takes configuration 1 with seed 0 and 2 with seed 1
    np.testing.assert_allclose(reference.floor, [[0.5, -1]])


def test_search_seeds_wrap_round_the_table_seeds():
    got = Reference(VALID, TEST).regrets(search(1, 2, seeds=5), np.arange(5))
    np.testing.assert_array_equal(got.valid[0, 0, 0], got.valid[0, 0, 4])
    np.testing.assert_array_equal(got.valid[0, 0, 1], got.valid[0, 0, 3])


def test_the_first_of_equal_configurations_stays_incumbent():
    valid = np.array([[[0.5, 0.5], [0.9, 0.9], [0.9, 0.9], [0.1, 0.1]]])
    test = np.array([[[0.5, 0.5], [0.8, 0.8], [0.6, 0.6], [0.1, 0.1]]])
    reference = Reference(valid, test)
    first, second = (reference.regrets(search(*c), np.arange(2)).test[0, 0, 0, -1] for c in [(1, 2), (2, 1)])
    assert first == pytest.approx(0) and second == pytest.approx((0.8 - 0.6) / (0.9 - 0.5))


def test_a_flat_task_has_regret_nought_or_one():
    valid = np.array([[[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.1, 0.1]]])
    got = Reference(valid, valid).regrets(search(3, 0), np.arange(2))
    np.testing.assert_array_equal(got.valid[0, 0], [[1, 0], [1, 0]])
    np.testing.assert_array_equal(got.test[0, 0], [[1, 0], [1, 0]])


def test_with_one_seed_there_is_no_test_regret():
    got = Reference(VALID[:, :, :1], TEST[:, :, :1]).regrets(search(4, 1, seeds=1), np.arange(1))
    assert np.isnan(got.test).all() and np.isfinite(got.valid).all()


def test_median_configuration():
    nan = np.nan
    scores = np.array([[3.0, 1, 2], [4, 1, 2], [nan, nan, 5], [nan, nan, nan]]).T[None]
    scores = np.concatenate([scores, np.array([[[2.0, 3, nan, nan]]])], axis=1)
    # 3 1 2 2 → 2; 4 1 2 3 → the worse middle one, 2; of 5 alone → 5; of nothing → nothing
    np.testing.assert_array_equal(median_configuration(scores)[0, :3], [2, 2, 5])


def test_a_choice_that_diverges_on_the_other_half_is_left_out():
    nan = np.nan
    valid = np.array([[[0.9, 0.9, nan], [0.8, 0.8, 0.8], [0.1, 0.1, 0.1]]])
    # seed 0 is scored by {1} → .9, {2} → .8 and {1, 2} → .8, seed 1 likewise; for seed 2 all choose configuration 0,
    # which diverged there, so it takes the mean of the others
    np.testing.assert_allclose(crossfit_best(valid, valid), np.full((1, 3), 2.5 / 3))


def simulate(rng, tasks=400, configs=64, seeds=2, valid_noise=0.05, test_noise=0.2, split_noise=0.0):
    """Independent noise about known means [tasks, configs]: a plateau of good configurations, a tail of bad ones."""
    mean = -rng.exponential(size=(tasks, configs))
    split = split_noise * rng.normal(size=(tasks, 1, seeds))
    shape = (tasks, configs, seeds)
    valid, test = (mean[..., None] + split + n * rng.normal(size=shape) for n in (valid_noise, test_noise))
    return mean, valid, test


@pytest.mark.parametrize(("seeds", "split_noise"), [(2, 0.0), (5, 0.0), (5, 2.0)])
def test_crossfitted_test_regret_is_nearly_unbiased_and_the_naive_is_not(seeds, split_noise):
    rng = np.random.default_rng(0)
    mean, valid, test = simulate(rng, seeds=seeds, split_noise=split_noise)
    searches = rng.permuted(np.tile(np.arange(64), (1, 400, seeds, 1)), axis=-1)[..., :20]
    got = Reference(valid, test).regrets(searches, np.arange(seeds)).test[0, :, :, -1].mean()
    tasks, k = np.ogrid[:400, :seeds]
    at = valid[tasks[..., None], searches[0], k[..., None]].argmax(axis=-1)
    chosen = np.take_along_axis(searches[0], at[..., None], axis=-1)[..., 0]
    best, middle = mean.max(axis=1)[:, None], np.median(mean, axis=1)[:, None]
    true = ((best - mean[tasks, chosen]) / (best - middle)).mean()
    top = test.max(axis=1)
    naive = ((top - test[tasks, chosen, k]) / (top - np.median(test, axis=1))).mean()
    assert true > 0.06
    assert abs(got - true) < 0.035
    assert naive - true > 0.2


def test_without_noise_in_choosing_there_is_no_bias():
    rng = np.random.default_rng(1)
    mean, valid, test = simulate(rng, valid_noise=0.0)
    reference = Reference(valid, test)
    assert abs((reference.test_best.mean(axis=1) - mean.max(axis=1)).mean()) < 0.04
    assert abs(reference.floor.mean()) < 0.04
    assert (test.max(axis=1).mean(axis=1) - mean.max(axis=1)).mean() > 0.2
