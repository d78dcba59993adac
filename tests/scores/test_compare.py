import numpy as np
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from metabench.scores.compare import against, compare, holm, improvement, negative_transfer, nemenyi, wilcoxon


@pytest.mark.parametrize("n", [3, 6, 12, 20, 45])
def test_wilcoxon_without_ties_is_scipys_exact_test(n):
    d = np.random.default_rng(n).normal(0.3, 1, size=n)
    assert wilcoxon(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_wilcoxon_with_ties_and_zeros_counts_all_signs():
    d = np.array([0.1, 0.1, -0.1, 0.2, 0.2, 0.3, 0.0, -0.2, 0.4])
    permuted = stats.wilcoxon(d[d != 0], method=stats.PermutationMethod())  # all 2⁸ signs
    assert wilcoxon(d) == pytest.approx(permuted.pvalue)
    assert wilcoxon(np.zeros(5)) == 1.0


def test_wilcoxon_of_many_is_scipys_normal_approximation():
    d = np.round(np.random.default_rng(0).normal(0.2, 1, size=100), 1)
    d = d[d != 0]
    assert wilcoxon(d) == pytest.approx(stats.wilcoxon(d, correction=False, method="asymptotic").pvalue)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])
    assert len(holm(np.array([]))) == 0


def test_against_scipy_and_scikit_posthocs():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(5, 18)) + np.array([0, 0.2, 0.9, 1.5, 1.6])[:, None]
    got = compare(values)
    expected = stats.friedmanchisquare(*values)
    assert (got.statistic, got.p) == pytest.approx((expected.statistic, expected.pvalue))
    theirs = scikit_posthocs.posthoc_wilcoxon(values, p_adjust="holm").to_numpy()
    np.testing.assert_allclose(got.p_holm, [theirs[i, j] for i, j in got.pairs])
    np.testing.assert_allclose(got.ranks, stats.rankdata(values, axis=0).mean(axis=1))


def test_nemenyi_has_the_published_constants():
    # Demšar (2006), Table 5a: q.05 is 1.960, 2.343, 2.569, 2.728 for 2 … 5 classifiers
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728)):
        assert nemenyi(k, 14) == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), rel=5e-4)


def test_bars_join_methods_that_do_not_differ():
    rng = np.random.default_rng(0)
    level = np.array([0.0, 0.01, 5.0, 5.01, 10.0])[[2, 0, 4, 1, 3]]
    got = compare(level[:, None] + 0.1 * rng.normal(size=(5, 30)))
    assert [sorted(group) for group in got.groups] == [[1, 3], [0, 4]]
    assert compare(np.zeros((3, 6))).groups == [[0, 1, 2]]


def test_edge_cases_have_no_statistic_but_no_error():
    assert np.isnan(compare(np.zeros((1, 4))).cd) and compare(np.zeros((1, 4))).pairs == []
    two = compare(np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]]))
    assert np.isnan(two.statistic) and two.p_holm[0] == pytest.approx(0.25)
    tied = compare(np.ones((4, 5)))
    assert (tied.statistic, tied.p) == (0.0, 1.0)


def test_improvement_by_hand():
    cells = np.array([[[0.1, 0.4]], [[0.3, 0.4]]])
    # pairs: .1 < .3, .1 < .4, .4 > .3, .4 = .4
    np.testing.assert_allclose(improvement(cells, np.ones(1)), [[0.5, 0.625], [0.375, 0.5]])
    cells = np.array([[[0.0], [1.0]], [[1.0], [0.0]]])
    assert improvement(cells, np.array([0.75, 0.25]))[0, 1] == pytest.approx(0.75)


def test_negative_transfer_by_hand():
    twin = np.zeros(20)
    method = np.array([0.5, 0.3, 0.011, 0.01] + [-0.2] * 16)
    share, worst = negative_transfer(method, twin)
    assert share == pytest.approx(3 / 20) and worst == pytest.approx(0.4)
    assert negative_transfer(np.array([0.2, 0.0]), np.zeros(2)) == (0.5, 0.2)


def test_against_a_control_is_scipys_test_under_holms_correction_over_its_pairs():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(5, 18)) + np.array([0, 0.2, 0.9, 1.5, 1.6])[:, None]
    got = against(values, 1)
    others = [0, 2, 3, 4]
    raw = [stats.wilcoxon(values[i], values[1], method="exact").pvalue for i in others]
    np.testing.assert_allclose(got.p[others], raw)
    np.testing.assert_allclose(got.p_holm[others], multipletests(raw, method="holm")[1])
    np.testing.assert_allclose(got.difference[others], (values - values[1]).mean(axis=1)[others])
    assert np.isnan([got.p[1], got.p_holm[1], got.difference[1]]).all()


def test_fewer_pairs_find_more():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(17, 21))
    values[0] -= 1.2
    one, all_pairs = against(values, 0).p_holm[1:], compare(values)
    same = [q for (i, _), q in zip(all_pairs.pairs, all_pairs.p_holm, strict=True) if i == 0]
    assert (one <= same).all() and (one < 0.05).sum() > (np.array(same) < 0.05).sum()


@pytest.mark.parametrize("equals", [2, 5, 12])
def test_the_best_stays_among_those_alike_with_the_one_that_looks_best(equals):
    """The control is chosen by the same data, yet of ``equals`` methods tied for the best a given one is held to be
    behind in at most a twentieth of simulations; and a fixed control's false alarms are as rare."""
    rng = np.random.default_rng(equals)
    lost = alarms = 0
    for _ in range(400):
        values = rng.normal(size=(12, 21)) * rng.uniform(0.5, 2, size=21)
        values[equals:] += 3.0
        found = against(values, int(values.mean(axis=1).argmin())).p_holm
        lost += found[0] < 0.05
        fixed = against(values[:equals], 1).p_holm
        alarms += np.nanmin(fixed) < 0.05
    assert lost / 400 <= 0.05 and alarms / 400 <= 0.07
