"""What sources, histories and spaces may look like at worst, for every method there is; a new one is covered by its
file's being there. (The public contract, which all run through as well, has more.)
"""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from methods import BASELINES, METAMODELS, learns, method

from metabench.metatrain import MetaTrain
from metabench.search.base import History, Problem, Surrogate
from metabench.space import Choice, Float, Int, Ordinal, Space, when
from metabench.testing import PlantedFamily, synthetic_source
from metabench.testing.planted import SPACE

ALL = [*BASELINES, *METAMODELS]
LEARNERS = [name for name in ALL if learns(name)]
FAMILY = PlantedFamily(seed=6)
SOURCE = synthetic_source(6, 32, seed=6)
PROBLEM = Problem(SPACE, FAMILY.info(50), SOURCE.configs.reset_index(drop=True), 20)
SCORES = FAMILY.scores(50, PROBLEM.candidates)[:, 0]
#: packages that take up to half a minute for a proposal after a thousand trials; after 300 the public contract asks them
LONG = {"botorch", "hebo", "nevergrad", "smac", "turbo"}
NOTICE = "the pool's space is not that of the source"


def search(model, problem=PROBLEM, scores=SCORES, trials=5, history=None):
    """Proposals after ``history``; each is an untried position of the pool."""
    run, history = model.start(problem, 0), history or History()
    for _ in range(trials):
        c = run.ask(history)
        assert c not in history and 0 <= c < len(problem.candidates)
        history.add(c, float(scores[c]))
    return history.candidates


_FITTED = {}


def fitted(name):
    """A method fitted on SOURCE, once."""
    model = method(name)
    if name not in _FITTED:
        _FITTED[name] = model.fit(SOURCE)
    return _FITTED[name]


