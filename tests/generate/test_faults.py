"""Generation among real faults of a machine: no stored row is lost, none doubled. Every test counts them.

A kill of the whole process at any moment is in test_killed.py; here workers die, disks fill up, folders turn read-only,
move away or vanish, generators meet on one table, and clocks jump.
"""

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import metabench
from metabench.table import load_table, rows, verify
from metabench.training import resident

pytestmark = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))
TASKS, CONFIGS, SEEDS = ["mlp-iris"], 64, 2
TOTAL = len(TASKS) * CONFIGS * SEEDS

#: loads everything once and forks generators on demand; small chunks, a shard for each; orders come as JSON lines
SERVER = """
import ctypes, json, multiprocessing, os, random, resource, sys, time, traceback
import scipy.stats.qmc
import importlib.readers
from metabench import processes, registry, tasks
from metabench.errors import MetabenchError
from metabench.generate import execute, plan, worker
from metabench.training import run_cohort

names, configs, seeds = json.loads(sys.argv[1])
execute.FLUSH_SECONDS = 0.0
plan.CHUNK_RUNS = 4

def follow(parent):
    while os.getppid() == parent:
        time.sleep(0.005)
    os._exit(1)

worker._follow = follow
load = registry.create("workloads", "mlp")
execute.cost_model(load, "cpu", "resident")
configs_of_all = load.space.sample(configs, 0)
for task in map(tasks.get, names):  # nothing is left to import or to read
    for seed in range(seeds):
        run_cohort(load, task.arrays(seed), configs_of_all[:1], [seed], (1,), backend="resident")
processes._SPAWN = multiprocessing.get_context("fork")

def renounce():  # root without capabilities may do what any user may
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0

def jump():
    moments = random.Random(5)
    time.time = lambda: 1.8e9 + moments.uniform(-4e7, 4e7)
    time.time_ns = lambda: int(time.time() * 1e9)

def attempt(path, log, user=False, limit=None, clock=False):
    if user:
        renounce()
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if clock:
        jump()
    try:
        execute.generate(path, "mlp", names, n_configs=configs, n_seeds=seeds, workers=2, progress=False)
    except MetabenchError as error:
        with open(log, "w") as file:
            file.write(str(error))
        return 1
    return 0

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
    else:
        answer = os.fork()
        if answer == 0:
            code = 99
            try:
                code = attempt(**order)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    print(answer, flush=True)
"""


class Generators:
    """Generators of one and the same job, each a process with two workers."""

    def __init__(self, folder):
        (folder / "server.py").write_text(SERVER)
        job = json.dumps([TASKS, CONFIGS, SEEDS])
        self.process = subprocess.Popen(
            [sys.executable, folder / "server.py", job], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.folder, self.started = folder, 0

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, path, **how):
        """A generator at work: its process id, and the file that will hold what it complains of."""
        self.started += 1
        log = self.folder / f"log{self.started}"
        log.touch()
        return self.order(path=str(path), log=str(log), **how), log

    def wait(self, pid):
        return self.order(wait=pid)

    def run(self, path, **how):
        """Exit status and complaint of a generator that is left alone."""
        pid, log = self.start(path, **how)
        return self.wait(pid), log.read_text()


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    found = Generators(tmp_path_factory.mktemp("generators"))
    yield found
    found.process.stdin.close()
    assert found.process.wait(timeout=30) == 0


@pytest.fixture(scope="module")
def undisturbed(generators, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "v1"
    assert generators.run(path) == (0, "")
    found = content(path)
    assert len(found) == TOTAL
    return found


def content(path):
    """run_id → all that a run is, but for the time it took and the company it had."""
    table = rows.ordered(load_table(path).runs("mlp").drop_columns(["seconds", "cohort"]))
    ids = table["run_id"].to_pylist()
    assert max(Counter(ids).values(), default=1) == 1, "a run is listed twice"
    return dict(zip(ids, table.to_pylist(), strict=True))


def shards(path):
    try:
        return [line.split()[1] for line in (path / "SHA256SUMS").read_text().splitlines() if "  runs/" in line]
    except FileNotFoundError:
        return []


def until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.001)


