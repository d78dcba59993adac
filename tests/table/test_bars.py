"""The pool against the default on tasks whose truth is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from metabench.table.bars import against_default


def table(offset, *, tasks=200, seeds=4, noise=0.3, direction="max", ran=None, seed=0):
    """Tasks on which the default's expected score lies ``offset`` above that of the pool's best."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, (tasks, 33, 1))
    truth[:, 32] = truth[:, :32].max(axis=1) + offset
    sign = 1.0 if direction == "max" else -1.0
    parts = {name: sign * (truth + rng.normal(0, noise, (tasks, 33, seeds))) for name in ("valid_score", "test_score")}
    ids = [f"mlp-{i}" for i in range(tasks)]
    frame = pd.DataFrame({"task_id": ids, "workload": "mlp", "direction": direction})
    made = np.ones((tasks, 33, seeds), bool) if ran is None else ran
    return SimpleNamespace(
        tasks=frame,
        origins=lambda w: pd.Series(["sobol"] * 32 + ["default"]),
        ran=lambda w, i: made,
        final=lambda w, i, series: np.where(made, parts[series], np.nan),
    )


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_pool_that_holds_better_is_seen_to(direction):
    found = against_default(table(-2.0, direction=direction), "mlp")
    assert len(found) == 200 and np.mean([f.at_least for f in found]) == 1.0
    assert np.mean([f.gain for f in found]) == pytest.approx(2.0, abs=0.2)


def test_a_pool_whose_best_is_the_default_is_not_worse():
    assert np.mean([f.at_least for f in against_default(table(0.5), "mlp")]) > 0.95


def test_a_default_that_the_pool_did_not_choose_counts():
    """Noise of choosing: the gain is of seeds that chose nothing, so it has no winner's curse."""
    found = against_default(table(-0.0, noise=2.0), "mlp")
    assert (
        np.mean([f.gain for f in found]) < 0.0
    )  # the chosen one is worse than the true best, which the default equals


def test_tasks_without_two_seeds_of_the_default_are_left_out():
    ran = np.ones((3, 33, 4), bool)
    ran[0, 32] = False
    ran[1, 32, 1:] = False
    assert [f.task_id for f in against_default(table(0.0, tasks=3, ran=ran), "mlp")] == ["mlp-2"]
    plain = table(0.0, tasks=3)
    plain.origins = lambda w: pd.Series(["sobol"] * 33)
    assert against_default(plain, "mlp") == []
