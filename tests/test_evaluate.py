import os
import subprocess
import sys
import warnings
from pathlib import Path

import fakes
import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import Dies, FakeTable, First, Lacks, Last, Meddles, NotANumber, OutOfRange, Raises, Repeats, board_for

from metabench import registry, schema
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import MethodsFailed, evaluate, plan, resolve
from metabench.evaluation.about import About
from metabench.evaluation.overhead import Overhead, _summary, overhead
from metabench.evaluation.store import CellStore, read_traces
from metabench.search.base import History, Searcher
from metabench.search.starts import random_start


@pytest.fixture(scope="module")
def table():
    return FakeTable.planted(tasks=8, configs=64, seeds=2)


@pytest.fixture(scope="module")
def board(table):
    return board_for(table, budget=8, seeds=3, train=4, valid=2)


def ids(traces, **where):
    frame = traces.to_pandas()
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return [list(row) for row in frame["config_ids"]]


def test_a_trace_for_every_cell_in_order(table, board):
    traces = evaluate([First, "random"], board, table)
    assert traces.schema.equals(schema.TRACES)
    expected = [
        (m, s, t, seed)
        for m in ("first", "random")
        for s in board.starts
        for t in ("planted-6", "planted-7")
        for seed in range(3)
    ]
    keys = ["method", "start", "task_id", "seed"]
    assert list(traces.select(keys).to_pandas().itertuples(index=False, name=None)) == expected
    assert len(set(traces["cell"].to_pylist())) == len(expected)
    assert ids(traces, method="first", start="own") == [list(range(8))] * 6
    for row in traces.to_pylist():
        assert len(set(row["config_ids"])) == len(row["overhead"]) == 8


def test_own_time_is_of_whole_searches(table, board):
    (first, portfolio) = overhead([First, "portfolio"], board, table, trials=6, tasks=5, repeats=2)
    assert (first.method, portfolio.method) == ("first", "portfolio")
    for o in (first, portfolio):
        assert 0 < o.mean <= max(o.start, o.worst) and 0 < o.last <= o.worst
    assert portfolio.fit > 0
    with pytest.raises(UsageError, match="'lacks' needs a_package_that_is_not_there"):
        overhead(Lacks, board, table, trials=2)
    with pytest.raises(UsageError, match="budget 65 exceeds the 64"):
        overhead(First, board, table, trials=64)


def test_own_time_is_a_median_over_tasks():
    seconds = np.array([[4.0, 1, 2, 1], [5, 2, 2, 2], [6, 9, 2, 3]])  # [tasks, trials + 1]
    assert _summary(resolve(First)[0], 0.5, seconds) == Overhead(
        "first", fit=0.5, start=5.0, last=2.0, mean=2.75, worst=2.0
    )


def test_given_starts_come_first_and_cost_nothing(table, board):
    traces = evaluate(First(), board, table).to_pandas()
    portfolio = registry.create("metamodels", "portfolio").fit(
        table.meta_train("planted", board.tasks(table, "train"), board.tasks(table, "valid"))
    )
    order = [int(c) for c in portfolio.order_[:3]]
    for row in traces.itertuples():
        if row.start == "random5":
            assert list(row.config_ids[:5]) == random_start(row.task_id, row.seed, 64)
            assert (row.overhead[:5] == 0).all() and (row.overhead[5:] > 0).all()
        if row.start == "portfolio3":
            assert list(row.config_ids[:3]) == order


def test_twice_the_same_also_in_other_processes(table, board):
    methods = ["random", Last]
    once, again = evaluate(methods, board, table), evaluate(methods, board, table, workers=2)
    assert once["config_ids"].equals(again["config_ids"]) and once["cell"].equals(again["cell"])


