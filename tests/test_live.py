"""Live evaluation: what is suggested is really trained, twice the same, and a submission is trained again."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeTable, First, Raises, board_for, signed

from metabench import schema
from metabench.boards import submissions
from metabench.boards.board import load_board
from metabench.boards.retrain import SAMPLE
from metabench.boards.submissions import Refused, check, draft, reproduce
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import MethodsFailed, evaluate
from metabench.notebook import score
from metabench.search.base import Searcher
from metabench.search.continuous import POOL, Outcome, Trial, dense_pool, from_text, row, to_text
from metabench.search.live import Live
from metabench.search.surrogate import SurrogateObjective
from metabench.table import load_table
from metabench.testing.planted import SPACE

BUNDLED = "mlp-digits"


class Suggests(Searcher):
    """Names points that no table holds: ever smaller networks."""

    name = "suggests"
    told: list = []  # noqa: RUF012

    def suggest_config(self, trials):
        self.told.append((trials.configs.copy(), list(trials.scores)))
        return self.problem.space.default() | {"width": 60 - 3 * len(trials), "dropout": 0.123}


Suggests.__module__ = "suggests_pkg"


class Stubborn(Searcher):
    name = "stubborn"

    def suggest_config(self, trials):
        return self.problem.space.default()


class Beyond(Searcher):
    name = "beyond"

    def suggest_config(self, trials):
        return self.problem.space.default() | {"width": 10**6}


class Spy(First):
    """The first of the list, which it keeps."""

    name = "spy"
    pools: dict = {}  # noqa: RUF012

    def begin(self):
        self.pools[self.problem.task.task_id, self.seed] = self.problem.candidates


@pytest.fixture(scope="module")
def starter():
    return load_table("starter")


@pytest.fixture(scope="module")
def table():
    """A planted table under the workload's space; an objective of its own stands for training."""
    return FakeTable.planted(tasks=8, configs=32)


class Formula(Live):
    """In place of training: a score that the configuration's text determines."""

    asked: list = []  # noqa: RUF012

    def answer(self, trials):
        self.asked.append([(t.task_id, t.seed, to_text(SPACE, t.config)) for t in trials])
        out = []
        for t in trials:
            key = [t.seed, *to_text(SPACE, t.config).encode(), *t.task_id.encode()]
            valid, test = np.float32(np.random.default_rng(key).random(2)).tolist()
            bad = t.config["learning_rate"] > 0.9
            out.append(
                Outcome(*((np.nan, np.nan, "diverged") if bad else (valid, test, "ok")), 0.5, "formula-1", "here")
            )
        return out

    @classmethod
    def from_table(cls, table, workload, task_ids):
        return cls(workload)


@pytest.fixture
def formula(monkeypatch):
    from metabench.boards import retrain
    from metabench.evaluation import live

    monkeypatch.setattr(live, "Live", Formula)
    monkeypatch.setattr(retrain, "Live", Formula)
    Formula.asked.clear()


@pytest.fixture
def board(table, tmp_path):
    board = board_for(table, budget=5, train=3, objective="live", starts=("own",))
    return dataclasses.replace(board, path=tmp_path / "board")


# ---------------------------------------------------------------- the protocol
def test_all_suggestions_of_a_round_are_asked_for_together(board, table, formula):
    traces = evaluate([First, Suggests, "random"], board, table)
    assert traces.schema.equals(schema.LIVE) and traces.num_rows == 3 * 3 * 2
    assert [len(asked) for asked in Formula.asked] == [3 * 2] * 5 * 3  # a task at a time: methods × seeds in a round
    assert {task for asked in Formula.asked[:5] for task, _, _ in asked} == {board.tasks(table, "test")[0]}
    first = traces.to_pylist()[0]
    assert first["engine"] == "formula-1" and first["seconds"] == [0.5] * 5


def test_a_searcher_names_any_point_and_is_told_what_became_of_it(board, table, formula):
    Suggests.told.clear()
    traces = evaluate([Suggests], board, table)
    mine = traces.to_pylist()[0]
    widths = [json.loads(text)["width"] for text in mine["configs"]]
    assert widths == [60, 57, 54, 51, 48] and json.loads(mine["configs"][0])["dropout"] == 0.123
    configs, scores = Suggests.told[8]  # of the fifth round: the searches of both seeds take turns
    assert configs["width"].tolist() == widths[:4] and scores == mine["valid_score"][:4]


def test_a_list_is_dense_the_same_for_all_and_another_for_each_seed(board, table, formula):
    Spy.pools.clear()
    evaluate([Spy], board, table)
    task = board.tasks(table, "test")[0]
    a, b = Spy.pools[task, 0], Spy.pools[task, 1]
    n = 1 + len(table.configs("planted"))
    assert len(a) == n + POOL and not a.iloc[n:].equals(b.iloc[n:])
    assert row(SPACE, a, 0) == SPACE.default()
    stored = table.configs("planted").reset_index(drop=True)
    pd.testing.assert_frame_equal(a.iloc[1:n].reset_index(drop=True), stored)
    again = dense_pool(SPACE, table.configs("planted"), task, 0)
    pd.testing.assert_frame_equal(a, again)


