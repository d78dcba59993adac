"""The method to use when there is no time to choose: whom it follows, and when it stops to trust the source."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from metabench.baselines.gp import GP
from metabench.errors import MetabenchError, UsageError
from metabench.metamodels import auto
from metabench.metamodels.auto import Auto
from metabench.metamodels.parts.common import utilities
from metabench.metamodels.portfolio import Portfolio
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History, Prediction
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=9), SPACE.sample(64, 9)
SOURCE = FAMILY.source(range(24), CONFIGS)
MODEL = Auto().fit(SOURCE)
SPLIT = replace(SOURCE.select(range(16)), valid=SOURCE.select(range(16, 24)))


def search(model, problem, scores, trials):
    run, history = model.start(problem, 0), History()
    for _ in range(trials):
        c = run.ask(History(list(history.candidates), list(history.scores)))
        history.add(c, float(scores[c]))
    return run, history


def test_on_a_friendly_target_it_believes_the_source():
    for task in range(100, 104):
        problem, scores = FAMILY.problem(task, CONFIGS, 30)
        run, history = search(MODEL, problem, scores, 20)
        assert run.weights(history)[-1] < 0.01


def test_on_an_adverse_target_it_goes_on_as_gp_does():
    """What was good on the source is bad here: within 15 trials the source is no longer believed."""
    for task in range(100, 104):
        problem, scores = FAMILY.problem(task, CONFIGS, 40)
        worst = np.nanmin(scores)
        adverse = -np.where(np.isfinite(scores), scores, worst)
        run, history = search(MODEL, problem, adverse, 15)
        assert run.weights(history)[-1] > 0.5
        for n in range(3, 16, 2):
            seen = History(history.candidates[:n], history.scores[:n])
            run = MODEL.start(problem, 0)
            if run.weights(seen)[-1] > 0.5:
                assert run.ask(seen) == GP().start(problem, 0).ask(seen)


def test_before_a_trial_the_predictors_weigh_the_same_and_doubt_is_the_odds_against_the_source():
    problem, _ = FAMILY.problem(100, CONFIGS, 20)
    for doubt in (0.0, 3.0):
        model = Auto(doubt=doubt)
        model.members_, model.source_, model.regrets_ = MODEL.members_, MODEL.source_, MODEL.regrets_
        weights = model.start(problem, 0).weights(History())
        assert weights[0] == pytest.approx(weights[1])
        assert np.log(weights[:2].sum() / weights[2]) == pytest.approx(doubt)


def test_trials_weigh_the_predictors_by_bayes_rule():
    problem, scores = FAMILY.problem(101, CONFIGS, 20)
    run, history = search(MODEL, problem, scores, 6)
    _, y = utilities(problem, history)
    weights = run.weights(history)
    said = [gp.evidence(mean, y) for gp, mean, _ in run._parts]
    assert np.log(weights[0] / weights[1]) == pytest.approx(said[0] - said[1])
    assert weights.sum() == pytest.approx(1.0)


def test_the_average_has_the_moments_of_the_mixture():
    problem, scores = FAMILY.problem(102, CONFIGS, 20)
    run, history = search(MODEL, problem, scores, 5)
    weights, rng = run.weights(history), np.random.default_rng(0)
    said = [gp.posterior(mean, utilities(problem, history)[1]) for gp, mean, _ in run._parts]
    which = rng.choice(3, p=weights, size=200_000)
    at = 7
    drawn = rng.normal([said[i][0][at] for i in which], [np.sqrt(said[i][1][at] + run._parts[i][2]) for i in which])
    found = run.predict(history, np.array([at]))
    assert found.mean[0] == pytest.approx(drawn.mean(), abs=0.01)
    assert found.std[0] == pytest.approx(drawn.std(), rel=0.01)


def test_regret_of_normal_scores_is_that_of_the_source():
    """Every source task has the same scores, in another order: the regret of a quantile is that of each."""
    rng = np.random.default_rng(0)
    values = np.linspace(0, 1, 64)
    shuffled = np.stack([rng.permutation(values) for _ in SOURCE.tasks])[:, :, None]
    tasks = [replace(t, direction="max") for t in SOURCE.tasks]
    found = auto.typical_regrets(replace(SOURCE, tasks=tasks, scores=shuffled))
    assert found.shape == (32,)
    np.testing.assert_allclose(found[:16], 1.0)
    np.testing.assert_allclose(found[16:], 2 * (1 - (np.arange(16, 32) + 0.5) / 32), atol=0.04)


def test_improvement_of_regret_is_its_expectation():
    rng = np.random.default_rng(1)
    regret = np.interp(np.arange(32), [0, 14, 31], [1.0, 0.9, 0.0])
    knots = stats.norm.ppf((np.arange(32) + 0.5) / 32)
    slope = np.maximum(-np.diff(regret) / np.diff(knots), 0.01)

    def utility(z):
        inside = np.interp(z, knots, np.concatenate([[0.0], np.cumsum(slope * np.diff(knots))]))
        return inside + slope[-1] * np.maximum(z - knots[-1], 0) + 0.01 * np.minimum(z - knots[0], 0)

    p = Prediction(np.array([-1.0, 0.3, 2.5]), np.array([0.4, 1.0, 0.5]))
    drawn = p.mean + p.std * rng.normal(size=(400_000, 3))
    for best in (-np.inf, -2.5, 0.1, 2.4):
        found = auto.regret_improvement(p, best, regret)
        if best == -np.inf:
            expected = utility(drawn).mean(0)
            found, expected = found - found[0], expected - expected[0]
        else:
            expected = np.maximum(utility(drawn) - utility(best), 0.0).mean(0)
        np.testing.assert_allclose(found, expected, atol=0.004)


def test_with_an_opening_the_first_trials_are_a_portfolios():
    problem, scores = FAMILY.problem(100, CONFIGS, 20)
    _, history = search(Auto(opening=3).fit(SPLIT), problem, scores, 4)
    assert history.candidates[:3] == search(Portfolio().fit(SOURCE), problem, scores, 3)[1].candidates


def test_meta_validation_tasks_are_learned_from_as_well():
    np.testing.assert_array_equal(Auto().fit(SPLIT).members_["task_gp"].targets_, TaskGP().fit(SOURCE).targets_)


def test_it_is_kept_with_its_members(tmp_path):
    model = Auto(opening=1).fit(SPLIT)
    again = Auto.load(model.save(tmp_path))
    problem, scores = FAMILY.problem(101, CONFIGS, 12)
    assert search(model, problem, scores, 8)[1].candidates == search(again, problem, scores, 8)[1].candidates
    (tmp_path / "task_gp" / "metamodel.json").unlink()
    with pytest.raises(MetabenchError, match=r"metamodel\.json is absent"):
        Auto.load(tmp_path)


def test_evidence_is_the_likelihood_of_a_gaussian_process():
    problem, scores = FAMILY.problem(102, CONFIGS, 12)
    gp, mean, noise = MODEL.start(problem, 0)._parts[-1]
    tried = np.flatnonzero(np.isfinite(scores))[:8]
    gp.observe(tried)
    y = scores[tried]
    _, _, a, b = gp.posterior(mean, y)
    rows = np.stack([gp._row(i) for i in tried])[:, tried] + noise * np.eye(8)
    z = (y - a) / b
    by_hand = -0.5 * (z @ np.linalg.solve(rows, z) + np.linalg.slogdet(rows)[1]) - 8 * np.log(b)
    assert gp.evidence(mean, y) == pytest.approx(by_hand)


def test_settings_out_of_range_are_refused():
    for settings in ({"opening": -1}, {"doubt": -1.0}):
        with pytest.raises(UsageError, match="auto: opening and doubt"):
            Auto(**settings)
