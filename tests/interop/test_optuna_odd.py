"""MetaSampler on odd studies: finite spaces, options of any type, options nobody knows, trials that will never finish."""

import datetime
import time

import numpy as np
import pytest

import metabench as mb
from metabench.errors import UsageError
from metabench.interop.mapping import Mapping
from metabench.interop.ranges import ABSENT, Listed, Numeric, packed, unpacked

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'metabench[optuna]'")
optuna.logging.set_verbosity(optuna.logging.ERROR)
MAXIMIZE = {"direction": "maximize"}


class Chance(optuna.samplers.RandomSampler):
    """A fallback that counts how often it was needed."""

    used = 0

    def sample_independent(self, study, trial, name, distribution):
        type(self).used += 1
        return super().sample_independent(study, trial, name, distribution)


@pytest.fixture(scope="module")
def model():
    return mb.load_metamodel("mlp-v1")


def made(model, space, **settings):
    Chance.used = 0
    sampler = mb.interop.optuna.MetaSampler(model, space=space, fallback=Chance(seed=0), **settings)
    return optuna.create_study(sampler=sampler, **MAXIMIZE)


# ---------------------------------------------------------------- finite spaces
def test_enqueued_repeats_do_not_use_up_a_small_space(model):
    study = made(model, {"batch_size": [16, 32, 64]})
    for _ in range(3):
        study.enqueue_trial({"batch_size": 16})
    study.optimize(lambda t: float(t.suggest_categorical("batch_size", [16, 32, 64]) == 32), n_trials=12)
    values = [t.params["batch_size"] for t in study.trials]
    assert values[:3] == [16] * 3 and set(values[3:5]) == {32, 64} and Chance.used == 0
    assert values[5:].count(32) >= 4  # everything was tried: what is best is tried again


def test_unknown_options_are_levels_of_their_own(model):
    space = {"activation": ["relu", "mish", "hardswish"]}
    study = made(model, space)
    study.optimize(lambda t: float(t.suggest_categorical("activation", space["activation"]) == "mish"), n_trials=10)
    values = [t.params["activation"] for t in study.trials]
    assert values[0] == "relu" and set(values[:3]) == set(space["activation"]) and Chance.used == 0
    assert values[3:].count("mish") >= 5
    mapping = Mapping.build(model.space, {"activation": Listed(("relu", "mish", 1, "1"))})
    (link,) = mapping.links
    assert len(set(link.options)) == 4 and set(link.options) - {"relu"} <= set(mapping.extended["activation"].options)
    assert [link.own(link.known(o)) for o in ("relu", "mish", 1, "1")] == ["relu", "mish", 1, "1"]


# ---------------------------------------------------------------- options of any type
def test_none_is_proposed_and_kept(model):
    space = {"norm": [None, "layer"], "dropout": [None, 0.1, 0.3], "batch_size": ["auto", 32, 64]}
    study = made(model, space)
    study.optimize(
        lambda t: sum(t.suggest_categorical(n, options) is None for n, options in space.items()), n_trials=14
    )
    assert Chance.used == 0
    assert study.best_value == 2 and {t.params["batch_size"] for t in study.trials} == {"auto", 32, 64}


def test_options_are_told_apart_by_type():
    given = Listed((True, 1, 1.0, "1", None, float("nan"), (1, 2), [3], {"a": 1}, 0, False))
    for i, option in enumerate(given.options):
        assert given.place(option) == i and packed(given, option) == i
        found = unpacked(given, i)
        assert found is option or found != found
    assert given.place("absent") is None and given.place([4]) is None
    assert unpacked(given, 99) is ABSENT and unpacked(given, True) is ABSENT and unpacked(given, None) is ABSENT
    assert unpacked(Numeric(0, 1), "x") is ABSENT


def test_what_none_means_for_a_number(model):
    mapping = Mapping.build(model.space, {"dropout": Listed((None, 0.2)), "lr": Listed((False, 0.1))})
    config = mapping.config({"dropout": None, "lr": False})
    assert config["dropout"] == 0.0 and np.isnan(config["learning_rate"])
    assert mapping.table([config])["learning_rate"].isna().all()


