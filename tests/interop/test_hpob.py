"""HPO-B end to end on a miniature of its files: import, its protocol as a board, its result files."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hpob_samples import COLUMNS, LAYOUT, best_so_far, content, write

from metabench import load_table, registry, schema, workflows
from metabench.boards.board import load_board
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import evaluate
from metabench.interop import hpob_results
from metabench.interop.formats.base import store
from metabench.metatrain import MetaTrain, TaskInfo
from metabench.scores import score
from metabench.search.base import Searcher
from metabench.search.pools import Pools, thinned
from metabench.space import Float, Space
from metabench.table import verify

METHODS = ["random", "default", "portfolio"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("hpob") / "data", rows=120)


@pytest.fixture(scope="module")
def table(data):
    folder = data.parent / "hpob/v1"
    store(list(registry.create("formats", "hpob").read(data)), folder, "hpob:data")
    assert verify(folder) == []
    return load_table(folder)


@pytest.fixture(scope="module")
def board(table):
    return load_board("hpob").on(table)


@pytest.fixture(scope="module")
def traces(table, board):
    return evaluate(METHODS, board, table)


def original(data, task_id):
    """X and y of a held-out task as the files have them, and its searches' first trials."""
    space, dataset = task_id.removeprefix("hpob_").split("-")
    held_out = json.loads((data / "meta-test-dataset.json").read_text())[space][dataset]
    first = json.loads((data / "bo-initializations.json").read_text())[space][dataset]
    return np.array(held_out["X"]), np.array(held_out["y"]), first


# ---------------------------------------------------------------- the table
def test_split_first_trials_and_names_come_along(table, data):
    assert table.workloads == [f"hpob_{space}" for space in LAYOUT]
    for space, parts in LAYOUT.items():
        assert list(table.space(f"hpob_{space}")) == COLUMNS[space]
        for part, short in (("train", "train"), ("validation", "valid"), ("test", "test")):
            assert {f"{space}_{d}" for d in parts[part]} <= set(table.split[short])
    for task_id, searches in table.starts.items():
        if task_id.split("-")[1] not in LAYOUT[task_id[5:9]]["test"]:
            continue
        x, _, first = original(data, task_id)
        configs = table.configs(task_id[:9]).to_numpy()
        assert {name: configs[ids].tolist() for name, ids in searches.items()} == {
            name: x[rows].tolist() for name, rows in first.items()
        }


def test_out_and_back_is_what_was_imported(table, board, data, tmp_path):
    registry.create("formats", "hpob").write(table, tmp_path / "out", board=board)
    back = {p.name: json.loads(p.read_text()) for p in (tmp_path / "out").iterdir()}
    for name, spaces in content(rows=120).items():
        if not name.startswith("meta-") or "dataset" not in name or "descriptors" in name:
            continue
        assert back[name].keys() == spaces.keys()
        for space, datasets in spaces.items():
            for dataset, ours in datasets.items():
                theirs = back[name][space][dataset]
                rows = sorted(zip(map(tuple, ours["X"]), np.float32(ours["y"]).ravel().tolist(), strict=True))
                assert rows == sorted(zip(map(tuple, theirs["X"]), np.ravel(theirs["y"]).tolist(), strict=True))
    store(list(registry.create("formats", "hpob").read(tmp_path / "out")), tmp_path / "again/v1", "hpob")
    again = load_table(tmp_path / "again/v1")
    for task_id, searches in table.starts.items():
        mine = table.configs(task_id[:9]).to_numpy()
        theirs = again.configs(task_id[:9]).to_numpy()
        for name, ids in searches.items():
            assert (mine[ids] == theirs[again.starts[task_id][name]]).all()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("bo-initializations.json", {"4796": {"3549": {"test0": [0, 0]}}}, "no list of different rows"),
        ("bo-initializations.json", {"4796": {"3549": {"test0": [0, 10**6]}}}, "no list of different rows"),
        ("bo-initializations.json", {"4796": {"3549": {"test0": [0.5]}}}, "no list of different rows"),
        ("bo-initializations.json", {"4796": {"3549": []}}, "holds no searches"),
        ("meta-test-dataset.json", {"4796": {}}, "holds no data sets"),
        ("meta-validation-dataset.json", {"4796": {"3": {"X": [[0, 0, 0]], "y": [[1]]}}}, "is in another file too"),
        (
            "meta-test-dataset.json",
            {"4796": {"7": {"X": [[0, 0]], "y": [[1]]}}},
            "X has 2 columns, other data sets have 3",
        ),
    ],
)
def test_files_that_lie(tmp_path, file, change, message):
    (write(tmp_path / "d") / file).write_text(json.dumps(change))
    with pytest.raises(MetabenchError, match=message) as caught:
        store(list(registry.create("formats", "hpob").read(tmp_path / "d")), tmp_path / "t/v1", "hpob")
    assert "\n" not in str(caught.value) and not (tmp_path / "t/v1/tasks.parquet").exists()


