"""The names that `import metabench as mb` offers, and that they cost nothing before they are used."""

import importlib
import subprocess
import sys

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


def test_evaluate_stays_the_function_beside_the_package_of_that_name():
    package = importlib.import_module("metabench.evaluation")
    assert callable(mb.evaluate) and mb.evaluate is package.evaluate
    code = "import metabench.evaluation\nimport metabench as mb\nassert callable(mb.evaluate)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'metabench' has no attribute 'load_tabel'"):
        mb.load_tabel  # noqa: B018


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert mb.__version__ == version("metabench")
