"""The core works without the packages of the extras; where one is needed, one line names the extra."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metabench
from metabench import extras
from metabench.checkout import REPOSITORY

ROOT = Path(metabench.__file__).parents[1]
WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "xgboost", "botorch", "gpytorch", "optuna", "ray"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
"""


def run(code: str, *argv: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *argv], capture_output=True, text=True, cwd=ROOT, timeout=200
    )


def command(*argv: str) -> subprocess.CompletedProcess:
    return run("from metabench.cli import main\nmain(sys.argv[1:])", *argv)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    rows = "\n".join(f"{i % 7},{(i * 37) % 11},{'ab'[i % 7 > 3]}" for i in range(200))
    path.write_text(f"one,two,kind\n{rows}\n", encoding="utf-8")
    return path


def test_recommend_needs_no_extra(csv):
    done = command("recommend", "--data", str(csv), "--target", "kind", "-k", "2")
    assert done.returncode == 0, done.stderr
    assert "learning_rate" in done.stdout


def test_tables_boards_and_scores_need_no_extra():
    done = run("""
import metabench as mb
from metabench.scores import score
from metabench.workflows.evaluation import published_traces
table = mb.load_table("starter")
assert len(table.runs("mlp", tasks=["mlp-digits"])) and len(table.tasks)
board = mb.load_board("few-shot", 1)
scores = score(published_traces(board), table, board)
print(len(scores.summary))
problem = mb.problem("mlp-digits", table="starter")
assert problem.features and problem.best_known.score > 0 and problem.lookup(3).curve and len(problem.space)
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"torch", "xgboost"}
""")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


@pytest.mark.parametrize("code", ["mb.problem('mlp-digits', table='starter').evaluate({})", "mb.interop.optuna"])
def test_what_needs_an_extra_names_it(code):
    done = run(
        f"import metabench as mb\ntry:\n    {code}\nexcept mb_error as error:\n    print(error)".replace(
            "import metabench as mb\n",
            "import metabench as mb\nfrom metabench.errors import MetabenchError as mb_error\n",
        )
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[^\n]*metabench\[(train|optuna)\][^\n]*\n", done.stdout)


def test_a_command_that_needs_an_extra_ends_with_status_1_and_one_line(csv, tmp_path):
    done = command("tune", "--data", str(csv), "--target", "kind", "--trials", "1", "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("metabench: ") and "metabench[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_says_what_is_absent():
    done = command("doctor")
    assert done.returncode == 0, done.stderr
    assert re.search(r"backend resident +training needs torch", done.stdout) and "metabench[train]" in done.stdout


def test_the_extras_are_those_of_the_metadata():
    """What the map says of a module stands under that extra in pyproject.toml, and `all` names every one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        k: {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("-", "_") for line in v}
        for k, v in project["optional-dependencies"].items()
    }
    for module, extra in extras.EXTRAS.items():
        assert module == "gpytorch" or module.lower() in named[extra], module
    core = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    assert not core & {"torch", "xgboost", "optuna", "ray"}
    every = re.search(r"metabench\[(.*)\]", project["optional-dependencies"]["all"][0])[1].split(",")
    assert set(every) == set(named) - {"all", "test", "docs", "jax"}
    assert all(url.startswith(REPOSITORY) for key, url in project["urls"].items() if key != "Pages")


def test_an_import_error_of_something_else_is_not_explained():
    assert extras.explained(ModuleNotFoundError("no", name="a_package_of_nobody")) is None
    assert extras.explained(ImportError("no name")) is None
    assert extras.has("a_package_of_nobody.inside") is False
