"""Why a configuration is recommended: contributions add up, point where the planted optimum lies, and name like tasks."""

import dataclasses
import sys

import numpy as np
import pytest

import metabench as mb
from metabench import explain
from metabench.errors import UsageError
from metabench.explain.why import columns
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.portfolio import Portfolio
from metabench.pretrained.model import KnownTask, Pretrained
from metabench.search.continuous import Trials
from metabench.testing.planted import SPACE, PlantedFamily

FAMILY = PlantedFamily(seed=3, diverge=False)


@pytest.fixture(scope="module")
def model():
    source = FAMILY.source(range(8), SPACE.sample(64, 3))
    record = dataclasses.replace(
        mb.load_metamodel("mlp-v1").record,
        name="planted-v1",
        workload="planted",
        spread=1.0,
        scales={},
        opening=tuple(int(i) for i in Portfolio().fit(source).order_[:8]),
    )
    return Pretrained(record, EmpiricalGP().fit(source), tuple(KnownTask(t, (0,), (0.5,)) for t in source.tasks))


@pytest.fixture(autouse=True, scope="module")
def few_points():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[explain.Why.__module__], "POINTS", 768)
        patch.setattr(sys.modules[explain.Why.__module__], "_ROUNDS", 120)
        yield


@pytest.fixture(scope="module")
def found(model, few_points):
    return explain.why(model, FAMILY.info(20))


def test_contributions_add_up_to_what_is_expected(model, found):
    assert found.surrogate == pytest.approx(found.base + found.contributions["points"].sum(), abs=1e-6)
    assert found.surrogate == pytest.approx(found.expected, abs=0.05) and found.fidelity > 0.8
    assert found.base == pytest.approx(0.5, abs=0.1)
    best = model.ask(FAMILY.info(20), None, 1).iloc[0]
    assert found.config["learning_rate"] == best["learning_rate"] and found.config["optimizer"] == best["optimizer"]
    assert found.contributions["points"].abs().is_monotonic_decreasing
    assert set(found.contributions["hyperparameter"]) == set(SPACE)


def test_a_bad_value_is_blamed(model, found):
    worse = explain.why(
        model, FAMILY.info(20), {**found.config, "learning_rate": 1e-4, "momentum": None, "optimizer": "adam"}
    )
    first = worse.contributions.iloc[0]
    assert first["hyperparameter"] == "learning_rate" and first["points"] < -0.1 and worse.expected < found.expected


def test_what_is_inactive_has_no_share(model, found):
    adam = explain.why(model, None, {**found.config, "momentum": None, "optimizer": "adam"})
    row = adam.contributions.set_index("hyperparameter").loc["momentum"]
    assert row["value"] is None and row["points"] == 0 and "momentum" not in adam.config
    assert adam.nearest == ()  # nothing is known of the task


def test_nearest_tasks_and_trials(model, found):
    assert len(found.nearest) == 3 and found.nearest[0].distance <= found.nearest[1].distance
    configs = SPACE.sample(4, 9)
    after = explain.why(model, FAMILY.info(20), found.config, Trials(configs, [0.1, 0.9, 0.2, 0.3]))
    assert not np.allclose(after.contributions["points"], found.contributions["points"])


def test_columns_are_one_for_each_option():
    x, owner = columns(SPACE, SPACE.sample(8, 0))
    assert x.shape == (8, 10) and owner.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert (x[:, :3].sum(axis=1) == 1).all() and np.isnan(x[:, 4]).any()


def test_mistakes(model):
    with pytest.raises(UsageError, match="hyperparameter learning_rate: 7"):
        explain.why(model, None, {**SPACE.default(), "learning_rate": 7.0})
    with pytest.raises(UsageError, match="knows workload planted"):
        explain.why(model, dataclasses.replace(FAMILY.info(20), workload="mlp"))
