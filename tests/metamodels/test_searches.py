"""Source tasks searched again in lockstep: what policies learn from is what a search will be like."""

import numpy as np
import pytest
from scipy import stats

from metabench.metamodels.parts.searches import EPSILON, FEATURES, TRIED, Course, describe, every, log_improvement
from metabench.metamodels.parts.task_kernel import TaskKernel
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=2), SPACE.sample(48, 2)
SOURCE, HELD = FAMILY.source(range(20), CONFIGS), FAMILY.source(range(30, 36), CONFIGS)
MODEL = TaskGP().fit(SOURCE)


def test_log_improvement_is_right_far_into_the_tail():
    z = np.array([-30.0, -8.0, -2.0, -1.0, -0.5, 0.0, 3.0])
    near = np.log(z * stats.norm.cdf(z) + stats.norm.pdf(z))
    np.testing.assert_allclose(log_improvement(z)[1:], near[1:], rtol=1e-6)
    # Φ(z)/φ(z) to the fifth term of its expansion
    by_hand = stats.norm.logpdf(-30.0) + np.log(1 / 900 - 3 / 900**2 + 15 / 900**3)
    assert log_improvement(z)[0] == pytest.approx(by_hand, rel=1e-7)
    far = log_improvement(np.array([-999.9, -1000.1, -1e6]))
    assert np.isfinite(far).all() and (np.diff(far) < 0).all()
    assert far[1] - far[0] == pytest.approx(-200.0, abs=0.1)


def test_a_search_in_lockstep_is_that_of_the_model():
    """The posterior after the same trials, of tasks the model has not seen."""
    course = Course.of(MODEL, HELD, held=True)
    search = course.search(np.arange(6), np.zeros(6, dtype=int), 8)
    rng = np.random.default_rng(0)
    tried = np.stack([rng.permutation(48)[:8] for _ in range(6)])
    for t in range(8):
        search.step(tried[:, t])
    mean, std = search.posterior()
    for task in range(6):
        problem, _ = FAMILY.problem(30 + task, CONFIGS, 20)
        utility = course.y[task, 0]
        history = History(tried[task].tolist(), (problem.sign * utility[tried[task]]).tolist())
        run = MODEL.start(problem, 0)
        y = utility[tried[task]]
        if y.min() < np.median(y) - 3.0 * (y.max() - np.median(y)):
            continue  # among the trials alone the lowest are clipped anew
        said = run.predict(history, np.arange(48))
        np.testing.assert_allclose(mean[task], said.mean, atol=1e-8)
        np.testing.assert_allclose(std[task], said.std, atol=1e-8)


def test_source_tasks_are_predicted_without_their_family():
    course = Course.of(MODEL, SOURCE)
    families = np.unique([t.family for t in SOURCE.tasks], return_inverse=True)[1]
    task = 4
    others = families != families[task]
    alone = TaskKernel(MODEL.features_[others], MODEL.relevance_, MODEL.common_, MODEL.idiosyncrasy_)
    weights, variance = alone.weights(MODEL.features_[task])
    np.testing.assert_allclose(course.mean[task], weights @ MODEL.targets_[others], atol=1e-9)
    assert course.variance[task] == pytest.approx(variance)


def test_rewards_add_up_to_the_drop_in_log_regret():
    course = Course.of(MODEL, SOURCE)
    tasks, seeds = every(course)
    assert len(tasks) == len(seeds) == 20 * SOURCE.scores.shape[2]
    search, total = course.search(tasks, seeds, 48), np.zeros(len(tasks))
    for c in range(48):
        total += search.step(np.full(len(tasks), c))
    assert search.regret.max() == 0.0 and search.tried.all()
    np.testing.assert_allclose(total, -np.log(EPSILON))


def test_features_of_candidates():
    mean, std = np.array([[0.0, 1.0, 2.0, -1.0]]), np.ones((1, 4))
    tried = np.array([[False, True, False, False]])
    found = dict(zip(FEATURES, describe(mean, std, tried, np.array([1.0]), 1, 4)[0].T, strict=True))
    assert found["log_improvement"][1] == TRIED and found["log_improvement"][2] == 0.0
    gain = [z * stats.norm.cdf(z) + stats.norm.pdf(z) for z in (-1.0, 1.0)]
    assert found["log_improvement"][0] == pytest.approx(np.log(gain[0] / gain[1]))
    assert found["standing"].tolist() == [-1.0, 0.0, 1.0, -2.0]
    assert found["share"].tolist() == pytest.approx([1 / 3, 2 / 3, 1.0, 0.0])
    assert set(found["gap"]) == {1.0} and set(found["spent"]) == {0.25}
