import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fakes import FakeTable, First, Last, board_for
from scipy import stats

from metabench import schema
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import evaluate
from metabench.scores import score
from metabench.search.base import TaskInfo
from metabench.testing.planted import SPACE


@pytest.fixture(scope="module")
def table():
    return FakeTable.planted(tasks=10, configs=64, seeds=2, families=[*"abcdefghii"])


@pytest.fixture(scope="module")
def board(table):
    return board_for(table, budget=10, seeds=3, train=4, valid=1)


@pytest.fixture(scope="module")
def traces(table, board):
    return evaluate([First, Last, "random"], board, table)


@pytest.fixture(scope="module")
def scores(traces, table, board):
    return score(traces, table, board, resamples=200)


def test_summary_by_hand(scores, traces, table, board):
    rows = [r for r in traces.to_pylist() if r["method"] == "last" and r["start"] == "own"]
    regret = {}
    for row in rows:
        seen = table.final("planted", [row["task_id"]])[0, :, row["seed"] % 2]
        best, order = np.nanmax(seen), np.sort(np.where(np.isnan(seen), -np.inf, seen))
        tried = seen[row["config_ids"][:5]]
        inc = np.nanmax(tried) if np.isfinite(tried).any() else -np.inf
        family = table.task_info(row["task_id"]).family
        r = min(1.0, (best - inc) / (best - order[31]))
        regret.setdefault(family, {}).setdefault(row["task_id"], []).append(r)
    families = [np.mean([np.mean(seeds) for seeds in tasks.values()]) for tasks in regret.values()]
    assert len(families) == 4
    summary = scores.summary.set_index(["method", "start", "mark"])
    assert summary.loc[("last", "own", 5), "valid_regret"] == pytest.approx(stats.trim_mean(families, 0.25))


def test_ranks_add_up_and_overhead_is_the_sum(scores, traces):
    for _, group in scores.curves.groupby(["start", "trial"]):
        assert group["mean_rank"].sum() == pytest.approx(6)
    shared = scores.curves.query("start == 'random5' and trial <= 5")
    assert (shared["mean_rank"] == 2).all()
    own = traces.to_pandas().query("method == 'random' and start == 'own'")
    expected = np.mean([sum(o[:5]) for o in own["overhead"]])
    row = scores.summary.query("method == 'random' and start == 'own' and mark == 5")
    assert row["overhead_s"].item() == pytest.approx(expected)


def test_curves_and_intervals_are_orderly(scores, board):
    curves = scores.curves
    assert len(curves) == 3 * 3 * board.budget
    for name in ("valid", "test"):
        assert (curves[f"{name}_low"] <= curves[f"{name}_regret"] + 1e-9).all()
        assert (curves[f"{name}_regret"] <= curves[f"{name}_high"] + 1e-9).all()
    for _, group in curves.groupby(["method", "start"]):
        assert (group["valid_regret"].diff().dropna() <= 1e-12).all()
    assert scores.summary["mark"].unique().tolist() == [1, 2, 3, 5, 10]
    assert "valid_regret" in scores.summary and str(scores).count("\n") == 3 * 3 * 5


def test_twice_the_same(traces, table, board, scores):
    again = score(traces, table, board, resamples=200)
    for name in ("summary", "curves", "tasks", "pairs", "critical", "negative_transfer"):
        pd.testing.assert_frame_equal(getattr(scores, name), getattr(again, name), check_exact=True)
    assert scores.floor == again.floor


def test_order_of_the_rows_does_not_matter(traces, table, board, scores):
    order = np.random.default_rng(0).permutation(len(traces))
    mixed = score(traces.take(pa.array(order)), table, board, resamples=200)
    key = ["method", "start", "trial"]
    a, b = (s.curves.sort_values(key).reset_index(drop=True) for s in (scores, mixed))
    pd.testing.assert_frame_equal(a, b)


