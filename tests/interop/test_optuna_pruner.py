"""MetaPruner on planted learning curves: what ends badly is stopped early, what ends best never is."""

import numpy as np
import pytest

import metabench as mb
from metabench.errors import UsageError
from metabench.metamodels.curve import Curve
from metabench.search.curve_source import CurveTrain, _facts
from metabench.testing.planted import SPACE, PlantedFamily

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'metabench[optuna]'")
optuna.logging.set_verbosity(optuna.logging.ERROR)
FAMILY, GRID = PlantedFamily(seed=3, diverge=False), (1, 2, 4, 8, 16)


def way(steps):
    """What is still missing after so many of 16 steps."""
    return 0.4 * (np.asarray(steps, dtype=float) ** -0.7 - 16**-0.7)


@pytest.fixture(scope="module")
def model():
    source = FAMILY.source(range(6), SPACE.sample(48, 3))
    noise = np.random.default_rng(0).normal(scale=0.01, size=(*source.scores.shape, len(GRID)))
    noise[..., -1] = 0
    curves = source.scores[..., None] - way(GRID) + noise
    return Curve().fit(CurveTrain(**_facts(source), curves=curves, checkpoints=(GRID,) * 6))


def study_of(model, sign=1.0, first=1):
    MetaPruner = mb.interop.optuna.MetaPruner

    configs = SPACE.sample(16, 11)
    ends = FAMILY.scores(20, configs)[:, 0]
    spent = []

    def objective(trial):
        i = trial.number
        lr, width = configs["learning_rate"].iloc[i], int(configs["width"].iloc[i])
        trial.suggest_float("lr", lr, lr + 1e-9)
        trial.suggest_int("hidden_size", width, width)
        for step in range(1, 17):
            trial.report(sign * (ends[i] - way(step)), step - 1 + first)
            if trial.should_prune():
                spent.append(step)
                raise optuna.TrialPruned
        spent.append(16)
        return sign * ends[i]

    pruner = MetaPruner(model, FAMILY.info(20), n_steps=16)
    study = optuna.create_study(direction="maximize" if sign > 0 else "minimize", pruner=pruner)
    study.optimize(objective, n_trials=16)
    return study, ends, spent


@pytest.mark.parametrize(("sign", "first"), [(1.0, 1), (-1.0, 0)])
def test_what_ends_badly_is_stopped_and_the_best_is_not(model, sign, first):
    study, ends, spent = study_of(model, sign, first)
    states = [t.state.name for t in study.trials]
    assert states[0] == "COMPLETE" and states[int(ends.argmax())] == "COMPLETE"
    assert states.count("PRUNED") >= 6 and sum(spent) < 0.75 * 16 * 16
    pruned = ends[[s == "PRUNED" for s in states]]
    assert pruned.max() < ends.max() and sign * study.best_value == pytest.approx(ends.max())


def test_settings_are_checked(model):
    MetaPruner = mb.interop.optuna.MetaPruner

    with pytest.raises(UsageError, match="n_steps 1 must be at least 2"):
        MetaPruner(model, n_steps=1)
    assert MetaPruner(model, n_steps=3).checkpoints == (1, 2, 3)
    assert MetaPruner(model, n_steps=100).checkpoints[-1] == 100
