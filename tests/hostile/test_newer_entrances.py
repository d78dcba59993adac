"""Merge, repair, elites, caches of costs and Arrow files: links, races, sizes that lie, and kills."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_samples import SPACE, write_table

from metabench import untrusted
from metabench.advise import cells
from metabench.advise import files as data_files
from metabench.advise.data import read as read_data
from metabench.errors import MetabenchError, UsageError
from metabench.generate import cost
from metabench.generate.repair import repair
from metabench.table import TableWriter, load_table, manifest, verify
from metabench.table.merge import merge
from metabench.untrusted import arrow


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("genuine") / "t" / "v1", datasets=("iris", "wine"))


# ---------------------------------------------------------------- links
@pytest.mark.parametrize("name", ["runs", "configs"])
def test_nothing_is_written_or_removed_through_a_linked_folder(genuine, tmp_path, name):
    """A stranger's table whose ``runs`` leads to another's: repair would remove that one's files, a writer sweep them."""
    victim, theirs = shutil.copytree(genuine, tmp_path / "victim/v1"), shutil.copytree(genuine, tmp_path / "theirs/v1")
    (victim / name / ".mlp.parquet.0123456789abcdef.new").write_bytes(b"of a writer at work")
    shutil.rmtree(theirs / name)
    (theirs / name).symlink_to(victim / name)
    (theirs / "SHA256SUMS").write_text((theirs / "SHA256SUMS").read_text().replace("a", "b"))
    before = sorted(path.name for path in (victim / name).iterdir())
    for act in (lambda: repair(theirs, progress=False), lambda: TableWriter(theirs).__enter__()):
        with pytest.raises(MetabenchError, match="is a symbolic link; a table that is written"):
            act()
    assert sorted(path.name for path in (victim / name).iterdir()) == before
    assert manifest.sha256(victim / f"{name}/mlp.parquet") == manifest.read(victim)[f"{name}/mlp.parquet"]


def test_data_that_becomes_a_pipe_after_it_was_looked_at_is_a_line(tmp_path, monkeypatch):
    """Between the check and the opening: what is opened is checked, not its name."""
    for ending in (".csv", ".jsonl", ".feather", ".parquet", ".npz"):
        path = tmp_path / f"x{ending}"
        os.mkfifo(path)
        with monkeypatch.context() as patch:
            patch.setattr(type(path), "is_file", lambda self: True)
            with pytest.raises(UsageError, match="no regular file"):
                read_data(path, "y")


# ---------------------------------------------------------------- sizes
def _arrow(path, table, compression, kind=pa.ipc.new_file):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, kind(file, table.schema, options=options) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
@pytest.mark.parametrize("kind", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_are_read_as_they_are(tmp_path, compression, kind):
    table = pa.table({"a": range(50), "d": pa.array(["x", "y"] * 25).dictionary_encode(), "t": ["q", None] * 25})
    found = list(untrusted.arrow_batches(_arrow(tmp_path / "x", table, compression, kind)))
    assert pa.Table.from_batches(found).equals(table)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_small_arrow_file_that_unpacks_to_much_is_refused_before_it_does(tmp_path, tally, compression, monkeypatch):
    zeros = pa.table({"a": np.zeros(8_000_000)})
    words = pa.table({"w": pa.array(["x" * 30_000_000, "y"]).dictionary_encode()})
    monkeypatch.setattr(arrow.arrow_batches, "__kwdefaults__", {"most": 1 << 24, "error": MetabenchError})
    for table in (zeros, words):
        path = _arrow(tmp_path / "x.feather", table, compression)
        assert path.stat().st_size < 1 << 19
        before = pa.total_allocated_bytes()
        with pytest.raises(UsageError, match=r"unpacks to .* at most 16 MB are read"):
            read_data(path, "a")
        tally.verdict(f"{compression}: memory", pa.total_allocated_bytes() - before < 1 << 24)


def test_arrow_whose_offsets_leave_its_values_is_refused(tmp_path, tally):
    """What reads such a column later would read beyond its memory."""
    path = _arrow(tmp_path / "x.feather", pa.table({"t": [f"{i:06d}" for i in range(64)], "y": ["a", "b"] * 32}), None)
    sound = path.read_bytes()
    at = sound.index(np.arange(0, 6 * 65, 6, dtype="<i4").tobytes())
    for i, value in enumerate((2**31 - 1, -5, 10_000, 1)):
        path.write_bytes(sound[: at + 40] + int(value).to_bytes(4, "little", signed=True) + sound[at + 44 :])
        tally.attempt(f"#{i}", lambda: read_data(path, "y"))


def test_a_json_list_that_does_not_end_is_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "LIST", 1000)
    (tmp_path / "x.json").write_text("[" + '{"a": 1, "y": 2},\n' * 1000)
    with pytest.raises(UsageError, match="list of more than 1,000 characters"):
        read_data(tmp_path / "x.json", "y")


