"""Ctrl-C and SIGTERM, however often they come: status 130, one line, nothing lost."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from metabench.cli import main
from metabench.cli.termination import Terminated, graceful
from metabench.table import verify

TRAIN = ("generate", "--workload", "mlp", "--tasks", "mlp-wine", "--configs", "256", "--seeds", "5", "--workers", "1")


def start(folder, *more):
    command = [sys.executable, "-m", "metabench.cli", *TRAIN, "--table", str(folder / "t/v1"), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_for(path, seconds=120):
    limit = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert path.exists()


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM], [signal.SIGINT] * 5, [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]],
    ids=["term", "five", "mixed"],
)
def test_a_command_that_is_told_to_stop_stores_what_it_has(tmp_path, signals):
    process = start(tmp_path)
    wait_for(tmp_path / "t/v1/tasks.parquet")
    time.sleep(random.Random(len(signals)).uniform(3.0, 6.0))
    for number in signals:
        process.send_signal(number)
        time.sleep(0.02)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (143 if signals[0] == signal.SIGTERM else 130), said
    assert "Traceback" not in said and "interrupted; the same command resumes" in said.splitlines()[-1]
    assert verify(tmp_path / "t/v1") == []
    assert [p.name for p in (tmp_path / "t/v1").rglob(".*") if p.name != ".lock"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_handled_as_before_after_a_command(number):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    caught = 0
    with graceful():
        for _ in range(5):
            try:
                os.kill(os.getpid(), number)
                time.sleep(0.01)
            except KeyboardInterrupt:
                caught += 1
    assert caught == 1
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_a_program_that_calls_a_command_handles_signals_as_before(error, monkeypatch):
    """One that ignored them would hand that on to every process that it starts."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def stopped(*args):
        raise error

    monkeypatch.setattr("metabench.table.verify", stopped)
    done = CliRunner().invoke(main, ["verify", "starter"])
    assert done.exit_code == (143 if error is Terminated else 130), done.output
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_plug_in_that_raises_what_it_likes_is_a_line(tmp_path):
    (tmp_path / "worse.py").write_text("class Worse(BaseException): pass\nraise Worse('very\\x1b[2J bad')\n")
    command = [sys.executable, "-m", "metabench.cli", "check", "worse:Mine"]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stderr.strip().isprintable()


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_what_comes_before_the_command_began_has_the_same_status(error, status, monkeypatch):
    def stopped(*args, **kwargs):
        raise error

    monkeypatch.setattr(main, "make_context", stopped)
    assert CliRunner().invoke(main, ["list", "tables"]).exit_code == status
