import numpy as np
import pytest
from fakes import CurveTable

from metabench import load_table
from metabench.errors import MetabenchError, UsageError
from metabench.search.fidelity import Advance, Curves, affordable, checked
from metabench.search.replay import CurveReplay, fidelity_problems

NAN = float("nan")


# ---------------------------------------------------------------- what was seen
def test_a_paused_training_resumes_for_the_epochs_that_are_added():
    curves = Curves((1, 2, 5, 10))
    curves.add(7, [0.1, 0.2])
    assert (curves.epochs(7), curves.spent) == (2, 2)
    curves.add(3, [0.5])
    curves.add(7, [0.3, 0.4])
    assert curves.advances == [Advance(7, 2), Advance(3, 1), Advance(7, 10)]
    assert curves.spent == 11 and curves.scores[7] == [0.1, 0.2, 0.3, 0.4]
    assert [curves.score(7, e) for e in (1, 2, 5, 10)] == [0.1, 0.2, 0.3, 0.4] and curves.score(3) == 0.5
    assert curves.finished(7) and not curves.finished(3)
    assert curves.unfinished(8).tolist() == [0, 1, 2, 3, 4, 5, 6] and curves.untried(8).tolist() == [0, 1, 2, 4, 5, 6]
    with pytest.raises(KeyError, match="trained for 1 epochs, not 5"):
        curves.score(3, 5)


def test_divergence_ends_a_curve():
    curves = Curves((1, 2, 5, 10))
    curves.add(0, [0.1, NAN])
    assert curves.diverged(0) and curves.finished(0) and curves.epochs(0) == 2 and curves.spent == 2
    assert np.isnan(curves.score(0)) and np.isnan(curves.score(0, 10)) and curves.score(0, 1) == 0.1


def test_a_copy_is_ones_own():
    curves = Curves((1, 2))
    curves.add(0, [0.1])
    copy = curves.copy()
    copy.add(0, [0.2])
    copy.scores[0][0] = 9.0
    assert curves.scores == {0: [0.1]} and curves.spent == 1 and len(curves) == 1


# ---------------------------------------------------------------- what may be asked
@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (4, "advance 3: proposed 4, which is no"),
        ((4, 2.5), "which is no"),
        ((4, 2, 1), "which is no"),
        ((9, 2), r"proposed 9, outside the pool 0 … 8"),
        ((4, 3), "3 epochs are no checkpoint; known: 1, 2, 5"),
        ((0, 2), "0 is trained for 2 epochs already; proposed 2"),
        ((1, 5), "proposed 1 again, which has diverged"),
    ],
)
def test_what_cannot_be_trained_is_refused(proposal, message):
    curves = Curves((1, 2, 5))
    curves.add(0, [0.1, 0.2])
    curves.add(1, [NAN])
    with pytest.raises(MetabenchError, match=message):
        checked(proposal, curves, 9)


def test_an_advance_is_made_as_far_as_the_budget_goes():
    curves = Curves((1, 2, 5))
    curves.add(0, [0.1])
    assert checked((np.int64(0), np.int64(5)), curves, 9) == (0, 5)
    assert affordable(Advance(0, 5), curves, 5) == (0, 5)  # 4 epochs are added
    assert affordable(Advance(0, 5), curves, 4) == (0, 2)
    assert affordable(Advance(3, 5), curves, 3) == (3, 2)
    assert affordable(Advance(0, 5), curves, 1) is None


# ---------------------------------------------------------------- stored curves
def test_replay_gives_the_stored_curve_and_what_it_cost():
    table = CurveTable.rising(tasks=2, configs=6, diverge=0.5)
    replay = CurveReplay.from_table(table, "planted", ["planted-1", "planted-0"])
    stored = table.curves("planted", ["planted-0"])[0]
    assert replay.checkpoints("planted-0") == table.checkpoints
    seen = 0
    for c, seed in np.ndindex(6, 2):
        curve = stored[c, seed]
        finite = int(np.isfinite(curve).sum())
        whole = replay.train("planted-0", c, 0, 50, seed + 2)  # search seeds beyond the table's begin anew
        assert whole[:finite] == pytest.approx(curve[:finite].tolist())
        assert len(whole) == min(finite + 1, 10) and (finite == 10 or np.isnan(whole[-1]))
        ended = table.checkpoints[len(whole) - 1]
        cost = table._seconds[0, c, seed]
        assert replay.epoch_seconds("planted-0", c, seed) * ended == pytest.approx(cost)
        if finite == 10:
            assert replay.train("planted-0", c, 5, 12, seed) == pytest.approx(curve[4:6].tolist())
            assert replay.score("planted-0", c, seed) == pytest.approx(curve[-1])
        seen += finite < 10
    assert seen


def test_tasks_may_have_checkpoints_of_their_own():
    table = CurveTable.rising(tasks=2, configs=4, checkpoints=(1, 2, 3))
    table._curves[1, :, :, 2] = NAN  # two checkpoints, and no run diverged
    table._series["valid_score"][1] = table._curves[1, :, :, 1]
    replay = CurveReplay.from_table(table, "planted", ["planted-0", "planted-1"])
    assert replay.checkpoints("planted-0") == (1, 2, 3) and replay.checkpoints("planted-1") == (1, 2)
    assert np.isfinite(replay.train("planted-1", 0, 0, 2, 0)).all()
    assert replay.score("planted-1", 0, 0) == pytest.approx(table._curves[1, 0, 0, 1])
    found = fidelity_problems(table, "planted", replay, ["planted-0", "planted-1"], 3)
    assert [found[t].epochs for t in ("planted-0", "planted-1")] == [9, 6]
    with pytest.raises(UsageError, match="budget 5 exceeds the 4 configurations"):
        fidelity_problems(table, "planted", replay, ["planted-0"], 5)


def test_runs_of_a_task_have_the_same_checkpoints():
    class Mixed(CurveTable):
        def runs(self, workload, columns=None, tasks=None):
            found = super().runs(workload, columns, tasks)
            if "epochs" not in columns:
                return found
            lists = found["epochs"].to_pylist()
            lists[1] = [2, 4]
            return found.set_column(found.column_names.index("epochs"), "epochs", [lists])

    with pytest.raises(MetabenchError, match="runs of task planted-0 have different checkpoints"):
        CurveReplay.from_table(Mixed.rising(tasks=1, configs=3), "planted", ["planted-0"])


def test_the_starter_tables_rows():
    table = load_table("starter", 1)
    ids = ["mlp-car", "mlp-boston_housing"]
    replay = CurveReplay.from_table(table, "mlp", ids)
    rows = table.runs("mlp", ["task_id", "config_id", "seed", "status", "valid_score", "seconds"], ids).to_pylist()
    np.testing.assert_array_equal(replay.scores, table.final("mlp", ids))
    for row in rows[::7]:
        asked = row["task_id"], row["config_id"]
        curve = replay.train(*asked, 0, 50, row["seed"])
        finite = [s for s in curve if s == s]
        assert finite == pytest.approx(row["valid_score"])
        assert (len(finite) == len(curve)) == (row["status"] == "ok")
        ended = replay.checkpoints(row["task_id"])[len(curve) - 1]
        assert replay.epoch_seconds(*asked, row["seed"]) * ended == pytest.approx(row["seconds"])
