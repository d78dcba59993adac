"""metabench explain as a person meets it: terminal, JSON, a page in one file; mistakes in one line."""

import json
import re
import sys

import pytest
from click.testing import CliRunner

from metabench.cli import main
from metabench.explain import Why

STARTER = ["--table", "starter"]
FEW = [*STARTER, "--task", "biomed,autompg", "--task", "mlp-anneal"]


def run(*args):
    done = CliRunner().invoke(main, ["explain", *map(str, args)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    module = sys.modules[Why.__module__]
    monkeypatch.setattr(module, "POINTS", 256)
    monkeypatch.setattr(module, "_ROUNDS", 40)


def sound(path, *expected):
    """A page that needs nothing beside it."""
    text = path.read_text()
    assert all(part in text for part in expected), [part for part in expected if part not in text]
    assert (
        not re.search(r'(src|href)="(?!#|data:)', text)
        and "<script" not in text
        and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", text.lower())


def test_importance(tmp_path):
    code, out, err = run("importance", *FEW, "--page", tmp_path / "a.html", "--most", 5)
    assert code == 0 and "3 tasks of 3 families" in err and len(out.splitlines()) == 6
    assert out.splitlines()[0].split() == ["hyperparameter", "alone", "95", "%", "total", "tasks"]
    assert "learning_rate" in out
    sound(
        tmp_path / "a.html",
        "Which hyperparameters of mlp matter?",
        "learning_rate",
        "metabench explain importance --table starter --task",
        "<svg",
        "Hutter",
    )
    code, out, _ = run("importance", "--table", "starter", "--task", "biomed", "--json")
    found = json.loads(out)
    assert code == 0 and found["schema"] == 1 and found["rows"][0]["low"] is None
    assert {"hyperparameter", "interacts_with", "share", "total"} <= set(found["rows"][0])
    assert {r["task_id"] for r in found["per_task"]} == {"mlp-biomed"} and 0 < found["r2"] < 1


def test_effect_of_one_and_of_two(tmp_path):
    code, out, _ = run("effect", "optimizer", *FEW, "--page", tmp_path / "a.html")
    assert code == 0 and len(out.splitlines()) == 9 and out.startswith("optimizer")
    sound(tmp_path / "a.html", "optimizer", "adamw")
    code, out, _ = run(
        "effect",
        "depth",
        "learning_rate",
        "--table",
        "starter",
        "--task",
        "biomed",
        "--json",
        "--page",
        tmp_path / "b.html",
    )
    assert (
        code == 0
        and len(json.loads(out)["rows"]) == 4 * 32
        and set(json.loads(out)["rows"][0]) >= {"depth", "learning_rate"}
    )
    sound(tmp_path / "b.html", "depth (rows) and learning rate (columns)")


def test_optimum(tmp_path):
    code, out, _ = run(
        "optimum", *STARTER, "--against", "n_train", "--given", "optimizer=adam,adamw", "--page", tmp_path / "a.html"
    )
    assert code == 0 and re.match(r"(With n_train, the best learning_rate|No trend of the best learning_rate)", out)
    sound(tmp_path / "a.html", "How does the best learning_rate move?", "optimizer=adam,adamw")
    code, out, _ = run("optimum", "dropout", *STARTER, "--against", "n_classes", "--json")
    (row,) = json.loads(out)["rows"]
    assert row["hyperparameter"] == "dropout" and isinstance(row["trend"], bool) and len(row["line"]) == 25


def test_why(tmp_path):
    code, out, err = run("why", "--page", tmp_path / "a.html")
    assert code == 0 and out.startswith("a task of which nothing is known: expected to beat") and "R² = " in err
    sound(tmp_path / "a.html", "Why this configuration?", "Shapley")
    data = tmp_path / "my.csv"
    data.write_text("a,b,y\n" + "".join(f"{i % 7},{i * 3 % 11},{'ab'[i % 7 > 3]}\n" for i in range(200)))
    code, out, _ = run(
        "why", "--data", data, "--target", "y", "--config", '{"optimizer": "sgd", "learning_rate": 0.5}', "--json"
    )
    found = json.loads(out)
    assert (
        code == 0
        and found["config"]["optimizer"] == "sgd"
        and "beta1" not in found["config"]
        and len(found["nearest"]) == 3
    )
    code, out, _ = run("why", "--table", "starter", "--task", "biomed", "--rank", 2)
    assert code == 0 and "like mlp-biomed (distance 0.00)" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["importance", "--table", "nothing"], "unknown table 'nothing'"),
        (["importance", *STARTER, "--workload", "mpl"], "did you mean 'mlp'"),
        (["importance", *STARTER, "--task", "biomd"], "did you mean 'mlp-biomed'"),
        (["effect", "lr", *STARTER], "unknown hyperparameter 'lr'"),
        (["effect", "depth", "depth", *STARTER], "named twice"),
        (["optimum", "optimizer", *STARTER], "a choice without an order"),
        (["optimum", *STARTER, "--against", "n_rwos"], "did you mean 'n_rows'"),
        (["optimum", *STARTER, "--given", "optimizer"], "write NAME=VALUE"),
        (["optimum", *STARTER, "--given", "optimizer=adma"], "did you mean 'adam'"),
        (["optimum", *STARTER, "--given", "depth=deep"], "--given 'depth=deep'"),
        (["why", "--table", "starter"], "--table and --task go together"),
        (["why", "--data", "x.csv", "--table", "starter", "--task", "biomed"], "not both"),
        (["why", "--table", "starter", "--task", "*"], "name one"),
        (["why", "--config", "{"], "is no JSON object"),
        (["why", "--config", '{"dept": 2}'], "unknown hyperparameter 'dept'"),
        (["why", "--config", '{"depth": 99}'], "hyperparameter depth: 99"),
        (["why", "--data", "absent.csv", "--target", "y"], "absent.csv"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(args, says, tmp_path, monkeypatch):
    code, out, err = run(*args)
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1 and err.startswith("metabench: ") and says in err, err