def test_traces_do_not_depend_on_company_processes_or_interruption(board, table, formula, tmp_path):
    together = evaluate(["random", "sobol"], board, table, store=tmp_path)
    alone = evaluate(["sobol"], board, table)
    columns = ["configs", "valid_score", "test_score", "status", "cell"]
    found = [r for r in together.select(["method", *columns]).to_pylist() if r.pop("method") == "sobol"]
    assert repr(found) == repr(alone.select(columns).to_pylist())
    some = sorted((tmp_path / "live").glob("random*"))
    some[0].unlink()  # as if it had been interrupted
    Formula.asked.clear()
    again = evaluate(["random", "sobol"], board, table, store=tmp_path)
    assert {len(a) for a in Formula.asked} == {2}  # random's searches of both seeds alone
    assert repr(again.select(columns).to_pylist()) == repr(together.select(columns).to_pylist())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Stubborn, r"trial 2: suggested .* again"),
        (Beyond, r"hyperparameter width: 1000000 lies outside"),
        (Raises, r"ValueError: no idea \(fakes.py line"),
    ],
)
def test_a_method_that_misbehaves_is_named_and_the_others_are_kept(board, table, formula, method, message):
    with pytest.raises(MethodsFailed, match=rf"method '{method.name}' failed on task .*seed 0: .*{message}") as caught:
        evaluate([method, First], board, table)
    assert set(caught.value.traces["method"].to_pylist()) == {"first"} and caught.value.traces.num_rows == 6