def test_comparisons_cover_all_pairs_and_twins(scores, traces, table, board):
    assert len(scores.pairs) == 3 * 3 * 5
    pair = scores.pairs.query("start == 'own' and mark == 10 and method_a == 'first' and method_b == 'last'")
    tasks = scores.tasks.query("start == 'own' and mark == 10").pivot(
        index="task_id", columns="method", values="valid_regret"
    )
    assert pair["difference"].item() == pytest.approx((tasks["first"] - tasks["last"]).mean())
    assert pair["p"].item() == pytest.approx(stats.wilcoxon(tasks["first"] - tasks["last"]).pvalue)
    transfer = scores.negative_transfer.query("start == 'own' and mark == 10")
    assert transfer[["method", "twin"]].values.tolist() == [["last", "first"]]
    assert transfer["share"].item() == pytest.approx((tasks["last"] - tasks["first"] > 0.01).mean())
    other = score(traces, table, board, twins={"random": "first"}, resamples=10).negative_transfer
    assert set(other["method"]) == {"random"}


def test_the_noise_floor_is_reached_by_trying_everything(table):
    board = board_for(table, budget=64, seeds=2, train=4, valid=1, starts=("own",))
    scores = score(evaluate([First, Last], board, table), table, board, resamples=50)
    last = scores.curves.query("trial == 64")
    assert last["valid_regret"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert last["test_regret"].to_numpy() == pytest.approx(scores.floor["test_regret"])
    assert scores.noise_floor["test_regret"].tolist() == pytest.approx(
        scores.tasks.query("method == 'first' and mark == 50")["test_regret"].tolist(), abs=0.3
    )
    assert scores.noise_floor["family"].tolist() == [*"fghii"]


def test_metrics_to_be_minimised_mirror_those_to_be_maximised():
    rng = np.random.default_rng(0)
    valid, test = rng.random((3, 16, 2)), rng.random((3, 16, 2))
    configs = SPACE.sample(16, 0)

    def infos(direction):
        return [TaskInfo(f"t{i}", f"f{i}", "tabular", "planted", "regression", "r2", direction, {}) for i in range(3)]

    up = FakeTable(valid, test, infos("max"), configs)
    down = FakeTable(-valid, -test, infos("min"), configs)
    frames = []
    for table in (up, down):
        board = board_for(table, budget=8, seeds=2, train=1, valid=0, starts=("own",))
        frames.append(score(evaluate([First, Last], board, table), table, board, resamples=20).curves)
    pd.testing.assert_frame_equal(*frames)


def test_a_forged_score_has_nowhere_to_enter(traces, table, board, scores):
    extra = traces.append_column("valid_regret", pa.array([0.0] * len(traces)))
    pd.testing.assert_frame_equal(score(extra, table, board, resamples=200).summary, scores.summary)


def changed(traces, row, **values):
    rows = traces.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, schema.TRACES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"config_ids": [0] * 10}, "config_ids must be distinct and in 0 … 63"),
        ({"config_ids": [*range(9), 64]}, "config_ids must be distinct and in 0 … 63"),
        ({"config_ids": [-1, *range(9)]}, "config_ids must be distinct and in 0 … 63"),
        ({"config_ids": [*range(9)]}, "config_ids has 9 values, the budget is 10"),
        ({"config_ids": None}, "config_ids has 0 values, the budget is 10"),
        ({"overhead": [0.0]}, "overhead has 1 values, the budget is 10"),
        ({"seed": 7}, "a search seed lies outside 0 … 2"),
        ({"task_id": "planted-0"}, "task 'planted-0' is not in meta-test"),
        ({"start": "mine"}, "unknown start 'mine'"),
        ({"seed": 1}, "the cell of method first, start own, task planted-5, seed 0 is absent"),
    ],
)
def test_traces_that_are_no_searches_are_refused(traces, table, board, values, message):
    with pytest.raises(MetabenchError, match=message) as caught:
        score(changed(traces, 0, **values), table, board)
    assert "\n" not in str(caught.value)


def test_missing_cells_and_no_traces(traces, table, board):
    with pytest.raises(MetabenchError, match="is absent"):
        score(traces.slice(1), table, board)
    with pytest.raises(UsageError, match="no traces"):
        score(schema.TRACES.empty_table(), table, board)
    with pytest.raises(MetabenchError, match="is frozen on"):
        score(traces, FakeTable.planted(tasks=10, noise=0.3), board)
