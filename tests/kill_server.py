"""A process that has loaded everything and forks a command of metabench for each line that it reads.

So a signal can come milliseconds after a command's start. Each command runs in a session of its own.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback

import scipy.stats.qmc  # noqa: F401

import metabench as mb
import metabench.advise.tune
import metabench.cli.advise
import metabench.cli.boards
import metabench.cli.exchange
import metabench.cli.tables
import metabench.evaluation
import metabench.interop.formats.lcbench
import metabench.publishing.boards.build
import metabench.scores
import metabench.workflows
from metabench import processes, tasks
from metabench.cli import main
from metabench.evaluation import run as evaluation
from metabench.generate import execute, plan, worker
from metabench.generate.cost import CostModel

# a worker that is forked has no handler of its parent, as one that is started anew
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
processes._SPAWN = multiprocessing.get_context("fork")
execute.FLUSH_SECONDS = evaluation.FLUSH = 0.0
execute.cost_model = lambda *a: CostModel()
plan.CHUNK_RUNS = 4


def follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.005)
    os._exit(1)


worker._follow = follow
mb.load_metamodel("mlp-v1").top_configs(k=1)
tasks.names("mlp")


def command(arguments: list[str], errors: str) -> int:
    """Run a command in this process; its exit status."""
    os.setsid()
    said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
        return 99
    return 0


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os._exit(command(*json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