# ---------------------------------------------------------------- scores
def test_regret_is_measured_by_the_table_and_may_fall_below_nought(board, table, formula):
    traces = evaluate([First], board, table)
    rows = traces.to_pylist()
    own = table.final("planted", [rows[0]["task_id"]])[0]
    best, middle = np.nanmax(own, axis=0), np.sort(np.nan_to_num(own, nan=-1), axis=0)[(len(own) - 1) // 2]
    halfway = np.float32((best + middle).mean() / 2).item()
    for given in rows:
        given["status"], given["test_score"] = ["ok"] * 5, [0.5] * 5
        given["valid_score"] = [0.0, halfway, 0.1, 0.05, 2.0]
    found = score(pa.Table.from_pylist(rows, schema.LIVE), table, board)
    task = found.tasks[(found.tasks["task_id"] == rows[0]["task_id"])].set_index("mark")["valid_regret"]
    expected = ((best - halfway) / (best - middle)).mean()
    assert task[1] == 1.0 and task[2] == task[3] == pytest.approx(expected) and 0.3 < expected < 0.7
    assert task[5] == -1.0


def test_more_searches_than_table_seeds_are_measured_in_turn(board, table, formula):
    """A search with seed 2 trains with seed 0 of two; it is measured by the rows of that seed."""
    more = dataclasses.replace(board, seeds=4)
    rows = evaluate([First], more, table).to_pylist()
    for given in rows:
        best = np.nanmax(table.final("planted", [given["task_id"]])[0][:, given["seed"] % 2]).item()
        given |= {"status": ["ok"] * 5, "valid_score": [best] * 5, "test_score": [0.5] * 5}
    found = score(pa.Table.from_pylist(rows, schema.LIVE), table, more)
    assert found.tasks["valid_regret"].abs().max() < 1e-6


def test_diverged_trials_are_never_incumbents(board, table, formula):
    rows = evaluate([First], board, table).to_pylist()
    for given in rows:
        given["status"], given["valid_score"], given["test_score"] = ["diverged"] * 5, [np.nan] * 5, [np.nan] * 5
    found = score(pa.Table.from_pylist(rows, schema.LIVE), table, board)
    assert (found.summary["valid_regret"] == 1).all() and (found.summary["test_regret"] == 1).all()


# ---------------------------------------------------------------- the surrogate
def test_a_surrogate_answers_any_point_and_says_how_wrong_it_is(table):
    objective = SurrogateObjective.from_table(table, "planted", ["planted-5", "planted-6"])
    assert objective.errors["task_id"].tolist() == ["planted-5", "planted-6"]
    assert (objective.errors["spearman"] > 0.2).all() and objective.errors["regret"].between(0.01, 1).all()
    stored = table.final("planted", ["planted-5"])[0]
    config = SPACE.default()
    a, b = objective.answer([Trial("planted-5", s, config) for s in (0, 1)])
    assert np.nanmin(stored[:, 0]) <= a.valid <= np.nanmax(stored[:, 0]) and a.engine.startswith("surrogate")
    assert a.valid != b.valid  # each seed on its own scale
    everything = [Trial("planted-5", 0, row(SPACE, table.configs("planted"), i)) for i in range(32)]
    said = [o.valid for o in objective.answer(everything)]
    ok = np.isfinite(stored[:, 0])
    assert pd.Series(said)[ok].corr(pd.Series(stored[:, 0])[ok], method="spearman") > 0.8  # it was fitted on these


def test_its_error_is_that_of_configurations_it_was_not_fitted_on():
    noise = np.random.default_rng(0).random((2, 1, 128, 2))
    table = FakeTable.planted(tasks=1, configs=128)
    table._series = {"valid_score": noise[0], "test_score": noise[1]}
    errors = SurrogateObjective.from_table(table, "planted", ["planted-0"]).errors
    assert abs(errors["spearman"].item()) < 0.25  # there is nothing to be learned, though the trees know their own rows


def test_a_rehearsal_carries_its_error_and_stands_on_no_board(board, table):
    traces = evaluate([First, "random"], board.rehearsed(), table)
    found = score(traces, table, board.rehearsed())
    assert set(found.surrogate["task_id"]) == set(board.tasks(table, "test"))
    assert "nothing was trained" in found.caveat and found.caveat in str(found)
    assert all(
        {"surrogate_spearman", "surrogate_error"} <= set(r) for r in found.ranking().reset_index().to_dict("records")
    )
    with pytest.raises(MetabenchError, match="its scores are never on a board, nor given without its error"):
        score(traces, table, board)
    with pytest.raises(MetabenchError, match="its scores are never on a board, nor given without its error"):
        score(traces.replace_schema_metadata(schema.LIVE.metadata), table, board.rehearsed())
    with pytest.raises(UsageError, match="looks stored rows up"):
        dataclasses.replace(board, objective="replay").rehearsed()


# ---------------------------------------------------------------- submissions
@pytest.fixture
def folder(board, table, formula, tmp_path):
    return signed(draft(tmp_path / "mine", evaluate(Suggests, board, table), Suggests(), board, table))


def rewrite(folder, change):
    rows = pq.read_table(folder / "traces.parquet").to_pylist()
    change(rows[1])
    pq.write_table(pa.Table.from_pylist(rows, schema.LIVE), folder / "traces.parquet")


def test_a_live_submission_is_trained_again_and_kept(folder, board, table):
    Formula.asked.clear()
    checked = check(folder, board, table)
    assert sum(map(len, Formula.asked)) == checked.traces.num_rows * board.budget
    place = submissions.accept(checked, board, table)
    Formula.asked.clear()
    ((again, traces),) = submissions.accepted(board, table)
    assert sum(map(len, Formula.asked)) == SAMPLE  # every build trains a few again
    assert again.status == "recomputed" and traces.equals(checked.traces) and place.name == "suggests"


def forged(row):
    row["valid_score"][2] += 1e-6


def better(row):
    row["test_score"][2] = 0.999


def unlike(row):
    row["status"][0], row["valid_score"][0], row["test_score"][0] = "diverged", np.nan, np.nan


def twice(row):
    row["configs"][1] = row["configs"][0]


def outside(row):
    row["configs"][1] = row["configs"][1].replace('"width": 57', '"width": 5700')


def deep(row):
    row["configs"][1] = "[" * 15_000


def wrong_length(row):
    for name in ("configs", "valid_score", "test_score", "status", "seconds", "overhead"):
        row[name].pop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (forged, r"trial 3: valid_score is .*, training it again gives"),
        (better, r"trial 3: test_score is .*, training it again gives"),
        (unlike, "trial 1: status is diverged, training it again gives ok"),
        (twice, "a configuration is tried twice"),
        (outside, "hyperparameter width: 5700 lies outside"),
        (deep, "is no configuration in JSON"),
        (wrong_length, "configs has 4 values, the budget is 5"),
        (lambda row: row["configs"].__setitem__(0, "x" * 30_000), "holds a text of 30,000 bytes"),
        (lambda row: row["configs"].__setitem__(0, '{"width": 1e999}'), "hyperparameter"),
        (lambda row: row["status"].__setitem__(0, "lucky"), "status 'lucky' is none of ok, diverged"),
        (lambda row: row["valid_score"].__setitem__(0, float("inf")), "a score exactly if its status is ok"),
        (lambda row: row["overhead"].__setitem__(0, -1.0), "no time in seconds"),
        (lambda row: row.update(start="portfolio3"), "unknown start 'portfolio3'"),
    ],
)
def test_live_traces_that_lie_are_refused(folder, board, table, change, message):
    rewrite(folder, change)
    with pytest.raises(Refused, match=message) as caught:
        check(folder, board, table)
    assert "\n" not in str(caught.value)


