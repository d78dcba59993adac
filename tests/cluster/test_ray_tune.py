"""MetaSearch in Ray Tune itself: informed from the first trial, restored, nested and foreign parameters, failures."""

import json
import warnings

import numpy as np
import pytest

import metabench as mb
from metabench.errors import MetabenchError, UsageError

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-cluster")
tune = pytest.importorskip("ray.tune", reason="Ray has no Tune: make test-cluster", exc_type=ImportError)
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def model():
    return mb.load_metamodel("mlp-v1")


@pytest.fixture
def space():
    return {
        "optim": {"lr": tune.loguniform(1e-5, 1e-1), "name": tune.choice(["sgd", "adamw"])},
        "batch_size": tune.choice([32, 64, 128]),
        "n_layers": tune.randint(1, 4),
        "seed": 7,
    }


NAMES = {"optim/name": "optimizer"}


def score(config):
    return -abs(np.log10(config["optim"]["lr"]) + 2.5) - 0.1 * config["n_layers"] - 0.01 * (config.get("seed", 7) != 7)


def test_a_tuner_runs_it(model, space, tmp_path):
    def train(config):
        return {"score": score(config)}

    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, ignore_reinit_error=True)
    try:
        search = mb.interop.ray_tune.MetaSearch(model, model.tasks[0].info, names=NAMES)
        tuner = tune.Tuner(
            train,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="score", mode="max", search_alg=search, num_samples=4, max_concurrent_trials=1
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), name="x", verbose=0),
        )
        results = tuner.fit()
    finally:
        ray.shutdown()
    assert len(results) == 4 and not results.errors
    first = min((r for r in results), key=lambda r: r.metrics["timestamp"]).config
    assert first["seed"] == 7 and 1e-4 < first["optim"]["lr"] < 0.1 and 1 <= first["n_layers"] <= 3
    assert len({json.dumps(r.config, sort_keys=True) for r in results}) == 4
    # Ray keeps the searcher's own state beside the results
    states = list((tmp_path / "x").glob("searcher-state*"))
    assert states and len(json.loads(states[0].read_text())["scores"]) >= 3


def opened(model, space, **settings):
    search = mb.interop.ray_tune.MetaSearch(model, model.tasks[0].info, names=NAMES, **settings)
    assert search.set_search_properties("score", "max", space)
    return search


def test_a_restored_search_goes_on_as_the_old_one(model, space, tmp_path):
    old = opened(model, space)
    for i in range(3):
        old.on_trial_complete(f"t{i}", {"score": score(old.suggest(f"t{i}"))})
    old.suggest("running")
    old.save(str(tmp_path / "state"))
    new = opened(model, space)
    new.restore(str(tmp_path / "state"))
    assert new.suggest("next") == old.suggest("next")
    (tmp_path / "state").write_text('{"format": 9}')
    with pytest.raises(MetabenchError, match="is no saved MetaSearch"):
        new.restore(str(tmp_path / "state"))


def test_proposals_at_once_differ_and_failures_are_the_worst(model, space):
    search = opened(model, space)
    at_once = [search.suggest(f"t{i}") for i in range(4)]
    assert len({json.dumps(c, sort_keys=True) for c in at_once}) == 4
    search.on_trial_complete("t0", error=True)
    search.on_trial_complete("t1", {"score": 0.5})
    search.on_trial_complete("t2", {"other": 1.0})
    assert search.suggest("t4") not in at_once


