"""`metabench recommend` and `metabench tune` from the command line."""

import json

import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_iris

from metabench.cli import main
from metabench.errors import UsageError


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "iris.csv"
    load_iris(as_frame=True).frame.assign(same=1).to_csv(path, index=False)
    return path


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args], standalone_mode=False)


def test_recommend_prints_configurations_and_says_what_it_did(iris):
    found = run("recommend", "--data", iris, "--target", "target", "-k", 2)
    assert found.exception is None and "learning_rate" in found.stdout and "nearest known task" in found.stdout
    assert "#2" in found.stdout and "#3" not in found.stdout and "same: constant, left out" in found.stderr


def test_recommend_as_json_is_one_object(iris):
    found = json.loads(run("recommend", "--data", iris, "--target", "target", "-k", 2, "--json").stdout)
    assert found["schema"] == 1 and len(found["configurations"]) == 2 and found["task"]["n_classes"] == 3


def test_recommend_prints_a_script_of_any_rank(iris):
    found = run("recommend", "--data", iris, "--target", "target", "-k", 1, "--snippet", "torch", "--rank", 3)
    compile(found.stdout, "snippet.py", "exec")
    assert found.stdout.startswith('"""')
    both = run("recommend", "--data", iris, "--snippet", "torch", "--json")
    assert isinstance(both.exception, UsageError)


def test_tune_trains_keeps_and_resumes(iris, tmp_path):
    args = ["tune", "--data", iris, "--target", "target", "--trials", 1, "--out", tmp_path / "t"]
    found = run(*args)
    assert found.exception is None and "kept: trial 1" in found.stdout
    assert found.stderr.count(" of 1: ") == 1 and (tmp_path / "t/report.html").exists()
    again = run(*args, "--json")
    assert " of 1: " not in again.stderr and json.loads(again.stdout)["kept"]["test"] > 0.5


def test_mistakes_are_usage_errors(iris, tmp_path):
    for args in (
        ["recommend", "--data", iris],
        ["recommend", "--data", tmp_path / "none.csv", "--target", "y"],
        ["tune", "--data", iris, "--target", "target", "--workload", "cnn", "--out", tmp_path / "n"],
        ["recommend", "--data", iris, "--target", "target", "--model", "cnn-v1"],
    ):
        found = run(*args)
        assert isinstance(found.exception, UsageError) and "\n" not in str(found.exception)
    assert not (tmp_path / "n").exists()


def test_help_needs_no_heavy_library():
    assert pd.notna(run("tune", "--help").stdout) and "--compare" in run("tune", "--help").stdout


def test_what_ships_is_listed_with_what_it_is_worth():
    found = json.loads(run("list", "pretrained", "--json").stdout)["rows"]
    assert {"mlp-v1", "cnn-v1"} <= {row["name"] for row in found}
    (cnn,) = (row for row in found if row["name"] == "cnn-v1")
    assert (cnn["table"], cnn["tasks"]) == ("core", 11) and 0 <= cnn["regret_5"] < cnn["random_5"] < 1


def test_a_task_is_recommended_for_by_its_name():
    found = run("recommend", "--task", "policy-cartpole", "-k", 1)
    assert found.exception is None and found.stdout.startswith("cartpole: control of 640 rows")
    for args in (["--task", "policy-cartpole", "--data", "x.csv"], [], ["--task", "policy-cartpol"]):
        assert isinstance(run("recommend", *args).exception, UsageError)
