"""The comparison of speeds: what it compares is the same work, done properly. Nothing here looks at a clock."""

import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner

from metabench import registry, tasks
from metabench.cli import main
from metabench.errors import UsageError
from metabench.training import run_cohort, speed
from metabench.training.speed import JOBS, Row, compare, jobs, loop, measure
from metabench.training.speed.compare import Contender
from metabench.training.speed.jobs import Job

MLP = registry.create("workloads", "mlp")


@pytest.fixture
def tiny(monkeypatch):
    """Two jobs of a few seconds, and contenders of each kind."""
    small = Job("small", "a small network", ("mlp-iris",), 2, {"width": 16, "depth": 1})
    mixed = Job("mixed", "a few of the mixed space", ("mlp-iris", "mlp-wine"), 1, None, 8)
    field = [
        Contender("sequential, 1 thread", "loop", 1, 1, plain=2, mixed=4),
        Contender("sequential, for-each", "loop-foreach", 1, 1, plain=2, mixed=4),
        Contender("batched", "batched", 1, plain=4),
    ]
    for module in (compare, jobs):
        monkeypatch.setattr(module, "JOBS", {"small": small, "mixed": mixed})
    monkeypatch.setattr(compare, "contenders", lambda device: field)
    return field


def test_every_contender_is_measured_on_every_job(tiny):
    told = []
    rows, peaks = measure(repeats=1, say=told.append)
    assert [(r.job, r.contender) for r in rows] == [(j, c.name) for j in ("small", "mixed") for c in tiny]
    assert {"small: batched, warming up", "mixed: batched, 1 of 1"} <= set(told)
    for job in ("small", "mixed"):
        mine = [r for r in rows if r.job == job]
        assert max(r.ratio for r in mine if r.contender.startswith("sequential")) == pytest.approx(1.0)
        for r in mine:
            assert r.runs_per_second == pytest.approx(r.runs / r.seconds)
            assert r.of_product_peak == pytest.approx(r.gflops / (peaks["product"] * r.processes / compare._cores()))
    assert [r.runs for r in rows] == [2, 2, 4, 4, 4, 16]
    assert peaks["product"] > 0


def test_the_command_shows_what_was_measured(monkeypatch):
    row = Row("digits", "resident", 2, 1, 64, 0.5, 128.0, 70.0, 53.0, 17.5, 0.3, float("nan"))
    asked = []

    def measured(names, *, device, repeats, say):
        asked.append((names, device, repeats))
        return [row], {"product": 180.0, "fma": float("nan")}

    monkeypatch.setattr(speed, "measure", measured)
    done = CliRunner().invoke(main, ["speed", "--job", "digits", "--repeats", "1", "--json"])
    found = json.loads(done.stdout)
    assert found["peaks"] == {"product": 180.0, "fma": None}
    assert found["rows"][0]["ratio"] == 17.5 and found["rows"][0]["of_fma_peak"] is None
    shown = CliRunner().invoke(main, ["speed"])
    assert asked == [(("digits",), "cpu", 1), ((), "cpu", 3)]
    assert shown.stdout.split("\n")[1].split() == [
        "digits", "resident", "64", "128", "53", "70", "17.5", "30%", "nan%",
    ]  # fmt: skip


def test_unknown_jobs_are_told():
    with pytest.raises(UsageError, match="unknown job 'digit'; did you mean 'digits'"):
        measure(["digit"])


def test_a_sample_of_the_plan_costs_what_the_plan_costs():
    plan = JOBS["plan"]
    task = plan.tasks[2]
    whole = plan.flops(task, plan.table).mean()
    for n in (64, 256):
        some = next(configs for name, configs, _ in plan.runs(n) if name == task)
        assert len(some) == n // len(plan.tasks)
        assert plan.flops(task, some).mean() == pytest.approx(whole, rel=0.35 if n == 64 else 0.1)
    assert sum(len(configs) for _, configs, _ in plan.runs(10_000)) == 256 * len(plan.tasks)


def test_jobs_are_configurations_of_the_space():
    for job in JOBS.values():
        for row in job.table.astype(object).where(job.table.notna(), None).to_dict("records"):
            MLP.space.validate(row)


# ---------------------------------------------------------------- the ordinary loop
def test_the_loop_trains_the_same_networks():
    arrays = tasks.get("mlp-iris").arrays(0)
    table = MLP.space.sample(32, seed=3)
    for row in table.to_dict("records"):
        network = loop.network(arrays, row, 0)
        assert sum(p.numel() for p in network.parameters()) == MLP.params(arrays, row)
        losses = [loop.train(arrays, row | {"learning_rate": 1e-3}, 0, 1, fused=fused) for fused in (True, False)]
        assert np.isfinite(losses).all()
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert set(table["optimizer"]) == set(MLP.space["optimizer"].options)


def test_the_loop_learns_what_the_engine_learns():
    """Other random numbers, the same network: validation losses agree on average."""
    job = JOBS["digits"]
    arrays, config = tasks.get("mlp-digits").arrays(0), job.table.iloc[0].to_dict()
    ours = run_cohort(MLP, arrays, job.table.iloc[[0] * 4], np.arange(4), (10,), backend="batched").valid_loss[:, 0]
    theirs = [loop.train(arrays, config, seed, 10) for seed in range(4)]
    assert np.mean(theirs) == pytest.approx(ours.mean(), rel=0.2)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
@pytest.mark.parametrize("name", ["digits", "adam"])
def test_jax_learns_too(name):
    from metabench.training.speed import xla

    job = JOBS[name]
    arrays = tasks.get("mlp-digits").arrays(0)
    accuracy = xla.train(arrays, job.table.iloc[0], np.arange(4), job.epochs)
    ours = run_cohort(MLP, arrays, job.table.iloc[[0] * 4], np.arange(4), (job.epochs,), backend="batched").valid_score
    assert accuracy == pytest.approx(ours.mean(), abs=0.02)


def test_peaks_are_measured():
    assert compare._peak("product") > 0
    fma = compare._peak("fma")
    assert np.isnan(fma) or fma > 0