def test_verify_names_starts_that_were_never_run(tmp_path, data):
    parts = list(registry.create("formats", "hpob").read(data))
    task = next(iter(parts[0].starts))
    elsewhere = int(np.setdiff1d(parts[0].config, parts[0].config[parts[0].task == task])[0])
    parts[0].starts[task]["test0"][2] = elsewhere
    store(parts, tmp_path / "t/v1", "hpob")
    (problem,) = verify(tmp_path / "t/v1")
    assert f"search test0: configuration {elsewhere} was never run there" in problem and "starts.csv" in problem
    path = tmp_path / "t/v1/starts.csv"
    path.write_text(path.read_text().replace("test0", "test1", 1))
    assert any("starts.csv: its sha256" in line for line in verify(tmp_path / "t/v1"))


# ---------------------------------------------------------------- the protocol
def test_searches_begin_as_prescribed_and_stay_in_their_pool(table, data, traces):
    assert len(traces) == len(METHODS) * 5 * 5
    for row in traces.to_pylist():
        x, y, first = original(data, row["task_id"])
        tried = table.configs(row["task_id"][:9]).to_numpy()[row["config_ids"]]
        assert tried[:5].tolist() == x[first[f"test{row['seed']}"]].tolist()
        assert len(tried) == min(105, len(y)) == len(set(row["config_ids"]))
        assert {*map(tuple, tried)} <= {*map(tuple, x)}


def test_a_pool_that_is_tried_out_is_the_whole_of_it(table, data, traces):
    small = [row for row in traces.to_pylist() if row["task_id"] == "hpob_4796-9903"]
    for row in small:
        x, _, _ = original(data, row["task_id"])
        tried = table.configs("hpob_4796").to_numpy()[row["config_ids"]]
        assert sorted(map(tuple, tried)) == sorted(map(tuple, x))  # with the row that stands there twice


