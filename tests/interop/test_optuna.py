"""MetaSampler in Optuna itself: informed at trial 0, storage, resume, parallel, pruned and failed trials, both directions."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

import metabench as mb
from metabench.errors import UsageError
from metabench.interop import guide
from metabench.interop.mapping import Mapping
from metabench.interop.ranges import Listed, Numeric
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.portfolio import Portfolio
from metabench.pretrained.model import KnownTask, Pretrained
from metabench.search.continuous import Trials
from metabench.testing.planted import SPACE as SPACE_OF_TASKS
from metabench.testing.planted import PlantedFamily

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'metabench[optuna]'")
optuna.logging.set_verbosity(optuna.logging.ERROR)
MAXIMIZE = {"direction": "maximize"}


FAMILY = PlantedFamily(seed=3, diverge=False)


@pytest.fixture(scope="module")
def model():
    """A meta-model fitted on eight planted tasks of 64 configurations; task 20 and later are new to it."""
    source = FAMILY.source(range(8), SPACE_OF_TASKS.sample(64, 3))
    tasks = tuple(KnownTask(info, (0,), (0.5,)) for info in source.tasks)
    opening = tuple(int(i) for i in Portfolio().fit(source).order_[:8])
    record = dataclasses.replace(
        mb.load_metamodel("mlp-v1").record,
        name="planted-v1",
        workload="planted",
        opening=opening,
        spread=1.0,
        scales={},
    )
    return Pretrained(record, EmpiricalGP().fit(source), tasks)


@pytest.fixture(scope="module")
def info():
    return FAMILY.info(20)


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch):
    monkeypatch.setattr(guide, "POOL", 64)


def objective(task, optimizers=("SGD", "sgd_momentum", "Adam")):
    """The noiseless score of a planted task in a study's own words."""

    def evaluate(trial):
        config = {
            "learning_rate": trial.suggest_float("lr", 1e-5, 10.0, log=True),
            "optimizer": {"SGD": "sgd", "Adam": "adam"}.get(trial.suggest_categorical("optim", optimizers), "momentum"),
            "weight_decay": 10.0 ** trial.suggest_float("log10_wd", -6, -1),
            "batch_size": 2 ** trial.suggest_int("log2_batch_size", 4, 8),
            "width": trial.suggest_int("hidden_size", 16, 256, log=True),
            "depth": trial.suggest_int("n_layers", 1, 4),
            "dropout": trial.suggest_float("dropout_pct", 0.0, 60.0, step=5.0) / 100,
            "momentum": None,
        }
        if config["optimizer"] == "momentum":
            config["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
        config["learning_rate"] = min(max(config["learning_rate"], 1e-4), 1.0)
        return -float(FAMILY.loss(task, SPACE_OF_TASKS.table([config]))[0])

    return evaluate


truth = objective(20)
D = optuna.distributions
SPACE = {
    "lr": D.FloatDistribution(1e-5, 10.0, log=True),
    "optim": D.CategoricalDistribution(("SGD", "sgd_momentum", "Adam")),
    "log10_wd": D.FloatDistribution(-6, -1),
    "log2_batch_size": D.IntDistribution(4, 8),
    "hidden_size": D.IntDistribution(16, 256, log=True),
    "n_layers": D.IntDistribution(1, 4),
    "dropout_pct": D.FloatDistribution(0.0, 60.0, step=5.0),
    "momentum": D.FloatDistribution(0.5, 0.99),
}


# ---------------------------------------------------------------- a study
@pytest.mark.parametrize("space", [None, SPACE], ids=["inferred", "given"])
def test_informed_trials_beat_random_ones(model, space):
    """Over five new planted tasks: the first trial, and the best of five, against as many random ones."""
    first, fifth, chance, chance_of_five = [], [], [], []
    for task in range(20, 25):
        study = optuna.create_study(
            sampler=mb.interop.optuna.MetaSampler(model, FAMILY.info(task), space=space), **MAXIMIZE
        )
        study.optimize(objective(task), n_trials=5)
        other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=task), **MAXIMIZE)
        other.optimize(objective(task), n_trials=40)
        drawn = [t.value for t in other.trials]
        first.append(study.trials[0].value)
        fifth.append(study.best_value)
        chance.append(np.mean(drawn))
        chance_of_five.append(np.mean(np.max(np.reshape(drawn, (8, 5)), axis=1)))
    assert np.mean(first) > np.mean(chance_of_five) > np.mean(chance)
    assert np.mean(fifth) / np.mean(chance_of_five) < 0.6  # losses, negated


