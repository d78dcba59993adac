"""The statistics of protocol 3 on boards of known truth; ``benchmarks/protocol.py`` repeats the simulations at length."""

import numpy as np
import pytest
from scipy import stats

from metabench.errors import MetabenchError, UsageError
from metabench.scores import area, gain, references
from metabench.scores.bootstrap import FamilyBootstrap
from metabench.scores.contrasts import Pairs, contrasts, detectable
from metabench.scores.halfboards import leading, split_half
from metabench.scores.tiers import first, rank_intervals, tiers
from metabench.scores.twins import halvings, negative_transfer
from metabench.scores.verdict import Searches, verdict
from metabench.testing import protocol_checks as checks
from metabench.testing.simulated import Effects, family_names

MEANS = np.array([0.20, 0.22, 0.25, 0.30])


# ---------------------------------------------------------------- area
def test_area_weighs_each_doubling_the_same():
    steps = np.where(np.arange(1, 51) < 2, 1.0, 0.0)  # 1 at the first trial, 0 from the second on
    assert area.log_area(steps, 50) == pytest.approx(0.5 * np.log(2) / np.log(50))
    linear = np.log(np.arange(1, 51))
    assert area.log_area(linear, 50) == pytest.approx(np.log(50) / 2)
    assert area.log_area(np.full((3, 50), 0.4), 10) == pytest.approx([0.4] * 3)
    assert area.log_area(linear, 1) == 0.0
    assert area.areas_of(50) == (50, 10) and area.areas_of(8) == (8,)
    with pytest.raises(UsageError, match="searches have 50"):
        area.log_area(linear, 51)


# ---------------------------------------------------------------- bootstrap
def test_families_weigh_the_same_whatever_their_tasks():
    bootstrap = FamilyBootstrap.build(["b", "a", "a"], 10)
    np.testing.assert_allclose(bootstrap.means(np.array([[5.0, 1.0, 3.0]])), [[2.0, 5.0]])
    with pytest.raises(UsageError, match="at least 2"):
        FamilyBootstrap.build(["a", "a"])


@pytest.mark.parametrize("families", [12, 60])
def test_intervals_and_tests_agree_with_students_on_normal_data(families):
    rng = np.random.default_rng(0)
    bootstrap = FamilyBootstrap.build(family_names(families, families), 4000)
    values = rng.normal(size=(20, families)) + 0.2
    low, high = bootstrap.interval(values)
    expected = stats.t.interval(0.95, families - 1, values.mean(axis=1), bootstrap.error(values))
    assert np.median((high - low) / (expected[1] - expected[0])) == pytest.approx(1.0, abs=0.05)
    p = bootstrap.p_value(values)
    assert ((p < 0.05) == ((low > 0) | (high < 0))).mean() > 0.9  # but for p-values at the very border
    assert stats.spearmanr(p, stats.ttest_1samp(values, 0, axis=1).pvalue)[0] > 0.98
    assert bootstrap.p_value(np.zeros((1, families)))[0] == 1.0


@pytest.mark.parametrize(("families", "skewed"), [(20, False), (60, True)])
def test_intervals_hold_the_truth(families, skewed):
    found = checks.coverage(Effects(MEANS, families, families + 10, skewed=skewed), 150)
    assert 0.91 < found["mean"] <= 0.99 and 0.91 < found["difference"] <= 0.99
    assert found["joint"] > 0.9 and found["rank"] > 0.95


def test_interval_of_exact_random_search_holds_the_truth():
    found = checks.random_coverage(24, 60, marks=(1, 5, 20), further=600)["exact"]
    assert all(0.85 < covered <= 1.0 for covered, _ in found.values())


# ---------------------------------------------------------------- contrasts, tiers, ranks
def test_family_wise_error_under_the_global_null():
    found = checks.errors(Effects(np.full(6, 0.3), 30, 40), 120, margin=0.02)
    assert found["holm"] <= 0.09 and found["tiers"] <= 0.09 and found["single"] == pytest.approx(0.05, abs=0.03)


def test_named_contrasts_count_even_if_a_method_is_absent():
    rng = np.random.default_rng(1)
    bootstrap = FamilyBootstrap.build(family_names(30, 30))
    values = rng.normal(size=(2, 30)) * 0.1
    values[0] -= 0.06
    alone = contrasts(values, ["a", "b"], [("a", "b")], bootstrap)
    named = contrasts(values, ["a", "b"], [("a", "b"), ("c", "b"), ("a", "d")], bootstrap)
    assert named["p"][0] == alone["p"][0] and named["p_holm"][0] == pytest.approx(3 * alone["p"][0])
    assert named["difference"].isna().tolist() == [False, True, True]
    assert alone["difference"][0] < 0 and alone["low"][0] < alone["difference"][0] < alone["high"][0]
    with pytest.raises(UsageError, match="at most 10"):
        contrasts(values, ["a", "b"], [("a", str(i)) for i in range(11)], bootstrap)


