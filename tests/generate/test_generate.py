"""Generation for real on small bundled tasks: resumable, and honest about what fails."""

import importlib
import inspect
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from metabench import registry, tasks, training
from metabench.errors import MetabenchError, UsageError
from metabench.generate import generate, make_plan, preview, worker
from metabench.generate.cost import CostModel
from metabench.table import TableWriter, load_table, rows, verify
from metabench.training import resident
from metabench.training.curves import SERIES

TASKS = ["mlp-iris", "mlp-wine"]
needs_compiler = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))


def content(path):
    """Everything a run is, but the wall time that it took."""
    table = load_table(path).runs("mlp").drop_columns(["seconds", "cohort"])
    return rows.ordered(table).to_pylist()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "v1"
    report = generate(path, "mlp", TASKS, n_configs=16, n_seeds=2, workers=2, progress=False)
    assert (report.trained, report.missing, report.failed) == (64, 0, 0)
    return path


@needs_compiler
def test_a_table_is_complete_and_sound(whole):
    assert verify(whole) == []
    table = load_table(whole)
    assert table.final("mlp", TASKS).shape == (2, 16, 2)
    assert sorted(table.tasks["task_id"]) == TASKS
    assert set(table.runs("mlp")["status"].to_pylist()) <= {"ok", "diverged"}


@needs_compiler
def test_growing_trains_only_what_is_missing(whole, tmp_path):
    path = tmp_path / "v1"
    assert generate(path, "mlp", TASKS[:1], n_configs=8, n_seeds=1, workers=1, progress=False).trained == 8
    report = generate(path, "mlp", TASKS, n_configs=16, n_seeds=2, workers=1, progress=False)
    assert (report.stored_before, report.trained) == (8, 56)
    assert content(path) == content(whole)
    again = generate(path, "mlp", TASKS, n_configs=16, n_seeds=2, workers=1, progress=False)
    assert again.trained == 0


@needs_compiler
def test_a_budget_ends_cleanly(tmp_path):
    report = generate(tmp_path / "v1", "mlp", TASKS, n_configs=16, n_seeds=2, workers=1, budget=0.0, progress=False)
    assert report.trained == 0 and report.missing == 64
    assert verify(tmp_path / "v1") == []


FRAGILE = """
import os, signal
from pathlib import Path
from metabench.generate import worker

real, marker = worker.train, Path(__file__).with_name("died")

def once(*a):
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*a)

def over_one(load, task_id, configs, config_ids, *rest):
    if 3 in config_ids:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(load, task_id, configs, config_ids, *rest)

def main_once(*a):
    worker.train = once
    worker.main(*a)

def main_over_one(*a):
    worker.train = over_one
    worker.main(*a)
"""


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    """Worker processes that kill themselves, as the system does when memory runs out."""
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("fragile")
    del sys.modules["fragile"]


@needs_compiler
def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch, fragile):
    """The first worker kills itself on its first chunk; the runs are trained by another."""
    monkeypatch.setattr(worker, "main", fragile.main_once)
    report = generate(tmp_path / "v1", "mlp", TASKS[:1], n_configs=8, n_seeds=1, workers=1, progress=False)
    assert fragile.marker.exists()
    assert (report.trained, report.failed) == (8, 0)


@needs_compiler
def test_a_run_that_kills_its_worker_fails_alone(tmp_path, monkeypatch, fragile, capfd):
    monkeypatch.setattr(worker, "main", fragile.main_over_one)
    report = generate(tmp_path / "v1", "mlp", TASKS[:1], n_configs=8, n_seeds=1, workers=1, progress=True)
    assert (report.trained, report.missing, report.failed) == (8, 0, 1)
    runs = load_table(tmp_path / "v1").runs("mlp").to_pylist()
    reasons = {row["config_id"]: row["error"] for row in runs if row["status"] == "failed"}
    assert reasons == {3: "the worker process died (exit code -9)"}
    assert verify(tmp_path / "v1") == []
    assert "the worker process died (exit code -9); its work goes to another" in capfd.readouterr().err


