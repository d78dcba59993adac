"""Generation killed over and over: nothing that was stored is lost, nothing is stored twice, the end is the same."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metabench.generate import generate
from metabench.table import load_table, rows, verify
from metabench.training import resident

pytestmark = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))
TASKS, CONFIGS, SEEDS = ["mlp-iris", "mlp-wine"], 64, 2


def content(path):
    """All that a run is but the wall time it took, in key order."""
    return rows.ordered(load_table(path).runs("mlp").drop_columns(["seconds"])).to_pylist()


#: loads everything once and forks a generator for every attempt, so that a kill can come milliseconds after its start;
#: small chunks, a shard for each
HARNESS = """
import json, multiprocessing, os, random, signal, sys, time
import scipy.stats.qmc
from metabench import processes, tasks
from metabench.generate import execute, plan, worker
from metabench.training import resident

path, names, configs, seeds, kills = json.loads(sys.argv[1])
execute.FLUSH_SECONDS = 0.0
plan.CHUNK_RUNS = 4

def follow(parent):
    while os.getppid() == parent:
        time.sleep(0.005)
    os._exit(1)

worker._follow = follow
for name in names:
    tasks.get(name)
processes._SPAWN = multiprocessing.get_context("fork")

def attempt():
    pid = os.fork()
    if pid == 0:
        execute.generate(path, "mlp", names, n_configs=configs, n_seeds=seeds, workers=2, progress=False)
        os._exit(0)
    return pid

def stored():
    try:
        with open(os.path.join(path, "SHA256SUMS")) as file:
            return [line.split()[0] for line in file if "  runs/" in line]
    except FileNotFoundError:
        return []

def manifest():
    try:
        return os.stat(os.path.join(path, "SHA256SUMS")).st_mtime_ns
    except FileNotFoundError:
        return None

# a quarter of the kills comes soon after the start, the others soon after something was stored
moments = random.Random(11)
for i in range(kills):
    before = manifest()
    pid, status = attempt(), None
    while i % 4 and status is None and manifest() == before:
        time.sleep(0.001)
        done, code = os.waitpid(pid, os.WNOHANG)
        status = code if done else None
    time.sleep(moments.uniform(0.0, 0.12))
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    print(json.dumps([os.WIFSIGNALED(status), stored()]), flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(attempt(), 0)[1]))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "v1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metabench.generate.plan.CHUNK_RUNS", 4)
        report = generate(path, "mlp", TASKS, n_configs=CONFIGS, n_seeds=SEEDS, workers=1, progress=False)
    assert report.trained == len(TASKS) * CONFIGS * SEEDS
    return path


@pytest.mark.timeout(120)
def test_killed_at_twenty_moments_the_end_is_the_same(undisturbed, tmp_path):
    path = tmp_path / "table" / "v1"
    (tmp_path / "harness.py").write_text(HARNESS)
    settings = json.dumps([str(path), TASKS, CONFIGS, SEEDS, 20])
    run = subprocess.run([sys.executable, tmp_path / "harness.py", settings], stdout=subprocess.PIPE, text=True)
    assert run.returncode == 0
    killed, shards = zip(*map(json.loads, run.stdout.splitlines()), strict=True)
    assert sum(killed) >= 10, "most attempts were cut off at work"
    assert len({len(s) for s in shards}) > 5, "kills came at many stages"
    for before, after in itertools.pairwise(shards):
        assert set(before) <= set(after) or len(after) == 1, "a stored shard vanished"
    assert verify(path) == []
    assert content(path) == content(undisturbed)
    assert sorted(p.name for p in (path / "runs").iterdir()) == ["mlp.parquet"]


SCRIPT = """
import sys
from metabench.generate import execute, plan
execute.FLUSH_SECONDS = 0.0
plan.CHUNK_RUNS = 4
if __name__ == "__main__":
    execute.generate(sys.argv[1], "mlp", ["mlp-iris", "mlp-wine"], n_configs=64, n_seeds=2, workers=2, progress=False)
"""


def children(pid):
    """Processes that a process has started."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_real_process_leaves_no_workers_behind(undisturbed, tmp_path, sent):
    """Ended in the middle of its work; then the same command finishes it."""
    script, path = tmp_path / "run.py", tmp_path / "v1"
    script.write_text(SCRIPT)
    command = [sys.executable, script, path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(path.glob("runs/mlp-*.parquet")) and time.monotonic() < limit:
        time.sleep(0.02)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(sent)
    errors = process.communicate()[1]
    assert process.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else -signal.SIGINT)
    assert ("KeyboardInterrupt" in errors) == (sent == signal.SIGINT)
    assert errors.count("Traceback") <= 1, "the workers say nothing"
    limit = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    stored = load_table(path).runs("mlp").num_rows
    assert 0 < stored < len(TASKS) * CONFIGS * SEEDS
    assert verify(path) == []