def planted_pairs(means, width):
    index = [(i, j) for i in range(len(means)) for j in range(i + 1, len(means))]
    gap = np.array([means[i] - means[j] for i, j in index])
    return Pairs(index, gap, gap - width, gap + width, gap - width, gap + width)


def test_tiers_by_hand():
    # opener a at .10; b trails by .05 ± .02: shown to be .03 worse; c by .03 ± .02: not shown to be .02 worse
    means, names = np.array([0.10, 0.15, 0.13, 0.30]), ["a", "b", "c", "d"]
    assert tiers(means, names, planted_pairs(means, 0.02), 0.02).tolist() == [1, 2, 1, 3]
    assert tiers(means, names, planted_pairs(means, 0.5), 0.02).tolist() == [1, 1, 1, 1]


def test_the_border_of_a_tier():
    means = np.array([0.10, 0.12, 0.1199])  # exactly the margin is shown, less is not
    assert tiers(means, ["a", "b", "c"], planted_pairs(means, 1e-9), 0.02 - 1e-8).tolist() == [1, 2, 1]


def test_tiers_do_not_depend_on_the_order_of_methods():
    rng = np.random.default_rng(2)
    for _ in range(30):
        means = np.round(rng.random(7) * 0.2, 2)  # with ties
        names, order = [f"m{i}" for i in range(7)], rng.permutation(7)
        a = tiers(means, names, planted_pairs(means, 0.03))
        b = tiers(means[order], [names[i] for i in order], planted_pairs(means[order], 0.03))
        assert a[order].tolist() == b.tolist()
        best = int(min(range(7), key=lambda i: (means[i], names[i])))
        assert a[best] == 1 and set(a) == set(range(1, a.max() + 1))


def test_ranks_and_p_first_of_clear_and_of_equal_methods():
    rng = np.random.default_rng(3)
    bootstrap = FamilyBootstrap.build(family_names(40, 40), 1000)
    values = np.array([0.1, 0.1, 0.5, 0.9])[:, None] + 0.05 * rng.normal(size=(4, 40))
    low, high = rank_intervals(values, bootstrap)
    assert (low.tolist(), high.tolist()) == ([1, 1, 3, 4], [2, 2, 3, 4])
    chance = first(values, bootstrap)
    assert chance.sum() == pytest.approx(1.0) and chance[2:].tolist() == [0.0, 0.0] and chance[:2].min() > 0.05
    twice = first(np.repeat(values[:1], 3, axis=0), bootstrap)
    assert twice == pytest.approx([1 / 3] * 3, abs=0.01)


def test_p_first_is_calibrated():
    draw = lambda rng: 0.2 + 0.03 * rng.normal(size=6)  # noqa: E731
    found = checks.placed_first(Effects(MEANS, 40, 50), draw, 60)
    for said, share, error, n in found:
        assert abs(said - share) < 3.5 * error + 0.05 or n < 8


def test_decided_pairs():
    means = np.array([0.10, 0.11, 0.30])
    found = planted_pairs(means, 0.005).decided([0, 1, 2], 0.02)
    assert found == {"pairs": 3, "differ": 3, "equal": 1, "decided": 3}
    assert planted_pairs(means, 0.05).decided([0, 1], 0.02) == {"pairs": 1, "differ": 0, "equal": 0, "decided": 0}


# ---------------------------------------------------------------- power
def test_detectable_difference_is_found_as_often_as_it_says():
    effects = Effects(MEANS, 40, 50)
    _, size = checks.power(effects, 0.0, 20)
    found, _ = checks.power(effects, size, 150)
    assert found == pytest.approx(0.8, abs=0.1)
    bootstrap = FamilyBootstrap.build(family_names(9, 9), 10)
    assert detectable(np.zeros((3, 9)), bootstrap).tolist() == [0.0] * 3


def test_split_half_correlation_of_noise_and_of_signal():
    rng = np.random.default_rng(4)
    bootstrap = FamilyBootstrap.build(family_names(40, 40), 10)
    noise = rng.normal(size=(30, 12, 40))
    assert abs(np.mean([split_half(n, bootstrap, 20)[0] for n in noise])) < 0.1
    assert split_half(noise[0] + np.arange(12)[:, None], bootstrap)[0] > 0.9
    assert np.isnan(split_half(noise[0][:2], bootstrap)[0])
    assert leading(np.array([3.0, 1.0, 2.0])).tolist() == [1, 2]


# ---------------------------------------------------------------- twins
def test_a_method_that_is_its_twin_has_no_negative_transfer():
    found = checks.twin_error(Effects(MEANS, 40, 50), 40)
    assert found["net"] <= 0.15 and found["excess"] <= 0.15


