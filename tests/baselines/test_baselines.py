import subprocess
import sys
import warnings

import numpy as np
import pytest
from methods import BASELINES as NAMES
from methods import learns, method

from metabench import registry
from metabench.baselines.gp import negative_likelihood, targets
from metabench.baselines.grid import grid_points
from metabench.baselines.parts.common import distances, nearest_untried, utilities
from metabench.search.base import History, Problem, TaskInfo
from metabench.space import Choice, Float, Int, Space, when
from metabench.testing.planted import SPACE, PlantedFamily, synthetic_source

POOL = SPACE.sample(16, 0)
SOURCE = synthetic_source(6, 32, seed=9)
INFO = TaskInfo("t", "f", "tabular", "planted", "classification", "accuracy", "max", {})


def run(name, problem, scores, seed=0, given=(), trials=None):
    searcher, history = method(name), History()
    if learns(name):
        searcher.fit(SOURCE)
    search = searcher.start(problem, seed)
    for candidate in given:
        history.add(candidate, scores[candidate])
    while len(history) < (trials or problem.budget):
        before = list(history.candidates)
        candidate = search.ask(history)
        assert history.candidates == before and candidate not in history
        assert 0 <= int(candidate) < len(problem.candidates)
        history.add(candidate, scores[candidate])
    return history


def test_all_are_found():
    assert set(NAMES) >= {"botorch", "default", "gp", "grid", "random", "sobol", "tpe"}