def test_trial_0_is_the_opening_within_the_users_ranges():
    model = mb.load_metamodel("mlp-v1")
    info = model.tasks[0].info
    best = model.ask(info, None, 1).iloc[0]
    sampler = mb.interop.optuna.MetaSampler(model, info)
    trial = optuna.create_study(sampler=sampler, **MAXIMIZE).ask()
    assert trial.suggest_float("learning_rate", 1e-6, 10.0, log=True) == pytest.approx(best["learning_rate"])
    assert trial.suggest_categorical("opt", ["lion", "ADAMW", "Adam", "sgd", "nesterov"]).lower() == best["optimizer"]
    assert trial.suggest_int("model.num_layers", 1, 8) == best["depth"]
    assert trial.suggest_float("dropout", 0.7, 0.9) >= 0.7  # its range lies outside: left to the fallback


def test_every_direction_and_objective(model, info):
    down = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info, space=SPACE), direction="minimize")
    down.optimize(lambda t: -truth(t), n_trials=6)
    up = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info, space=SPACE), **MAXIMIZE)
    up.optimize(truth, n_trials=6)
    assert [t.params for t in down.trials] == [t.params for t in up.trials]
    both = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info), directions=["minimize", "maximize"])
    with pytest.raises(ValueError):
        both.optimize(lambda t: (0.0, 1.0), n_trials=1)


def test_proposals_are_those_of_the_meta_model(model, info):
    """After trials a proposal is what the meta-model asks for given them, in the user's own parameters."""
    from metabench.interop.optuna_ranges import own_range

    sampler = mb.interop.optuna.MetaSampler(model, info, space=SPACE)
    study = optuna.create_study(sampler=sampler, **MAXIMIZE)
    study.optimize(truth, n_trials=3)
    mapping = Mapping.build(model.space, {n: own_range(n, d) for n, d in SPACE.items()})
    pool = mapping.table([mapping.config(p) for p in mapping.pool(64, 0, model.configs)])
    trials = Trials(mapping.table([mapping.config(t.params) for t in study.trials]), [t.value for t in study.trials])
    expected = model.ask(info, trials, 1, pool=pool).iloc[0]
    study.optimize(truth, n_trials=1)
    got = mapping.table([mapping.config(study.trials[-1].params)]).iloc[0]
    for name in model.space:
        assert got[name] == expected[name] or got[name] == pytest.approx(expected[name], nan_ok=True), name


def test_a_stored_study_is_resumed(model, info, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"

    def study():
        sampler = mb.interop.optuna.MetaSampler(model, info, space=SPACE)
        return optuna.create_study(storage=url, study_name="s", load_if_exists=True, sampler=sampler, **MAXIMIZE)

    study().optimize(truth, n_trials=3)
    resumed = study()  # another process knows nothing but the storage
    resumed.optimize(truth, n_trials=2)
    whole = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info, space=SPACE), **MAXIMIZE)
    whole.optimize(truth, n_trials=5)
    assert [t.params for t in resumed.trials] == [t.params for t in whole.trials]


def test_trials_at_once_differ(model, info):
    study = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info, space=SPACE), **MAXIMIZE)
    study.optimize(truth, n_trials=8, n_jobs=4)
    assert len({json.dumps(t.params, sort_keys=True) for t in study.trials}) == 8
    asked = [study.ask() for _ in range(3)]  # pending ones are known before any parameter was suggested
    found = []
    for trial in asked:
        truth(trial)
        found.append(json.dumps(trial.params, sort_keys=True))
    assert len(set(found)) == 3


def test_at_once_without_a_space(model, info):
    study = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, info), **MAXIMIZE)
    rates = [study.ask().suggest_float("lr", 1e-5, 1.0, log=True) for _ in range(3)]
    assert len(set(rates)) == 3


def test_pruned_and_failed_trials(model, info):
    from metabench.interop.optuna_trials import Followed

    def pruned(trial):
        score = truth(trial)
        for step in range(4):
            trial.report(score * (step + 1) / 4, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        if trial.number == 3:
            raise ValueError("out of memory")
        return score

    sampler = mb.interop.optuna.MetaSampler(model, info, space=SPACE)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0)
    study = optuna.create_study(sampler=sampler, pruner=pruner, **MAXIMIZE)
    study.optimize(pruned, n_trials=10, catch=ValueError)
    states = [t.state.name for t in study.trials]
    assert states[3] == "FAIL" or states[3] == "PRUNED"
    assert "PRUNED" in states and len(study.trials) == 10
    known = Followed(None, 0).scores(study.trials, True)
    done = [t.value for t in study.trials if t.state.name == "COMPLETE"]
    for t, score in zip(study.trials, known):
        if t.state.name == "PRUNED":
            assert score <= np.median(done)
        assert np.isnan(score) == (t.state.name == "FAIL")


