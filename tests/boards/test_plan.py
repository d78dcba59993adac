"""What an evaluation would cost, before it starts."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeTable, First, Lacks, Last, board_for

from metabench import schema
from metabench.boards.plan import planned
from metabench.errors import UsageError
from metabench.evaluation import evaluate, plan, resolve
from metabench.evaluation.cost import BYTES, costs, thinking


def searches(method, start, *overheads):
    """Traces of one method with what it thought before each trial."""
    rows = [
        {
            "method": method,
            "start": start,
            "task_id": "t",
            "seed": i,
            "config_ids": list(range(len(o))),
            "overhead": o,
            "cell": f"{method}{i}",
        }
        for i, o in enumerate(overheads)
    ]
    return pa.Table.from_pylist(rows, schema.TRACES)


@pytest.fixture
def table():
    return FakeTable.planted(tasks=8, configs=32)


@pytest.fixture
def board(table, tmp_path):
    return dataclasses.replace(board_for(table, starts=("own", "random5")), path=tmp_path / "board")


def test_thinking_is_the_mean_of_what_was_thought_up_to_the_budget():
    record = searches("a", "own", [1.0, 2.0, 50.0], [3.0, 4.0, 50.0])
    assert thinking([record], "a", "own", 2) == 5.0
    assert thinking([record], "a", "random5", 2) == 5.0  # other first trials are better than nothing
    assert thinking([record], "a", "own", 4) is None and thinking([record], "b", "own", 2) is None
    better = searches("a", "random5", [7.0, 7.0])
    assert thinking([record, better], "a", "random5", 2) == 14.0
    assert thinking([searches("a", "own", [9.0]), record], "a", "own", 2) == 5.0  # too short to tell
    busy = searches("a", "own", [30.0, 40.0])
    assert (
        thinking([busy, record], "a", "own", 2) == thinking([record, busy], "a", "own", 2) == 5.0
    )  # a busy machine only adds


def test_costs_count_what_is_missing(table, board):
    methods = resolve([First, Last])
    groups = plan(methods, board, table)
    half = {key for g in groups if g.method == "first" for s, key in g.keys.items() if s == 0}
    record = searches("first", "own", [0.5] * 8)
    first, last = costs(methods, groups, board, table, half, [record])
    n = 2 * len(board.tasks(table, "test"))  # starts × tasks, of one of two seeds
    assert (first.cells, first.missing) == (2 * n, n) and first.thought == pytest.approx(4.0 * n)
    assert first.bytes == round(n * (BYTES[0] + BYTES[1] * 8)) and first.training == 0
    assert (last.missing, last.thought) == (2 * n, None)
    nothing = costs(methods, groups, board, table, {k for g in groups for k in g.keys.values()}, [])
    assert [(c.missing, c.thought, c.bytes) for c in nothing] == [(0, 0.0, 0)] * 2  # that costs nothing, known or not


def test_live_cells_cost_training_as_the_tables_rows_did(table, board):
    live = dataclasses.replace(board, objective="live", starts=("own",))
    seconds = np.arange(1.0, 1 + len(live.tasks(table, "test")))
    table.seconds = lambda workload, ids: np.repeat(seconds[:, None], 3, axis=1)
    (cost,) = costs(resolve([First]), plan(resolve([First]), live, table), live, table, set(), [])
    assert cost.training == pytest.approx(seconds.sum() * live.budget * live.seeds)
    surrogate = live.rehearsed()
    (cost,) = costs(resolve([First]), plan(resolve([First]), surrogate, table), surrogate, table, set(), [])
    assert cost.training == 0


def test_a_plan_knows_what_is_published_and_stored(table, board, tmp_path):
    board.path.mkdir()
    pq.write_table(evaluate([First], board, table), board.path / "traces.parquet")
    evaluate([Last], dataclasses.replace(board, starts=("own",)), table, store=tmp_path / "cells")
    before = sorted(tmp_path.rglob("*"))
    found = planned(board, "full", table, [First, Last, Lacks], tmp_path / "cells", workers=2)
    n = 2 * len(board.tasks(table, "test"))
    assert [(c.method, c.missing) for c in found.costs] == [("first", 0), ("last", n)]
    assert found.missing == n and found.unknown == [] and found.core_seconds == found.costs[1].thought > 0
    assert str(found).startswith(f"{n} of {4 * n} cells are missing: about 0.0 core minutes, 0.0 with 2 workers; ")
    assert [row["method"] for row in found.rows()] == ["first", "last", "all"]
    assert sorted(tmp_path.rglob("*")) == before
    unknown = planned(board, "full", table, [Last], None, workers=1)
    assert unknown.unknown == ["last"] and "how long last will think no trace says" in str(unknown)


def test_the_prediction_track_is_not_planned(table, board):
    with pytest.raises(UsageError, match="is of the prediction track"):
        planned(dataclasses.replace(board, track="predict"), "full", table, [First], None, 1)


def test_tasks_of_a_board_are_looked_up_once_however_many_methods_there_are(table, board, monkeypatch):
    counted = []
    tasks = type(board).tasks
    monkeypatch.setattr(type(board), "tasks", lambda self, *args: counted.append(args[1]) or tasks(self, *args))
    for methods in ([First], [First, Last]):
        counted.clear()
        plan(resolve(methods), board, table)
        assert sorted(counted) == ["test", "train", "valid"]
