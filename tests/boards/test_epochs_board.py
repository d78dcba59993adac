"""Boards that count epochs: rules, submissions, pages."""

import dataclasses
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import CurveTable, board_for, signed

from metabench import notebook, schema
from metabench.boards.board import load_board, parse_board
from metabench.boards.submissions import Refused, accept, accepted, check, draft, reproduce
from metabench.errors import UsageError
from metabench.evaluation import evaluate, resolve
from metabench.publishing.boards.build import contents
from metabench.publishing.boards.view import View
from metabench.scores import score


# ---------------------------------------------------------------- rules
def rules(**more):
    split = {"train": ["a"], "valid": [], "test": ["b"]}
    facts = {"name": "x", "version": 1, "dataset": "d", "dataset_version": 1, "digest": "0" * 64, "workload": "mlp"}
    return {**facts, "budget": 10, "seeds": 2, "split": split, "track": "multi-fidelity", **more}


def test_methods_choose_from_the_first_epoch_on():
    board = parse_board(rules())
    assert board.by_epochs and board.starts == ("own",) and not parse_board(rules(track="search")).by_epochs
    assert parse_board(rules(profiles={"lite": {"seeds": 1}})).profile("lite").seeds == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"starts": ["own", "random5"]},
            r"starts \['own', 'random5'\]: where epochs are counted, methods choose alone",
        ),
        ({"profiles": {"lite": {"budget": 3}}}, "unknown key in profiles.lite 'budget'; known: seeds"),
    ],
)
def test_wrong_rules_are_refused(more, message):
    with pytest.raises(UsageError, match=message):
        parse_board(rules(**more))


@pytest.mark.parametrize(("version", "table"), [(1, "starter"), (2, "core")])
def test_the_published_boards(version, table):
    board, search = (load_board(name, version) for name in ("multi-fidelity", "search"))
    assert board.by_epochs and board.dataset == table and board.budget == 25
    assert board.split == search.split and board.digest == search.digest


# ---------------------------------------------------------------- submissions
@pytest.fixture(scope="module")
def table():
    table = CurveTable.rising(tasks=9, configs=60, diverge=0.1)
    table.tasks = table.tasks.assign(chance=0.0, licence="CC0")
    return table


@pytest.fixture
def board(table, tmp_path):
    made = board_for(table, budget=3, starts=("own",), track="multi-fidelity")
    return dataclasses.replace(made, path=tmp_path / "board")


@pytest.fixture
def folder(table, board, tmp_path):
    (method,) = resolve("asha")
    method.searcher.name = "mine"
    traces = evaluate(method.searcher, board, table)
    return signed(draft(tmp_path / "mine", traces, method.searcher, board, table))


def rewrite(folder, change):
    rows = pq.read_table(folder / "traces.parquet").to_pylist()
    change(rows)
    table = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "scores"} for row in rows], schema.TRACES)
    if "scores" in rows[0]:
        table = table.append_column("scores", pa.array([row["scores"] for row in rows]))
    pq.write_table(table, folder / "traces.parquet")


def test_a_search_in_epochs_is_recomputed_kept_and_read_again(folder, board, table):
    checked = check(folder, board, table)
    assert set(checked.scores.summary["method"]) == {"mine"} and not checked.scores.seconds.empty
    accept(checked, board, table)
    ((again, traces),) = accepted(board, table)
    assert again == checked.submission and traces.equals(checked.traces)
    assert len(set(traces["cell"].to_pylist())) == len(traces)


def scored(rows, table):
    for row in rows:
        curves = table.curves("planted", [row["task_id"]])[0]
        at = [table.checkpoints.index(e) for e in row["epochs"]]
        row["scores"] = [float(curves[c, row["seed"] % 2, i]) for c, i in zip(row["config_ids"], at)]


def forged(rows):
    rows[2]["scores"][4] += 0.01


