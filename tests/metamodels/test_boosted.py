"""Boosted trees: ranking planted tasks, calibrated quantiles, histories in any order."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from metabench.metamodels.xgb_quantile import LEVELS, XgbQuantile
from metabench.metamodels.xgb_rank import XgbRank
from metabench.search.base import History, Problem
from metabench.testing import PlantedFamily
from metabench.testing.planted import SPACE

FAMILY, CONFIGS = PlantedFamily(seed=8), SPACE.sample(64, 8)
SOURCE = FAMILY.source(range(24), CONFIGS, valid=range(24, 36))
UNSEEN = FAMILY.source(range(100, 130), CONFIGS)


def histories(trials):
    """Problems of unseen tasks, their normal scores, and a history of the first ``trials(t)`` configurations."""
    for t, info in enumerate(UNSEEN.tasks):
        history = History()
        for c in range(trials(t)):
            history.add(c, float(UNSEEN.scores[t, c, 0]))
        yield Problem(SPACE, info, CONFIGS, 20), UNSEEN.normal_scores[t], history


@pytest.mark.parametrize("objective", ["pairwise", "ndcg"])
def test_planted_tasks_are_ranked(objective):
    """Like the source's mean ranking before any trial, far better after twenty."""
    model = XgbRank(objective=objective, trees=80, histories=8).fit(SOURCE)
    agreement = []
    for n in (0, 20):
        found = []
        for problem, z, history in histories(lambda t, n=n: n):
            rest = history.untried(64)
            found.append(spearmanr(model.start(problem, 0).ranking(history)[rest], z[rest])[0])
        agreement.append(np.mean(found))
    average = np.mean([spearmanr(SOURCE.normal_scores.mean(0), z)[0] for z in UNSEEN.normal_scores])
    assert agreement[0] > average - 0.05
    assert agreement[1] > agreement[0] + 0.2


@pytest.mark.parametrize("held", ["valid", "own"])
def test_quantiles_are_calibrated_on_unseen_tasks(held):
    """With meta-validation tasks, and without them by holding out families of the source."""
    source = SOURCE if held == "valid" else replace(FAMILY.source(range(36), CONFIGS))
    model = XgbQuantile(trees=60, depth=5, histories=8).fit(source)
    below, raw = np.zeros(len(LEVELS)), np.zeros(len(LEVELS))
    for problem, z, history in histories(lambda t: 5 * (t % 3)):
        quantiles = model.start(problem, 0).quantiles(history)
        below += (z[:, None] <= quantiles).mean(0)
        raw += (z[:, None] <= quantiles - model.offsets_).mean(0)
    np.testing.assert_allclose(below / 30, LEVELS, atol=0.1)
    assert np.abs(below / 30 - LEVELS).max() < np.abs(raw / 30 - LEVELS).max()  # the trees alone are too sure


def test_one_family_leaves_the_quantiles_as_they_are():
    source = FAMILY.source(range(4), CONFIGS)
    source = replace(source, tasks=[replace(t, family="one") for t in source.tasks])
    np.testing.assert_array_equal(XgbQuantile(trees=5, histories=2).fit(source).offsets_, 0.0)


def test_a_search_does_not_change_the_model(tmp_path):
    """The search's seed is not the model's: what a search saves is what was fitted."""
    model = XgbQuantile(trees=5, histories=2, random_state=3).fit(SOURCE)
    search = model.start(Problem(SPACE, UNSEEN.tasks[0], CONFIGS, 20), 17)
    assert search.settings == model.settings and search.settings["random_state"] == 3
    again = XgbQuantile.load(search.save(tmp_path))
    assert again.settings == model.settings
    np.testing.assert_array_equal(again.booster_, model.booster_)


@pytest.mark.parametrize("acquisition", ["ei", "thompson"])
def test_both_acquisitions_find_good_configurations(acquisition):
    model = XgbQuantile(trees=60, histories=8, acquisition=acquisition).fit(SOURCE)
    places = []
    for t in range(12):
        scores = np.nan_to_num(UNSEEN.scores[t, :, 0])
        search, history = model.start(Problem(SPACE, UNSEEN.tasks[t], CONFIGS, 20), 0), History()
        for _ in range(8):
            c = search.ask(history)
            history.add(c, scores[c])
        places.append((scores > max(history.scores)).sum())
    assert np.mean(places) < 4.0  # eight of sixty-four at random: 6.2


def test_rows_do_not_depend_on_how_the_history_came():
    model = XgbRank(trees=5, histories=2).fit(SOURCE)
    problem = Problem(SPACE, UNSEEN.tasks[0], CONFIGS, 20)
    step, once, other = (model.start(problem, 0) for _ in range(3))
    history = History(list(range(12)), UNSEEN.scores[0, :12, 0].tolist())
    for n in range(12):
        step.pool_rows(History(history.candidates[:n], history.scores[:n]))
    other.pool_rows(History([30, 31, 32], [0.1, 0.2, 0.3]))
    for search in (step, other):
        np.testing.assert_array_equal(search.pool_rows(history), once.pool_rows(history))
