"""benchmarks/proof.py compares with the default what it should, on planted searches."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("proof", ROOT / "benchmarks/proof.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("practitioner", None)


def put(folder, name, rows, tests, direction="max"):
    """A task whose searches reach ``tests`` (arm → test score of each trial, None where it diverged) with both seeds; the
    validation score is the test score."""
    made = [
        {"arm": arm, "seed": seed, "trial": i + 1, "valid": value, "test": value, "seconds": 0.1}
        for arm, values in tests.items()
        for seed in range(2)
        for i, value in enumerate(values)
    ]
    facts = {"metric": "r2", "direction": direction, "rows": rows, "family": name}
    (folder / f"mlp-{name}.json").write_text(json.dumps({"facts": facts, "rows": made}))


def test_gains_over_the_default_are_counted_by_size(benchmark, tmp_path):
    put(tmp_path, "a", 500, {"default": [0.5], "ours": [0.4, 0.4, 0.4, 0.4, 0.7]})
    put(tmp_path, "b", 9_000, {"default": [0.5], "ours": [0.6, None, 0.2]})
    put(tmp_path, "c", 9_000, {"default": [2.0], "ours": [1.0, 3.0]}, direction="min")
    found = benchmark.compared(benchmark.cells(tmp_path)).set_index(["arm", "trials", "size"])
    first, fifth = found.loc[("ours", 1, "all")], found.loc[("ours", 5, "all")]
    assert (first.sets, first.ahead, first.behind) == (3, 2, 1) and (fifth.ahead, fifth.behind) == (3, 0)
    assert first.gain == pytest.approx((-0.1 + 0.1 + 1.0) / 3) and first.low <= first.gain <= first.high
    assert found.loc[("ours", 1, "small")].sets == 1 and found.loc[("ours", 1, "large")].sets == 2


def test_a_search_that_diverged_is_as_bad_as_the_worst_on_its_own_task(benchmark, tmp_path):
    put(tmp_path, "a", 500, {"default": [0.5], "ours": [None], "other": [0.4]})
    put(tmp_path, "b", 500, {"default": [-90.0], "ours": [-90.0], "other": [-99.0]})
    found = benchmark.compared(benchmark.cells(tmp_path)).set_index(["arm", "trials", "size"])
    assert found.loc[("ours", 1, "all")].gain == pytest.approx((-0.1 + 0.0) / 2)


def test_the_data_sets_are_those_of_the_proof(benchmark):
    assert len(benchmark.reserved()) == 24
