"""Replicates, exact random search and the race, on scores of known expectation."""

import itertools

import numpy as np
import pytest

from metabench.errors import MetabenchError, UsageError
from metabench.scores import orders, star
from metabench.scores.replicates import Replicates, halves
from metabench.testing import protocol_checks as checks
from metabench.testing.simulated import table


def test_halves_are_disjoint_and_cover_all_seeds():
    a, b = halves(6)
    assert sorted([*a, *b]) == list(range(6)) and len(a) == len(b)
    for seeds in (0, 1, 5):
        with pytest.raises(UsageError, match="even number"):
            halves(seeds)


@pytest.mark.parametrize("one_run", [False, True])
def test_no_seed_both_chooses_and_scores(one_run):
    one = table(np.random.default_rng(0), tasks=2, configs=16, seeds=6)
    seeds = np.array([6, 4])
    base = Replicates.of(one.valid, one.test, seeds, one_run)
    for t, k in itertools.product(range(2), range(6)):
        valid, test = one.valid.copy(), one.test.copy()
        valid[t, :, k] += np.arange(16)
        test[t, :, k] += np.arange(16) ** 2
        other = Replicates.of(valid, test, seeds, one_run)
        chooses = (base.seen != other.seen).any(axis=1)
        # the level of all configurations may move, not what sets one apart from another
        gap = (base.scored - base.scored[:, :1]) - (other.scored - other.scored[:, :1])
        scores = (np.abs(gap) > 1e-9).any(axis=1)
        assert not (chooses & scores).any()
        assert chooses[t].any() == scores[t].any() == (k < seeds[t])


def test_every_table_seed_weighs_the_same():
    one = table(np.random.default_rng(1), tasks=1, configs=8, seeds=10)
    for one_run in (False, True):
        weight = np.zeros(10)
        base = Replicates.of(one.valid, one.test, np.array([10]), one_run)
        for k in range(10):
            valid = one.valid.copy()
            valid[0, 3, k] += 1.0
            moved = Replicates.of(valid, one.test, np.array([10]), one_run).seen[0, 3] - base.seen[0, 3]
            weight[k] = moved[np.arange(10) % moved.size].sum()
        np.testing.assert_allclose(weight, weight[0])


def test_utility_by_hand():
    valid = np.array([[[0.1, 0.1], [0.5, 0.2], [0.2, 0.9], [0.0, 0.0]]])  # A prefers 1, B prefers 2
    test = np.array([[[0.0, 0.0], [0.3, 0.2], [0.1, 0.6], [np.nan, np.nan]]])
    made = Replicates.of(valid, test, np.array([2]))
    # medians (the worse of two): A 0.0 of {-inf, 0, .1, .3}, B 0.0
    np.testing.assert_allclose(made.median, [0.0])
    configs = np.array([[[[0, 1, 2, 3], [3, 1, 2, 0]]]])  # search 0 sees A, search 1 sees B
    np.testing.assert_array_equal(made.incumbents(configs), [[[[0, 1, 1, 1], [3, 1, 2, 2]]]])
    # search 0 is scored on B: 0, .2, .2, .2; search 1 on A: a diverged run counts as the median, then .3, .1, .1
    np.testing.assert_allclose(made.utilities(configs, np.array([0.5])), [[[[0, 0.4, 0.4, 0.4], [0, 0.6, 0.2, 0.2]]]])
    assert made.utilities(configs, np.array([0.1])).max() == pytest.approx(3.0)  # not clipped above
    with pytest.raises(MetabenchError, match="not better than the median"):
        made.utilities(configs, np.array([0.0]))


def test_a_configuration_that_diverged_once_is_no_incumbent():
    one = table(np.random.default_rng(2), tasks=1, configs=8, seeds=4)
    one.valid[0, 5, 1] = np.nan
    made = Replicates.of(one.valid, one.test, np.array([4]))
    assert made.incumbents(np.array([[[[5, 2]]]]))[0, 0, 0].tolist() == [-1, 2]
    assert made.gains(np.array([[[[5, 2]]]]))[0, 0, 0, 0] == 0.0
    one.valid[0, :, 3] = np.nan
    with pytest.raises(MetabenchError, match="replicate B"):
        Replicates.of(one.valid, one.test, np.array([4]))