# ---------------------------------------------------------------- enqueued trials
def test_values_that_go_with_enqueued_ones_are_proposed(model):
    space = {"lr": (1e-5, 1e-1, "log"), "batch_size": [16, 32, 64], "n_layers": (1, 4)}
    study = made(model, space)
    study.enqueue_trial({"lr": 0.05})
    study.enqueue_trial({"lr": 0.05, "batch_size": 16, "n_layers": 2})

    def objective(t):
        t.suggest_float("lr", 1e-5, 1e-1, log=True)
        t.suggest_int("n_layers", 1, 4)
        return float(t.suggest_categorical("batch_size", [16, 32, 64]))

    study.optimize(objective, n_trials=4)
    assert study.trials[0].params["lr"] == 0.05 and study.trials[1].params == {
        "lr": 0.05,
        "batch_size": 16,
        "n_layers": 2,
    }
    assert Chance.used == 0


# ---------------------------------------------------------------- trials that never finish
def running(study, hours):
    """A trial of a process that died ``hours`` ago."""
    trial = study.ask()
    frozen = study._storage._get_trial(trial._trial_id) if hasattr(study._storage, "_get_trial") else None
    frozen.datetime_start = datetime.datetime.now() - datetime.timedelta(hours=hours)
    return trial


def test_zombies_do_not_count_for_ever(model):
    space = {"batch_size": [16, 32, 64, 128]}
    study = made(model, space)
    dead = [running(study, 5).suggest_categorical("batch_size", space["batch_size"]) for _ in range(2)]
    study.optimize(lambda t: float(t.suggest_categorical("batch_size", space["batch_size"])), n_trials=2)
    assert not {t.params["batch_size"] for t in study.trials[2:3]} & set(
        dead
    )  # nothing has finished: they may run still
    study.optimize(lambda t: float(t.suggest_categorical("batch_size", space["batch_size"])), n_trials=3)
    assert {t.params["batch_size"] for t in study.trials[2:]} == set(space["batch_size"])


def test_how_long_a_trial_may_run_can_be_said(model):
    study = made(model, {"batch_size": [16, 32, 64, 128]}, pending_for=0.01)
    study.optimize(lambda t: float(t.suggest_categorical("batch_size", [16, 32, 64, 128])), n_trials=1)
    first = study.ask()
    value = first.suggest_categorical("batch_size", [16, 32, 64, 128])
    time.sleep(0.05)
    assert study.ask().suggest_categorical("batch_size", [16, 32, 64, 128]) == value
    with pytest.raises(UsageError, match="pending_for is 0"):
        mb.interop.optuna.MetaSampler(model, pending_for=0)


# ---------------------------------------------------------------- cost
def test_a_suggestion_computes_nothing_anew(model, monkeypatch):
    """After the first proposals no alignment, no coordinates, and one row of the covariance a trial."""
    from metabench.metamodels.empirical_gp import EmpiricalGP
    from metabench.metamodels.parts.source_space import SourceSpace

    study = made(model, {"lr": (1e-5, 1e-1, "log"), "dropout": (0.0, 0.6)})

    def objective(t):
        return -abs(np.log10(t.suggest_float("lr", 1e-5, 1e-1, log=True)) + 2) - t.suggest_float("dropout", 0, 0.6)

    study.optimize(objective, n_trials=8)
    calls = {"align": 0, "row": 0}

    def counted(kind, name, key):
        plain = getattr(kind, name)

        def wrapped(self, *args):
            calls[key] += 1
            return plain(self, *args)

        monkeypatch.setattr(kind, name, wrapped)

    counted(SourceSpace, "align", "align")
    counted(EmpiricalGP, "_row", "row")
    study.optimize(objective, n_trials=5)
    assert calls["align"] == 0
    other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), **MAXIMIZE)
    other.optimize(objective, n_trials=1)
    study.add_trial(other.trials[0])  # a trial outside the pool is appended, the pool stays
    study.optimize(objective, n_trials=2)
    assert calls["align"] == 1