def test_trials_of_others_count(model, info):
    """What was enqueued or tried by another sampler is learned from, and not proposed again."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), **MAXIMIZE)
    study.optimize(truth, n_trials=4)
    study.sampler = mb.interop.optuna.MetaSampler(model, info)
    study.enqueue_trial({"lr": 0.5, "optim": "SGD"})
    study.optimize(truth, n_trials=3)
    assert study.trials[4].params["lr"] == 0.5 and study.trials[4].params["optim"] == "SGD"
    assert len({json.dumps(t.params, sort_keys=True) for t in study.trials}) == 7


def test_a_small_space_is_tried_out_and_then_left_to_the_fallback(model):
    study = optuna.create_study(sampler=mb.interop.optuna.MetaSampler(model, space={"bs": [32, 64, 128]}), **MAXIMIZE)
    study.optimize(lambda t: float(t.suggest_categorical("bs", [32, 64, 128])), n_trials=5)
    assert {t.params["bs"] for t in study.trials[:3]} == {32, 64, 128}


# ---------------------------------------------------------------- what it does not know
def test_what_is_not_guided_is_told_once(model, info):
    def objective(trial):
        trial.suggest_float("temperature", 0.0, 1.0)
        trial.suggest_float("log_wd", -9, -2)
        trial.suggest_categorical("optimizer", ["adam", "lamb"])
        return trial.suggest_float("lr", 1e-4, 1e-1, log=True)

    sampler = mb.interop.optuna.MetaSampler(model, info, fallback=optuna.samplers.RandomSampler(seed=0))
    study = optuna.create_study(sampler=sampler, **MAXIMIZE)
    with pytest.warns(UserWarning) as caught:
        study.optimize(objective, n_trials=3)
    (told,) = [str(w.message) for w in caught if "does not guide" in str(w.message)]
    assert told == (
        "planted-v1 does not guide temperature (no hyperparameter of that name); log_wd (the logarithm's base is unclear; say "
        "names={'log_wd': ('weight_decay', 'log10')} or 'ln'): left to RandomSampler"
    )
    assert "optimizer='lamb' is no option of optimizer: tried as one of which nothing is known" in sampler.report(study)
    assert len({t.params["temperature"] for t in study.trials}) == 3
    assert "lr is learning_rate" in sampler.report(study) and "not tuned, taken as: " in sampler.report(study)


def test_a_study_of_which_nothing_is_known_is_the_fallbacks(model):
    def study(sampler):
        made = optuna.create_study(sampler=sampler, **MAXIMIZE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.optimize(lambda t: t.suggest_float("q", 0, 1), n_trials=3)
        return [t.params for t in made.trials]

    meta = mb.interop.optuna.MetaSampler(model, fallback=optuna.samplers.RandomSampler(seed=3))
    assert study(meta) == study(optuna.samplers.RandomSampler(seed=3))


def test_names_units_and_fixed_values(model, info):
    sampler = mb.interop.optuna.MetaSampler(
        model,
        info,
        names={"alpha": ("learning_rate", "log10"), "lr": None},
        fixed={"optimizer": "sgd"},
        space={"alpha": (-5.0, 0.0), "lr": (0.0, 1.0), "mom": (0.5, 0.99)},
    )
    report = sampler.report().splitlines()
    assert report[0] == "alpha is learning_rate (log10)" and "lr is not guided: left alone" in report
    with pytest.raises(UsageError, match="did you mean 'learning_rate'"):
        mb.interop.optuna.MetaSampler(model, names={"x": "learnin_rate"})
    with pytest.raises(UsageError, match="fixed depth: 9"):
        mb.interop.optuna.MetaSampler(model, fixed={"depth": 9})
    with pytest.raises(UsageError, match="parameter lr: 'log' is no range"):
        mb.interop.optuna.MetaSampler(model, space={"lr": "log"})
    with pytest.raises(UsageError, match="unknown fitted meta-model"):
        mb.interop.optuna.MetaSampler.from_pretrained("mlp-v0")


# ---------------------------------------------------------------- to enqueue anywhere
def test_enqueued_trials_come_first(model, info):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0), **MAXIMIZE)
    queued = mb.interop.optuna.enqueue(study, model, info, k=3, space=SPACE)
    study.optimize(lambda t: truth(t), n_trials=4)
    for params, trial in zip(queued, study.trials):
        assert trial.params == {n: v for n, v in params.items() if n in trial.params}


def test_values_for_any_tool():
    found = mb.interop.top_params(
        "mlp-v1", None, 4, space={"lr": (1e-4, 1e-1, "log"), "bs": [32, 256], "hidden": (16, 1024)}
    )
    assert len({json.dumps(p) for p in found}) == 4
    assert all(1e-4 <= p["lr"] <= 1e-1 and p["bs"] in (32, 256) and isinstance(p["hidden"], int) for p in found)
    with pytest.raises(UsageError, match="knows none of the parameters x, y"):
        mb.interop.top_params("mlp-v1", space={"x": (0, 1), "y": (0, 1)})


# ---------------------------------------------------------------- names and values
@pytest.mark.parametrize(
    ("name", "given", "is_", "own", "known"),
    [
        ("lr", Numeric(1e-5, 1e-1, True), "learning_rate", 1e-3, 1e-3),
        ("log10_lr", Numeric(-5, -1), "learning_rate", -3.0, 1e-3),
        ("ln_learning_rate", Numeric(-11, -2), "learning_rate", -5.0, np.exp(-5)),
        ("optimizer__lr", Numeric(1e-5, 1e-1, True), "learning_rate", 1e-3, 1e-3),
        ("log2_batch_size", Numeric(4, 8, whole=True), "batch_size", 6, 64),
        ("one_minus_momentum", Numeric(0.01, 0.5, True), "momentum", 0.1, 0.9),
        ("dropout_percent", Numeric(0, 60), "dropout", 25.0, 0.25),
        ("Scheduler", Listed(("CosineAnnealingLR", "StepLR", "OneCycleLR")), "schedule", "OneCycleLR", "one_cycle"),
        ("activation_fn", Listed(("ReLU", "swish")), "activation", "swish", "silu"),
        ("norm", Listed((None, "LayerNorm")), "norm", None, "none"),
        ("clip", Listed((False, True)), "clip", True, "norm"),
        ("max_grad_norm", Numeric(0.1, 10.0, True), "clip_norm", 2.0, 2.0),
    ],
)
def test_there_and_back(name, given, is_, own, known):
    model = mb.load_metamodel("mlp-v1")
    (link,) = Mapping.build(model.space, {name: given}).links
    assert link.hyperparameter == is_
    assert link.known(own) == (known if isinstance(known, str) else pytest.approx(known))
    assert link.own(link.known(own)) == (own if not isinstance(own, float) else pytest.approx(own))
    drawn = [link.known(v) for v in link.draw(np.linspace(0, 0.999, 33))]
    p = model.space[is_]
    if not isinstance(known, str):
        low, high = (p.options[0], p.options[-1]) if hasattr(p, "options") else (p.low, p.high)
        assert low * (1 - 1e-9) <= min(drawn) < max(drawn) <= high * (1 + 1e-9)


def test_what_makes_a_tuned_child_active_is_assumed():
    model = mb.load_metamodel("mlp-v1")
    mapping = Mapping.build(model.space, {"max_grad_norm": Numeric(0.1, 10.0, True), "momentum": Numeric(0.5, 0.99)})
    assert mapping.untuned["clip"] == "norm" and mapping.untuned["optimizer"] == "momentum"
    config = mapping.config({"max_grad_norm": 1.0, "momentum": 0.8})
    assert config["clip_norm"] == 1.0 and config["momentum"] == 0.8 and config["beta1"] is None
    assert mapping.table([config])["batch_size"].item() == 64


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("lr", Listed(("high", "low")), "learning_rate is a number, none of the options is"),
        (
            "optimizer",
            Numeric(0, 1),
            "optimizer is one of sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, lion, this",
        ),
        ("activation", Listed(("softmax", "mish")), "none of its options is one of activation"),
        ("lr", Numeric(2.0, 3.0), "its range lies outside that of learning_rate"),
        ("tree_depth", Numeric(1, 9), "no hyperparameter of that name"),
    ],
)
def test_what_is_not_the_same_is_not_taken_for_it(name, given, reason):
    model = mb.load_metamodel("mlp-v1")
    mapping = Mapping.build(model.space, {name: given})
    assert not mapping.links and mapping.unmapped[name].startswith(reason)


def test_of_two_parameters_of_one_meaning_the_first_counts(model):
    mapping = Mapping.build(model.space, {"lr": Numeric(1e-4, 1, True), "learning_rate": Numeric(1e-4, 1, True)})
    assert [link.name for link in mapping.links] == ["lr"] and "another parameter" in mapping.unmapped["learning_rate"]


@pytest.mark.parametrize("space", [None, SPACE], ids=["inferred", "given"])
@pytest.mark.parametrize("model_name", ["planted", "mlp-v1"])
def test_the_default_is_among_the_first_five_trials(model, info, space, model_name):
    """Also where trials are told one after the other, and the ranges are learned from the first of them."""
    if model_name != "planted":
        model, info = mb.load_metamodel(model_name), None
        space = None if space is None else {"learning_rate": D.FloatDistribution(1e-5, 10.0, log=True)}
    default = model.space.default()["learning_rate"]
    name = "lr" if model_name == "planted" else "learning_rate"
    sampler = mb.interop.optuna.MetaSampler(model, info, space=space)
    study = optuna.create_study(sampler=sampler, **MAXIMIZE)
    study.optimize(truth if model_name == "planted" else lambda t: -t.suggest_float(name, 1e-5, 10.0, log=True), 5)
    rates = [trial.params[name] for trial in study.trials]
    assert np.isclose(rates, default).any(), rates
