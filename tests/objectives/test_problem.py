"""`mb.problem`: the boards' own trainings, to the last bit, for anyone's optimiser."""

import numpy as np
import pytest

import metabench as mb
from metabench.errors import UsageError
from metabench.objectives.adapters import is_active
from metabench.search.continuous import Trial, row
from metabench.search.live import Live
from metabench.search.replay import CurveReplay

_digits = ("autoencoder", ["autoencoder-digits"])


@pytest.fixture(scope="module")
def problem():
    return mb.problem("mlp-iris", table=mb.load_table("core", 1))


@pytest.fixture(scope="module")
def configs(problem):
    table = problem.table
    return [row(table.space("mlp"), table.configs("mlp"), i) for i in (0, 3, 8)]


def test_an_evaluation_is_the_live_boards_to_the_last_bit(problem, configs):
    trials = [Trial("mlp-iris", seed, config) for seed, config in zip((0, 1, 7), configs, strict=True)]
    boards = Live("mlp").answer(trials)
    together = problem.evaluate_many(configs, seeds=(0, 1, 7))
    alone = [problem.evaluate(config, seed=seed) for config, seed in zip(configs, (0, 1, 7), strict=True)]
    for board, many, one in zip(boards, together, alone, strict=True):
        assert np.array_equal([board.valid, board.test], [many.score, many.test_score], equal_nan=True)
        assert np.array_equal(one.curve, many.curve, equal_nan=True) and one.epochs == many.epochs
        assert many.status == board.status and many.seconds > 0


def test_fewer_epochs_are_the_beginning_of_the_whole_curve(problem, configs):
    whole, part = problem.evaluate(configs[0]), problem.evaluate(configs[0], epochs=9)
    assert part.epochs == tuple(e for e in whole.epochs if e <= 9) and part.curve == whole.curve[: len(part.curve)]
    assert part.score == part.curve[-1]
    with pytest.raises(UsageError, match="epochs is 0; give a whole number from 1 on"):
        problem.evaluate(configs[0], epochs=0)


def test_a_stored_run_costs_what_the_boards_count(problem):
    replay = CurveReplay.from_table(problem.table, "mlp", ["mlp-iris"])
    for config_id in range(60):
        stored = problem.lookup(config_id, epochs=5, seed=1)
        shown = replay.train("mlp-iris", config_id, 0, 5, 1)
        assert np.array_equal(stored.curve, [v for v in shown if v == v])
        assert np.array_equal(stored.score, shown[-1], equal_nan=True)
        if stored.status == "ok":
            assert stored.seconds == pytest.approx(5 * replay.epoch_seconds("mlp-iris", config_id, 1))
        whole = problem.lookup(config_id, seed=1)
        assert np.array_equal(whole.score, replay.score("mlp-iris", config_id, 1), equal_nan=True)


def test_the_best_known_configuration_is_the_tables(problem):
    best = problem.best_known
    means = problem.table.final("mlp", ["mlp-iris"])[0].mean(axis=1)
    assert best.score == pytest.approx(np.nanmax(means)) and means[best.config_id] == np.nanmax(means)
    assert set(best.config) <= set(problem.space)


def test_cost_turns_the_sign_and_a_minimised_metric_keeps_it():
    up, down = mb.problem("mlp-iris"), mb.problem("autoencoder-digits", table="starter")
    assert (up.direction, up.sign, down.direction, down.sign) == ("max", 1, "min", -1)
    assert (up.optuna_direction, down.optuna_direction) == ("maximize", "minimize")
    config = {n: v for n, v in up.space.default().items() if v is not None}
    assert up.cost(config, 1) == -up.evaluate(config, seed=1).score
    score = down.lookup(down.best_known.config_id).score
    down.evaluate = lambda *a: down.lookup(down.best_known.config_id)
    assert down.cost({}) == score
    assert down.best_known.score == pytest.approx(np.nanmin(down.table.final(*_digits)[0].mean(axis=1)))


def test_what_counts_on_other_tasks_alone_changes_nothing():
    problem = mb.problem("mlp-diabetes", table=mb.load_table("core", 1))
    whole = problem.table.space("mlp").default()
    assert "label_smoothing" not in problem.space and "label_smoothing" in whole
    assert problem.evaluate(problem.space.default()).score == problem.evaluate(whole | {"label_smoothing": 0.1}).score


def test_mistakes_are_one_line(problem):
    with pytest.raises(UsageError, match="unknown task 'mlp-irish'; did you mean"):
        mb.problem("mlp-irish")
    with pytest.raises(UsageError, match="unknown hyperparameter 'learning_rat'; did you mean 'learning_rate'"):
        problem.evaluate({**problem.space.default(), "learning_rat": 0.1})
    with pytest.raises(UsageError, match="no run of configuration 4096"):
        problem.lookup(4096)
    with pytest.raises(UsageError, match="2 configurations but 1 seeds"):
        problem.evaluate_many([{}, {}], seeds=[1])


def test_the_space_is_asked_for_whole_by_optuna_and_syne_tune(problem):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    from metabench.objectives.adapters import suggest

    for _ in range(30):
        config = suggest(study.ask(), problem.space)
        assert set(config) == {n for n, p in problem.space.items() if is_active(p, config)}
        problem.space.validate(config)
    pytest.importorskip("syne_tune")
    assert set(problem.syne_tune_space) == set(problem.space)
