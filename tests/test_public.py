"""The names that `import metabench as mb` offers, and that they cost nothing before they are used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import jedi
import pytest

import metabench as mb


def test_every_public_name_is_there():
    for name in mb.__all__:
        assert getattr(mb, name) is not None
        assert name in dir(mb)


def test_the_names_are_those_of_their_modules():
    from metabench.boards.board import load_board
    from metabench.notebook import score
    from metabench.table import load_table

    assert (mb.load_table, mb.load_board, mb.score) == (load_table, load_board, score)


def test_evaluate_is_a_function_whatever_is_imported_first():
    importlib.import_module("metabench.evaluation")
    from metabench.notebook import evaluate

    assert callable(mb.evaluate) and mb.evaluate is evaluate
    code = "import metabench.evaluation\nimport metabench as mb\nassert callable(mb.evaluate)"
    subprocess.run([sys.executable, "-c", code], check=True)


def completions(code: str, folder: Path) -> set[str]:
    """What an editor offers at the end of a script that stands in a folder of its own."""
    script = jedi.Script(code, path=folder / "mine.py", project=jedi.Project(folder, sys_path=sys.path))
    return {found.name for found in script.complete()}


def test_an_editor_completes_every_public_name(tmp_path):
    assert set(mb.__all__) <= completions("import metabench as mb\nmb.", tmp_path)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("mb.History()", {"add", "untried"}),
        ("mb.Trials", {"configs", "scores"}),
        ("mb.load_board('search')", {"budget", "check"}),
        ("mb.load_metamodel('mlp-v1')", {"top_configs", "predict"}),
        ("mb.load_table('starter')", {"tasks", "configs", "runs"}),
        ("mb.interop", {"optuna"}),
    ],
)
def test_an_editor_knows_what_public_names_give(expression, names, tmp_path):
    assert names <= completions(f"import metabench as mb\n{expression}.", tmp_path)


def test_what_editors_see_is_what_is_loaded():
    tree = ast.parse(Path(mb.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert {n: m for n, m in seen.items() if m != "metabench"} == mb._PUBLIC
    assert {n for n, m in seen.items() if m == "metabench"} == set(mb._PACKAGES)


def test_all_lists_every_public_name():
    assert sorted(mb.__all__) == sorted(["__version__", *mb._PACKAGES, *mb._PUBLIC])
    assert sorted(mb.interop.__all__) == sorted([*mb.interop._NEEDS, *mb.interop._PUBLIC])


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'metabench' has no attribute 'load_tabel'"):
        mb.load_tabel  # noqa: B018


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert mb.__version__ == version("metabench")
