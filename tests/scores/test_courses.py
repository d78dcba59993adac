"""Scores of searches that are counted in epochs."""

import numpy as np
import pyarrow as pa
import pytest
from fakes import CurveTable, board_for

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.scores import fidelity, score
from metabench.search.replay import CurveReplay

NAN = float("nan")
GRID = (1, 2, 5, 10)
#: candidate → curve; the second diverges at epoch 5, the third is never best at the end
CURVES = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, NAN, NAN], [0.9, 0.8, 0.35, 0.3], [0.2, 0.3, 0.4, 0.5]])


def course(steps, overhead=None, budget=3, sign=1.0):
    seconds = np.array([1.0, 2.0, 0.5, 0.1])[None, :, None]
    replay = CurveReplay(["t"], sign * CURVES[None, :, None, :], [GRID], seconds)
    return fidelity.course(replay, "t", 0, sign, steps, [0.25] * len(steps) if overhead is None else overhead, budget)


STEPS = [(0, 2), (2, 2), (1, 5), (0, 10), (2, 10), (3, 2)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_epochs_seconds_and_incumbents_by_hand(sign):
    found = course(STEPS, sign=sign)
    assert found.epochs.tolist() == [1, 2, 3, 4, 5, 6, 9, 12, 17, 20, 25, 26, 27]
    # of those trained the longest the best: 0, then 2 catches up and leads at epoch 2; 1 diverges; 0 alone is at 5 and 10
    assert found.incumbent.tolist() == [0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert found.overhead.tolist() == [0.25] * 2 + [0.5] * 2 + [0.75] * 3 + [1.0] * 2 + [1.25] * 2 + [1.5] * 2
    trained = [1, 2, 2.5, 3, 5, 7, 13, 16, 21, 22.5, 25, 25.1, 25.2]
    np.testing.assert_allclose(found.seconds, np.array(trained) + found.overhead)
    at, thought = found.at(found.epochs, np.array([0.5, 1, 3.9, 4, 100]))
    assert at.tolist() == [-1, 0, 0, 2, 0] and thought.tolist() == [0, 0.25, 0.5, 0.5, 1.5]


def test_an_incumbent_that_diverges_gives_way():
    assert course([(0, 2), (1, 5), (0, 5)], budget=1).incumbent.tolist() == [0, 0, 0, 1, 0, 0]
    assert course([(1, 5), (0, 1), (2, 1), (3, 1)], budget=1).incumbent.tolist() == [1, 1, -1, 0, 2, 2]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(0, 2), (0, 2)], "advance 2: 0 is trained for 2 epochs already"),
        ([(0, 5), (0, 2)], "advance 2: 0 is trained for 5 epochs already"),
        ([(0, 3)], "advance 1: 3 epochs are no checkpoint"),
        ([(0, 0)], "0 epochs are no checkpoint"),
        ([(0, 50)], "50 epochs are no checkpoint"),
        ([(4, 1)], "outside the pool 0 … 3"),
        ([(-1, 1)], "outside the pool"),
        ([(1, 10)], "advance 1: 1 diverges by epoch 5; it cannot be at 10"),
        ([(1, 5), (1, 10)], "advance 2: proposed 1 again, which has diverged"),
        ([(0, 10), (2, 10), (3, 10), (1, 1)], "advance 4: 31 epochs are spent; the budget is 30"),
        ([(0, 10), (3, 10)], "stops after 20 of 30 epochs"),
    ],
)
def test_impossible_steps_are_refused(steps, message):
    with pytest.raises(MetabenchError, match=message):
        course(steps)


def test_a_search_may_stop_when_nothing_is_left():
    assert len(course([(0, 10), (2, 10), (3, 10), (1, 5)], budget=4).epochs) == 15
    assert len(course([(0, 10), (2, 10), (3, 5), (1, 1)]).epochs) == 12  # 4 epochs remain: less than 5 to 10 takes


