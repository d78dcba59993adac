"""The source tasks' optima as a start (rush) and as a box."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from metabench.baselines.random import Random
from metabench.errors import UsageError
from metabench.metamodels.box import Box, best_rows, side
from metabench.metamodels.rush import Rush
from metabench.search.base import History, Problem
from metabench.space import Choice, Float, Int, Space, when
from metabench.testing import PlantedFamily, synthetic_source

SPACE = Space(
    kind=Choice("a", "b", "c"),
    rate=Float(1e-4, 1.0, log=True),
    slope=Float(0, 1, when=when("kind", "b")),
    units=Int(1, 64, log=True),
)


def source_with(best, configs, seed=0):
    """A source whose tasks' best configurations are ``best``."""
    template = synthetic_source(1, 4)
    scores = np.random.default_rng(seed).random((len(best), len(configs)))
    scores[np.arange(len(best)), best] = 2.0
    tasks = [replace(template.tasks[0], task_id=f"t{i}", family=f"f{i}", features={}) for i in range(len(best))]
    return replace(template, space=SPACE, configs=configs, tasks=tasks, scores=scores[:, :, None])


def pool(source, candidates=None):
    candidates = source.configs if candidates is None else candidates
    return Problem(source.space, source.tasks[0], candidates.reset_index(drop=True), 20)


def run(search, scores, trials):
    history = History()
    for _ in range(trials):
        c = search.ask(history)
        history.add(c, float(scores[c]))
    return history.candidates


def test_the_box_holds_the_sources_optima_and_no_less():
    configs = SPACE.sample(64, seed=1)
    only_a_or_b = np.flatnonzero(configs["kind"] != "c")
    best = only_a_or_b[:5].tolist()
    source = source_with(best, configs)
    model = Box(inside="random").fit(source)
    outside = model.excess(pool(source))
    assert not outside[best].any()
    optima = configs.iloc[best]
    inside = configs["kind"].isin(set(optima["kind"]))
    for name in ("rate", "slope", "units"):
        low, high = optima[name].min(), optima[name].max()
        inside &= configs[name].isna() | configs[name].isna().all() | configs[name].between(low, high)
    np.testing.assert_array_equal(outside == 0, inside.to_numpy())
    assert 5 <= inside.sum() < 64
    order = run(model.start(pool(source), 0), np.zeros(64), 64)
    assert set(order[: inside.sum()]) == set(np.flatnonzero(inside))
    assert (np.diff(outside[order[inside.sum() :]]) >= 0).all()  # then what is nearest to the box


def test_what_no_optimum_has_is_not_restricted():
    configs = SPACE.sample(64, seed=1)
    best = np.flatnonzero(configs["kind"] == "a")[:3].tolist()
    assert set(Box().fit(source_with(best, configs)).sides_) == {"kind", "rate", "units"}


@pytest.mark.parametrize("slack", [0.01, 0.1, 1.0, 10.0])
def test_a_side_with_slack_is_the_optimum(slack):
    x = np.random.default_rng(2).random(15)

    def loss(ends):
        low, high = ends
        misses = np.maximum(low - x, 0) ** 2 + np.maximum(x - high, 0) ** 2
        return slack / 2 * (high - low) ** 2 + misses.mean() / 2

    best = minimize(loss, [0.3, 0.7], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    np.testing.assert_allclose(side(x, slack), best.x, atol=1e-4)
    low, high = side(x, slack)
    assert x.min() <= low <= high <= x.max()


def test_slack_leaves_an_outlier_outside():
    x = np.append(np.linspace(0.4, 0.5, 20), 1.0)
    assert side(x, 0.0) == (0.4, 1.0)
    low, high = side(x, 0.05)
    assert high < 0.75 and low < 0.5
    assert side(np.array([0.3]), 0.5) == (0.3, 0.3)


@pytest.mark.parametrize("then", ["gp", "random"])
def test_rush_starts_with_the_sources_optima(then):
    configs = SPACE.sample(64, seed=1)
    source = source_with([7, 3, 7, 20, 3, 7], configs)
    model = Rush(then=then).fit(source)
    order = run(model.start(pool(source), 0), np.random.default_rng(0).random(64), 12)
    assert order[:3] == [7, 3, 20]  # by the number of tasks whose optimum it is
    assert len(set(order)) == 12
    assert Rush(size=2).fit(source).optima_ == [7, 3]


def test_rush_goes_to_the_nearest_candidates_in_another_pool():
    configs = SPACE.sample(64, seed=1)
    source = source_with([7, 3, 20], configs)
    rest = configs.drop(index=[3]).reset_index(drop=True)
    order = run(Rush().fit(source).start(pool(source, rest), 0), np.zeros(63), 3)
    place = {old: new for new, old in enumerate(i for i in range(64) if i != 3)}
    assert {place[7], place[20]} < set(order)


def test_optima_are_of_tasks_that_have_scores():
    source = synthetic_source(3, 8)
    scores = source.scores.copy()
    scores[1] = np.nan
    assert len(best_rows(replace(source, scores=scores))) == 2
    with pytest.raises(UsageError, match="no configuration of the source has a finite score"):
        best_rows(replace(source, scores=scores * np.nan))


def test_a_box_restricts_a_search_that_was_given_trials_outside():
    configs = SPACE.sample(64, seed=1)
    source = source_with(np.flatnonzero(configs["kind"] == "a")[:6].tolist(), configs)
    model, scores = Box().fit(source), np.random.default_rng(0).random(64)
    excess = model.excess(pool(source))
    outside = np.flatnonzero(excess > 0)[:4]
    history = History(outside.tolist(), scores[outside].tolist())
    search = model.start(pool(source), 0)
    for _ in range(int((excess == 0).sum())):
        c = search.ask(history)
        assert excess[c] == 0
        history.add(c, scores[c])
    assert excess[search.ask(history)] == excess[history.untried(64)].min() > 0


def test_the_box_helps_where_optima_are_near_one_another():
    """Tasks of one group: random search inside the box against random search everywhere."""
    family = PlantedFamily(seed=4, clusters=1)
    configs = family.source([0], synthetic_source(1, 256).configs).configs
    model = Box(inside="random").fit(family.source(range(8), configs))
    places = {"box": [], "random": []}
    for task in range(100, 112):
        problem, scores = family.problem(task, configs, 5)
        scores = np.where(np.isnan(scores), -1.0, scores)
        for kind, searcher in (("box", model), ("random", Random())):
            tried = run(searcher.start(problem, task), scores, 5)
            places[kind].append((scores > scores[tried].max()).mean())
    assert np.mean(places["box"]) < 0.5 * np.mean(places["random"])
