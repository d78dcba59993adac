"""Killed at any moment: a board keeps its site and its submissions, stored cells stay, and the next run leaves no litter."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boards_scene import Mine, scene
from fakes import First, read_here

from metabench import files
from metabench.boards.submissions import accept, accepted, check, kept
from metabench.evaluation import evaluate
from metabench.files import write_tree
from metabench.publishing.boards.build import contents
from metabench.publishing.boards.view import View
from metabench.scores import score

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, to be killed a moment later")


@pytest.fixture(params=["exchanged", "moved aside"])
def how(request, monkeypatch):
    """With the system's call that exchanges two entries, and as where there is none."""
    if request.param == "moved aside":
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    return request.param


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metabench.boards.submissions.columns.parquet", read_here)
        yield scene(tmp_path_factory.mktemp("kills"))


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob(".*"))


def kill_during(act, seconds: float) -> bool:
    """Run ``act`` in a process that is killed after so many seconds; whether it had not finished by then."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def took(act) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_builds(made, tally, effort, how, tmp_path):
    board, table, _, _ = made
    traces = evaluate(["random", Mine], board, table)
    page = contents(View(board, traces, score(traces, table, board, resamples=20), table, "command"))
    versions = [{name: b"version %d\n" % v + data for name, data in page.items()} for v in (0, 1)]
    known = [{name: hashlib.sha256(data).digest() for name, data in version.items()} for version in versions]
    out = tmp_path / "board"
    write_tree(out, versions[0])
    usual = max(took(lambda: write_tree(out, versions[1])) for _ in range(3))
    rng, cut = random.Random(0), 0
    for attempt in range(effort(40)):
        new = versions[attempt % 2]
        cut += kill_during(lambda new=new: write_tree(out, new), rng.uniform(0, 1.2 * usual))
        there = {
            p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).digest()
            for p in out.rglob("*")
            if p.is_file() and not p.relative_to(out).parts[0].startswith(".")
        }
        for entry in {name.split("/")[0] for name in page}:
            mine = {name: value for name, value in there.items() if name.split("/")[0] == entry}
            whole = [{n: v for n, v in version.items() if n.split("/")[0] == entry} for version in known]
            if how == "exchanged":
                tally.verdict(f"{attempt}: {entry} is neither old nor new", mine in whole)
            else:  # between two renames an entry may be away, but never half-written
                tally.verdict(f"{attempt}: {entry} is half-written", not mine or mine in whole)
        write_tree(out, new)
        tally.verdict(f"{attempt}: {hidden(out)} left after the next build", not hidden(out))
        there = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
        tally.verdict(f"{attempt}: the next build is not whole", there == set(page))
    assert cut > 5


def test_acceptances(made, tally, effort, how, monkeypatch):
    board, table, mine, place = made
    checked = check(mine, board, table)
    ready = kept.packed(checked.traces)
    monkeypatch.setattr(kept, "packed", lambda traces: ready)
    again = lambda status: accept(checked, board, table, status)  # noqa: E731
    usual = max(took(lambda: again("recomputed")) for _ in range(3))
    rng, cut, statuses = random.Random(1), 0, set()
    for attempt in range(effort(40)):
        status = ("recomputed", "confirmed")[attempt % 2]
        cut += kill_during(lambda status=status: again(status), rng.uniform(0, 1.2 * usual))
        found = [(s.method, s.status, t.num_rows) for s, t in accepted(board, table)]
        statuses |= {s for _, s, _ in found}
        tally.verdict(f"{attempt}: {found}", len(found) == 1 and found[0][2] == checked.traces.num_rows)
        again(status)
        tally.verdict(f"{attempt}: {hidden(place.parent)} left", not hidden(place.parent))
    assert cut > 5 and len(statuses) == 2


class Slow(First):
    name = "slow"

    def ask(self, history):
        time.sleep(0.002)
        return super().ask(history)


def test_evaluations(made, tally, effort, tmp_path, monkeypatch):
    board, table, _, _ = made
    monkeypatch.setattr("metabench.evaluation.run.FLUSH", 0.0)
    act = lambda: evaluate(Slow, board, table, store=tmp_path)  # noqa: E731
    usual = took(act)
    whole = act().drop_columns("overhead")
    rng, before = random.Random(2), len(list(tmp_path.iterdir()))
    assert before
    for attempt in range(effort(15)):
        for path in rng.sample(sorted(tmp_path.glob("*.parquet")), 1):
            path.unlink()
        kept_cells = {p.name for p in tmp_path.glob("*.parquet")}
        kill_during(act, rng.uniform(0, 1.5 * usual))
        tally.verdict(f"{attempt}: stored cells are lost", kept_cells <= {p.name for p in tmp_path.iterdir()})
        tally.verdict(f"{attempt}: another result", act().drop_columns("overhead").equals(whole))
        tally.verdict(f"{attempt}: {hidden(tmp_path)} left", not hidden(tmp_path))


TERMINATED = """
import sys, time
import click
from fakes import FakeTable, First, board_for
from metabench.cli.group import Commands
from metabench.evaluation import evaluate

class Slow(First):
    name = "slow"
    def ask(self, history):
        time.sleep(0.05)
        if len(history) == 0:
            print("searching", flush=True)
        return super().ask(history)

@click.group(cls=Commands)
def group():
    pass

@group.command()
def go():
    table = FakeTable.planted(tasks=8)
    evaluate(Slow, board_for(table, budget=4, seeds=2), table, store=sys.argv[2], workers=1)

group.main(["go"], last=True)
"""


def test_sigterm_keeps_finished_cells(tally, tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TERMINATED, "go", str(tmp_path / "cells")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    for _ in range(3):  # both searches of the first task are done, another has begun
        process.stdout.readline()
    for _ in range(3):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    tally.verdict(f"status {process.returncode}: {said}", process.returncode in (130, 143))
    tally.verdict(said, said.splitlines() == ["metabench: interrupted; the same command resumes"])
    there = [p.name for p in (tmp_path / "cells").iterdir()] if (tmp_path / "cells").exists() else []
    tally.verdict(f"stored: {there}", bool(there) and not any(name.startswith(".") for name in there))
