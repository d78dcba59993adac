import dataclasses
import json
import os
import shutil
import zipfile
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import First, board_for, read_here
from published import planted_table

from metabench import registry, schema
from metabench.boards import submissions
from metabench.boards.submissions import Refused, accept, accepted, check, draft, parse, reproduce
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import evaluate


class Mine(First):
    """The first <b>untried</b> candidate."""

    name = "mine"
    twin = "random"


Mine.__module__ = "mine_pkg"


class Seeded(First):
    name = "mine"

    def ask(self, history):
        return int(self.rng.choice(history.untried(len(self.problem.candidates))))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("metabench.boards.submissions.columns.parquet", read_here)


@pytest.fixture(scope="module")
def table():
    table = planted_table(tasks=12, configs=64)
    table.tasks["split_hashes"] = [[f"{i:064x}", f"{i + 1000:064x}"] for i in range(len(table.tasks))]
    return table


@pytest.fixture
def board(table, tmp_path):
    return dataclasses.replace(board_for(table, budget=10), path=tmp_path / "board")


@pytest.fixture
def folder(table, board, tmp_path):
    folder = draft(tmp_path / "mine", evaluate(Mine, board, table), Mine(), board, table)
    edit(folder, "your name", "Ada Lovelace")
    return folder


def rewrite(folder, change):
    """Change the rows of the submission's traces."""
    rows = pq.read_table(folder / "traces.parquet").to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, schema.TRACES), folder / "traces.parquet")


def edit(folder, old, new):
    path = folder / "submission.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


# ---------------------------------------------------------------- what is right
def test_a_draft_keeps_the_rules(folder, board, table):
    checked = check(folder, board, table)
    assert checked.submission.method == "mine" and checked.submission.spec == "mine_pkg:Mine"
    assert checked.submission.trained_on == tuple(board.tasks(table, "train") + board.tasks(table, "valid"))
    assert set(checked.scores.summary["method"]) == {"mine"}
    assert len(set(checked.traces["cell"].to_pylist())) == checked.traces.num_rows


def test_accepted_submissions_come_back(folder, board, table):
    checked = check(folder, board, table)
    place = accept(checked, board, table)
    assert sorted(p.name for p in place.iterdir()) == ["status.json", "submission.toml", "traces.parquet"]
    ((again, traces),) = accepted(board, table)
    assert again == checked.submission and traces.equals(checked.traces)
    assert accept(check(folder, board, table), board, table, "confirmed") == place  # in place of the first
    assert [s.status for s, _ in accepted(board, table)] == ["confirmed"]


def test_what_changed_after_it_was_accepted_is_noticed(folder, board, table):
    place = accept(check(folder, board, table), board, table)
    rewrite(place, lambda rows: rows[0]["config_ids"].reverse())
    with pytest.raises(MetabenchError, match="changed since it was accepted"):
        list(accepted(board, table))


def test_true_claims_are_taken(folder, board, table):
    summary = check(folder, board, table).scores.summary
    value = summary[(summary["start"] == "own") & (summary["mark"] == 5)]["valid_regret"].item()
    with (folder / "submission.toml").open("a") as file:
        file.write(f'[claims]\n"regret@5" = {value:.4f}\n')
    assert check(folder, board, table).submission.claims == {"regret@5": round(value, 4)}


def with_scores(folder, board, table, change=lambda scores: None):
    final = table.final(board.workload, board.tasks(table, "test"))
    at = {t: i for i, t in enumerate(board.tasks(table, "test"))}
    rows = pq.read_table(folder / "traces.parquet").to_pylist()
    scores = [[final[at[r["task_id"]], c, r["seed"] % 2] for c in r["config_ids"]] for r in rows]
    change(scores)
    whole = pa.Table.from_pylist(rows, schema.TRACES).append_column("scores", pa.array(scores))
    pq.write_table(whole, folder / "traces.parquet")


def test_scores_may_be_given_and_must_be_the_tables(folder, board, table):
    with_scores(folder, board, table)
    check(folder, board, table)

    def forge(scores):
        scores[3][4] += 0.01

    with_scores(folder, board, table, forge)
    with pytest.raises(Refused, match=r"seed 1, trial 5: claims .*, the table says"):
        check(folder, board, table)


# ---------------------------------------------------------------- what is refused
def swap(rows):
    first = rows[0]["config_ids"]
    first[3] = first[2]


def too_far(rows):
    rows[1]["config_ids"][0] = 64


def negative(rows):
    rows[1]["config_ids"][0] = -1


def short(rows):
    rows[0]["config_ids"].pop()
    rows[0]["overhead"].pop()


def lose(rows):
    return rows[:-1]


def double(rows):
    return [*rows[:-1], rows[0]]


def train_task(rows):
    rows[0]["task_id"] = "planted-0"


def strange_start(rows):
    for row in rows:
        row["start"] = "lucky"


def other_method(rows):
    rows[0]["method"] = "random"


