"""Evaluation on boards that count epochs."""

import numpy as np
import pytest
from fakes import CurveTable, First, board_for

from metabench.errors import UsageError
from metabench.evaluation import MethodsFailed, evaluate, resolve
from metabench.evaluation.run import plan
from metabench.scores import score
from metabench.search.fidelity import FidelitySearcher


def board_of(table, budget=4, **rules):
    return board_for(table, budget=budget, starts=("own",), track="multi-fidelity", **rules)


class Stairs(FidelitySearcher):
    """Trains the first three candidates checkpoint by checkpoint in turn, then whoever is next to the end."""

    name = "stairs"

    def ask(self, history):
        grid = history.checkpoints
        turn = [c for c in (0, 1, 2) if not history.finished(c)]
        if turn:
            c = min(turn, key=lambda c: (history.epochs(c), c))
            return c, next(e for e in grid if e > history.epochs(c))
        return int(history.unfinished(len(self.problem.candidates))[0]), grid[-1]


class Backwards(Stairs):
    name = "backwards"

    def ask(self, history):
        return (0, 1) if len(history) == 2 else super().ask(history)


class Meddler(Stairs):
    """What it does to its history must not reach the record."""

    name = "meddler"

    def ask(self, history):
        proposal = super().ask(history)
        for curve in history.scores.values():
            curve.append(1.0)
        history.spent = -1000
        return proposal


def rows(traces, method=None):
    kept = ("method", "task_id", "seed", "config_ids", "epochs")
    return [{k: r[k] for k in kept} for r in traces.to_pylist() if method in (None, r["method"])]


def test_pausing_and_resuming_is_counted_exactly():
    table = CurveTable.rising(configs=9)
    for row in rows(evaluate(Stairs, board_of(table), table)):
        # three candidates in turn cost three full trainings, the last one what is left of four
        assert row["config_ids"] == [0, 1, 2] * 10 + [3]
        assert row["epochs"] == [e for e in table.checkpoints for _ in range(3)] + [50]


def test_the_budget_cuts_the_last_advance_short():
    table = CurveTable.rising(configs=9)
    table._curves[:, 0, :, 4:] = np.nan  # candidate 0 diverges at epoch 8: 42 epochs remain for a fifth candidate
    table._series["valid_score"][:, 0] = np.nan
    for row in rows(evaluate(First, board_of(table), table)):
        assert row["config_ids"] == [0, 1, 2, 3, 4]
        assert row["epochs"] == [8, 50, 50, 50, 36]  # 42 epochs, 36 of which end at a checkpoint


def test_what_an_advance_cut_short_leaves_by_diverging_is_used():
    table = CurveTable.rising(configs=9)
    for candidate, level in ((0, 4), (4, 1)):  # they diverge at epochs 8 and 2
        table._curves[:, candidate, :, level:] = np.nan
        table._series["valid_score"][:, candidate] = np.nan
    board = board_of(table)
    traces = evaluate(First, board, table)
    for row in rows(traces):
        assert row["config_ids"] == [0, 1, 2, 3, 4, 5]
        assert row["epochs"] == [8, 50, 50, 50, 2, 36]  # 42 epochs remain for the fifth, 40 for the sixth
    score(traces, table, board)  # which refuses a search that stops early


def test_searchers_of_full_trainings_make_the_trials_of_a_board_of_trials():
    table = CurveTable.rising(configs=30)
    epochs, trials = board_of(table), board_for(table, budget=4, starts=("own",))
    for name in ("random", "sobol", "portfolio"):
        ours, theirs = evaluate(name, epochs, table), evaluate(name, trials, table)
        assert [r["config_ids"] for r in rows(ours)] == [r["config_ids"] for r in rows(theirs)]
        assert {e for r in rows(ours) for e in r["epochs"]} == {50}
        assert theirs["epochs"].null_count == len(theirs)
        keys = [plan(resolve(name), b, table)[0].keys[0] for b in (epochs, trials)]
        assert keys[0] != keys[1]


@pytest.mark.parametrize("name", ["asha", "hyperband"])
def test_two_evaluations_are_the_same_and_cells_are_resumed(name, tmp_path):
    table = CurveTable.rising(configs=81, diverge=0.2)
    board = board_of(table, budget=6)
    once, again = evaluate(name, board, table, store=tmp_path), evaluate(name, board, table)
    assert rows(once) == rows(again)
    (kept,) = tmp_path.iterdir()
    stored = evaluate(name, board, table, store=tmp_path)
    assert stored["overhead"].equals(once["overhead"]) and rows(stored) == rows(once)  # nothing was computed again
    kept.unlink()
    assert rows(evaluate(name, board, table, store=tmp_path)) == rows(once)
    cost = [
        sum(
            np.diff([0, *[e for c, e in zip(r["config_ids"], r["epochs"]) if c == x]]).sum()
            for x in set(r["config_ids"])
        )
        for r in rows(once)
    ]
    assert max(cost) <= 300 and min(cost) > 300 - 14  # the largest gap between checkpoints


def test_a_history_that_is_meddled_with_reaches_no_record():
    table = CurveTable.rising(configs=9)
    ours, theirs = (rows(evaluate(m, board_of(table), table)) for m in (Meddler, Stairs))
    assert [r["epochs"] for r in ours] == [r["epochs"] for r in theirs]


def test_what_cannot_be_trained_is_one_line():
    table = CurveTable.rising(configs=9)
    with pytest.raises(MethodsFailed, match=r"backwards.*seed 0: advance 3: 0 is trained for 1 epochs already"):
        evaluate(Backwards, board_of(table), table)


def test_partial_trainings_need_a_board_that_counts_epochs():
    table = CurveTable.rising(configs=9)
    with pytest.raises(UsageError, match="method 'asha' trains in parts; board fake counts full trainings alone"):
        evaluate(["random", "asha"], board_for(table, budget=4), table)
