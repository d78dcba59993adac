"""The examples of docs/problem.md run, each where its package is installed."""

import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = (ROOT / "docs/problem.md").read_text(encoding="utf-8").split("\n## ")
CODE = {s.partition("\n")[0]: re.search(r"```python\n(.*?)```", s, re.S)[1] for s in SECTIONS}


@pytest.mark.parametrize("section", CODE)
def test_an_example_runs(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METABENCH_DATASETS", str(ROOT / "datasets"))
    code = CODE[section]
    for package in re.findall(r"^(?:import|from) (\w+)", code, re.M):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    names: dict = {"__name__": "example"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code, section, "exec"), names)
    problem = names.get("problem") or names["Metabench"].problem
    config = names.get("best") or problem.best_known.config
    assert np.isfinite(problem.cost(config)) and len(names.get("costs", [1, 2, 3])) == 3