def test_scores_are_those_of_hpob(table, board, data, traces):
    """Regret and ranks beside what HPO-B's handler and plotter compute, written down independently."""
    best = {}
    for row in traces.to_pylist():
        _, y, _ = original(data, row["task_id"])
        seen = table.final(row["task_id"][:9], [row["task_id"]])[0, :, 0]
        pool = seen[np.isfinite(seen)]
        assert np.allclose(np.sort(pool), np.sort(y.ravel()), atol=1e-7)
        scaled = (seen[row["config_ids"]] - pool.min()) / (pool.max() - pool.min())
        record = np.maximum.accumulate(scaled)[4:]
        best[row["method"], row["task_id"], row["seed"]] = np.r_[record, np.full(101 - len(record), record[-1])]
    cells = sorted({key[1:] for key in best})
    regret = np.array([[1 - best[m, *cell] for cell in cells] for m in METHODS])
    ranks = np.array(
        [pd.DataFrame(1 - r.round(8)).rank(axis=0, ascending=False).to_numpy() for r in regret.transpose(1, 0, 2)]
    )
    scores = score(traces, table, board, resamples=50)
    for m, method in enumerate(METHODS):
        curve = scores.curves[scores.curves["method"] == method].set_index("trial")
        np.testing.assert_allclose(curve.loc[5:, "valid_regret"], regret[m].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(curve.loc[5:, "mean_rank"], ranks[:, m].mean(axis=0), atol=1e-12)
    assert scores.summary["mark"].unique().tolist() == [5, 6, 10, 15, 30, 55, 105]


def test_traces_outside_of_the_pool_are_refused(table, board, traces):
    rows = traces.to_pylist()
    alien = int(np.setdiff1d(np.arange(len(table.configs("hpob_4796"))), rows[0]["config_ids"])[-1])
    rows[0]["config_ids"][7] = alien
    with pytest.raises(MetabenchError, match=f"configuration {alien} was never run on the task"):
        score(pa.Table.from_pylist(rows, schema.TRACES), table, board)
    rows = traces.to_pylist()
    rows[0]["config_ids"].pop()
    with pytest.raises(MetabenchError, match=r"config_ids has [0-9]+ values, the budget is"):
        score(pa.Table.from_pylist(rows, schema.TRACES), table, board)


def test_methods_learn_from_their_own_space_alone(table, board):
    class Spy(Searcher):
        name = "spy"
        seen: list = []  # noqa: RUF012 - fitted copies write here

        def fit(self, source):
            self.seen.append(source)
            return self

        def ask(self, history):
            return int(history.untried(len(self.problem.candidates))[0])

    evaluate(Spy, board, table, profile="lite")
    for source, space in zip(Spy.seen, LAYOUT, strict=True):
        assert [t.task_id for t in source.tasks] == [f"hpob_{space}-{d}" for d in sorted(LAYOUT[space]["train"])]
        assert [t.task_id for t in source.valid.tasks] == [f"hpob_{space}-{d}" for d in LAYOUT[space]["validation"]]


def test_from_import_to_page(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    rules = load_board("hpob").path / "board.toml"
    (tmp_path / "leaderboards/hpob/v1").mkdir(parents=True)
    (tmp_path / "leaderboards/hpob/v1/board.toml").write_text(rules.read_text())
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(tmp_path / "leaderboards"))
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))

    def run(*words):
        done = CliRunner().invoke(main, list(words), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    run("import", "hpob", str(data), "--table", "hpob")
    assert "sound" in run("verify", "hpob")
    words = ["--board", "hpob", "--profile", "lite"]
    out = run("evaluate", *words, "--method", "random", "--method", "default", "--out", "leaderboards/hpob/v1")
    assert "regret@30" in out
    run("leaderboard", "build", *words)
    page = (tmp_path / "leaderboards/hpob/v1/README.md").read_text()
    assert "discrete. There are 5 held-out tasks" in page and "(best − incumbent)/(best − worst)" in page
    assert "current" in run("leaderboard", "check", *words)
    out = run("results", "write", "hpob", "ours", "--data", str(data))
    assert set(out.split()) == {"ours/random.json", "ours/default.json"}
    assert "rank@25" in run("results", "rank", "ours/random.json", "ours/default.json")


def test_no_submissions_where_nobody_can_look_them_up(tmp_path, traces):
    for call in (
        lambda: workflows.draft_submission(tmp_path / "s", "random", traces, "hpob"),
        lambda: workflows.submit(tmp_path, "hpob"),
    ):
        with pytest.raises(UsageError, match="board hpob takes no submissions"):
            call()


# ---------------------------------------------------------------- result files
def test_results_are_what_the_handler_would_record(table, board, data, traces):
    results = hpob_results.of_traces(traces, table, board, data)
    assert set(results) == set(METHODS)
    configs = {w: table.configs(w).to_numpy() for w in table.workloads}
    for row in traces.to_pylist():
        x, y, _ = original(data, row["task_id"])
        rows, left = [], list(range(len(x)))
        for point in configs[row["task_id"][:9]][row["config_ids"]]:  # of equal rows the earlier was met first
            rows.append(next(r for r in left if (x[r] == point).all()))
            left.remove(rows[-1])
        space, dataset = row["task_id"].removeprefix("hpob_").split("-")
        mine = results[row["method"]][space, dataset, f"test{row['seed']}"]
        np.testing.assert_allclose(mine, best_so_far(y, rows), atol=1e-15)
    single = hpob_results.of_traces(traces, table, board)
    for method, cells in results.items():
        for cell, values in cells.items():
            np.testing.assert_allclose(single[method][cell], values, atol=1e-6)


def test_result_files_out_and_back_are_exact(tmp_path, table, board, traces):
    results = hpob_results.of_traces(traces, table, board)["random"]
    hpob_results.write(results, tmp_path / "random.json")
    back = hpob_results.read(tmp_path / "random.json")
    assert back.keys() == results.keys() and all((back[k] == results[k]).all() for k in results)
    nested = json.loads((tmp_path / "random.json").read_text())
    assert list(nested) == list(LAYOUT) and list(nested["4796"]["3549"]) == [f"test{i}" for i in range(5)]
    assert {len(v) for d in nested.values() for s in d.values() for v in s.values()} == {101}


def test_ranks_share_ties_at_eight_decimals():
    a = {("s", "d", "test0"): np.array([0.5, 0.7, 1.0]), ("s", "e", "test0"): np.array([0.1, 0.2, 0.3])}
    b = {("s", "d", "test0"): np.array([0.5, 0.7 + 1e-9, 0.9]), ("s", "x", "test0"): np.array([0.0, 0.0, 0.0])}
    frame = hpob_results.rank({"a": a, "b": b}, marks=(1, 2)).set_index("method")
    assert frame["rank@1"].tolist() == [1.5, 1.5] and frame["rank@2"].to_dict() == {"a": 1.0, "b": 2.0}
    assert frame.loc["b", "regret@2"] == pytest.approx(0.1)
    with pytest.raises(UsageError, match="no search in common"):
        hpob_results.rank({"a": a, "b": {("t", "d", "test0"): np.zeros(3)}})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "holds no searches"),
        ([1], "holds list, expected dict"),
        ({"s": [1]}, "space 's' holds list"),
        ({"s": {"d": {"test0": [0.1, 1.5]}}}, r"leaves \[0, 1\]"),
        ({"s": {"d": {"test0": [0.1, None]}}}, r"leaves \[0, 1\]"),
        ({"s": {"d": {"test0": []}}}, r"leaves \[0, 1\]"),
        ({"s": {"d": {"test0": [[0.1]]}}}, "no flat list"),
        ({"s": {"d": {"test0": [0.1], "test1": [0.1, 0.2]}}}, "s/d/test0 has 1 values, s/d/test1 2"),
    ],
)
def test_result_files_that_lie(tmp_path, value, message):
    (tmp_path / "x.json").write_text(json.dumps(value))
    with pytest.raises(MetabenchError, match=message) as caught:
        hpob_results.read(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- pools
def test_absent_seeds_are_answered_by_those_there_are():
    ran = np.array([[[True, True, True], [False, True, False], [True, False, True], [False, False, False]]])
    scores = np.where(ran, np.arange(12.0).reshape(1, 4, 3), np.nan)
    filled = Pools(ran).answers(scores)[0]
    assert filled[:3].tolist() == [[0, 1, 2], [4, 4, 4], [6, 8, 6]] and np.isnan(filled[3]).all()
    assert Pools(ran).configs(0).tolist() == [0, 1, 2]


def test_thinning_takes_equally_many_of_every_task():
    rng = np.random.default_rng(0)
    observed = np.zeros((3, 300, 1), bool)
    for task, (first, last) in enumerate(((0, 200), (180, 290), (290, 300))):
        observed[task, first:last] = True
    scores = np.where(observed, rng.random(observed.shape), np.nan)
    infos = [TaskInfo(f"t{i}", f"f{i}", "tabular", "w", "regression", "y", "max", {}) for i in range(3)]
    space = Space({"a": Float(0.0, 1.0)})
    source = MetaTrain(space, pd.DataFrame({"a": rng.random(300)}), infos, scores, observed=observed)
    thin = thinned(source, 60)
    assert len(thin.configs) == 60 and thin.seen.any(axis=0).all()
    counts = thin.seen.sum(axis=1)
    assert counts[2] == 10 and abs(counts[0] - counts[1]) <= 5 and counts[:2].min() >= 24
    where = [int(np.flatnonzero(source.configs["a"] == a)[0]) for a in thin.configs["a"]]
    np.testing.assert_array_equal(thin.scores, source.scores[:, where])
    assert thinned(source, 300) is source