def keeps(before, path):
    """What is stored now, after making sure that nothing of ``before`` was lost or changed."""
    after = content(path)
    assert all(after.get(run_id) == row for run_id, row in before.items()), "a stored row was lost or changed"
    return after


# ---------------------------------------------------------------- processes
def workers_of(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")
def test_workers_that_are_killed_lose_nothing(generators, undisturbed, tmp_path):
    path, moments, killed = tmp_path / "v1", random.Random(3), 0
    pid, _ = generators.start(path)
    for stage in range(1, 6):
        until(lambda s=stage: len(shards(path)) >= 3 * s or shards(path) == ["runs/mlp.parquet"])
        if workers := workers_of(pid):
            os.kill(moments.choice(workers), signal.SIGKILL)
            killed += 1
    assert generators.wait(pid) == 0
    assert killed >= 3
    found = content(path)
    assert len(found) == TOTAL and verify(path) == []
    unlucky = [run_id for run_id, row in found.items() if row["status"] == "failed"]
    assert len(unlucky) <= killed / 2, "a run has failed only when it was hit twice"
    assert all("worker process died" in found[run_id]["error"] for run_id in unlucky)
    assert {k: v for k, v in found.items() if k not in unlucky} == {
        k: v for k, v in undisturbed.items() if k not in unlucky
    }


def test_workers_and_parent_killed_in_turn(generators, undisturbed, tmp_path):
    path, stored = tmp_path / "v1", {}
    for attempt in range(4):
        pid, _ = generators.start(path)
        goal = len(shards(path)) + 3
        until(lambda g=goal: len(shards(path)) >= g)
        if attempt % 2 and (workers := workers_of(pid)):
            os.kill(workers[0], signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        assert generators.wait(pid) == -signal.SIGKILL
        assert len(keeps(stored, path)) > len(stored)
        stored = content(path)
    assert generators.run(path) == (0, "")
    assert content(path) == undisturbed and verify(path) == []


def test_generators_that_meet_on_one_table(generators, undisturbed, tmp_path):
    path = tmp_path / "v1"
    started = [generators.start(path) for _ in range(3)]
    ended = [(generators.wait(pid), log.read_text()) for pid, log in started]
    refused = f"{path} is being written by another process; wait until it has finished"
    assert all(end in ((0, ""), (1, refused)) for end in ended)
    assert (0, "") in ended
    assert content(path) == undisturbed and verify(path) == []


# ---------------------------------------------------------------- disks
def mount(folder, *options):
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], capture_output=True
    ).returncode


