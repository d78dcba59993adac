"""The comparison of speeds: what it compares is the same work, done properly. Nothing here looks at a clock."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from metabench import registry, speed, tasks
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.speed import JOBS, Row, compare, find, jobs, loop, measure, team
from metabench.speed.compare import Contender
from metabench.speed.jobs import Job
from metabench.training import hashing, layers, run_cohort

MLP = registry.create("workloads", "mlp")


@pytest.fixture
def tiny(monkeypatch):
    """Two jobs of a few seconds, and contenders of each kind."""
    small = Job("small", "a small network", ("mlp-iris",), 2, {"width": 16, "depth": 1})
    mixed = Job("mixed", "a few of the mixed space", ("mlp-iris", "mlp-wine"), 1, None, 8, sample=4)
    field = [
        Contender("sequential, 1 thread", "loop", 1),
        Contender("sequential, for-each", "loop-foreach", 1),
        Contender("batched", "batched", 1, chunk=4),
    ]
    whole = Contender("batched, whole plan", "batched", scope="whole")
    for module in (compare, jobs):
        monkeypatch.setattr(module, "JOBS", {"small": small, "mixed": mixed})
    monkeypatch.setattr(compare, "contenders", lambda device, job: [*field[:2], whole] if job.mixed else field)
    monkeypatch.setattr(compare, "WINDOW", 1e-3)
    return field


def test_every_contender_is_measured_on_its_jobs(tiny):
    told = []
    rows, peaks = measure(repeats=1, say=told.append)
    sequential = [c.name for c in tiny[:2]]
    assert [r.contender for r in rows if r.job == "small"] == [*sequential, "batched"]
    assert [r.contender for r in rows if r.job == "mixed"] == [*sequential, "batched, whole plan"]
    assert {"small: batched, warming up", "mixed: batched, whole plan, 1 of 1"} <= set(told)
    assert [r.runs for r in rows] == [1, 1, 4, 4, 4, 16]
    for job in ("small", "mixed"):
        mine = [r for r in rows if r.job == job]
        best = max(r.runs_per_second for r in mine if r.contender in sequential)
        most = max(r.runs_per_core_second for r in mine if r.contender in sequential)
        for r in mine:
            assert r.runs_per_second == pytest.approx(r.runs / r.seconds)
            assert r.ratio == pytest.approx(r.runs_per_second / best)
            assert r.core_ratio * most == pytest.approx(r.runs_per_core_second)
            peak = peaks["product_alone" if r.processes == 1 else "product"]
            assert r.of_product_peak == pytest.approx(r.gflops / peak)


def test_runs_are_dealt_by_cost():
    plan = JOBS["plan"]
    parts = plan.parts(64)
    costs = [plan.flops(task, configs) for task, configs, _ in parts]
    shares = compare.shared(parts, costs, 3)
    loads = [sum(plan.flops(task, configs).sum() for task, configs, _ in share) for share in shares]
    assert max(loads) < 1.05 * min(loads)
    assert sum(len(seeds) for share in shares for *_, seeds in share) == 64
    for task, configs, _ in parts:  # nothing twice, nothing lost, in the order of the plan
        dealt = [some for share in shares for name, some, _ in share if name == task]
        assert all(some.index.is_monotonic_increasing for some in dealt)
        assert sorted(i for some in dealt for i in some.index) == list(configs.index)


def test_what_is_slow_is_measured_once_and_a_hopeless_loop_not_again():
    here = [Contender(name, "loop") for name in ("good", "hopeless")] + [Contender("engine", "batched")]
    seconds = {"good": 1.0, "hopeless": 6.0, "engine": 50.0}
    timings = {name: compare.Timing(t, t, 1, 1.0) for name, t in seconds.items()}
    assert [compare._settled(c, 0, timings, here) for c in here] == [False, True, False]
    assert [compare._settled(c, 1, timings, here) for c in here] == [False, True, True]


def test_no_gpu_is_one_line(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="device cuda: torch finds no CUDA device here; use cpu"):
        measure(["digits"], device="cuda")


def test_contenders_of_the_machine():
    for job in (*JOBS.values(), find("mlp"), find("text")):
        found = compare.contenders("cpu", job)
        assert len({c.name for c in found}) == len(found)
        assert sum(c.sequential for c in found) == 4
        assert any(c.scope == "whole" for c in found) == job.mixed
        assert not any(c.trainer == "jax" for c in found) or job.config
        assert any(c.trainer == "resident" for c in found) <= (job.workload != "text")
        assert {c.name.split(",")[0] for c in compare.contenders("cuda", job)} >= {"sequential", "batched"}


def test_the_command_shows_what_was_measured(monkeypatch):
    row = Row("digits", "resident", 2, 1, 64, 0.5, 128.0, 70.0, 53.0, 17.5, 16.0, 0.3, float("nan"))
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
    CliRunner().invoke(main, ["speed", "--job", "plan", "--workload", "mlp", "--device", "cuda"])
    assert asked == [(("digits",), "cpu", 1), ((), "cpu", 3), (("plan", "mlp"), "cuda", 3)]
    assert shown.stdout.split("\n")[1].split() == [
        "digits",
        "resident",
        "64",
        "128",
        "53",
        "70",
        "17.5",
        "16",
        "30%",
        "nan%",
    ]


def test_unknown_jobs_are_told():
    with pytest.raises(UsageError, match="unknown job 'digit'; did you mean 'digits'"):
        measure(["digit"])
    done = CliRunner().invoke(main, ["speed", "--workload", "digits"])
    assert done.exit_code == 2 and "unknown workload 'digits'" in done.stderr


def test_a_sample_of_the_plan_costs_what_the_plan_costs():
    plan = JOBS["plan"]
    task = plan.tasks[2]
    whole = plan.flops(task, plan.table).mean()
    for n in (64, 256):
        some = next(configs for name, configs, _ in plan.parts(n) if name == task)
        assert len(some) == n // len(plan.tasks)
        assert plan.flops(task, some).mean() == pytest.approx(whole, rel=0.35 if n == 64 else 0.1)
    for n in (None, 10_000):
        assert sum(len(configs) for _, configs, _ in plan.parts(n)) == 256 * len(plan.tasks)


def test_jobs_are_configurations_of_the_space():
    for job in JOBS.values():
        for row in job.table.astype(object).where(job.table.notna(), None).to_dict("records"):
            MLP.space.validate(row)


# ---------------------------------------------------------------- the ordinary loop
def test_the_loop_trains_the_same_networks():
    arrays = tasks.get("mlp-iris").arrays(0)
    table = MLP.space.sample(32, seed=3)
    for row in table.to_dict("records"):
        network = MLP.build(arrays, row, 0)
        assert sum(p.numel() for p in network.parameters()) == MLP.params(arrays, row)
        losses = [loop.train(MLP, arrays, row | {"learning_rate": 1e-3}, 0, 1, fused=fused) for fused in (True, False)]
        assert np.isfinite(losses).all()
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert set(table["optimizer"]) == set(MLP.space["optimizer"].options)


def test_the_loop_learns_what_the_engine_learns():
    """Other random numbers, the same network: validation losses agree on average."""
    job = JOBS["digits"]
    arrays, config = tasks.get("mlp-digits").arrays(0), job.table.iloc[0].to_dict()
    ours = run_cohort(MLP, arrays, job.table.iloc[[0] * 4], np.arange(4), (10,), backend="batched").valid_loss[:, 0]
    theirs = [loop.train(MLP, arrays, config, seed, 10) for seed in range(4)]
    assert np.mean(theirs) == pytest.approx(ours.mean(), rel=0.2)


@pytest.mark.parametrize("name", registry.names("workloads"))
def test_every_workload_has_a_job_that_the_loop_trains(name, monkeypatch):
    """Its default configuration, on data that needs no network; hashed numbers are as before afterwards."""
    monkeypatch.setattr(jobs, "ROWS", 64)
    workload, job = registry.create("workloads", name), find(name)
    (row,), arrays = job.table.to_dict("records"), jobs.arrays.__wrapped__(name, job.tasks[0])
    before = hashing.bits(7, np.arange(3))
    found = [loop.train(workload, arrays, row, seed, 1) for seed in (0, 1, 0)]
    assert np.isfinite(found).all() and found[0] == found[2] != found[1]
    assert np.array_equal(hashing.bits(7, np.arange(3)), before)


def test_no_hashed_number_is_left_in_the_ordinary_loop():
    dropped = layers.dropped
    network = sys.modules[type(MLP.build(tasks.get("mlp-iris").arrays(0), MLP.space.default(), 0)).__module__]
    with loop.ordinary(0, True):
        assert layers.dropped is not dropped and network.dropped is layers.dropped
        assert not np.array_equal(hashing.uniform(1, np.arange(4)), hashing.uniform(1, np.arange(4)))
    assert network.dropped is layers.dropped is dropped


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
@pytest.mark.parametrize("name", ["digits", "adam"])
def test_jax_learns_too(name):
    from metabench.speed import xla

    job = JOBS[name]
    arrays = tasks.get("mlp-digits").arrays(0)
    accuracy = xla.train(arrays, job.table.iloc[0], np.arange(4), job.epochs)
    ours = run_cohort(MLP, arrays, job.table.iloc[[0] * 4], np.arange(4), (job.epochs,), backend="batched").valid_score
    assert accuracy == pytest.approx(ours.mean(), abs=0.02)


def test_peaks_are_measured():
    assert team.peak("product", seconds=0.01) > 0
    fma = team.peak("fma", seconds=0.01)
    assert np.isnan(fma) or fma > 0


def test_a_worker_tells_its_errors_and_its_death():
    with team.team(1, "torch") as (member,):
        member.send(("peak", "product", "nowhere"))
        with pytest.raises(MetabenchError, match=r"peak product: RuntimeError: .*nowhere"):
            member.receive()
        member.process.terminate()
        with pytest.raises(MetabenchError, match="died while it was measured"):
            member.receive()