@pytest.mark.parametrize("name", NAMES)
def test_the_pool_is_exhausted_without_repetition_whatever_the_scores(name):
    problem = Problem(SPACE, INFO, POOL[:8], 8)
    rng = np.random.default_rng(0)
    some = np.where(rng.random(8) < 0.4, np.nan, rng.random(8))
    assert np.isnan(some).any() and np.isfinite(some).any()
    for scores in (some, np.full(8, 0.5), np.full(8, np.nan)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert sorted(run(name, problem, scores).candidates) == list(range(8))


@pytest.mark.parametrize("name", NAMES)
def test_a_given_start_and_a_last_candidate(name):
    problem = Problem(SPACE, INFO, POOL, 16)
    scores = np.linspace(0, 1, 16)
    history = run(name, problem, scores, given=[7, 3, 9], trials=9)
    assert history.candidates[:3] == [7, 3, 9]
    rest = [c for c in range(16) if c != 11]
    assert run(name, problem, scores, given=rest).candidates[-1] == 11


@pytest.mark.parametrize("name", NAMES)
def test_seeds_decide_everything(name):
    problem, scores = PlantedFamily().problem(0, SPACE.sample(64, 0), 7 if name == "botorch" else 14)
    first, again, other = (run(name, problem, scores, seed).candidates for seed in (0, 0, 1))
    assert first == again
    assert (first == other) == (name in ("default", "grid", "synetune_zeroshot"))


@pytest.mark.parametrize("name", ["gp", "tpe", "botorch"])
def test_larger_is_not_better_where_the_metric_is_minimised(name):
    configs = SPACE.sample(64, 0)
    trials = 8 if name == "botorch" else 14
    up = run(name, *PlantedFamily(direction="max").problem(1, configs, trials))
    down = run(name, *PlantedFamily(direction="min").problem(1, configs, trials))
    assert up.candidates == down.candidates


def regret(name, trials, tasks=4, seeds=2, configs=256):
    out = []
    for task in range(tasks):
        problem, scores = PlantedFamily(seed=3).problem(task, SPACE.sample(configs, 0), trials)
        for seed in range(seeds):
            best = np.nanmax(run(name, problem, scores, seed).scores)
            out.append((np.nanmax(scores) - best) / (np.nanmax(scores) - np.nanmedian(scores)))
    return np.mean(out)


def test_models_beat_random_on_a_smooth_problem():
    random = regret("random", 40, seeds=8)
    assert random > 0.1
    assert regret("gp", 40, seeds=1) < 0.5 * random
    assert regret("tpe", 40, seeds=1) < 0.75 * random


def test_botorch_beats_random_on_a_smooth_problem():
    assert regret("botorch", 16, tasks=2, seeds=1) < 0.6 * regret("random", 16, tasks=2, seeds=8)


# ---------------------------------------------------------------- each one's own
LINE = Space(a=Float(0, 1), b=Float(0, 1))


def line(*points):
    return LINE.from_unit(np.array(points, dtype=float))


def test_default_goes_outwards_from_the_default():
    space = Space(a=Float(0, 1, default=0.2), b=Float(0, 1, default=0.9))
    pool = space.from_unit(np.array([[0.9, 0.1], [0.2, 0.7], [0.25, 0.9], [0.6, 0.9]]))
    assert run("default", Problem(space, INFO, pool, 4), np.zeros(4)).candidates == [2, 1, 3, 0]


def test_grid_points_are_coarse_first_and_complete():
    points = grid_points(LINE, 14)
    np.testing.assert_array_equal(points[0], [0.5, 0.5])
    assert {tuple(p) for p in points[1:5]} == {(x, y) for x in (0.25, 0.75) for y in (0.25, 0.75)}
    sixths = np.round([1 / 6, 1 / 2, 5 / 6], 9)
    assert {tuple(np.round(p, 9)) for p in points[5:14]} == {(x, y) for x in sixths for y in sixths}


def test_grid_takes_every_option_of_a_choice():
    space = Space(kind=Choice("a", "b", "c"), x=Float(0, 1))
    second = space.from_unit(grid_points(space, 7)[1:])
    assert sorted(zip(second["kind"], second["x"], strict=True)) == [(k, x) for k in "abc" for x in (0.25, 0.75)]


def test_grid_of_many_dimensions_is_balanced():
    points = grid_points(Space({f"x{i}": Float(0, 1) for i in range(18)}), 65)
    assert len({tuple(p) for p in points}) == 65
    share = (points[1:] > 0.5).mean(axis=0)
    assert (np.abs(share - 0.5) < 0.2).all()


def test_grid_and_sobol_take_the_nearest_candidates():
    pool = line([0.1, 0.1], [0.52, 0.5], [0.8, 0.75], [0.3, 0.7], [0.9, 0.1])
    assert run("grid", Problem(LINE, INFO, pool, 5), np.zeros(5)).candidates[0] == 1
    points = LINE.sample(5, seed=4)
    gaps = np.hypot(*(points[["a", "b"]].to_numpy()[0] - pool[["a", "b"]].to_numpy()).T)
    assert run("sobol", Problem(LINE, INFO, pool, 5), np.zeros(5), seed=4).candidates[0] == int(gaps.argmin())


def test_distances_by_hand():
    space = Space(kind=Choice("a", "b"), x=Float(0, 1, when=when("kind", "a")), n=Int(1, 5))
    pool = space.table([{"kind": "a", "x": 0.25, "n": 1}, {"kind": "b", "n": 5}])
    got = distances(Problem(space, INFO, pool, 1), space.table([{"kind": "a", "x": 0.5, "n": 1}]))
    # other option 1, x active here only 1 (its place: the middle, as .5 is), n four of five steps
    np.testing.assert_allclose(got, [[0.25, np.sqrt(1 + 1 + 0.8**2)]], atol=1e-6)


def test_nearest_untried():
    history = History()
    distance = np.array([0.3, 0.1, 0.1, 0.2])
    for expected in (1, 2, 3, 0):
        assert nearest_untried(distance, history) == expected
        history.add(expected, 0.0)


def test_diverged_trials_count_as_the_worst():
    history = History([0, 1, 2], [0.3, np.nan, 0.1])
    problem = Problem(SPACE, INFO, POOL, 3)
    np.testing.assert_array_equal(utilities(problem, history), [0.3, 0.1, 0.1])
    np.testing.assert_array_equal(utilities(problem, History([0], [np.nan])), [0.0])


def test_the_low_end_of_the_targets_is_cut():
    got = targets(np.array([0.1, 0.8, 0.9, 1.0, 0.2]))
    np.testing.assert_allclose(got, np.array([-1, 0, 0.5, 1, -1]) * 0.2 / np.std([0.6, 0.8, 0.9, 1.0, 0.6]) + got[1])
    assert got.mean() == pytest.approx(0) and got.std() == pytest.approx(1)
    np.testing.assert_array_equal(targets(np.full(4, 0.3)), 0)


def test_the_likelihood_is_that_of_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    rng = np.random.default_rng(0)
    x, y = rng.random((15, 4)), rng.normal(size=15)
    kernel = ConstantKernel(1.3) * Matern(rng.uniform(0.3, 2, 4), nu=2.5) + WhiteKernel(0.07)
    model = GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(x, y)
    value, gradient = model.log_marginal_likelihood(kernel.theta, eval_gradient=True)
    ours, slope = negative_likelihood(kernel.theta, (x.T[:, :, None] - x.T[:, None]) ** 2, y)
    assert ours == pytest.approx(-value, rel=1e-12)
    np.testing.assert_allclose(slope, -gradient, rtol=1e-9)


def test_optuna_is_told_what_was_tried():
    problem, scores = PlantedFamily().problem(0, SPACE.sample(32, 0), 14)
    search, history = registry.create("baselines", "tpe").start(problem, 0), History()
    for _ in range(13):
        candidate = search.ask(history)
        history.add(candidate, scores[candidate])
    search.ask(history)
    told = [t for t in search._study.trials if t.value is not None]
    assert len(told) == 13
    for trial, candidate, score in zip(told, history.candidates, utilities(problem, history), strict=True):
        row = problem.candidates.iloc[candidate].dropna().to_dict()
        row = {n: 1 - v if n == "momentum" else v for n, v in row.items()}
        assert set(trial.params) == set(row)
        assert all(trial.params[n] == (v if isinstance(v, str) else pytest.approx(v)) for n, v in row.items())
        assert trial.value == score


@pytest.mark.parametrize(("name", "package"), [("tpe", "optuna"), ("botorch", "botorch")])
def test_the_module_loads_without_its_package(name, package):
    code = f"""
import sys
sys.modules[{package!r}] = None
from metabench import registry
assert registry.load("baselines", {name!r}).requires == ({package!r},)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