def test_workers_that_cannot_start_are_an_error_and_no_failed_runs(tmp_path):
    """A script without a guard starts itself again in every worker."""
    (tmp_path / "run.py").write_text(
        "from metabench.generate import generate\n"
        f"generate({str(tmp_path / 'v1')!r}, 'mlp', ['mlp-iris'], n_configs=4, n_seeds=1, workers=1)\n"
    )
    run = subprocess.run([sys.executable, tmp_path / "run.py"], capture_output=True, text=True, timeout=100)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "metabench.errors.MetabenchError: worker processes cannot start: the worker process died (exit code 1); "
        "a script that generates needs its call under `if __name__ == '__main__':`"
    )
    assert load_table(tmp_path / "v1").runs("mlp").num_rows == 0


@needs_compiler
def test_a_run_that_raises_fails_alone(monkeypatch):
    real = training.run_cohort

    def picky(workload, arrays, configs, seeds, *rest, **settings):
        if 5 in configs.index:
            raise FloatingPointError("no luck\nwith this one")
        return real(workload, arrays, configs, seeds, *rest, **settings)

    workload = registry.create("workloads", "mlp")
    configs = workload.space.sample(8, seed=0)
    arguments = (workload, "mlp-iris", configs, np.arange(8), np.zeros(8, int), "cpu", "resident")
    expected = worker.train(*arguments).drop_columns(["seconds"]).to_pylist()
    monkeypatch.setattr(training, "run_cohort", picky)
    got = worker.train(*arguments).drop_columns(["seconds"]).to_pylist()
    assert got[:5] + got[6:] == expected[:5] + expected[6:]
    assert (got[5]["status"], got[5]["error"]) == ("failed", "FloatingPointError: no luck with this one")
    assert got[5]["run_id"] == expected[5]["run_id"] and got[5]["cohort"] == expected[5]["cohort"]


@needs_compiler
def test_failed_runs_are_tried_again_when_asked(whole, tmp_path):
    path = tmp_path / "v1"
    generate(path, "mlp", TASKS[:1], n_configs=16, n_seeds=1, workers=1, progress=False)
    with TableWriter(path) as table:
        table.append("mlp", rows.failed("mlp-iris", np.arange(16), np.ones(16), "out of memory", 1, "cpu"))
    settings = {"n_configs": 16, "n_seeds": 2, "workers": 1, "progress": False}
    assert generate(path, "mlp", TASKS[:1], **settings).trained == 0
    report = generate(path, "mlp", TASKS[:1], retry_failed=True, **settings)
    assert (report.stored_before, report.trained, report.failed) == (16, 16, 0)
    iris = [row for row in content(whole) if row["task_id"] == "mlp-iris"]
    assert content(path) == iris


def test_a_plan_covers_every_run_once():
    workload = registry.create("workloads", "mlp")
    task = tasks.get("mlp-iris")
    configs = workload.space.sample(32, seed=0)
    plan = make_plan(workload, [task], configs, 7, np.empty(0, np.int64))
    runs = {(c, s) for chunk in plan.chunks for c, s in zip(chunk.config_ids, chunk.seeds, strict=True)}
    assert len(runs) == plan.missing == plan.wanted == 32 * 7
    assert all(len({s % task.n_splits for s in chunk.seeds}) == 1 for chunk in plan.chunks)
    assert [c.seconds for c in plan.chunks] == sorted((c.seconds for c in plan.chunks), reverse=True)


@pytest.mark.parametrize("backend", ["batched", pytest.param("resident", marks=needs_compiler)])
def test_one_worker_or_two_train_the_same(tmp_path, backend):
    """Curves are equal to the last bit, whatever chunks the runs stood in."""
    series = ["task_id", "config_id", "seed", "status", "epochs", *SERIES]
    found = []
    for workers, share in ((1, 1.0), (2, 0.01)):
        path = tmp_path / f"{workers}/v1"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("metabench.generate.plan.CHUNK_SHARE", share)
            patch.setattr("metabench.generate.execute.cost_model", lambda *_: CostModel(together=3))
            generate(path, "mlp", TASKS[:1], n_configs=8, n_seeds=2, workers=workers, backend=backend, progress=False)
        found.append(load_table(path).runs("mlp", series).to_pylist())
    assert found[0] == found[1] and len(found[0]) == 16


