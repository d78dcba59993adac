"""What sources and histories may look like at worst, for every statistical meta-model (the contract has more)."""

from dataclasses import replace

import numpy as np
import pytest

from metabench import registry
from metabench.metatrain import MetaTrain
from metabench.search.base import History, Problem
from metabench.space import Float, Space
from metabench.testing import PlantedFamily, synthetic_source

#: settings that make fits short
QUICK = {
    "xgb_rank": {"trees": 10, "histories": 4},
    "xgb_quantile": {"trees": 10, "histories": 4},
    "rgpe": {"draws": 32},
}
NAMES = [
    "box", "empirical_gp", "gp_mean", "gp_weighted", "metric_knn", "portfolio", "quadratic", "rgpe", "rush",
    "xgb_quantile", "xgb_rank",
]  # fmt: skip
FAMILY = PlantedFamily(seed=6)


def fitted(name, source):
    return registry.create("metamodels", name, **QUICK.get(name, {})).fit(source)


def search(model, problem, scores, trials=5):
    run, history = model.start(problem, 0), History()
    for _ in range(trials):
        c = run.ask(history)
        assert c not in history
        history.add(c, float(scores[c]))
    return history.candidates


@pytest.fixture(scope="module")
def source():
    return synthetic_source(6, 32, seed=6)


@pytest.fixture(scope="module")
def problem(source):
    return Problem(source.space, FAMILY.info(50), source.configs.reset_index(drop=True), 20)


@pytest.mark.parametrize("name", NAMES)
def test_a_thousand_trials(name, source):
    pool = source.space.sample(1024, seed=5)
    scores = FAMILY.scores(50, pool)[:, 0]
    tried = np.random.default_rng(0).permutation(1024)[:1000]
    run = fitted(name, source).start(Problem(source.space, FAMILY.info(50), pool, 1024), 0)
    history = History(tried.tolist(), scores[tried].tolist())
    assert run.ask(history) not in history


@pytest.mark.parametrize("name", NAMES)
def test_sources_that_teach_nothing(name, source, problem):
    """All scores equal; a task and a configuration without any score; features that are constant or infinite."""
    equal = replace(source, scores=np.full_like(source.scores, 0.5))
    gone = source.scores.copy()
    gone[0], gone[:, 3] = np.nan, np.nan
    odd = [replace(t, features={"same": 1.0, "infinite": np.inf, "unknown": np.nan}) for t in source.tasks]
    unrun = replace(source, scores=gone, observed=~np.isnan(gone).all(axis=2))
    for worst in (equal, replace(source, scores=gone), unrun, replace(source, tasks=odd)):
        search(fitted(name, worst), problem, np.linspace(0, 1, 32))


@pytest.mark.parametrize("name", NAMES)
def test_sources_of_two_workloads(name, source):
    """One with hyperparameters that the other lacks; searched on the second."""
    small = Space({n: p for n, p in source.space.items() if n in ("learning_rate", "width")}, heads=Float(0, 1))
    configs = small.sample(16, seed=3)
    tasks = [replace(FAMILY.info(t), task_id=f"other-{t}", workload="other") for t in range(20, 24)]
    scores = np.random.default_rng(0).random((4, 16, 1))
    both = MetaTrain.union([source, MetaTrain(small, configs, tasks, scores)])
    target = Problem(small, replace(tasks[0], task_id="new"), configs.reset_index(drop=True), 16)
    search(fitted(name, both), target, scores[0, :, 0])


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_of_one(name, source, problem):
    assert search(fitted(name, source), replace(problem, candidates=problem.candidates[:1], budget=1), [0.5], 1) == [0]