def test_negative_transfer_is_found_beyond_chance():
    rng = np.random.default_rng(5)
    bootstrap = FamilyBootstrap.build(family_names(40, 40), 1000)
    twin = 0.3 + 0.1 * rng.normal(size=(40, 10))
    harm = 0.4 + 0.1 * rng.normal(size=(40, 10))
    found = negative_transfer(harm, twin, bootstrap)
    assert found.low > 0 and found.excess_low > 0 and 0.3 < found.null < 0.5
    back = negative_transfer(twin, harm, bootstrap)
    assert back.net == pytest.approx(-found.net) and back.high < 0
    for a, b in halvings(10, 2):
        assert not set(a) & set(b) and len(a) == len(b) and (a % 2).sum() == (b % 2).sum()
    with pytest.raises(UsageError, match="too few"):
        halvings(3, 2)


# ---------------------------------------------------------------- verdict
def board(means=MEANS, **settings):
    return Effects(means, 30, 40, family=0.02, task=0.02, search=0.05, **settings).draw(np.random.default_rng(6), 50)


def test_verdict_does_not_depend_on_the_order_of_methods():
    searches = board()
    turned = Searches(dict(reversed(searches.regret.items())), searches.families)
    kwargs = dict(controls=("m00",), named=[("m01", "m00")], twins={"m03": "m02"}, resamples=500)
    a, b = verdict(searches, **kwargs), verdict(turned, **kwargs)
    for name in ("methods", "curves", "controls", "contrasts", "pairs", "transfer"):
        assert getattr(a, name).equals(getattr(b, name)), name
    assert a.methods["method"].tolist() == ["m00", "m01", "m02", "m03"]
    assert a.methods["tier"].is_monotonic_increasing and a.headline == 50 and not a.saturated
    assert a.curves["trial"].unique().tolist() == [1, 2, 3, 5, 10, 25, 50]
    assert "Split-half" in str(a) and a.transfer["twin"].tolist() == ["m02"]
    assert list(a.controls["method"]) == ["m01", "m02", "m03"]


def test_a_saturated_board_is_ranked_on_its_first_trials():
    searches = board(np.array([0.0, 0.0, 0.2]), shared=0.0)
    sunk = {m: np.where(np.arange(50) >= 3, v * 0.001, v + 0.1) for m, v in searches.regret.items()}
    found = verdict(Searches(sunk, searches.families), resamples=200)
    assert found.saturated and found.headline == 3 and "saturated" in str(found)


def test_searches_of_different_shapes_are_refused():
    with pytest.raises(UsageError, match="different shapes"):
        Searches({"a": np.zeros((2, 2, 5)), "b": np.zeros((2, 3, 5))}, ["x", "y"])
    with pytest.raises(UsageError, match="2 tasks"):
        Searches({"a": np.zeros((2, 2, 5))}, ["x"])


# ---------------------------------------------------------------- gain, references
def test_gain_in_units_of_the_metric():
    assert gain.gain("accuracy", "max", [0.9], 0.85) == pytest.approx([5.0])
    assert gain.gain("rmse", "min", [0.8], 1.0) == pytest.approx([20.0])
    assert gain.gain("r2", "max", [0.75], 0.0) == pytest.approx([50.0])  # RMSE halves
    assert gain.gain("bits", "min", [1.5], 2.0) == pytest.approx([0.5]) and gain.unit("bits") == "bits"
    assert np.isnan(gain.gain("rmse", "min", [0.1], 0.0)).all()
    with pytest.raises(UsageError, match="direction"):
        gain.gain("rmse", "down", [1.0], 1.0)


def test_references_survive_a_file_and_bad_ones_are_named():
    one = references.TaskReference("wine", 10, 3, 0.912345678901, 0.04, 0.3, 0.81, 4.2, True)
    two = references.TaskReference("iris", 4, 0, -1.5, float("nan"), 0.3, 0.2, 1.0, False)
    content = references.encode([one, two])
    found = references.parse(content)
    assert found["wine"] == one and repr(found["iris"]) == repr(two)
    for bad, what in (
        (content.replace(b"wine,10", b"wine,9"), "line 2"),
        (content.replace(b"wine", b"iris"), "twice"),
        (content.replace(b"0.912345678901", b"high"), "line 2"),
        (content.replace(b"0.912345678901", b"inf"), "line 2"),
        (content + b"x,1\n", "line 4: 2 values"),
        (b"a,b\n", "expected the columns"),
        (b"\xff", "cannot be read"),
    ):
        with pytest.raises(MetabenchError, match=what):
            references.parse(bad)
    with pytest.raises(MetabenchError, match="does not exist"):
        references.read(None)