# ---------------------------------------------------------------- words
@pytest.mark.parametrize("origin", ["<script>", "elite:\x1b[2J:x", "elite", "", "x" * 1000, "elite:a:b\n# heading"])
def test_an_origin_is_no_text_of_a_stranger(genuine, tmp_path, origin):
    """It goes into a table's README."""
    path = shutil.copytree(genuine, tmp_path / "t/v1")
    with TableWriter(path) as writer:
        for name in ("elite:mlp-iris:tpe", "default", "elite:mlp-iris:my_pkg.sub:MyModel"):
            writer.add_configs("mlp", SPACE, SPACE.sample(64, seed=3)[-1:], [name])
        with pytest.raises(MetabenchError, match=r"origin .* is none of"):
            writer.add_configs("mlp", SPACE, SPACE.sample(64, seed=4)[-1:], [origin])
    name = path / "configs/mlp.parquet"
    table = pq.read_table(name)
    at = table.column_names.index("origin")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array([origin] * len(table))), name)
    sums = manifest.read(path) | {"configs/mlp.parquet": manifest.sha256(name)}
    (path / "SHA256SUMS").write_text("".join(f"{v}  {k}\n" for k, v in sorted(sums.items())))
    with pytest.raises(MetabenchError, match=r"origin .* is none of") as error:
        load_table(path).origins("mlp")
    assert str(error.value).isprintable() and len(str(error.value)) < 400


POISON = [
    "",
    "[" * 100_000,
    "null",
    "[]",
    '{"prices": [], "together": 1, "error": 1}',
    '{"prices": {"a": -1}}',
    "9" * 5000,
]
POISON += [
    json.dumps({"prices": {"a": v}, "together": t, "error": 0.1}) for v, t in ((1e400, 1), (1, 0), (1, "x"), (-1, 1))
]


@pytest.mark.parametrize("content", POISON)
def test_poisoned_costs_are_measured_again(tmp_path, monkeypatch, content):
    from metabench import registry

    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    made = cost.CostModel({"a": 1.0}, None, 0.5)
    monkeypatch.setattr(cost, "calibrate", lambda workload, backend: made)
    workload = registry.create("workloads", "mlp")
    assert cost.cost_model(workload) == made
    (path,) = (tmp_path / "costs").iterdir()
    monkeypatch.setattr(cost, "calibrate", lambda workload, backend: pytest.fail("it is stored"))
    assert cost.cost_model(workload) == made
    path.write_text(content)
    monkeypatch.setattr(cost, "calibrate", lambda workload, backend: made)
    assert cost.cost_model(workload) == made


# ---------------------------------------------------------------- kills
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, to be killed a moment later")
def test_a_killed_merge_leaves_no_half_table(genuine, tmp_path, tally, effort):
    out = tmp_path / "merged/v1"
    began = time.monotonic()
    merge(tmp_path / "first/v1", [genuine])
    usual, whole, rng = time.monotonic() - began, load_table(tmp_path / "first/v1").digest, random.Random(0)
    for i in range(effort(8)):
        shutil.rmtree(out.parent, ignore_errors=True)
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                merge(out, [genuine])
                os._exit(0)
            os._exit(1)
        time.sleep(rng.uniform(0, usual))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        tally.verdict(f"#{i}: half a table", not out.exists() or load_table(out).digest == whole)
        if not out.exists():
            merge(out, [genuine])
        hidden = [path.name for path in out.parent.rglob(".*")]
        tally.verdict(f"#{i}: {hidden} is left", not hidden)
        tally.verdict(f"#{i}: not whole", load_table(out).digest == whole and verify(out) == [])


# ---------------------------------------------------------------- cells
EVIL = ["$" + "1," * 50_000 + "x", "1" * 100_000 + "%%", "€ " + " " * 50_000 + "5 x", "1 000" * 20_000 + "x"]
EVIL += [
    "(" + "1" * 100_000,
    "1e" * 50_000,
    "2024-" * 20_000,
    " " * 100_000 + "%",
    "Smith, John",
    "1, 2 or 3",
    "(,)",
    ",%",
]


@pytest.mark.parametrize("cell", EVIL, ids=range(len(EVIL)))
def test_no_cell_takes_long_or_breaks_the_reader(cell):
    """Among numbers with units, among names, and alone."""
    for others in (["5%", "3%", "1,5%"], ["a", "b, c", cell]):
        column = pd.Series([*others, cell], dtype=object)
        began = time.process_time()
        reading = cells.Reading().for_table([column])
        cells.typed(column, "a", reading)
        cells.typed(column, "a", replace(reading, decimal=","))
        assert time.process_time() - began < 1


def test_a_table_of_names_with_commas_is_read():
    frame = pd.DataFrame({"a": ["Smith, John", "x"] * 30, "b": range(60), "y": ["u", "v"] * 30})
    assert len(read_data(frame, "y").dataset.X) == 60
