"""Traces files that lie about sizes, hold strange columns, or are damaged: one line each, in bounded memory and time."""

import io
import json
import os
import random
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boards_scene import scene
from fakes import read_here

from metabench import schema
from metabench.boards.submissions import Refused, check, columns
from metabench.boards.submissions.columns import longest, read_traces

#: MB that a refusal may add to the peak of this process, and of all its children
PEAK = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metabench.boards.submissions.columns.parquet", read_here)
        return scene(tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module")
def rows(made):
    return pq.read_table(made[2] / "traces.parquet").cast(schema.TRACES)


def written(table, **how):
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def replaced(rows, name, column):
    return rows.set_column(rows.schema.get_field_index(name), name, column)


def repeat(value, kind, n):
    return pa.array([value] * n, kind)


def strange(rows):
    """Name → a file of columns of every strange kind."""
    n = len(rows)
    kinds = {
        "struct": repeat({"a": 1}, pa.struct([("a", pa.int32())]), n),
        "map": repeat([("a", 1)], pa.map_(pa.string(), pa.int32()), n),
        "list of struct": repeat([{"a": 1}], pa.list_(pa.struct([("a", pa.int32())])), n),
        "list of list": repeat([[1]], pa.list_(pa.list_(pa.int32())), n),
        "list of map": repeat([[("a", 1)]], pa.list_(pa.map_(pa.string(), pa.int32())), n),
        "list of text": repeat(["x"], pa.list_(pa.string()), n),
        "list of null": repeat([None] * 4, pa.list_(pa.int32()), n),
        "null": repeat(None, pa.int32(), n),
        "no type": pa.nulls(n),
        "binary": repeat(b"\xff\xfe", pa.binary(), n),
        "text": repeat("x", pa.string(), n),
        "dates": repeat(0, pa.timestamp("us"), n),
        "decimal": repeat(1, pa.decimal128(38, 0), n),
        "half": repeat(np.float16(1), pa.float16(), n),
        "huge": repeat(2**62, pa.int64(), n),
        "negative": repeat(-1, pa.int64(), n),
        "infinite": repeat(float("inf"), pa.float64(), n),
        "boolean": repeat(True, pa.bool_(), n),
        "infinite list": repeat([float("inf")] * 4, pa.list_(pa.float64()), n),
        "huge list": repeat([2**62] * 4, pa.list_(pa.int64()), n),
        "negative list": repeat([-1] * 4, pa.list_(pa.int64()), n),
        "fraction list": repeat([0.5] * 4, pa.list_(pa.float64()), n),
        "date list": repeat([0] * 4, pa.list_(pa.timestamp("us")), n),
    }
    for name in ("method", "start", "task_id", "seed", "config_ids", "overhead", "epochs"):
        for kind, column in kinds.items():
            if f"{name}: {kind}" not in (
                "epochs: null",
                "epochs: no type",
                "overhead: fraction list",
            ):  # these are right
                yield f"{name}: {kind}", written(replaced(rows, name, column))
    for kind, column in kinds.items():
        yield f"scores: {kind}", written(rows.append_column("scores", column))
    for name in ("\x1b[2J", "", "x" * 10_000, "../x", "metho", "a\nb", "\u202e"):
        yield f"column {name[:20]!r}", written(rows.append_column(name, pa.nulls(n, pa.int32())))
    for name in ("method", "config_ids", "scores"):
        column = rows["method"] if name == "scores" else rows[name]
        twice = pa.table([*rows.columns, column, column], names=[*rows.schema.names, name, name])
        yield f"{name} twice", written(twice)
    for size in (301, 10**5, 3 * 10**7):
        yield f"method of {size} characters", written(replaced(rows, "method", repeat("m" * size, pa.string(), n)))
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    for name in ("method", "start", "task_id"):
        yield f"{name}: no UTF-8", written(replaced(rows, name, pa.concat_arrays([bad] * n)))
    for name in (
        "method",
        "config_ids",
        "cell",
    ):  # a column's name that is no UTF-8, in the footer and in Arrow's schema
        content = written(rows, store_schema=False)
        yield f"{name} renamed to bytes", content.replace(name.encode(), b"\xff\xfe" + name.encode()[2:])
    yield "no rows", written(rows.slice(0, 0))
    yield "no columns", written(pa.table({}))
    yield "30,000 columns", written(pa.table({f"c{i}": pa.array([], pa.int8()) for i in range(30_000)}))
    yield "2,000 columns of one name", written(pa.table([pa.array([1])] * 2000, names=["seed"] * 2000))
    yield "many rows", written(pa.concat_tables([rows] * 1000))
    yield "many trials", written(replaced(rows, "config_ids", repeat([0] * 10**5, pa.list_(pa.int32()), n)))
    yield "many scores", written(rows.append_column("scores", repeat([0.0] * 10**5, pa.list_(pa.float64()), n)))


def test_columns_of_every_strange_kind(made, rows, tally, monkeypatch):
    monkeypatch.setattr(columns, "parquet", read_here)
    board, table, mine, _ = made
    sound, path = (mine / "traces.parquet").read_bytes(), mine / "traces.parquet"
    began = time.process_time()
    for what, content in strange(rows):
        path.write_bytes(content)
        tally.attempt(what, lambda: check(mine, board, table))
    path.write_bytes(sound)
    assert time.process_time() - began < 60


# ---------------------------------------------------------------- in a child
def bomb(rows):
    """A page of a few bytes that stands for 800 MB: one number, two hundred million times."""
    lists = pa.ListArray.from_arrays(pa.array([0, 100_000_000], pa.int32()), pa.array(np.zeros(100_000_000, np.int32)))
    return written(replaced(rows.slice(0, 1), "config_ids", lists), compression="zstd")


def big_text(rows):
    """600 MB of text in a file of a few hundred kB."""
    return written(
        replaced(rows.slice(0, 1), "method", pa.array(["m" * 600_000_000], pa.large_string())), compression="zstd"
    )


def lying_footer(content, rng):
    """Numbers of the footer replaced by larger ones."""
    length = int.from_bytes(content[-8:-4], "little")
    footer = bytearray(content[-8 - length : -8])
    for _ in range(rng.randrange(1, 6)):
        footer[rng.randrange(len(footer))] = rng.choice((0xFF, 0x7F, 0x80, rng.randrange(256)))
    return content[: -8 - length] + bytes(footer) + content[-8:]


def long_footer(content, rng):
    return content[:-8] + rng.choice((2**32 - 1, 2**31 - 1, len(content) * 2, 0)).to_bytes(4, "little") + b"PAR1"


def zeros(rows):
    return b"PAR1" + bytes(30 * 2**20) + (30 * 2**20 - 100).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize("make", [bomb, big_text, zeros])
def test_files_that_unpack_to_gigabytes(made, rows, tally, make):
    import resource

    board, _, _, _ = made
    content = make(rows)
    assert len(content) < 33 * 2**20
    said = type("Submission", (), {"method": "mine"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    tally.attempt(make.__name__, partial(read_traces, content, said, 100, longest(board), schema.TRACES))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally.verdict(f"{make.__name__}: {(after - before) // 1024} MB", after - before < PEAK * 1024)
    tally.verdict(f"{make.__name__}: {time.monotonic() - began:.0f} s", time.monotonic() - began < 100)


FUZZ = """
import json, pathlib, resource, sys
from fakes import read_here
from metabench import schema
from metabench.boards.submissions import Refused, columns
from metabench.errors import MetabenchError
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
columns.parquet = read_here
said = type("Submission", (), {"method": "mine"})
for path in sys.argv[2:]:
    print(path, end=" ", flush=True)
    try:
        traces, _ = columns.read_traces(pathlib.Path(path).read_bytes(), said, 100, int(sys.argv[1]), schema.TRACES)
        print("taken", json.dumps(len(traces)), flush=True)
    except MetabenchError as error:
        line = str(error)
        print("refused" if line.isprintable() and len(line) <= 1000 else f"said {line!r}", flush=True)
    except MemoryError:
        print("refused", flush=True)
    except Exception as error:
        print(f"raised {type(error).__name__}", flush=True)
"""


def test_damaged_files(made, rows, tally, effort, tmp_path):
    """Harmed at random. Hundreds are read in one child here; one by one each has a child of its own."""
    board, _, _, _ = made
    sound = [written(rows), written(rows, compression="zstd"), written(rows, use_dictionary=False, compression="none")]
    paths = []
    for seed in range(effort(300)):
        rng = random.Random(seed)
        content = rng.choice(sound)
        harm = rng.choice(["footer", "length", "flip", "cut", "splice"])
        if harm == "footer":
            content = lying_footer(content, rng)
        elif harm == "length":
            content = long_footer(content, rng)
        elif harm == "cut":
            content = content[: rng.randrange(len(content))]
        elif harm == "splice":
            at = rng.randrange(len(content))
            content = content[:at] + rng.randbytes(rng.randrange(1, 64)) + content[at:]
        else:
            data = bytearray(content)
            for _ in range(rng.choice((1, 4, 32))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            content = bytes(data)
        path = tmp_path / f"{seed}-{harm}.parquet"
        path.write_bytes(content)
        paths.append(str(path))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
    while paths:
        command = [sys.executable, "-c", FUZZ, str(longest(board)), *paths]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        lines = done.stdout.splitlines()
        for line in lines:
            path, _, verdict = line.partition(" ")
            # where a library dies, the child that a submission is read in ends, and its parent says so in one line
            tally.verdict(f"{os.path.basename(path)}: {verdict}", verdict.split(" ")[0] in ("refused", "taken", ""))
        assert lines, done.stderr[-2000:]
        paths = paths[len(lines) :]


def test_a_child_that_dies_is_one_line(monkeypatch, rows, tmp_path):
    monkeypatch.setattr(columns, "MEMORY", 1 << 28)  # less than the libraries need
    with pytest.raises(Refused) as caught:
        read_traces(written(rows), type("Submission", (), {"method": "mine"}), 100, 4, schema.TRACES)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 500 and "traces.parquet" in line and str(tmp_path.parent) not in line
    assert json.dumps(line)