def test_on_another_machine_values_are_those_trained_here(folder, board, table):
    honest = check(folder, board, table)

    def elsewhere(row):
        row["device"] = "another processor"
        row["valid_score"] = [0.999] * 5

    rewrite(folder, elsewhere)
    columns = ["valid_score", "test_score", "device"]
    assert check(folder, board, table).traces.select(columns).equals(honest.traces.select(columns))


def test_code_that_suggests_the_same_is_reproduced(folder, board, table, monkeypatch):
    import sys
    import types

    module = types.ModuleType("suggests_pkg")
    module.Suggests = Suggests
    monkeypatch.setitem(sys.modules, "suggests_pkg", module)
    checked = check(folder, board, table)
    assert reproduce(checked, board, table) == "reproduced"
    rows = checked.traces.to_pylist()
    rows[0]["configs"][4] = rows[0]["configs"][4].replace('"width": 48', '"width": 49')
    other = dataclasses.replace(checked, traces=pa.Table.from_pylist(rows, schema.LIVE))
    with pytest.raises(Refused, match=r'trial 5: the code proposes .*"width": 48'):
        reproduce(other, board, table)


# ---------------------------------------------------------------- the engine
def test_a_stored_configuration_trains_to_its_stored_row(starter):
    """What live training gives is what the table holds: to the bit where the machine is that of the row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # without a compiler the batched backend answers
        live = Live.from_table(starter, "mlp", [BUNDLED])
        chosen = (3, 11)
        space = starter.space("mlp")
        trials = [Trial(BUNDLED, s, row(space, starter.configs("mlp"), c)) for c in chosen for s in (0, 1)]
        together, alone = live.answer([*trials, trials[0]]), live.answer(trials[1:2])
        further = live.answer([dataclasses.replace(trials[1], seed=3)])  # the table has two seeds
    assert (together[4], together[1].valid, together[1].test) == (together[0], alone[0].valid, alone[0].test)
    assert (further[0].valid, further[0].test) == (alone[0].valid, alone[0].test)
    rows = starter.runs("mlp", ["config_id", "seed", "engine", "device"], [BUNDLED]).to_pandas()
    stored = {s: starter.final("mlp", [BUNDLED], f"{s}_score")[0] for s in ("valid", "test")}
    for trial, outcome, (c, s) in zip(trials, together, [(c, s) for c in chosen for s in (0, 1)]):
        made = rows[(rows["config_id"] == c) & (rows["seed"] == s)].iloc[0]
        same = (made["engine"], made["device"]) == (outcome.engine, outcome.device)
        for name in ("valid", "test"):
            want, got = stored[name][c, s], getattr(outcome, name)
            assert got == want if same else got == pytest.approx(want, abs=0.05), trial


def test_other_splits_than_the_tables_are_refused(starter):
    changed = type("Changed", (), {"tasks": starter.tasks.assign(split_hashes=[["0" * 64]] * len(starter.tasks))})()
    with pytest.raises(MetabenchError, match="splits are not those that the table was made with"):
        Live.from_table(changed, "mlp", [BUNDLED])


# ---------------------------------------------------------------- rules and text
def test_text_of_a_configuration_comes_back():
    config = SPACE.default()
    assert from_text(SPACE, to_text(SPACE, config)) == config
    assert to_text(SPACE, SPACE.sample(1, 0).iloc[0].to_dict() | {"optimizer": "sgd", "momentum": None})


def test_diverged_trials_leave_a_published_board_current(board, table, formula, tmp_path):
    from metabench.publishing.boards.build import build
    from metabench.publishing.boards.build import check as stale

    rows = evaluate([First, "random"], board, table).to_pylist()
    rows[0]["status"][1], rows[0]["valid_score"][1], rows[0]["test_score"][1] = "diverged", np.nan, np.nan
    traces = pa.Table.from_pylist(rows, schema.LIVE)
    made = (board, traces, score(traces, table, board), table, tmp_path / "out", "metabench evaluate --board fake")
    build(*made)
    assert stale(*made) == []
    page = (tmp_path / "out/site/index.html").read_text()
    assert "is really trained" in page and "<dt>Networks trained</dt><dd>60 " in page
    rows[0]["valid_score"][0] += 0.125
    other = pa.Table.from_pylist(rows, schema.LIVE)
    assert stale(board, other, made[2], *made[3:]) == [f"{tmp_path / 'out/traces.parquet'} is stale"]


def test_the_published_board_is_live_and_its_traces_are_whole():
    board = load_board("live")
    path = Path(board.path) / "traces.parquet"
    assert board.objective == "live" and board.starts == ("own",)
    traces = pq.read_table(path)
    assert set(traces["engine"].to_pylist()) == {"resident-1"}
    assert {len(c) for c in traces["configs"].to_pylist()} == {board.budget}
