"""The plug-ins shown in docs/contributing are code that works, from a file in the working folder."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import CurveTable, FakeTable, board_for

import metabench
from metabench import registry, testing
from metabench.cli import main
from metabench.search.base import History, Problem
from metabench.testing import PlantedFamily, synthetic_source

GUIDES = Path(__file__).parents[2] / "docs/contributing"
TEXT = "".join((GUIDES / f"{name}.md").read_text() for name in ("workload", "metamodel", "baseline"))
SHOWN = {
    re.search(r'^    name = "(\w+)"', code, re.M)[1]: code for code in re.findall(r"```python\n(.*?)```", TEXT, re.S)
}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """Name → class, each from a file of that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = {}
    for name, code in SHOWN.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
        found[name] = registry.plugin_class(importlib.import_module(name), name)
    yield found
    for name in found:
        sys.modules.pop(name)


def test_a_metamodel_a_baseline_and_one_that_trains_in_parts_are_shown():
    assert list(SHOWN) == ["factorisation", "nearest_task", "farthest", "alternate"]


def test_the_workload_gives_tasks_that_are_trained_stored_and_trained_again(tmp_path):
    """From the one file, found by its entry point: no other file knows of it."""
    (tmp_path / "factorisation.py").write_text(SHOWN["factorisation"])
    about = tmp_path / "shown-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shown\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[metabench.workloads]\nfactorisation = factorisation:Factorisation\n")
    paths = [str(tmp_path), str(Path(metabench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "metabench.cli", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    table = str(tmp_path / "mine" / "v1")
    which = ["--workload", "factorisation", "--tasks", "factorisation-iris", "--configs", "8"]
    run("generate", "--table", table, *which, "--seeds", "1", "--workers", "1")
    runs = metabench.load_table(table).runs("factorisation").to_pandas()
    assert len(runs) == 8
    assert max(scores[-1] for scores in runs["test_score"]) > 0.8  # chance is a third
    run("rerun", table, "--sample", "3")


@pytest.mark.parametrize("name", SHOWN)
def test_they_keep_the_contract(shown, name):
    testing.check(shown[name])
    spec = f"{name}:{shown[name].__name__}"
    assert f"metabench check {spec}" in TEXT or name != "nearest_task"
    done = CliRunner().invoke(main, ["check", spec])
    assert (done.exit_code, done.stdout) == (0, f"{spec}: keeps the contract\n")


def test_they_are_evaluated_and_scored(shown):
    table = FakeTable.planted(tasks=12, configs=64)
    board = board_for(table, budget=8)
    traces = metabench.evaluate([shown["nearest_task"], shown["farthest"], "random"], board, table)
    summary = metabench.score(traces, table, board, resamples=20).summary
    assert set(summary["method"]) == {"nearest_task", "farthest", "random"}
    assert summary["valid_regret"].between(0, 1).all()


def test_the_one_that_trains_in_parts_is_evaluated_where_epochs_are_counted(shown):
    table = CurveTable.rising(tasks=10, configs=100)
    board = board_for(table, budget=6, starts=("own",), track="multi-fidelity")
    traces = metabench.evaluate([shown["alternate"], "random"], board, table)
    regret = metabench.score(traces, table, board, resamples=20).summary.set_index(["method", "mark"])["valid_regret"]
    assert regret["alternate", 5] < regret["random", 5]


def test_the_metamodel_transfers(shown):
    """Its first proposal on unseen tasks of the family beats three quarters of the pool; a random one beats half."""
    family = PlantedFamily(seed=4)
    source = synthetic_source(30, 48, seed=4)
    model = shown["nearest_task"]().fit(source)
    behind = []
    for task in range(200, 215):
        problem = Problem(source.space, family.info(task), source.configs.reset_index(drop=True), 5)
        scores = np.nan_to_num(family.scores(task, source.configs)[:, 0])
        behind.append((scores > scores[model.start(problem, 0).ask(History())]).mean())
    assert np.mean(behind) < 0.25


def test_the_baseline_covers(shown):
    """Five trials leave no candidate as far from all of them as five random trials do."""
    from metabench.baselines.parts.common import distances

    source = synthetic_source(2, 64, seed=0)
    problem = Problem(source.space, PlantedFamily(seed=0).info(1), source.configs.reset_index(drop=True), 5)
    gaps = distances(problem, problem.candidates)
    search, history = shown["farthest"]().start(problem, 0), History()
    for _ in range(5):
        history.add(search.ask(history), 0.0)
    rng = np.random.default_rng(0)
    by_chance = [gaps[rng.permutation(64)[:5]].min(axis=0).max() for _ in range(50)]
    assert gaps[history.candidates].min(axis=0).max() < np.median(by_chance)
