"""The command line at work, on networks that are really trained: generate, verify, rerun, card, evaluate, publish."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from metabench import load_table
from metabench.cli import main

TASKS = ["--tasks", "iris,wine,breast_cancer,diabetes,digits", "--configs", "8"]
PLUGIN = """
from metabench.search.base import Searcher


class Last(Searcher):
    name = "last"

    def ask(self, history):
        return int(history.untried(len(self.problem.candidates))[-1])


class Broken(Searcher):
    name = "broken"

    def ask(self, history):
        return 1 // 0
"""
BOARD = """
name = "tiny"
version = 1
title = "A board to test with"
dataset = "small"
dataset_version = 1
digest = "{digest}"
workload = "mlp"
objective = "replay"
budget = 6
seeds = 2
marks = [1, 3, 6]
starts = ["own", "random5"]

[profiles.lite]
budget = 3
seeds = 1
starts = ["own"]

[split]
train = ["iris", "wine"]
valid = ["wdbc"]
test = ["optdigits", "diabetes_lars"]
"""


def run(*args):
    """Status, stdout and stderr of a command."""
    done = CliRunner().invoke(main, [str(a) for a in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def rows(*args, status=0):
    code, out, err = run(*args, "--json")
    assert code == status, err
    return json.loads(out)["rows"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small table, really trained, and a board on it."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (report,) = rows("generate", "--table", "small", *TASKS)
    assert report["trained"] == 5 * 8 * 2
    table = load_table(folder / "datasets/small/v1")
    (folder / "leaderboards/tiny/v1").mkdir(parents=True)
    (folder / "leaderboards/tiny/v1/board.toml").write_text(BOARD.format(digest=table.digest_of(["mlp"])))
    (folder / "my_plugin.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """A copy of it to work in, with an evaluation cache of its own."""
    shutil.copytree(place, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("metabench.tasks.cache_dir", lambda: tmp_path / "cache")
    monkeypatch.syspath_prepend(tmp_path / "work")
    monkeypatch.delitem(sys.modules, "my_plugin", raising=False)
    return tmp_path / "work"


# -------------------------------------------------------------------- tables
def test_the_same_command_has_nothing_left_to_do_and_a_larger_one_resumes(here):
    assert rows("plan", "--table", "small", *TASKS)[0]["missing"] == 0
    (report,) = rows("generate", "--table", "small", *TASKS, "--device", "auto")
    assert (report["trained"], report["stored_before"], report["missing"]) == (0, 80, 0)
    assert rows("plan", "--table", "small", *TASKS, "--seeds", "3")[0]["missing"] == 40


def test_a_spent_budget_is_status_3(here):
    code, _, err = run("generate", "--table", "small", *TASKS, "--seeds", "3", "--budget", "0s")
    assert code == 3 and err.splitlines()[-1].startswith("metabench: ")
    assert "40 runs are missing and 0 failed; the same command resumes" in err


def test_a_sound_table_verifies_and_reruns_to_the_last_bit(here):
    assert run("verify", "small") == (0, "datasets/small/v1: sound\n", "")
    assert rows("verify", "small") == []
    assert [row["verdict"] for row in rows("rerun", "small", "--sample", "3")] == ["equal"] * 3
    code, out, _ = run("rerun", "small", "--sample", "3", "--json")
    report = json.loads(out)["report"]
    assert (code, report["rows"], report["equal"], report["agrees"]) == (0, 3, 3, True)
    assert "3 of 3 rows equal to the last bit" in run("rerun", "small", "--sample", "3")[1]
    run_id = load_table("small").runs("mlp", ["run_id"])["run_id"][5].as_py()
    assert [row["run_id"] for row in rows("rerun", "small", f"--run-id={run_id}")] == [run_id]


def test_a_damaged_table_is_told_and_status_1(here):
    data = (here / "datasets/small/v1/runs/mlp.parquet").read_bytes()
    (here / "datasets/small/v1/runs/mlp.parquet").write_bytes(data[:-100])
    code, out, err = run("verify", "small")
    assert code == 1 and "runs/mlp.parquet" in out and err.count("\n") == 1
    assert rows("verify", "small", status=1)
    code, _, err = run("rerun", "small")
    assert code == 1 and err.startswith("metabench: ") and err.count("\n") == 1


def test_a_card_is_written_and_its_age_noticed(here):
    code, out, _ = run("card", "small")
    assert code == 0 and out.splitlines()[0].endswith("README.md")
    assert run("card", "small", "--check")[0] == 0
    (here / "datasets/small/v1/README.md").write_text("changed")
    code, _, err = run("card", "small", "--check")
    assert code == 1 and "stale" in err and "run `metabench card small`" in err


def test_a_folder_that_cannot_be_written_is_status_1(here):
    (here / "file").write_text("")
    code, _, err = run("generate", "--table", "file/t/v1", *TASKS)
    assert code == 1 and err.count("\n") == 1 and "file/t/v1" in err


def test_ctrl_c_ends_in_one_line_and_a_sound_table(tmp_path):
    """The whole process group gets the signal, as from a terminal."""
    command = [
        sys.executable,
        "-m",
        "metabench.cli",
        "generate",
        "--table",
        str(tmp_path / "t/v1"),
        "--tasks",
        "digits",
    ]
    environment = os.environ | {"METABENCH_FLUSH_SECONDS": "0.1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    deadline = time.monotonic() + 200
    sums = tmp_path / "t/v1/SHA256SUMS"  # a run is stored once its file stands here
    while not (sums.exists() and "runs/" in sums.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    *progress, last = err.splitlines()  # on a busy machine some is made before
    assert (process.returncode, last) == (130, "metabench: interrupted; the same command resumes")
    assert all("runs/s" in line for line in progress)
    assert run("verify", tmp_path / "t/v1")[0] == 0
    assert 0 < load_table(tmp_path / "t/v1").runs("mlp", ["seed"]).num_rows < 512


# -------------------------------------------------------------------- methods
def test_a_plug_in_in_the_working_folder_is_checked(here):
    assert run("check", "my_plugin:Last") == (0, "my_plugin:Last: keeps the contract\n", "")
    code, out, err = run("check", "my_plugin:Broken")
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "broken: raised ZeroDivisionError" in err and "my_plugin.py, line 16" in err


def test_chosen_methods_are_ranked_beside_the_stored_ones(here):
    first = rows("evaluate", "--board", "tiny", "--method", "random", "--method", "portfolio")
    assert {row["method"] for row in first} == {"random", "portfolio"}
    second = rows("evaluate", "--board", "tiny", "--method", "my_plugin:Last")
    assert {row["method"] for row in second} == {"random", "portfolio", "last"}
    kept = {row["method"]: row["regret@1"] for row in first}
    assert {row["method"]: row["regret@1"] for row in second}.items() >= kept.items()
    assert not (here / "leaderboards/tiny/v1/traces.parquet").exists(), "what is published stays as it is"
    lite = rows("evaluate", "--board", "tiny", "--profile", "lite", "--method", "my_plugin:Last")
    assert [row["method"] for row in lite] == ["last"], "cells of another profile do not count"


def test_a_method_that_fails_is_status_3_and_keeps_the_others(here):
    methods = ["--method", "random", "--method", "my_plugin:Broken"]
    code, out, err = run("evaluate", "--board", "tiny", *methods, "--json")
    answer = json.loads(out)
    assert code == 3 and [row["method"] for row in answer["rows"]] == ["random"]
    assert list(answer["failed"]) == ["broken"] and "ZeroDivisionError" in err
    assert set(pq.read_table(answer["traces"])["method"].to_pylist()) == {"random"}


def test_a_board_is_published_and_its_age_noticed(here, monkeypatch):
    code, _, err = run("leaderboard", "build", "--board", "tiny")
    assert code == 1 and "run `metabench evaluate --board tiny` first" in err
    folder = here / "leaderboards/tiny/v1"
    methods = ["--method", "random", "--method", "portfolio"]
    assert run("evaluate", "--board", "tiny", *methods, "--out", folder)[0] == 0
    code, out, err = run("leaderboard", "build", "--board", "tiny")
    assert code == 0 and f"{folder.name}/site/index.html" in out
    assert "portfolio" in (folder / "site/index.html").read_text()
    assert run("leaderboard", "check", "--board", "tiny") == (0, "board tiny: current\n", "")
    (folder / "scores.csv").write_text("")
    code, out, err = run("leaderboard", "check", "--board", "tiny")
    assert code == 1 and "scores.csv" in out and "1 published files are stale" in err
    (folder / "traces.parquet").write_bytes(b"PAR1")
    code, _, err = run("leaderboard", "build", "--board", "tiny")
    assert code == 1 and "cannot be read as traces" in err


def test_published_methods_stand_beside_whatever_code_made_them(here, monkeypatch, tmp_path):
    """Their cells' keys no longer match: the published traces themselves are scored."""
    folder = here / "leaderboards/tiny/v1"
    run("evaluate", "--board", "tiny", "--method", "portfolio", "--out", folder)
    traces = pq.read_table(folder / "traces.parquet")
    cells = pa.array([f"{i:064x}" for i in range(len(traces))])
    pq.write_table(traces.set_column(traces.schema.get_field_index("cell"), "cell", cells), folder / "traces.parquet")
    monkeypatch.setattr("metabench.tasks.cache_dir", lambda: tmp_path / "an empty cache")
    code, out, err = run("evaluate", "--board", "tiny", "--method", "my_plugin:Last", "--json")
    assert code == 0 and {row["method"] for row in json.loads(out)["rows"]} == {"portfolio", "last"}
    assert "portfolio" not in err
    twins = json.loads(pq.read_schema(json.loads(out)["traces"]).metadata[b"metabench.twins"])
    assert twins == {"portfolio": "random"}


def test_published_cells_are_not_computed_again(here, monkeypatch, tmp_path):
    folder = here / "leaderboards/tiny/v1"
    run("evaluate", "--board", "tiny", "--method", "random", "--out", folder)
    monkeypatch.setattr("metabench.tasks.cache_dir", lambda: tmp_path / "an empty cache")
    ranked = rows("evaluate", "--board", "tiny", "--method", "my_plugin:Last")
    assert {row["method"] for row in ranked} == {"random", "last"}