def test_how_hard_a_split_is_cancels():
    one = table(np.random.default_rng(3), tasks=1, configs=32, seeds=4)
    shift = np.array([0.0, 0.0, 5.0, 5.0])  # B is easier for all
    configs = np.arange(32)[None, None, None].repeat(2, axis=2)
    plain = Replicates.of(one.valid, one.test, np.array([4])).gains(configs)
    np.testing.assert_allclose(Replicates.of(one.valid + shift, one.test + shift, np.array([4])).gains(configs), plain)


def test_seen_regret_is_zero_for_the_best_and_one_for_the_median():
    one = table(np.random.default_rng(4), tasks=1, configs=9, seeds=2)
    made = Replicates.of(one.valid, one.test, np.array([2]))
    order = np.argsort(made.seen[0, :, 0])
    regret = made.seen_regret(np.array([[[[order[4], order[-1]]]]]))[0, 0, 0]
    np.testing.assert_allclose(regret, [1.0, 0.0])


# ---------------------------------------------------------------- random search
def test_random_search_is_the_mean_over_all_orders():
    rng = np.random.default_rng(9)
    seen = np.array([0.3, np.nan, 0.9, 0.3, 0.1])  # a tie and a diverged run
    values = rng.random(5)
    brute = np.zeros(5)
    for order in itertools.permutations(range(5)):
        for n in range(1, 6):
            ran = [c for c in order[:n] if np.isfinite(seen[c])]
            brute[n - 1] += values[max(ran, key=lambda c: seen[c])] if ran else 0.0  # max keeps the first of equals
    np.testing.assert_allclose(orders.expected(seen, values, 5), brute / 120)


def test_chances_sum_to_one():
    np.testing.assert_allclose(orders.chances(1024, 50).sum(axis=1), 1.0, rtol=1e-9)
    with pytest.raises(UsageError, match="pool of 3"):
        orders.chances(3, 4)


def test_exact_area_is_that_of_many_orders():
    assert abs(checks.area_bias(4)) < 0.01


# ---------------------------------------------------------------- the reference
def test_stages_of_a_race():
    scores = np.full((200, 20), np.nan)
    means = np.linspace(0, 1, 200)
    for stage in range(4):
        alive = star.racing(scores, stage)
        assert len(alive) == (200, 128, 32, 8)[stage]
        scores[alive, : star.STAGES[stage][1]] = means[alive, None]
    np.testing.assert_array_equal(alive, np.arange(199, 191, -1))
    with pytest.raises(UsageError, match="stages 0"):
        star.racing(scores, 4)
    with pytest.raises(UsageError, match="needs 2 seeds"):
        star.racing(np.full((200, 20), np.nan), 1)
    found = star.star(scores, scores)
    assert found.config == 199 and found.score == pytest.approx(1.0) and abs(found.shortfall) < 0.02


def test_y_star_is_unbiased_and_the_naive_maximum_is_not():
    found = checks.regret_bias(12, configs=256, between=0.0, seed=2)
    assert abs(found["star_bias"]) < 0.03
    assert found["naive"] == pytest.approx(found["true_naive"], abs=0.05) and found["naive"] > 0.15
    assert found["shortfall"] == pytest.approx(found["true_shortfall"], abs=0.012)
    # the reference falls short of the best, so measured regret is smaller by the shortfall, and by no more
    bias = found["measured"] + found["shortfall"] - found["true"]
    assert abs(bias) < 3 * found["bias_error"] < 0.05
    # scored on the runs that it was chosen on, an incumbent looks better than it is
    assert found["same"] < found["true"] - found["shortfall"] - 0.03
