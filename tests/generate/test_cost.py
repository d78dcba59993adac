"""The cost model: prices that were planted are found, what was measured is kept, and chunks cut by it keep cores busy."""

import heapq
import json

import numpy as np
import pytest

from metabench import registry, tasks
from metabench.generate import cost, make_plan
from metabench.generate.cost import CostModel, cost_model, sizes_of
from metabench.generate.plan import CHUNK_SECONDS

MLP = registry.create("workloads", "mlp")
BUNDLED = ("mlp-breast_cancer", "mlp-diabetes", "mlp-digits", "mlp-wine")


def test_planted_prices_are_found():
    rng = np.random.default_rng(0)
    prices = {"runs": 1e-4, "flops": 7e-12, "updates": 3e-10, "noise": 0.0}
    scale = {"runs": 1.0, "flops": 1e9, "updates": 1e7, "noise": 1e6}
    work = [{k: scale[k] * (1.0 if k == "runs" else rng.lognormal(0, 1.5)) for k in prices} for _ in range(200)]
    truth = np.array([sum(prices[k] * w[k] for k in prices) for w in work])
    model = cost._fitted(work, truth * rng.lognormal(0, 0.05, size=200), None)
    assert [model.seconds(w) for w in work] == pytest.approx(truth.tolist(), rel=0.05)
    assert model.prices["flops"] == pytest.approx(7e-12, rel=0.1)
    assert 0.02 < model.error < 0.06


def test_work_is_the_same_kinds_for_every_configuration_and_needs_sizes_alone():
    task = tasks.get("mlp-iris")
    arrays = task.arrays(0)
    found = [MLP.work(arrays, row, (1, 4)) for row in MLP.space.sample(32, 0).to_dict("records")]
    assert found == [MLP.work(sizes_of(task), row, (1, 4)) for row in MLP.space.sample(32, 0).to_dict("records")]
    assert len({tuple(w) for w in found}) == 1 and all(v >= 0 for w in found for v in w.values())
    plain = MLP.space.default() | {"optimizer": "sgd", "dropout": 0.0, "batch_size": 16}
    work = MLP.work(arrays, plain, (1, 4))
    assert work["steps"] == 4 * (90 // 16) and work["updates"] == work["steps"] * MLP.params(arrays, plain)
    assert work["evaluated"] == 2 * 150 * MLP.params(arrays, plain)
    assert not work["adaptive updates"] and not work["dropped units"]


def test_what_was_measured_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    calls = []
    model = CostModel({"flops": 1e-11, "runs": 1e-3}, 16, 0.07)
    monkeypatch.setattr(cost, "calibrate", lambda workload, backend: calls.append(backend) or model)
    assert [cost_model(MLP, "cpu", "batched") for _ in range(3)] == [model] * 3 and calls == ["batched"]
    (path,) = tmp_path.glob("costs/*.json")
    path.write_text("{broken")
    assert cost_model(MLP, "cpu", "batched") == model and len(calls) == 2
    assert json.loads(path.read_text())["together"] == 16
    cost_model(MLP, "cpu", "resident")
    assert calls == ["batched", "batched", "resident"]
    assert cost_model(MLP, "cuda", "batched").seconds({"flops": 1e9}) == cost.UNMEASURED


def test_a_cache_that_cannot_be_written_is_no_matter(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(cost, "calibrate", lambda workload, backend: CostModel({"flops": 1e-11}))
    assert cost_model(MLP, "cpu", "resident").prices == {"flops": 1e-11}


@pytest.mark.parametrize("backend", ["sequential", "batched"])
def test_a_backend_is_measured(monkeypatch, backend):
    """On two small shapes; what matters is that there is a price on something, and no curve depends on `together`."""
    monkeypatch.setattr(cost, "SHAPES", ((64, 4, 3), (64, 4, 0)))
    monkeypatch.setattr(cost, "CONFIGS", 8)
    monkeypatch.setattr(cost, "LONG", (2,))
    monkeypatch.setattr(cost, "TOGETHER", (2, 4))
    model = cost.calibrate(MLP, backend)
    assert model.prices and all(price > 0 for price in model.prices.values())
    assert (model.together in (2, 4)) if backend == "batched" else model.together is None


@pytest.mark.parametrize("workers", [2, 16])
def test_cores_idle_under_five_percent_on_a_mixed_plan(workers):
    """256 configurations on four data sets; a queue, largest first, whose chunks take other times than predicted."""
    model = CostModel({"runs": 1e-3, "steps": 1e-6, "examples": 3e-8, "flops": 8e-12, "smooth units": 5e-10})
    chosen = [tasks.get(name) for name in BUNDLED]
    configs = MLP.space.sample(256, seed=0)
    plan = make_plan(MLP, chosen, configs, 1, np.empty(0, np.int64), model, workers)
    assert plan.missing == 1024
    rng = np.random.default_rng(0)
    free = [0.0] * workers
    total = 0.0
    for chunk in plan.chunks:
        took = chunk.seconds * rng.lognormal(0, 0.2)
        total += took
        heapq.heapreplace(free, free[0] + took)
    idle = 1 - total / (workers * max(free))
    assert idle < 0.05
    assert max(c.seconds for c in plan.chunks if len(c) > 1) < 1.5 * CHUNK_SECONDS[1]
    assert [c.seconds for c in plan.chunks] == sorted((c.seconds for c in plan.chunks), reverse=True)


def test_predictions_add_up():
    model = CostModel({"flops": 1e-11})
    plan = make_plan(MLP, [tasks.get("mlp-iris")], MLP.space.sample(16, 0), 2, np.empty(0, np.int64), model)
    assert plan.seconds == pytest.approx(plan.flops * 1e-11)
    chunk = plan.chunks[0]
    assert sum(c.seconds for c in chunk.singles()) == pytest.approx(chunk.seconds)