def ill_started(rows):
    row = next(r for r in rows if r["start"] == "random5")
    row["config_ids"].reverse()


def timeless(rows):
    rows[0]["overhead"][0] = float("nan")


def backwards(rows):
    rows[0]["overhead"][0] = -1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap, "must be distinct"),
        (too_far, "in 0 … 63"),
        (negative, "in 0 … 63"),
        (short, "has 9 values, the budget is 10"),
        (lose, "is absent"),
        (double, "is there twice|is absent"),
        (train_task, "not in meta-test"),
        (strange_start, "unknown start 'lucky'"),
        (other_method, "holds method 'random'"),
        (ill_started, "this start gives"),
        (timeless, "no time in seconds"),
        (backwards, "no time in seconds"),
        (lambda rows: rows.clear(), "holds no cell"),
        (lambda rows: [dict(r, seed=s) for s in range(40) for r in rows], r"traces.parquet claims 1,[0-9]{3} rows"),
        (lambda rows: rows[0].update(config_ids=[0] * 20_000), "claims .* trials"),
        (lambda rows: rows[0].update(config_ids=None), "without a value"),
    ],
)
def test_traces_that_lie_are_refused(folder, board, table, change, message):
    rewrite(folder, change)
    with pytest.raises(Refused, match=message) as caught:
        check(folder, board, table)
    assert "\n" not in str(caught.value)


def test_a_family_that_shares_rows_with_a_held_out_one_is_held_out():
    tasks = pd.DataFrame({"task_id": ["w-a", "w-b"], "family": ["a+b", "b+c"]})
    board = SimpleNamespace(split={"test": ("a",)}, shift=None)
    for trained_on, refused in (("w-a", True), ("w-b", False)):
        said = SimpleNamespace(trained_on=(trained_on,), tuned_on=())
        with pytest.raises(Refused, match=r"of family 'a\+b', which") if refused else nullcontext():
            submissions.check_sources(said, board, SimpleNamespace(tasks=tasks))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('method = "mine"', 'method = "../mine"', "only letters, digits"),
        ('method = "mine"', 'method = "a/b"', "only letters, digits"),
        ('method = "mine"', 'method = "<script>alert(1)</script>"', "plain text is taken"),
        ('method = "mine"', 'method = "Random"', "built-in's name"),
        ('method = "mine"', 'method = ".hidden"', "only letters, digits"),
        ('method = "mine"', "method = 3", "method is no str"),
        ('authors = ["Ada Lovelace"]', "authors = []", "authors is empty"),
        ('authors = ["Ada Lovelace"]', "authors = [1]", "which is no text"),
        ('authors = ["Ada Lovelace"]', 'authors = ["<img src=x onerror=alert(1)>"]', "plain text is taken"),
        ('authors = ["Ada Lovelace"]', 'authors = ["a\\u202eb"]', "cannot be printed"),
        ("tuned_on = []", 'code = "javascript:alert(1)"', "no plain http or https"),
        ("tuned_on = []", 'code = "https://a.org/\\"onclick=x"', "no plain http or https"),
        ("tuned_on = []", 'paper = "https://user:pw@a.org/"', "no plain http or https"),
        ("tuned_on = []", 'paper = "http://[::1"', "no plain http or https"),
        ('spec = "mine_pkg:Mine"', 'spec = "os.system"', "my_pkg.module:Class"),
        ("tuned_on = []", 'tuned_on = ["planted-9"]', "tuned_on has planted-9, of family .* held out"),
        ("tuned_on = []", f'tuned_on = ["sha256:{9:064x}"]', "held out"),
        ("tuned_on = []", f'tuned_on = ["sha256:{1009:064x}"]', "held out"),
        ("tuned_on = []", 'tuned_on = ["planted-99"]', "expected a task of table"),
        ('trained_on = ["planted-0"', 'trained_on = ["planted-9"', "trained_on has planted-9, of family .* held out"),
        ('trained_on = ["planted-0"', f'trained_on = ["sha256:{9:064x}"', "trained_on has sha256:.* held out"),
        ("tuned_on = []", "surprise = 1", "unknown key 'surprise'"),
        ("tuned_on = []", 'tuned_on = [""]', "expected a task"),
        ("tuned_on = []", '[claims]\n"regret@5" = 0.0001', "recomputed: "),
        ("tuned_on = []", '[claims]\n"regret@7" = 0.1', "no mark 7"),
        ("tuned_on = []", '[claims]\n"rank" = 1', "not of the form"),
        ('board = "fake"', 'board = "other"', "this is board 'fake'"),
        ('board = "fake"', "", "key 'board' is absent"),
        ('board = "fake"', "board = ", "submission.toml is no TOML"),
    ],
)
def test_words_that_lie_are_refused(folder, board, table, old, new, message):
    edit(folder, old, new)
    with pytest.raises(Refused, match=message) as caught:
        check(folder, board, table)
    assert "\n" not in str(caught.value)


