"""Searches of hundreds of trials: what a suggestion reuses does not depend on how the search came there."""

from dataclasses import replace

import numpy as np
import pytest

from metabench.metamodels.parts.neural import MOST_SHOWN
from metabench.metamodels.quadratic import _FEW, Quadratic
from metabench.metamodels.rgpe import MOST_WEIGHED, RGPE
from metabench.metamodels.xgb_quantile import LEVELS, _drawn
from metabench.search.base import History, Problem
from metabench.testing import synthetic_source
from metabench.testing.quick import quick

SOURCE = synthetic_source(6, 24, seed=3)
POOL = SOURCE.space.sample(400, seed=5)
PROBLEM = Problem(SOURCE.space, SOURCE.tasks[0], POOL, 300)
RNG = np.random.default_rng(8)
TRIED = RNG.permutation(400)[:200]
SCORES = RNG.normal(size=400)


def history(n):
    return History(TRIED[:n].tolist(), SCORES[TRIED[:n]].tolist())


@pytest.fixture(scope="module")
def fitted():
    return Quadratic().fit(SOURCE)


def test_quadratic_proposes_the_same_resumed_and_step_by_step(fitted):
    stepped = fitted.start(PROBLEM, 0)
    for n in range(_FEW - 3, 190):
        last = stepped.ask(history(n))
    assert last == fitted.start(PROBLEM, 0).ask(history(189))


def test_quadratics_grown_factor_is_the_factor(fitted):
    search = fitted.start(PROBLEM, 0)
    for n in (_FEW + 1, 170, 200, 150):  # the last one forgets trials
        np.testing.assert_allclose(
            search._grown(TRIED[:n]), search._factor(search._phi[TRIED[:n]]), rtol=1e-9, atol=1e-9
        )
    other = np.roll(TRIED, 1)
    np.testing.assert_allclose(search._grown(other), search._factor(search._phi[other]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["maml", "np_attentive"])
def test_networks_are_shown_the_best_and_the_latest_trials(name):
    search = quick(name).fit(replace(SOURCE, valid=None)).start(PROBLEM, 0)
    few = search.shown(history(MOST_SHOWN))
    assert few[0].tolist() == TRIED[:MOST_SHOWN].tolist()
    tried, values = search.shown(history(200))
    assert len(tried) == len(values) == MOST_SHOWN and len({*tried.tolist()}) == MOST_SHOWN
    half = MOST_SHOWN // 2
    best = TRIED[np.argsort(-PROBLEM.sign * SCORES[TRIED])[:half]]
    assert {*best.tolist()} <= {*tried.tolist()} and TRIED[199] in tried
    assert [t for t in TRIED.tolist() if t in {*tried.tolist()}] == tried.tolist()
    assert search.ask(history(200)) not in TRIED


def test_rgpe_weighs_at_milestones_alone():
    fitted, asked = RGPE().fit(SOURCE), {n: history(n) for n in (MOST_WEIGHED, 129, 160, 161, 200)}
    search = fitted.start(PROBLEM, 0)
    short = search.weights(asked[MOST_WEIGHED])
    np.testing.assert_array_equal(short, search._weights(asked[MOST_WEIGHED]))
    stepped = {n: search.weights(h) for n, h in asked.items()}
    for n, h in asked.items():
        np.testing.assert_array_equal(fitted.start(PROBLEM, 0).weights(h), stepped[n])
        assert stepped[n].sum() == pytest.approx(1.0)
    before = search._weighed
    proposal = search.ask(history(199))
    assert search._weighed[1] is before[1] and proposal not in TRIED[:199]
    assert proposal == fitted.start(PROBLEM, 0).ask(history(199))


def test_draws_are_those_of_interpolation():
    quantiles, shares = np.sort(RNG.normal(size=(500, len(LEVELS))), axis=1), RNG.random(500)
    shares[: len(LEVELS)] = LEVELS
    wanted = [np.interp(u, LEVELS, q) for u, q in zip(shares, quantiles, strict=True)]
    np.testing.assert_array_equal(_drawn(shares, quantiles), wanted)