def test_only_missing_cells_are_computed(table, board, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(First, "ask", lambda self, history, ask=First.ask: asked.append(1) or ask(self, history))
    first = evaluate(First, board, table, store=tmp_path)
    n = len(asked)
    assert n == 2 * 3 * (8 + 3 + 5)
    assert evaluate(First, board, table, store=tmp_path).equals(first) and len(asked) == n
    (tmp_path / next(p.name for p in tmp_path.glob("first.own.*"))).unlink()
    assert evaluate(First, board, table, store=tmp_path)["config_ids"].equals(first["config_ids"])
    assert len(asked) == n + 2 * 3 * 8
    evaluate(First, board_for(table, budget=9, seeds=3, starts=("own",)), table, store=tmp_path)
    assert len(asked) > n + 2 * 3 * 8


def test_what_determines_a_cell_changes_its_key(table, board):
    tuned = First()
    tuned.depth = 3
    other = FakeTable.planted(tasks=8, noise=0.02)
    keys = [
        evaluate(m, b, t)["cell"].to_pylist()
        for m, b, t in [
            (First(), board, table),
            (tuned, board, table),
            (First(), board_for(table, budget=8, seeds=3, train=3, valid=3), table),
            (First(), board_for(table, budget=7, seeds=3), table),
            (First(), board_for(other, budget=8, seeds=3), other),
        ]
    ]
    assert len({key for run in keys for key in run}) == sum(map(len, keys))
    assert keys[0] == evaluate(First(), board, table)["cell"].to_pylist()


def test_a_method_that_misbehaves_is_named_and_the_others_are_kept(table, board, tmp_path):
    bad = [Raises, Repeats, OutOfRange, NotANumber, Lacks]
    with pytest.raises(MethodsFailed) as caught:
        evaluate([*bad, First], board, table, store=tmp_path)
    failures = caught.value.failures
    assert caught.value.exit_status == 3 and "\n" not in str(caught.value)
    assert str(caught.value).startswith("5 of 6 methods failed: ")
    where = "failed on task planted-6, start own, seed 0"
    assert failures["raises"].startswith(f"method 'raises' {where}: ValueError: no idea (fakes.py line ")
    assert failures["repeats"] == f"method 'repeats' {where}: trial 7: proposed 0 again (first at trial 1)"
    assert failures["out_of_range"] == f"method 'out_of_range' {where}: trial 1: proposed 64, outside the pool 0 … 63"
    assert failures["not_a_number"].endswith("trial 1: proposed 1.5, which is no pool position")
    assert failures["lacks"] == "method 'lacks' needs a_package_that_is_not_there, which is not installed"
    assert set(caught.value.traces["method"].to_pylist()) == {"first"} and caught.value.traces.num_rows == 18
    assert {p.name.split(".")[0] for p in tmp_path.glob("*.parquet")} == {"first"}


def test_a_process_that_dies_takes_its_method_alone(table, board):
    with pytest.raises(MethodsFailed) as caught:
        evaluate([Dies, First], board, table, workers=2)
    assert caught.value.failures == {"dies": "method 'dies' failed on task planted-6: its process ended (11)"}
    assert caught.value.traces.num_rows == 18


def test_a_method_that_cannot_travel_is_refused_by_workers_alone(table):
    class Local(First):
        name = "local"

    board = board_for(table, budget=4, seeds=1, starts=("own",))
    assert evaluate(Local, board, table).num_rows == 2
    with pytest.raises(MetabenchError, match=r"cannot be sent to worker processes: .*Local.*; use 1 worker"):
        evaluate(Local, board, table, workers=2)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import fakes\nfrom metabench.evaluation import evaluate\n"
        "table = fakes.FakeTable.planted(tasks=4)\n"
        "evaluate('random', fakes.board_for(table, train=1, valid=1), table, workers=2)\n"
    )
    paths = os.pathsep.join([str(Path(fakes.__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("metabench.errors.MetabenchError: worker processes cannot start")


def test_an_interrupt_keeps_what_is_finished(table, board, tmp_path):
    class Interrupted(First):
        name = "interrupted"

        def ask(self, history):
            if self.problem.task.task_id == "planted-7":
                raise KeyboardInterrupt
            return super().ask(history)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupted, board, table, store=tmp_path)
    (path,) = tmp_path.iterdir()
    kept = read_traces(path).to_pandas()
    assert list(zip(kept["task_id"], kept["seed"], strict=True)) == [("planted-6", s) for s in range(3)]


def test_a_method_cannot_change_the_record(table, board):
    own = board_for(table, budget=8, seeds=3, starts=("random5",))
    frame = evaluate(Meddles, own, table).to_pandas()
    assert list(frame["config_ids"][0][:5]) == random_start(frame["task_id"][0], 0, 64)


def test_meta_test_scores_do_not_reach_a_method(table, board):
    seen = []

    class Spy(Searcher):
        name = "spy"

        def fit(self, source):
            seen.append(source)
            return self

        def ask(self, history):
            return int(history.untried(len(self.problem.candidates))[0])

    evaluate(Spy, board, table)
    (source,) = seen
    assert [t.task_id for t in source.tasks] == board.tasks(table, "train")
    assert [t.task_id for t in source.valid.tasks] == board.tasks(table, "valid")


def test_requests_that_make_no_sense(table, board):
    with pytest.raises(UsageError, match="unknown method 'randm'; did you mean 'random'"):
        evaluate("randm", board, table)
    with pytest.raises(UsageError, match="two methods are called 'first'"):
        evaluate([First, First()], board, table)
    with pytest.raises(UsageError, match="is no method"):
        evaluate([3], board, table)
    with pytest.raises(UsageError, match="cannot be loaded"):
        evaluate("fakes:Nobody", board, table)
    with pytest.raises(UsageError, match="budget 65 exceeds the 64 configurations"):
        evaluate(First, board_for(table, budget=65), table)
    with pytest.raises(MetabenchError, match="is frozen on"):
        evaluate(First, board, FakeTable.planted(tasks=8, noise=0.5))
    with pytest.raises(UsageError, match="workers is 0"):
        evaluate(First, board, table, workers=0)
    rogue = First()
    rogue.name = "../x"
    with pytest.raises(UsageError, match="is not made of letters"):
        evaluate(rogue, board, table)
    assert resolve("fakes:Last")[0].searcher.__class__ is fakes.Last


def test_the_public_name_stays_the_function():
    import metabench
    from metabench import notebook

    assert metabench.evaluation.evaluate is evaluate and metabench.evaluate is notebook.evaluate


def test_twins_travel_with_the_traces(table, board, tmp_path):
    traces = evaluate([First, Last], board, table)
    assert About.of(traces) == About({"last": "first"})


def test_a_damaged_file_is_named_and_its_cells_computed_anew(tmp_path, table, board):
    whole = evaluate([First, Last], board, table, store=tmp_path)
    path = sorted(tmp_path.glob("first.*"))[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged.*computed anew"):
        again = evaluate([First, Last], board, table, store=tmp_path)
    assert not path.exists() and again.drop_columns("overhead").equals(whole.drop_columns("overhead"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate([First, Last], board, table, store=tmp_path)
    pq.write_table(schema.TRACES.empty_table().drop_columns(["seed"]), path)
    with pytest.raises(MetabenchError, match="column 'seed' is absent"):
        read_traces(path)


def test_every_flipped_bit_of_a_cell_file_is_found(tmp_path, table, board):
    evaluate(First, board, table, store=tmp_path)
    keys = [key for group in plan(resolve(First), board, table) for key in group.keys.values()]
    (path, *others) = sorted(tmp_path.glob("*.parquet"))
    for other in others:
        other.unlink()
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    known = CellStore(tmp_path).read(keys).num_rows
    for bit in rng.integers(0, 8 * len(sound), 300):
        data = bytearray(sound)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        with pytest.warns(UserWarning, match=path.name):
            assert CellStore(tmp_path).read(keys).num_rows == 0
    path.write_bytes(sound)
    assert CellStore(tmp_path).read(keys).num_rows == known > 0


ROW = {"method": "m", "start": "own", "task_id": "t", "seed": 0, "config_ids": [1], "overhead": [0.5], "cell": "k"}


@pytest.mark.parametrize(
    "change",
    [
        {"method": "n"},
        {"task_id": "u"},
        {"seed": 1},
        {"start": "random5"},
        {"overhead": [-1.0]},
        {"overhead": []},
        {"overhead": [float("nan")]},
        {"overhead": [float("inf")]},
        {"config_ids": []},
        {"config_ids": [None]},
        {"overhead": None},
        {"config_ids": None},
    ],
    ids=str,
)
def test_a_cell_that_is_not_what_its_key_stands_for_is_not_taken(tmp_path, change):
    store = CellStore(tmp_path)
    store.write([ROW | change])
    with pytest.warns(UserWarning, match="computed anew"):
        assert store.read({"k": ("m", "own", "t", 0)}).num_rows == 0
    store.write([ROW])
    assert store.read({"k": ("m", "own", "t", 0)}).num_rows == 1 and len(list(tmp_path.iterdir())) == 1


def test_a_file_of_an_earlier_version_is_read_if_it_is_sound(tmp_path):
    CellStore(tmp_path).write([ROW])
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "m.own.0123456789abcdef.parquet")
    assert CellStore(tmp_path).read(["k"]).num_rows == 1


def test_what_is_no_file_in_a_store_does_not_hang_it(tmp_path):
    store = CellStore(tmp_path)
    store.write([ROW])
    os.mkfifo(tmp_path / "pipe.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.warns(UserWarning, match="no regular file"):
        assert store.read(["k"]).num_rows == 1


def test_a_name_too_long_for_a_file_is_refused_before_work_starts(tmp_path, table, board):
    class Long(First):
        name = "n" * 300

        def fit(self, source):
            raise AssertionError("work started")

    with pytest.raises(UsageError, match="at most 64") as caught:
        evaluate(Long, board, table, store=tmp_path)
    assert len(str(caught.value)) < 300 and not list(tmp_path.iterdir())


def test_a_store_keeps_each_cell_once_and_leaves_no_parts(tmp_path):
    row = {"method": "m", "start": "own", "task_id": "t", "seed": 0, "config_ids": [1], "overhead": [0.5], "cell": "k"}
    store = CellStore(tmp_path)
    store.write([row])
    store.write([row, row | {"seed": 1, "cell": "l"}])
    assert store.read(["k", "l", "m"])["cell"].to_pylist() == ["k", "l"]
    assert all(p.suffix == ".parquet" for p in tmp_path.iterdir())


def test_history_given_to_methods_holds_raw_scores(table, board):
    seen = []

    class Looks(First):
        name = "looks"

        def ask(self, history: History):
            seen.append(list(history.scores))
            return super().ask(history)

    own = board_for(table, budget=4, seeds=1, starts=("own",))
    evaluate(Looks, own, table)
    stored = table.final("planted", own.tasks(table, "test"))
    np.testing.assert_array_equal(seen[3], stored[0, :3, 0])
