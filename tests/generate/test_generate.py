"""Generation for real on small bundled tasks: resumable, killed at any moment, honest about what fails."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from metabench import registry, tasks
from metabench.errors import MetabenchError, UsageError
from metabench.generate import generate, make_plan
from metabench.table import load_table, rows, verify
from metabench.training import resident

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


GENERATE = """
import sys
from metabench.generate import generate
if __name__ == "__main__":
    generate(sys.argv[1], "mlp", ["mlp-iris", "mlp-wine"], n_configs=16, n_seeds=2, workers=2, progress=False)
"""


@needs_compiler
@pytest.mark.timeout(280)
def test_killed_at_twenty_moments_nothing_is_lost_or_doubled(whole, tmp_path):
    """SIGKILL of the parent at random moments; what was stored stays, and the end equals an undisturbed run."""
    script, path = tmp_path / "run.py", tmp_path / "table" / "v1"
    script.write_text(GENERATE)
    moments = random.Random(7)
    environment = {**os.environ, "METABENCH_FLUSH_SECONDS": "0"}
    before: set[int] = set()
    for _ in range(20):
        process = subprocess.Popen([sys.executable, script, path], env=environment, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 4.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (path / "SHA256SUMS").exists():
            table = load_table(path)
            stored = table.runs("mlp", ["run_id"])["run_id"].to_pylist() if table.workloads else []
            assert len(stored) == len(set(stored))
            assert before <= set(stored), "a stored row was lost"
            before = set(stored)
    subprocess.run([sys.executable, script, path], env=environment, check=True)
    assert verify(path) == []
    assert content(path) == content(whole)


@needs_compiler
def test_a_worker_that_dies_is_replaced(tmp_path, monkeypatch):
    """The first worker kills itself on its first chunk; the chunk is trained by another."""
    from metabench.generate import worker

    marker = tmp_path / "died"
    code = (
        "import os, signal, sys\nfrom metabench.generate import worker\nreal = worker.train\n"
        f"def train(*a):\n    if not os.path.exists({str(marker)!r}):\n        open({str(marker)!r}, 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n    return real(*a)\n"
        "def main(*a):\n    worker.train = train\n    worker.main(*a)\n"
    )
    (tmp_path / "fragile.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import fragile
    from metabench.generate import execute

    monkeypatch.setattr(execute.worker, "main", fragile.main)
    report = generate(tmp_path / "v1", "mlp", TASKS[:1], n_configs=8, n_seeds=1, workers=1, progress=False)
    assert marker.exists() and report.trained == 8 and report.failed == 0
    assert worker.ROWS != worker.FAILED


def test_a_plan_covers_every_run_once():
    workload = registry.create("workloads", "mlp")
    task = tasks.get("mlp-iris")
    configs = workload.space.sample(32, seed=0)
    plan = make_plan(workload, [task], configs, 7, np.empty(0, np.int64))
    runs = {(c, s) for chunk in plan.chunks for c, s in zip(chunk.config_ids, chunk.seeds, strict=True)}
    assert len(runs) == plan.missing == plan.wanted == 32 * 7
    assert all(len({s % task.n_splits for s in chunk.seeds}) == 1 for chunk in plan.chunks)
    assert [c.flops for c in plan.chunks] == sorted((c.flops for c in plan.chunks), reverse=True)


def test_bad_requests(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'mlp'"):
        generate(tmp_path, "mpl", TASKS)
    with pytest.raises(UsageError, match="did you mean 'mlp-iris'"):
        generate(tmp_path, "mlp", ["mlp-irris"])
    with pytest.raises(UsageError, match="power of two"):
        generate(tmp_path / "v1", "mlp", TASKS[:1], n_configs=10, progress=False)


@pytest.mark.skipif(os.geteuid() != 0 and not os.access("/", os.W_OK), reason="needs no rights")
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
    from metabench.generate import worker

    table = rows.failed("mlp-iris", np.arange(3), np.zeros(3), "because", 1, "cpu")
    assert worker.decode(worker.ROWS + worker._encode(table)).equals(pa.table(table))
