"""Worker processes and Ctrl-C: it is for the parent alone, even while a worker is only starting."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from metabench import processes

SLOW = """
    import os, signal, sys, time
    from pathlib import Path

    here = Path(__file__).parent
    if __name__ != "__main__":  # a worker imports this file before it does anything
        (here / f"importing-{os.getpid()}").touch()
        time.sleep(0.5)

    def wait_for(what):
        while not list(here.glob(what)):
            time.sleep(0.01)
"""
OWN = """
    def work(pipe):
        from metabench import processes
        processes.ignore_interrupts()
        pipe.send("alive")
        os.kill(os.getpid(), signal.SIGINT)
        pipe.send("still")

    if __name__ == "__main__":
        from metabench import processes
        worker = processes.Worker(work)
        try:
            wait_for("importing-*")
            os.killpg(0, signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            print(worker.pipe.recv(), worker.pipe.recv())
        worker.process.join()
        print(worker.process.exitcode)
"""
POOL = """
    def work(seconds):
        (here / "working").touch()
        time.sleep(seconds)

    if __name__ == "__main__":
        from metabench import processes
        try:
            for _ in processes.results(2, work, [(60,)] * 4):
                pass
        except KeyboardInterrupt:
            print("interrupted")
"""


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SLOW) + textwrap.dedent(text))
    return [sys.executable, str(path)]


def test_a_worker_that_starts_is_not_interrupted(tmp_path):
    done = subprocess.run(script(tmp_path, OWN), capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (done.stdout, done.stderr) == ("alive still\n0\n", "")


@pytest.mark.parametrize("moment", ["importing-*", "working"])
def test_an_interrupt_ends_a_pool_without_a_word(tmp_path, moment):
    program = POOL.replace(
        "for _ in", "import threading\n            threading.Thread(target=stop).start()\n            for _ in"
    )
    program = (
        f"""
    def stop():
        wait_for("{moment}")
        os.killpg(0, signal.SIGINT)
"""
        + program
    )
    done = subprocess.run(script(tmp_path, program), capture_output=True, text=True, timeout=40, start_new_session=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_results_come_from_workers_with_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = set(processes.results(2, os.getenv, [("OMP_NUM_THREADS",), ("OPENBLAS_NUM_THREADS",)]))
    assert found == {"1"} and os.environ["OMP_NUM_THREADS"] == "7"
    with pytest.raises(ZeroDivisionError):
        list(processes.results(1, divmod, [(1, 1), (1, 0)]))


def test_a_worker_that_cannot_be_sent_its_arguments_leaves_no_open_pipe(monkeypatch):
    made = []
    pipe = processes._SPAWN.Pipe
    monkeypatch.setattr(processes._SPAWN, "Pipe", lambda: made.append(pipe()) or made[-1])
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        processes.Worker(print, lambda: None)
    assert [end.closed for end in made[0]] == [True, True]


def test_a_worker_ends_whatever_it_does():
    worker = processes.Worker(_sleep)
    worker.end()
    assert worker.pipe.closed and worker.process.exitcode == -signal.SIGTERM


def test_one_module_makes_processes():
    package = Path(processes.__file__).parent
    makers = (
        "multiprocessing.get_context",
        "ProcessPoolExecutor(",
        "multiprocessing.Process(",
        "multiprocessing.Pool(",
    )
    files = [p for p in package.rglob("*.py") if any(maker in p.read_text() for maker in makers)]
    assert files == [package / "processes.py"]


def _sleep(pipe):
    processes.ignore_interrupts()
    time.sleep(60)