def test_another_tables_traces_are_refused(folder, board, table):
    edit(folder, board.digest, "0" * 64)
    with pytest.raises(Refused, match="of another table"):
        check(folder, board, table)


def test_data_from_elsewhere_may_be_declared(folder, board, table):
    entries = ["elsewhere:OpenML-CC18 runs", f"sha256:{'e' * 64}", "planted-1"]
    edit(folder, "tuned_on = []", f"tuned_on = {json.dumps(entries)}")
    assert check(folder, board, table).submission.tuned_on == tuple(entries)


def link(folder):
    (folder / "traces.parquet").rename(folder.parent / "t")
    (folder / "traces.parquet").symlink_to(folder.parent / "t")


def archive(folder):
    with zipfile.ZipFile(folder / "more.zip", "w") as file:
        file.writestr("a", "b")


def huge(folder):
    os.truncate(folder / "submission.toml", 2**20)


def enormous(folder):
    os.truncate(folder / "traces.parquet", 40 * 2**20)


def nested(folder):
    (folder / "traces").mkdir()


def garbage(folder):
    (folder / "traces.parquet").write_bytes(b"PAR1 not really PAR1")


def torn(folder):
    path = folder / "traces.parquet"
    path.write_bytes(path.read_bytes()[:-200])


def extra_column(folder):
    path = folder / "traces.parquet"
    traces = pq.read_table(path)
    pq.write_table(traces.append_column("regret", pa.array(np.zeros(len(traces)))), path)


def lacking_column(folder):
    path = folder / "traces.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["overhead"]), path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (link, "is a symbolic link"),
        (archive, "'more.zip' does not belong here"),
        (huge, "submission.toml has 1 MB"),
        (enormous, "traces.parquet has 40 MB"),
        (nested, "'traces' does not belong here"),
        (garbage, "is no readable Parquet file"),
        (torn, "is no readable Parquet file"),
        (extra_column, "unknown column 'regret'"),
        (lacking_column, "column 'overhead' is absent"),
        (lambda folder: (folder / "traces.parquet").unlink(), "traces.parquet is absent"),
        (lambda folder: (folder / "submission.toml").write_bytes(b"\xff\xfe"), "submission.toml is no TOML"),
    ],
)
def test_folders_that_are_none_are_refused(folder, board, table, harm, message):
    harm(folder)
    with pytest.raises(Refused, match=message) as caught:
        check(folder, board, table)
    assert "\n" not in str(caught.value)


def test_archives_and_absent_folders_are_refused(folder, board, table, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    with pytest.raises(Refused, match="unpack it"):
        check(packed, board, table)
    with pytest.raises(Refused, match="is no folder"):
        check(tmp_path / "nowhere", board, table)


def test_a_name_that_differs_by_case_alone_is_refused(folder, board, table):
    accept(check(folder, board, table), board, table)
    edit(folder, 'method = "mine"', 'method = "MINE"')
    with pytest.raises(Refused, match="by case alone"):
        check(folder, board, table)


def test_facts_are_checked_without_a_folder():
    with pytest.raises(Refused, match="key 'method' is absent"):
        parse({})


def test_a_draft_does_not_write_over_anything(folder, board, table):
    with pytest.raises(UsageError, match="is not empty"):
        draft(folder, evaluate(First, board, table), First(), board, table)


# ---------------------------------------------------------------- reproducing
@pytest.fixture
def installed(monkeypatch):
    """Make ``mine_pkg:Mine`` resolve to a class."""

    def install(cls):
        import sys
        import types

        module = types.ModuleType("mine_pkg")
        module.Mine = cls
        monkeypatch.setitem(sys.modules, "mine_pkg", module)

    return install


def test_code_that_proposes_the_same_confirms(folder, board, table, installed):
    installed(Mine)
    assert reproduce(check(folder, board, table), board, table) == "confirmed"


def test_code_that_proposes_otherwise_is_named(folder, board, table, installed):
    installed(Seeded)
    with pytest.raises(Refused, match=r"trial 1: the code proposes \d+, the submission says 0"):
        reproduce(check(folder, board, table), board, table)


def test_seeds_chosen_for_their_luck_reproduce_but_are_not_confirmed(folder, board, table, installed, monkeypatch):
    installed(Mine)
    checked = check(folder, board, table)
    summary = checked.scores.summary.assign(valid_low=0.0, valid_high=0.0)  # an interval that luck alone reaches
    lucky = dataclasses.replace(checked, scores=dataclasses.replace(checked.scores, summary=summary))
    assert reproduce(lucky, board, table) == "reproduced"


def test_without_a_spec_nothing_is_run(folder, board, table, monkeypatch):
    edit(folder, 'spec = "mine_pkg:Mine"\n', "")
    monkeypatch.setattr(registry, "from_spec", lambda spec: 1 / 0)
    with pytest.raises(Refused, match="no spec"):
        reproduce(check(folder, board, table), board, table)
