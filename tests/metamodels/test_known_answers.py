"""Each meta-model on a problem whose answer is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from methods import METAMODELS, SLOW, method

from metabench import registry
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.metric_knn import MetricKnn
from metabench.metamodels.parts.gp import PoolGP, affine_map
from metabench.metamodels.portfolio import Portfolio
from metabench.search.base import History, Problem
from metabench.testing import PlantedFamily, synthetic_source
from metabench.testing.planted import SPACE


def problem_of(source, family, task, budget=20):
    return Problem(source.space, family.info(task), source.configs.reset_index(drop=True), budget)


def test_the_portfolio_is_greedy_and_its_first_choice_is_the_best_single_one():
    source = synthetic_source(9, 16, seed=3)
    model = Portfolio(objective="rank").fit(source)
    search, history = model.start(problem_of(source, PlantedFamily(seed=3), 50), 0), History()
    chosen = []
    for _ in range(3):
        chosen.append(search.ask(history))
        history.add(chosen[-1], 0.5)
    ranks = source.ranks
    assert chosen[0] == ranks.mean(0).argmin()
    for n in (1, 2):  # each next one lowers the mean best rank the most
        covers = {
            c: np.minimum(ranks[:, chosen[:n]].min(1), ranks[:, c]).mean() for c in range(16) if c not in chosen[:n]
        }
        assert covers[chosen[n]] == pytest.approx(min(covers.values()))
    best_pair = min(np.minimum(ranks[:, a], ranks[:, b]).mean() for a, b in itertools.combinations(range(16), 2))
    assert ranks[:, chosen[:2]].min(1).mean() <= 1.5 * best_pair


def test_the_pool_gp_is_the_textbook_posterior():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 12))
    K, m, noise = root @ root.T / 12 + np.eye(12), rng.normal(size=12), 0.1
    tried, y = [3, 7, 1, 10], rng.normal(size=4)
    gp = PoolGP(lambda i: K[i], np.diag(K).copy(), noise)
    gp.observe(tried)
    mean, variance, a, b = gp.posterior(m, y)
    C = np.linalg.inv(K[np.ix_(tried, tried)] + noise * np.eye(4))
    np.testing.assert_allclose(mean, m + K[:, tried] @ C @ ((y - a) / b - m[tried]), rtol=1e-9)
    np.testing.assert_allclose(variance, np.diag(K - K[:, tried] @ C @ K[tried]), rtol=1e-9)


def test_the_affine_map_is_found():
    rng = np.random.default_rng(1)
    z = rng.normal(size=400)
    a, b = affine_map(5.0 + 0.3 * (z + 0.01 * rng.normal(size=400)), z, np.ones(400), guess=1.0)
    assert (a, b) == (pytest.approx(5.0, abs=0.05), pytest.approx(0.3, rel=0.6))


def test_empirical_gp_recovers_a_planted_covariance():
    """Tasks drawn from one Gaussian process: mean and covariance come back, and with them the optimum of a new task."""
    rng = np.random.default_rng(2)
    source = synthetic_source(2, 32, seed=0)
    factor = rng.normal(size=(32, 3))
    mean = rng.normal(size=32)
    scores = mean + rng.normal(size=(300, 3)) @ factor.T
    tasks = [replace(source.tasks[0], task_id=f"t{i}") for i in range(300)]
    planted = replace(source, tasks=tasks, scores=scores[:, :, None], seconds=None)
    model = EmpiricalGP().fit(planted)
    truth = np.cov(planted.normal_scores.T, bias=True)
    np.testing.assert_allclose(model.factors_.T @ model.factors_, truth, atol=1e-8)
    np.testing.assert_allclose(model.mean_, planted.normal_scores.mean(0), atol=1e-12)
    where = []
    for _ in range(12):
        new = mean + factor @ rng.normal(size=3)
        search, history = model.start(problem_of(source, PlantedFamily(), 0), 0), History()
        for _ in range(6):
            c = search.ask(history)
            history.add(c, new[c])
        where.append((new > max(history.scores)).sum())
    assert np.mean(where) < 0.5  # six trials of thirty-two find the best one nearly always


def test_missing_cells_are_filled_better_than_by_the_mean():
    rng = np.random.default_rng(4)
    source = synthetic_source(40, 24, seed=6)
    holes = source.scores.copy()
    gone = rng.random(holes.shape[:2]) < 0.6
    gone[rng.integers(0, 40, 24), np.arange(24)] = False
    holes[gone] = np.nan
    partial = replace(source, scores=holes, observed=~gone)
    full, filled = EmpiricalGP().fit(source), EmpiricalGP().fit(partial)
    naive = np.where(gone, 0.0, partial.normal_scores).mean(0)
    assert np.abs(filled.mean_ - full.mean_).mean() < 0.7 * np.abs(naive - full.mean_).mean()


def test_metric_knn_finds_the_planted_group():
    """Tasks of five well-separated groups: features already point to the own group, trials make sure of it."""
    family = PlantedFamily(seed=5, clusters=5)
    configs = SPACE.sample(48, 5)
    source = family.source(range(30), configs)
    model = MetricKnn().fit(source)
    by_features, by_trials = [], []
    for task in range(100, 115):
        problem, scores = family.problem(task, configs, 20)
        search, history = model.start(problem, 0), History()
        own = np.arange(30) % 5 == task % 5
        by_features.append(search.weights(history)[own].sum())
        blind = model.start(replace(problem, task=replace(problem.task, features={})), 0)
        for c in range(15):
            history.add(c, scores[c])
        by_trials.append(blind.weights(history)[own].sum())
    assert np.mean(by_features) > 0.6  # a fifth by chance
    assert np.mean(by_trials) > 0.6


# a box says where to look, not what to try first: test_starts_and_boxes.py has a family that it helps on
@pytest.mark.parametrize("name", [n for n in METAMODELS if n != "box"])
def test_transfer_helps_where_it_must(name):
    """On a planted family five trials find better configurations than five at random."""
    family, configs = PlantedFamily(seed=2), SPACE.sample(48, 2)
    source = family.source(range(20), configs, valid=range(20, 26))
    model = method(name, quick=name in SLOW).fit(source)
    random = registry.create("baselines", "random")
    found = {"model": [], "random": []}
    for task in range(100, 112):
        problem, scores = family.problem(task, configs, 5)
        scores = np.where(np.isnan(scores), -1.0, scores)
        for kind, searcher in (("model", model), ("random", random)):
            search, history = searcher.start(problem, task), History()
            for _ in range(5):
                c = search.ask(history)
                history.add(c, scores[c])
            found[kind].append((scores > max(history.scores)).mean())
    assert np.mean(found["model"]) < 0.6 * np.mean(found["random"])
