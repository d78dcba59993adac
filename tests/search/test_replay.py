import time

import numpy as np
import pytest
from fakes import FakeTable

from metabench.errors import MetabenchError, UsageError
from metabench.search.replay import Replay, problems
from metabench.search.starts import random_start


def test_scores_are_the_stored_ones_of_the_seed():
    table = FakeTable.planted(tasks=3, configs=16, seeds=2)
    replay = Replay.from_table(table, "planted", ["planted-2", "planted-0"])
    stored = table.final("planted", ["planted-0"])[0]
    for seed, column in ((0, 0), (1, 1), (2, 0), (5, 1)):
        assert [replay.score("planted-0", c, seed) for c in range(16)] == pytest.approx(stored[:, column], nan_ok=True)
    tasks, candidates, seeds = [1, 1, 0], [3, 4, 5], [0, 3, 1]
    expected = [stored[3, 0], stored[4, 1], table.final("planted", ["planted-2"])[0, 5, 1]]
    np.testing.assert_array_equal(replay.lookup(tasks, candidates, seeds), expected)


def test_a_diverged_run_is_nan_and_an_absent_one_is_refused():
    table = FakeTable.planted(tasks=2, configs=64, seeds=2)
    replay = Replay.from_table(table, "planted", ["planted-0"])
    diverged = np.flatnonzero(np.isnan(table.final("planted", ["planted-0"])[0, :, 0]))
    assert len(diverged) and np.isnan(replay.score("planted-0", int(diverged[0]), 0))

    class Incomplete(FakeTable):
        def runs(self, *args):
            return super().runs(*args).slice(3)

    part = Incomplete.planted(tasks=2, configs=64, seeds=2)
    with pytest.raises(MetabenchError, match="task planted-0 has 125 of 128 runs"):
        Replay.from_table(part, "planted", ["planted-0"])


def test_look_ups_are_fast():
    replay = Replay(["t"], np.random.default_rng(0).random((1, 1024, 5)))
    rng = np.random.default_rng(1)
    candidates, seeds = rng.integers(1024, size=500_000), rng.integers(9, size=500_000)
    batched, single = [], []
    for _ in range(5):  # the best of five: other processes share the machine
        began = time.perf_counter()
        replay.lookup(0, candidates, seeds)
        batched.append(time.perf_counter() - began)
        began = time.perf_counter()
        for c in range(1000):
            replay.score("t", c, 7)
        single.append((time.perf_counter() - began) / 1000)
    assert min(batched) < 0.5  # a million a second
    assert min(single) < 20e-6


def test_a_problem_holds_the_pool_and_no_score():
    table = FakeTable.planted(tasks=2, configs=16)
    found = problems(table, "planted", ["planted-1"], 16)["planted-1"]
    assert found.candidates.equals(table.configs("planted")) and found.task.task_id == "planted-1"
    with pytest.raises(UsageError, match="budget 17 exceeds the 16 configurations"):
        problems(table, "planted", ["planted-1"], 17)


def test_the_random_start_belongs_to_task_and_seed():
    start = random_start("a", 0, 100)
    assert len(set(start)) == 5 and start == random_start("a", 0, 100)
    assert start != random_start("a", 1, 100) and start != random_start("b", 0, 100)
    assert sorted(random_start("a", 0, 3)) == [0, 1, 2]