def test_what_it_does_not_know_is_drawn_and_told_once(model):
    space = {"lr": tune.loguniform(1e-4, 1e-1), "heads": tune.choice([1, 2, 4]), "z": tune.randn(0, 1)}
    search = mb.interop.ray_tune.MetaSearch(model)
    with pytest.warns(
        UserWarning, match=r"does not guide heads \(no hyperparameter of that name\); z \(neither uniform"
    ):
        search.set_search_properties("loss", "min", space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [search.suggest(f"t{i}") for i in range(3)]
    assert all(set(c) == {"lr", "heads", "z"} and c["heads"] in (1, 2, 4) for c in found)
    assert "lr is learning_rate" in search.report()


def test_mistakes(model):
    search = mb.interop.ray_tune.MetaSearch(model)
    with pytest.raises(UsageError, match="has no search space"):
        search.suggest("t0")
    with pytest.raises(UsageError, match="not grid_search"):
        search.set_search_properties("score", "max", {"lr": tune.grid_search([0.1, 0.01])})
    with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
        mb.interop.ray_tune.MetaSearch(model, names={"rate": "learnig_rate"})


def holds_a_domain(value):
    from ray.tune.search.sample import Domain

    if isinstance(value, dict):
        return any(map(holds_a_domain, value.values()))
    return any(map(holds_a_domain, value)) if isinstance(value, list | tuple) else isinstance(value, Domain)


def test_nested_spaces_are_resolved_to_the_last_domain(model):
    space = {
        "optim": {"lr": tune.loguniform(1e-4, 1e-1), "betas": (tune.uniform(0.8, 0.95), 0.99)},
        "layers": [tune.choice([32, 64]), 10],
        "augment": tune.choice([None, {"crop": tune.uniform(0.1, 0.5)}, [tune.randint(0, 3)]]),
        "batch_size": tune.choice([16, 32]),
        "steps": tune.sample_from(lambda config: 1024 // config["batch_size"]),
        "twice": tune.sample_from(lambda config: 2 * config["steps"]),
    }
    search = mb.interop.ray_tune.MetaSearch(model)
    with pytest.warns(UserWarning, match="what it is follows from a function"):
        search.set_search_properties("score", "max", space)
    made = [search.suggest(f"t{i}") for i in range(8)]
    assert not any(map(holds_a_domain, made))
    for config in made:
        assert isinstance(config["optim"]["betas"], tuple) and 0.8 <= config["optim"]["betas"][0] <= 0.95
        assert config["layers"][0] in (32, 64) and config["layers"][1] == 10
        assert config["steps"] == 1024 // config["batch_size"] and config["twice"] == 2 * config["steps"]
    assert isinstance(space["layers"][0], tune.search.sample.Domain)  # the user's own space stays


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"net": {1: tune.uniform(0, 1)}}, r"net/1: the key 1 is a int; Ray names parameters by text"),
        ({"net": [{"grid_search": [1, 2]}]}, r"net/0: MetaSearch proposes values itself"),
        ({"lr": {"eval": "spec.config.x"}}, r"lr: MetaSearch evaluates no text"),
        ({"lr": tune.choice([])}, r"lr: tune.choice has no options"),
        (["lr"], r"the search space is a list"),
    ],
)
def test_spaces_that_cannot_be_searched_are_one_line(model, space, message):
    with pytest.raises(UsageError, match=message):
        mb.interop.ray_tune.MetaSearch(model, space=space)


def test_a_function_that_fails_is_named(model):
    search = mb.interop.ray_tune.MetaSearch(model)
    with pytest.warns(UserWarning):
        search.set_search_properties("s", "max", {"lr": tune.uniform(0, 1), "b": tune.sample_from(lambda c: c["nope"])})
    with pytest.raises(UsageError, match="b: its sample_from failed"):
        search.suggest("t0")


def test_a_finite_space_is_searched_on_once_all_of_it_was_tried(model):
    search = mb.interop.ray_tune.MetaSearch(model)
    assert search.set_search_properties(
        "score", "max", {"batch_size": tune.choice([16, 32, 64]), "norm": tune.choice([None, "layer"])}
    )
    found = []
    for i in range(9):
        config = search.suggest(f"t{i}")
        found.append((config["batch_size"], config["norm"]))
        search.on_trial_complete(f"t{i}", {"score": 1.0 if config["norm"] is None else 0.0})
    assert len(set(found[:6])) == 6 and all(norm is None for _, norm in found[6:])