# ---------------------------------------------------------------- histories
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "scores",
    [
        SCORES * np.nan,
        np.where(np.arange(32) % 3, np.nan, SCORES),
        np.full(32, 0.5),
        SCORES * 1e9,
        0.5 + SCORES * 1e-12,
    ],
    ids=["all diverged", "some diverged", "all equal", "huge", "equal up to rounding"],
)
def test_targets(name, scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by a spread of 0 would warn
        search(fitted(name), scores=scores, trials=7)


@pytest.mark.parametrize("name", ALL)
def test_given_trials_all_of_which_diverged(name):
    given = History([3, 9, 4], [np.nan] * 3)
    search(fitted(name), trials=3, history=given)


@pytest.mark.parametrize("name", [name for name in ALL if name not in LONG])
def test_a_thousand_trials(name):
    pool = SPACE.sample(1024, seed=5)
    scores = FAMILY.scores(50, pool)[:, 0]
    tried = np.random.default_rng(0).permutation(1024)[:1000]
    history = History(tried.tolist(), scores[tried].tolist())
    search(fitted(name), Problem(SPACE, FAMILY.info(50), pool, 1024), scores, 1, history)


@pytest.mark.parametrize("name", ALL)
def test_a_pool_of_one(name):
    one = replace(PROBLEM, candidates=PROBLEM.candidates[:1], budget=1)
    assert search(fitted(name), one, [0.5], 1) == [0]


# ---------------------------------------------------------------- sources
@pytest.mark.parametrize("name", LEARNERS)
def test_one_task_without_features(name):
    alone = SOURCE.select([2])
    bare = replace(alone, tasks=[replace(alone.tasks[0], features={})])
    search(method(name).fit(bare))


@pytest.mark.parametrize("name", LEARNERS)
def test_sources_that_teach_nothing(name):
    """All scores equal; a task and a configuration without any score; features that are constant or infinite."""
    equal = replace(SOURCE, scores=np.full_like(SOURCE.scores, 0.5))
    gone = SOURCE.scores.copy()
    gone[0], gone[:, 3] = np.nan, np.nan
    odd = [replace(t, features={"same": 1.0, "infinite": np.inf, "unknown": np.nan}) for t in SOURCE.tasks]
    unrun = replace(SOURCE, scores=gone, observed=~np.isnan(gone).all(axis=2))
    for worst in (equal, replace(SOURCE, scores=gone), unrun, replace(SOURCE, tasks=odd)):
        search(method(name).fit(worst))


@pytest.mark.parametrize("name", LEARNERS)
def test_a_source_that_is_mostly_holes(name):
    """Every task ran another quarter of the configurations, some with one seed only."""
    rng = np.random.default_rng(1)
    observed = rng.random(SOURCE.scores.shape) < 0.25
    observed[:, :2] = True
    holes = replace(SOURCE, scores=np.where(observed, SOURCE.scores, np.nan), observed=observed)
    search(method(name).fit(holes))


@pytest.mark.parametrize("name", LEARNERS)
def test_two_workloads(name):
    """One has hyperparameters that the other lacks; the second is searched, without a notice: nothing has changed."""
    small = Space({n: p for n, p in SPACE.items() if n in ("learning_rate", "width")}, heads=Float(0, 1))
    configs = small.sample(16, seed=3)
    tasks = [replace(FAMILY.info(t), task_id=f"other-{t}", workload="other") for t in range(20, 24)]
    scores = np.random.default_rng(0).random((4, 16, 1))
    both = MetaTrain.union([SOURCE, MetaTrain(small, configs, tasks, scores)])
    target = Problem(small, replace(tasks[0], task_id="new"), configs.reset_index(drop=True), 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(method(name).fit(both), target, scores[0, :, 0])


# ---------------------------------------------------------------- spaces that changed
OPEN = when("gate", "open")


def _without(name):
    return {n: p for n, p in SPACE.items() if n != name}


def _gated(**changed):
    return Space({"gate": Choice("shut", "open"), **SPACE, **changed})


#: the space, and the hyperparameter that a notice has to name
CHANGES = {
    "removed": (Space(_without("dropout")), "dropout"),
    "added": (SPACE | Space(clip=Float(0.1, 10.0, log=True)), "clip"),
    "range": (SPACE | Space(width=Int(64, 1024, log=True)), "width"),
    "option": (SPACE | Space(optimizer=Choice("sgd", "momentum", "adam", "lion", default="adam")), "optimizer"),
    "steps": (SPACE | Space(batch_size=Ordinal(64, 256, 1024)), "batch_size"),
}
#: the same where what has to be named is the parent of a condition, there or in the source
CONDITIONS = {
    "parent removed": (
        Space({**_without("optimizer"), "momentum": replace(SPACE["momentum"], when=None)}),
        "optimizer",
    ),
    "parent added": (_gated(dropout=replace(SPACE["dropout"], when=OPEN)), "gate"),
    "grandparent added": (_gated(optimizer=Choice("sgd", "momentum", "adam", when=OPEN)), "gate"),
    "parent replaced": (_gated(momentum=replace(SPACE["momentum"], when=OPEN)), "gate"),
}


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("change", CHANGES | CONDITIONS)
def test_a_space_that_changed_works_with_a_notice(name, change):
    space, told = (CHANGES | CONDITIONS)[change]
    problem = replace(PROBLEM, space=space, candidates=space.sample(24, seed=2))
    with pytest.warns(UserWarning, match=f"^{NOTICE}: .*{told}") as notices:
        search(fitted(name), problem, np.linspace(0, 1, 24))
    assert len(notices) == 1 and "\n" not in str(notices[0].message)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("change", CHANGES | CONDITIONS)
def test_a_baseline_takes_any_space(name, change):
    space, _ = (CHANGES | CONDITIONS)[change]
    if not learns(name):
        search(fitted(name), replace(PROBLEM, space=space, candidates=space.sample(24, seed=2)), np.linspace(0, 1, 24))


@pytest.mark.parametrize("name", LEARNERS)
def test_what_was_learned_serves_in_a_changed_space(name):
    """All five changes at once: the best of five proposals on unseen tasks lies higher than that of random ones would."""
    source = synthetic_source(24, 64, seed=6)
    space = Space(_without("dropout")) | Space({n: changed[n] for changed, n in CHANGES.values() if n != "dropout"})
    pool = space.sample(96, seed=8)
    pool = pool[pool["optimizer"] != "lion"].reset_index(drop=True)[:64]
    whole = pd.DataFrame(pool).assign(dropout=0.1)
    whole["width"], whole["batch_size"] = whole["width"].clip(16, 256), whole["batch_size"].clip(16, 256)
    model, behind = method(name).fit(source), []
    for task in range(100, 116):
        loss = FAMILY.loss(task, whole.astype({"batch_size": "Int64"}))
        problem = Problem(space, FAMILY.info(task), pool, 5)
        with pytest.warns(UserWarning, match=NOTICE):
            tried = search(model, problem, np.exp(-loss))
        behind.append((loss < loss[tried].min()).mean())
    assert np.mean(behind) < 1 / 6  # five random ones leave a sixth of the pool ahead


# ---------------------------------------------------------------- predictions
@pytest.mark.parametrize("name", ALL)
def test_predictions_are_finite_whatever_was_seen(name):
    model = fitted(name)
    if not isinstance(model, Surrogate) or type(model).predict is Surrogate.predict:
        pytest.skip(f"{name} proposes but does not predict")
    for scores in ([], [np.nan] * 3, [0.5] * 3, [0.1, np.nan, 0.9]):
        history = History(list(range(len(scores))), list(scores))
        said = model.start(PROBLEM, 0).predict(history, np.arange(32))
        assert np.isfinite(said.mean).all() and np.isfinite(said.std).all() and (said.std >= 0).all()
