"""SIGKILL at random moments of `generate` and `tune`: the next run loses nothing and leaves no litter.

A server loads everything once and forks a process for each attempt, so that a kill can come milliseconds after its start.
The cache is emptied of prepared tasks before every round: preparing them is killed too.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metabench.table import load_table, verify
from metabench.training import resident

pytestmark = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))

SERVER = """
import json, multiprocessing, os, sys, time, traceback
import numpy as np, pandas as pd
import scipy.stats.qmc
import metabench as mb
from metabench import tasks
from metabench.advise import tune as tuning
from metabench.generate import execute, plan, worker
from metabench.generate.cost import CostModel

fork = multiprocessing.get_context("fork")
execute.multiprocessing.get_context = lambda kind=None: fork
execute.FLUSH_SECONDS = 0.0
execute.cost_model = lambda *a: CostModel()
plan.CHUNK_RUNS = 4

def follow(parent):
    while os.getppid() == parent:
        time.sleep(0.005)
    os._exit(1)

worker._follow = follow
rng = np.random.default_rng(0)
frame = pd.DataFrame(rng.normal(size=(200, 4)), columns=list("abcd")).assign(y=lambda f: (f.a > 0).astype(int))
mb.load_metamodel("mlp-v1").top_configs(k=1)
tasks.names("mlp")

def generate(path):
    execute.generate(path, "mlp", ["mlp-iris"], n_configs=16, n_seeds=2, workers=1, progress=False)

def tune(path):
    mb.tune(frame, "y", trials=6, out=path)

for line in sys.stdin:
    what, path = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.dup2(2, 1)
            {"generate": generate, "tune": tune}[what](path)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    def __init__(self, cache: Path, errors: Path):
        environment = {**os.environ, "METABENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        self.errors = errors.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )

    def attempt(self, what: str, path: Path, kill_after: float | None = None) -> int:
        """Exit code of an attempt; −9 where the kill came before its end."""
        print(json.dumps([what, str(path)]), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    kernel = resident.build()
    (folder / "cache/kernels").mkdir(parents=True, mode=0o700)
    shutil.copy2(kernel, folder / "cache/kernels" / kernel.name)
    made = Server(folder / "cache", folder / "errors")
    made.cache = folder / "cache"
    yield made
    made.close()


def litter(*folders: Path) -> list[str]:
    """Hidden files and folders but the lock."""
    return [str(p) for folder in folders for p in folder.rglob(".*") if p.name != ".lock"]


def rows_of(path: Path) -> set[int]:
    return (
        set(load_table(path).runs("mlp", ["run_id"])["run_id"].to_pylist()) if (path / "SHA256SUMS").exists() else set()
    )


def trials_of(path: Path) -> int:
    file = path / "trials.json"
    return len(json.loads(file.read_text())["trials"]) if file.exists() else 0


def whole(what: str, path: Path) -> bool:
    if what == "generate":
        return verify(path) == [] and len(rows_of(path)) == 32
    import metabench as mb

    names = sorted(p.name for p in path.iterdir())
    return names == ["model", "report.html", "trials.json"] and bool(mb.load_model(path)) and trials_of(path) == 6


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("what", "kills"), [("generate", 20), ("tune", 12)])
def test_killed_at_any_moment(server, tmp_path, tally, effort, what, kills):
    began = time.monotonic()
    assert server.attempt(what, tmp_path / "undisturbed/v1") == 0
    usual = time.monotonic() - began
    moments, left, number = random.Random(7), effort(kills), 0
    stored = rows_of if what == "generate" else trials_of
    while left > 0:
        number += 1
        path = tmp_path / f"{number}/v1"
        shutil.rmtree(server.cache / "tasks", ignore_errors=True)
        for _ in range(min(4, left)):
            before = stored(path)
            code = server.attempt(what, path, moments.uniform(0.0, usual))
            left -= 1
            kept = stored(path)
            lost = not before <= kept
            tally.verdict(f"{what}, killed: exit code {code}, lost {lost}", code in (-9, 0) and not lost)
        code = server.attempt(what, path)
        found = litter(path, server.cache)
        tally.verdict(f"{what}, after kills: exit code {code}, litter {found}", code == 0 and not found)
        tally.verdict(f"{what}, after kills: not whole", whole(what, path))
