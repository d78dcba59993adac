"""What docs/practitioner.md shows works, and its figures are those of the file beside it."""

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from metabench.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/practitioner.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.S))


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location("practitioner", ROOT / "benchmarks/practitioner.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[0])
def test_a_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "practitioner.md", "exec"), {})


def test_the_commands_run_and_print_what_is_shown(tmp_path, monkeypatch):
    """Words and the numbers that no training makes are the same; scores may differ on another processor."""
    monkeypatch.chdir(tmp_path)
    shown = re.split(r"^\$ ", CONSOLE, flags=re.M)[1:]
    assert len(shown) == 5 and shown[0].startswith("pip install 'metabench[train]'\n")
    for command, _, output in (text.partition("\n") for text in shown[1:]):
        words = shlex.split(command)
        if words[0] == "python":
            exec(words[2], {})
            continue
        words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
        found = CliRunner().invoke(main, words[1:], standalone_mode=False)
        assert found.exception is None, command
        if target:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(compile(found.stdout, target, "exec"), {})
            assert said.getvalue().startswith("r2: valid ")
            continue
        ours, theirs = found.stdout.rstrip().splitlines(), output.rstrip().splitlines()
        assert len(ours) == len(theirs)
        numbers = words[1] == "recommend"
        for mine, line in zip(ours, theirs):
            assert (mine == line) if numbers else mine.split(" ")[0] == line.split(" ")[0]


def test_the_table_is_that_of_the_results(benchmark):
    inside = PAGE[PAGE.index(benchmark.BEGIN) + len(benchmark.BEGIN) : PAGE.index(benchmark.END)]
    assert inside.strip() == benchmark.summary().strip()


def test_the_results_are_of_reserved_data_sets_with_every_arm(benchmark):
    import pandas as pd

    found = pd.read_csv(benchmark.RESULTS)
    assert set(found["task_id"]) <= set(benchmark.reserved()) and found["task_id"].nunique() >= 20
    counts = found.groupby(["task_id", "seed"])["arm"].nunique()
    assert (counts == len(benchmark.ARMS)).all()


def test_a_planted_search_has_the_regret_it_should(benchmark, tmp_path):
    """Scores invented so that every regret is known: default .4, tune .9 from its second trial on, the others .5."""
    import json

    rows = []
    for method, budget in benchmark.BUDGETS.items():
        for seed in range(2):
            for trial in range(1, budget + 1):
                score = {"default": 0.4, "tune": 0.9 if trial > 1 else 0.7}.get(method, 0.5)
                rows.append(
                    {
                        "task_id": "mlp-a",
                        "method": method,
                        "seed": seed,
                        "trial": trial,
                        "status": "ok",
                        "valid": score,
                        "test": score,
                        "train_seconds": 1.0,
                        "own_seconds": 0.0,
                        "config": "{}",
                    }
                )
    facts = {"metric": "accuracy", "direction": "max", "family": "a"}
    (tmp_path / "mlp-a.json").write_text(json.dumps({"facts": facts, "rows": rows}))
    found = benchmark.cells(tmp_path).set_index(["arm", "seed"])["test_regret"]
    assert found["tune, 10", 0] == found["recommend, k = 5", 1] == 0
    assert found["recommend, k = 1", 0] == pytest.approx(0.5)
    assert found["random, 50", 0] == found["default", 0] == 1