def test_bad_requests(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'mlp'"):
        generate(tmp_path, "mpl", TASKS)
    with pytest.raises(UsageError, match="did you mean 'mlp-iris'"):
        generate(tmp_path, "mlp", ["mlp-irris"])
    with pytest.raises(UsageError, match="power of two"):
        generate(tmp_path / "v1", "mlp", TASKS[:1], n_configs=10, progress=False)


def test_no_such_executor_and_no_ray(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown executor 'rey'; did you mean 'ray'"):
        generate(tmp_path / "v1", "mlp", TASKS, executor="rey")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"^the executor ray needs Ray: pip install 'metabench\[ray\]'$"):
        generate(tmp_path / "v1", "mlp", TASKS, executor="ray")
    assert not (tmp_path / "v1").exists()


def test_a_plan_for_workers_of_a_given_rate(tmp_path):
    asked = {"n_configs": 64, "n_seeds": 2, "workers": 10}
    slow, fast = (preview(tmp_path / "v1", "mlp", ["mlp-digits"], rate=rate, **asked) for rate in (0.1, 0.2))
    assert slow["gflop"] == fast["gflop"] > 0
    for found, rate in ((slow, 0.1), (fast, 0.2)):
        assert found["hours"] == pytest.approx(found["gflop"] / rate / 3600, abs=0.01)
        assert found["minutes"] == pytest.approx(found["gflop"] / rate / 60 / 10, abs=0.02)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="GFLOP/s of a worker are a positive number"):
            preview(tmp_path / "v1", "mlp", ["mlp-digits"], rate=rate, **asked)


def test_a_preview_takes_what_generate_takes(tmp_path):
    shared, asked = (inspect.signature(f).parameters for f in (generate, preview))
    assert [n for n, p in shared.items() if p.kind != p.KEYWORD_ONLY] == ["path", "workload", "task_ids"]
    assert all(shared[n].default == p.default for n, p in asked.items() if n != "rate")
    with pytest.raises(UsageError, match="no tasks to train on"):
        preview(tmp_path / "v1", "mlp", [])


def test_a_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(MetabenchError, match="cannot be written"):
        generate(blocked / "v1", "mlp", TASKS[:1], n_configs=4, progress=False)


@needs_compiler
def test_a_full_disk_is_one_line_and_loses_nothing(whole, tmp_path, monkeypatch):
    import errno

    from metabench.table import manifest

    path = tmp_path / "v1"
    generate(path, "mlp", TASKS[:1], n_configs=8, n_seeds=1, workers=1, progress=False)
    before = content(path)

    def full(*a):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(manifest, "_write", full)
    with pytest.raises(MetabenchError, match="No space left"):
        generate(path, "mlp", TASKS[:1], n_configs=16, n_seeds=1, workers=1, progress=False)
    monkeypatch.undo()
    assert content(path) == before and verify(path) == []


def test_rows_travel_as_arrow():
    table = rows.failed("mlp-iris", np.arange(3), np.zeros(3), "because", 1, "cpu")
    assert worker.decode(worker.ROWS + worker._encode(table)).equals(pa.table(table))


@needs_compiler
def test_the_default_and_elites_are_trained_beside_the_sobol_part(whole, tmp_path):
    path = tmp_path / "v1"
    load = registry.create("workloads", "mlp")
    counted = preview(path, "mlp", ["mlp-iris"], n_configs=4, n_seeds=2, also=["default"], rate=1.0)
    report = generate(path, "mlp", TASKS[:1], n_configs=4, n_seeds=2, also=["default"], workers=1, progress=False)
    assert counted["missing"] == report.trained == 10
    with TableWriter(path) as writer:
        elite = load.space.sample(1, 3, method="random")
        assert writer.add_configs("mlp", load.space, elite, ["elite:mlp-wine:tpe"]) == [5]
    asked = {"n_configs": 2, "n_seeds": 2, "also": ["default", "elite"]}
    assert preview(path, "mlp", ["mlp-iris"], **asked, rate=1.0)["missing"] == 2
    report = generate(path, "mlp", TASKS[:1], **asked, workers=1, progress=False)
    assert (report.stored_before, report.trained) == (6, 2) and verify(path) == []
    table = load_table(path)
    assert table.origins("mlp").tolist() == ["sobol"] * 4 + ["default", "elite:mlp-wine:tpe"]
    shared = load_table(whole).final("mlp", TASKS[:1])[:, :4]
    assert np.array_equal(table.final("mlp", TASKS[:1])[:, :4], shared, equal_nan=True)