def test_claimed_scores_are_those_of_the_checkpoints(folder, board, table):
    rewrite(folder, lambda rows: scored(rows, table))
    check(folder, board, table)
    rewrite(folder, lambda rows: (scored(rows, table), forged(rows)))
    with pytest.raises(Refused, match=r"trial 5: claims .*, the table says"):
        check(folder, board, table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0]["epochs"].__setitem__(0, 4), "advance 1: 4 epochs are no checkpoint"),
        (lambda rows: rows[0]["epochs"].__setitem__(0, 10**6), "advance 1: 1000000 epochs are no checkpoint"),
        (lambda rows: rows[0]["epochs"].__setitem__(-1, 1), "is trained for|stops after|1 epochs"),
        (lambda rows: rows[0]["config_ids"].__setitem__(0, 60), "outside the pool 0 … 59"),
        (lambda rows: [row.update(epochs=None) for row in rows], "this board counts epochs"),
        (lambda rows: rows[1]["overhead"].__setitem__(0, -1.0), "no time in seconds"),
        (lambda rows: rows[1]["overhead"].__setitem__(0, 1e30), "no time in seconds"),
        (lambda rows: rows[1]["overhead"].__setitem__(0, float("nan")), "no time in seconds"),
        (lambda rows: [rows[1][k].extend(rows[2][k]) for k in ("config_ids", "epochs", "overhead")], "advance .*"),
        (lambda rows: rows.pop(), "absent"),
    ],
)
def test_what_is_no_search_is_refused(folder, board, table, change, message):
    rewrite(folder, change)
    with pytest.raises(Refused, match=message):
        check(folder, board, table)


def test_a_cheaper_story_is_refused(folder, board, table):
    """One that says that a paused run had got further than was paid for."""

    def cheat(rows):
        steps = list(zip(rows[0]["config_ids"], rows[0]["epochs"]))
        first = next(i for i, (c, e) in enumerate(steps) if e == 2 and (c, 5) in steps)
        for key in ("config_ids", "epochs", "overhead"):
            del rows[0][key][first]  # the first part of a training is left out: its epochs are counted all the same
        rows[0]["config_ids"].append(next(c for c in range(60) if c not in rows[0]["config_ids"]))
        rows[0]["epochs"].append(50)
        rows[0]["overhead"].append(0.0)

    rewrite(folder, cheat)
    with pytest.raises(Refused, match=r"epochs are spent; the budget is 150"):
        check(folder, board, table)


def test_its_code_is_run_again(folder, board, table, monkeypatch):
    checked = check(folder, board, table)
    assert checked.submission.spec == "metabench.baselines.asha:ASHA"
    monkeypatch.setattr("metabench.baselines.asha.ASHA.name", "mine")
    assert reproduce(checked, board, table) in ("reproduced", "confirmed")
    other = checked.traces.to_pylist()
    other[0]["epochs"][-1] = 1
    with pytest.raises(Refused, match=r"the code proposes \(\d+, \d+\), the submission says \(\d+, 1\)"):
        reproduce(dataclasses.replace(checked, traces=pa.Table.from_pylist(other, schema.TRACES)), board, table)


# ---------------------------------------------------------------- pages
def test_pages_say_what_is_counted(board, table):
    traces = evaluate(["random", "asha", "hyperband"], board, table)
    scores = score(traces, table, board, resamples=20)
    files = {
        name: data.decode()
        for name, data in contents(View(board, traces, scores, table, "make it")).items()
        if not name.endswith(".parquet")
    }
    readme, page = files["README.md"], files["site/index.html"]
    assert "After the epochs of 3 full trainings" in readme and "Own time a full training" in readme
    assert "for the epochs of 3 full trainings. It may choose among 60 stored configurations" in readme
    assert re.search(r"\| Method \|( Valid regret after 1+0* (ms|s|µs) \|)+", readme)
    assert "epochs, in full trainings (log scale)" in page and "seconds of training and computing (log scale)" in page
    assert "regret over epochs" in page and "Regret over seconds" in page and "trials (log scale)" not in page
    assert files["regret.svg"].count("(log scale)") == 3  # valid and test regret over epochs, valid regret over seconds
    assert files["site/data/seconds.csv"].startswith("method,start,seconds,valid_regret,valid_low,valid_high,")
    assert files["site/data/curves.csv"].startswith("method,start,trainings,")
    for name in ("method", "task"):
        text = next(v for k, v in files.items() if k.startswith(f"site/{name}s/"))
        assert "full trainings" in text and "trials (log scale)" not in text
    kept = pq.read_table(pa.BufferReader(contents(View(board, traces, scores, table, "make it"))["traces.parquet"]))
    assert kept.select(traces.column_names).equals(traces)


def test_a_notebook_shows_it(board, table):
    board = dataclasses.replace(board, path=None)
    shown = notebook.score(evaluate(["random", "asha"], board, table), table, board, resamples=20)
    assert set(shown.ranking().index) == {"random", "asha"} and "Regret over epochs" in shown._repr_html_()