@pytest.fixture
def small_disk(tmp_path):
    """A function that gives a disk of so many KiB, or resizes it; the folder it is mounted on."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or mount(folder, "size=64k"):
        pytest.skip("no disk can be mounted here")

    def resize(kib):
        assert mount(folder, "remount", f"size={kib}k") == 0
        return folder

    yield resize
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_time_and_again(generators, undisturbed, small_disk):
    stored, complaints = {}, 0
    for kib in (48, 80, 112, 144, 4096):
        path = small_disk(kib) / "v1"
        code, said = generators.run(path)
        if code:
            complaints += 1
            assert code == 1 and said.endswith("cannot be written: No space left on device") and "\n" not in said
        if shards(path):
            stored = keeps(stored, path)
            assert verify(path) == []
            assert not list(path.rglob(".*.new")), "what was half written is gone"
    assert complaints >= 3 and code == 0
    assert content(path) == undisturbed


def test_files_that_may_not_grow(generators, undisturbed, tmp_path):
    """The shards fit, the one file that they are merged into does not: all rows are there nevertheless."""
    path = tmp_path / "v1"
    pid, _ = generators.start(path)
    until(lambda: len(shards(path)) >= 3)
    os.kill(pid, signal.SIGKILL)
    generators.wait(pid)
    stored = content(path)
    code, said = generators.run(path, limit=16_000)
    assert code == 1 and said.endswith("cannot be written: File too large")
    assert len(shards(path)) > 3
    assert keeps(stored, path) == undisturbed and verify(path) == []
    assert generators.run(path) == (0, "")
    assert content(path) == undisturbed and shards(path) == ["runs/mlp.parquet"]


# ---------------------------------------------------------------- folders
@pytest.mark.skipif(sys.platform != "linux", reason="gives up the capabilities of Linux")
def test_a_folder_that_turns_read_only(generators, undisturbed, tmp_path):
    path = tmp_path / "v1"
    pid, log = generators.start(path, user=True)
    until(lambda: len(shards(path)) >= 3)
    for folder in (path, path / "runs"):
        folder.chmod(0o555)
    assert generators.wait(pid) == 1
    assert log.read_text().endswith("cannot be written: Permission denied")
    stored = content(path)
    assert 0 < len(stored) < TOTAL and verify(path) == []
    for folder in (path, path / "runs"):
        folder.chmod(0o755)
    assert generators.run(path, user=True) == (0, "")
    assert keeps(stored, path) == undisturbed and verify(path) == []


def test_a_folder_that_moves_away_and_comes_back(generators, undisturbed, tmp_path):
    path, away = tmp_path / "v1", tmp_path / "away"
    pid, log = generators.start(path)
    until(lambda: len(shards(path)) >= 3)
    path.rename(away)
    assert generators.wait(pid) == 1
    assert "\n" not in log.read_text() and str(path) in log.read_text()
    assert not path.exists(), "nothing is made anew where it was"
    stored = content(away)
    away.rename(path)
    assert generators.run(path) == (0, "")
    assert keeps(stored, path) == undisturbed and verify(path) == []


def test_a_folder_that_is_removed(generators, tmp_path):
    path = tmp_path / "v1"
    pid, log = generators.start(path)
    until(lambda: len(shards(path)) >= 3)
    path.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    assert generators.wait(pid) == 1 and str(path) in log.read_text()
    assert not path.exists()


def test_a_folder_that_another_takes_the_place_of(generators, undisturbed, tmp_path):
    """The first generator must notice, although the second has made a table of the same name: it would store twice."""
    path, away = tmp_path / "v1", tmp_path / "away"
    first, log = generators.start(path)
    until(lambda: len(shards(path)) >= 3)
    os.kill(first, signal.SIGSTOP)
    path.rename(away)
    second, _ = generators.start(path)
    until(lambda: len(shards(path)) >= 2)
    os.kill(first, signal.SIGCONT)
    assert generators.wait(first) == 1
    assert log.read_text() == f"{path} was moved, removed or replaced while it was being written"
    assert generators.wait(second) == 0
    assert content(path) == undisturbed and verify(path) == []
    stored = content(away)
    assert generators.run(away) == (0, "")
    assert keeps(stored, away) == undisturbed


# ---------------------------------------------------------------- clocks
def test_clocks_that_jump(generators, undisturbed, tmp_path):
    """The time of day leaps by up to a year at every look, files are of tomorrow and of long ago."""
    path, moments, stored = tmp_path / "v1", random.Random(7), {}
    for _ in range(3):
        pid, _ = generators.start(path, clock=True)
        goal = len(shards(path)) + 3
        until(lambda g=goal: len(shards(path)) >= g)
        os.kill(pid, signal.SIGKILL)
        generators.wait(pid)
        stored = keeps(stored, path)
        for file in path.rglob("*"):
            moment = moments.uniform(0, 4e9)
            os.utime(file, (moment, moment))
    assert generators.run(path, clock=True) == (0, "")
    assert content(path) == undisturbed and verify(path) == []


def test_nothing_stored_depends_on_the_time_of_day():
    root = Path(metabench.__file__).parent
    reading = root / "table/integrity.py"  # remembers digests while a process lasts, and stores nothing
    for path in {*root.glob("table/**/*.py"), *root.glob("generate/*.py")} - {reading}:
        names = {ast.unparse(n) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)}
        wrong = {n for n in names if n in ("time.time", "time.time_ns") or n.endswith(("st_mtime", "st_ctime", ".now"))}
        assert not wrong, path
