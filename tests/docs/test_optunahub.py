"""The package for OptunaHub has its registry's layout, no binaries, and runs."""

import importlib.util
import re
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")
PACKAGE = Path(__file__).parents[2] / "optunahub/package/samplers/metabench"


def load():
    """As optunahub.load_local_module does."""
    spec = importlib.util.spec_from_file_location("hub_metabench", PACKAGE / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layout_is_the_registrys():
    files = {p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"}
    assert files == {"LICENSE", "README.md", "__init__.py", "example.py", "requirements.txt"}
    for name in files:
        (PACKAGE / name).read_text(encoding="utf-8")  # no binaries
    head = re.match(r"---\n(.*?)\n---\n", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.S)[1]
    keys = [line.partition(":")[0] for line in head.splitlines()]
    assert keys == ["author", "title", "description", "tags", "optuna_versions", "license"]
    compile((PACKAGE / "example.py").read_text(encoding="utf-8"), "example.py", "exec")


def test_the_example_of_its_page_runs(monkeypatch):
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    hub = type("optunahub", (), {"load_module": staticmethod(lambda package: load())})
    monkeypatch.setitem(__import__("sys").modules, "optunahub", hub)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    study = names["study"]
    assert len(study.trials) == 5 and isinstance(study.sampler, optuna.samplers.BaseSampler)
    assert 1e-5 < study.trials[0].params["lr"] < 1e-1
