"""What a table of a million runs costs to open, read, look up, check and store, beside JSON in HPO-B's layout.

The table is made up (:mod:`metabench.table.synthetic`), of the true schema: twelve checkpoints of five series a run. The
JSON holds the configurations and the last validation score of some of its runs, as HPO-B's files do: one of those sixty
numbers, and the whole file has to be parsed before anything can be read from it. Opening is timed in processes of
their own, whose memory is counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metabench.boards.board import Board
from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.hpob import FILES, Hpob
from metabench.search.replay import Replay
from metabench.table import load_table, synthetic, verify
from metabench.table.rows import FINAL
from metabench.table.write import encode_runs

#: configurations and seeds of every task
CONFIGS, SEEDS = 4096, 4
#: what the design asks of a million runs: seconds and MB to open and select, look-ups a second, µs of one, bytes a run,
#: seconds to verify
TARGETS = {"open": 1.0, "memory": 300.0, "batched": 1e6, "single": 20.0, "bytes": 110.0, "verify": 10.0}
#: tasks whose seed 0 is written as JSON
JSON_TASKS = 16
LOOK_UPS = 1_000_000
#: tasks that are compressed, and looked up in
SOME = 9


@dataclass(frozen=True)
class Row:
    """One measurement: ``target`` is None where none is set, ``met`` then too."""

    what: str
    contender: str
    runs: int
    value: float
    unit: str
    target: float | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.unit.endswith("/s") else self.value <= self.target


def measure(runs: int, repeats: int = 3, say: Callable[[str], None] = lambda text: None) -> Iterable[Row]:
    """Measurements as they are made; the best of ``repeats`` turns. Raises UsageError for under two tasks' runs."""
    tasks = round(runs / (CONFIGS * SEEDS))
    if tasks < 2:
        raise UsageError(f"{runs} runs are too few; two tasks of the made-up table have {2 * CONFIGS * SEEDS:,}")
    with tempfile.TemporaryDirectory(prefix="metabench-") as folder:
        say(f"making up {tasks * CONFIGS * SEEDS:,} runs")
        path = synthetic.write(Path(folder) / "million/v1", tasks, CONFIGS, SEEDS)
        yield from of_table(path, repeats, say)
        yield from of_json(path, Path(folder), repeats, say)


def of_table(path: Path, repeats: int, say: Callable[[str], None]) -> Iterable[Row]:
    table, ours = load_table(path), "metabench"
    (workload,) = table.workloads
    runs = table.runs(workload, ["seed"]).num_rows
    say("compressing some of them as a finished table is")
    some = table.runs(workload, None, table.tasks["task_id"].tolist()[:SOME])
    yield Row("a run", ours, len(some), len(encode_runs(some, level=FINAL)) / len(some), "bytes", TARGETS["bytes"])
    say("opening")
    task = table.tasks["task_id"].iloc[-1]
    found = [_child("table", str(path), workload, task) for _ in range(repeats)]
    yield Row("open, one task's columns", ours, runs, min(f["seconds"] for f in found), "s", TARGETS["open"])
    yield Row("open, one task's columns", ours, runs, min(f["megabytes"] for f in found), "MB", TARGETS["memory"])
    say("looking up")
    replay = Replay.from_table(table, workload, table.tasks["task_id"].tolist()[:SOME])
    rng = np.random.default_rng(0)
    at = (
        rng.integers(len(replay.task_ids), size=LOOK_UPS),
        rng.integers(CONFIGS, size=LOOK_UPS),
        rng.integers(99, size=LOOK_UPS),
    )
    batched = min(_timed(lambda: replay.lookup(*at)) for _ in range(repeats))
    yield Row("look-ups in one batch", ours, runs, LOOK_UPS / batched, "/s", TARGETS["batched"])
    first = np.column_stack([a[:20_000] for a in at]).tolist()
    some: list[tuple[str, int, int]] = [(replay.task_ids[t], c, s) for t, c, s in first]
    single = min(_timed(lambda: [replay.score(*one) for one in some]) for _ in range(repeats))
    yield Row("one look-up", ours, runs, 1e6 * single / len(some), "µs", TARGETS["single"])
    say("verifying")
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        if problems := verify(path):
            raise MetabenchError(f"the made-up table is not sound: {problems[0]}")
        seconds.append(time.perf_counter() - began)
    yield Row("verify", ours, runs, min(seconds), "s", TARGETS["verify"])


def of_json(path: Path, folder: Path, repeats: int, say: Callable[[str], None]) -> Iterable[Row]:
    say("writing JSON in HPO-B's layout")
    table = load_table(path)
    families = list(dict.fromkeys(table.tasks["family"][:JSON_TASKS]))
    board = Board(
        "speed",
        1,
        table.name,
        1,
        table.digest_of(table.workloads[:1]),
        table.workloads[0],
        1,
        1,
        {"train": (), "valid": (), "test": tuple(families)},
    )
    Hpob().write(table, folder / "json", board=board)
    file = folder / "json" / FILES["test"]
    tasks = board.tasks(table, "test")
    runs, theirs = len(tasks) * CONFIGS, "JSON, HPO-B's layout"
    yield Row("a run", theirs, runs, file.stat().st_size / runs, "bytes")
    say("opening JSON")
    name = tasks[-1].removeprefix(f"{table.workloads[0]}-")
    found = [_child("json", str(file), table.workloads[0], name) for _ in range(repeats)]
    yield Row("open, one task's columns", theirs, runs, min(f["seconds"] for f in found), "s")
    yield Row("open, one task's columns", theirs, runs, min(f["megabytes"] for f in found), "MB")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# ---------------------------------------------------------------- in a process of its own
def _child(*words: str) -> dict[str, float]:
    """What :func:`main` prints in a fresh process. Raises MetabenchError when it fails."""
    done = subprocess.run([sys.executable, "-m", __name__, *words], capture_output=True, text=True)
    if done.returncode:
        raise MetabenchError(f"the measuring process failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return json.loads(done.stdout)


def main(kind: str, path: str, workload: str, task: str) -> None:
    """Open a file or table, select one task's configurations and last scores; print seconds and peak memory."""
    began = time.perf_counter()
    if kind == "table":
        opened = load_table(path)
        scores, configs = opened.final(workload, [task]), opened.configs(workload)
    else:
        found = json.loads(Path(path).read_text(encoding="utf-8"))[workload][task]
        scores, configs = np.array(found["y"]), np.array(found["X"])
    seconds = time.perf_counter() - began
    assert len(configs) == CONFIGS and scores.size in (CONFIGS, CONFIGS * SEEDS)
    print(json.dumps({"seconds": seconds, "megabytes": _peak() / 2**20}))


def _peak() -> int:
    """The process's largest resident set so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage may count what the parent had before the process began
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