def test_the_grid_holds_the_marks():
    points = fidelity.points(25, (1, 2, 3, 5, 10, 25))
    assert (np.diff(points) > 0).all() and points[0] == 0.02 and points[-1] == 25
    assert set(map(float, (1, 2, 3, 5, 10, 25))) <= set(points)


# ---------------------------------------------------------------- scores
@pytest.fixture(scope="module")
def table():
    return CurveTable.rising(tasks=10, configs=81, diverge=0.05)


def boards(table, budget=5, **rules):
    both = [{"track": "multi-fidelity"}, {}]
    return [board_for(table, budget=budget, starts=("own",), **rules, **more) for more in both]


def test_full_trainings_score_as_trials_do():
    table = CurveTable.rising(tasks=10, configs=40)
    ours, theirs = (score(evaluate(["random", "portfolio"], b, table), table, b, resamples=20) for b in boards(table))
    columns = ["method", "mark", "valid_regret", "valid_low", "test_regret", "minmax_regret", "mean_rank"]
    assert ours.summary[columns].equals(theirs.summary[columns])
    assert ours.tasks.equals(theirs.tasks) and ours.pairs.equals(theirs.pairs) and ours.floor == theirs.floor
    assert list(ours.curves)[2] == "trainings" and list(theirs.curves)[2] == "trial" and theirs.seconds.empty


def test_early_stopping_pays_where_early_scores_tell():
    table = CurveTable.rising(tasks=12, configs=200)
    board, _ = boards(table, budget=10)
    found = score(evaluate(["random", "asha", "hyperband"], board, table), table, board, resamples=20)
    at = found.summary.set_index(["method", "mark"])["valid_regret"]
    for name in ("asha", "hyperband"):
        assert at[name, 5] < 0.5 * at["random", 5] and at[name, 10] < 0.5 * at["random", 10]
    seconds = found.seconds.groupby("method")
    assert (seconds["ended"].first() == 0).all() and (seconds["ended"].last() >= 0.5).all()
    assert all((part["seconds"].diff().dropna() > 0).all() for _, part in seconds)


def test_where_curves_cross_it_does_not_and_the_scores_say_so():
    table = CurveTable.rising(tasks=12, configs=200, informative=False)
    board, _ = boards(table, budget=10)
    found = score(evaluate(["random", "asha"], board, table), table, board, resamples=20)
    at = found.summary.set_index(["method", "mark"])["valid_regret"]
    assert at["asha", 3] > at["random", 3]


def test_scores_follow_from_the_traces(table):
    board, _ = boards(table)
    traces = evaluate(["asha", "random"], board, table)
    one, two = (score(traces, table, board, resamples=20) for _ in range(2))
    assert one.seconds.equals(two.seconds) and one.curves.equals(two.curves)


def edited(table, change):
    board, _ = boards(table)
    rows = evaluate("asha", board, table).to_pylist()
    change(rows[3])
    return score(pa.Table.from_pylist(rows, schema.TRACES), table, board, resamples=20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(epochs=None), "every cell needs config_ids, epochs and overhead"),
        (lambda row: row["epochs"].pop(), "are not one a step"),
        (lambda row: row["epochs"].__setitem__(0, None), "are not one a step"),
        (
            lambda row: row["epochs"].__setitem__(0, 4),
            r"method asha, task planted-\d+, seed 1: advance 1: 4 epochs are",
        ),
        (lambda row: row.update(config_ids=[], epochs=[], overhead=[]), "there is no step"),
        (lambda row: [row[k].__delitem__(slice(3, None)) for k in ("config_ids", "epochs", "overhead")], "stops after"),
    ],
)
def test_traces_that_are_no_search_are_refused(table, change, message):
    with pytest.raises(MetabenchError, match=message):
        edited(table, change)


def test_each_kind_of_board_takes_its_kind_of_traces(table):
    epochs, trials = boards(table)
    with pytest.raises(MetabenchError, match="every cell needs config_ids, epochs"):
        score(evaluate("random", trials, table), table, epochs)
    with pytest.raises(MetabenchError, match="'epochs' belongs to boards that count epochs"):
        score(evaluate("random", epochs, table), table, trials)
