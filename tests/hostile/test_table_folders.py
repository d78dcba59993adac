"""A table's folder from a stranger: pipes, devices, links, folders and texts of any form in place of its files."""

import os
import random
import shutil
from functools import partial

import numpy as np
import pytest
from damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_samples import write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, load_table, manifest, seal, splits, starts, verify

FILES = ("SHA256SUMS", "SHA256SUMS.next", "SHA256SUMS.card", "tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet")
TEXTS = ("splits.csv", "starts.csv")


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    path = write_table(tmp_path_factory.mktemp("genuine") / "t" / "v1", datasets=("iris", "wine"))
    with TableWriter(path) as writer:
        listed = {
            "splits.csv": splits.encode([("mlp-iris", "iris", "meta_train"), ("mlp-wine", "wine", "meta_test")]),
            "starts.csv": starts.write({"mlp-iris": {"test0": [0, 1]}}),
        }
        manifest.commit(writer.path, listed)
    return path


def read_all(path):
    table = load_table(path)
    return table.tasks, table.configs("mlp"), table.runs("mlp").to_pylist(), table.split, table.starts


STRANGE = {
    "pipe": os.mkfifo,
    "device": lambda p: p.symlink_to("/dev/zero"),
    "terminal": lambda p: p.symlink_to("/dev/tty"),
    "itself": lambda p: p.symlink_to(p.name),
    "nothing": lambda p: p.symlink_to("nowhere"),
    "folder": os.mkdir,
    "secret": lambda p: p.symlink_to("/etc/passwd"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_file(genuine, tmp_path, tally, kind):
    """Nothing waits for a pipe, nothing reads a device: a line, from reading and from verify."""
    for name in (*FILES, *TEXTS):
        path = shutil.copytree(genuine, tmp_path / name.replace("/", "-") / "v1")
        (path / name).unlink(missing_ok=True)
        STRANGE[kind](path / name)
        harmless = name in ("SHA256SUMS.next", "SHA256SUMS.card")
        tally.attempt(f"{kind} for {name}: read", partial(read_all, path), lambda found, ok=harmless: ok)
        said = []
        tally.attempt(f"{kind} for {name}: verify", lambda p=path, s=said: s.extend(verify(p)), lambda found: True)
        wrong = [line for line in said if not line.isprintable() or len(line) > 1000]
        absent = harmless and kind == "nothing"  # a link to nothing is no such file
        tally.verdict(f"{kind} for {name}: verify said {said}", (bool(said) or absent) and not wrong)
        if name != "SHA256SUMS.card" and not absent:
            tally.attempt(f"{kind} for {name}: write", partial(_write, path), lambda found, n=name: n not in FILES[:2])


def _write(path):
    with TableWriter(path) as writer:
        writer.keys("mlp")


def test_a_file_that_the_manifest_does_not_list_is_not_read(genuine, tmp_path):
    for name in ("tasks.parquet", "configs/mlp.parquet"):
        path = shutil.copytree(genuine, tmp_path / name.replace("/", "-") / "v1")
        lines = (path / "SHA256SUMS").read_text().splitlines(keepends=True)
        (path / "SHA256SUMS").write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))
        with pytest.raises(MetabenchError):
            read_all(path)


def test_a_published_change_with_a_damaged_part_is_not_read(genuine, tmp_path, tally, monkeypatch):
    """Where the folder cannot be written, parts are read under their hidden names: hashed like all others."""
    path, rng = shutil.copytree(genuine, tmp_path / "t/v1"), np.random.default_rng(0)
    value = manifest.read(path)["runs/mlp.parquet"]
    hidden = path / f"runs/.mlp.parquet.{value[:16]}.new"
    (path / "runs/mlp.parquet").rename(hidden)
    (path / "SHA256SUMS").rename(path / "SHA256SUMS.next")
    (path / "SHA256SUMS").write_text("".join(f"{v}  {k}\n" for k, v in manifest.read(path, "SHA256SUMS.next").items()))

    def refuse(*args, **more):
        raise MetabenchError("read only")

    monkeypatch.setattr(manifest, "settle", refuse)
    whole, content = read_all(path)[2], hidden.read_bytes()
    for i in range(40):
        hidden.write_bytes(damaged(content, rng))
        tally.attempt(f"#{i}", lambda: read_all(path)[2], lambda found: found == whole)


# ---------------------------------------------------------------- texts
CORPUS = [
    b"",
    b"\xff\xfe",
    b"\x00" * 50,
    b"task_id,family,split\n",
    b"task_id,start,config_ids\n",
    b"task_id,start,config_ids\na,b," + b"9" * 5000 + b"\n",
    b"task_id,start,config_ids\na,b,\xc2\xb2\n",
    b'task_id,family,split\n"' + b"x" * 200_000 + b'",a,none\n',
    b"task_id,family,split\n" + b"," * 100_000,
    b"task_id,family,split\n\x1b[2J,a,b\n",
    b"task_id,family,split\r\na,b,none\r\r\n",
    b"0" * 64 + b"  ../../etc/passwd\n",
    b"0" * 64 + b"  runs/mlp.parquet\n" * 2,
    b"0" * 64 + b"  runs/\x1b[2J.parquet\n",
    b"# sha256 of the lines below: \n",
    b"x" * 1_000_000,
]


def _readers(folder):
    def write(name, content):
        (folder / name).write_bytes(content)
        return folder / name

    return {
        "manifest": lambda content: manifest.read(write("SHA256SUMS", content).parent),
        "split": lambda content: splits.parse("splits.csv", content),
        "starts": lambda content: starts.read(write("starts.csv", content)),
        "seal": lambda content: (seal.check(write("SHA256SUMS.card", content).parent), seal.listed(folder)),
    }


SOUND = {
    "manifest": b"".join(f"{i:064x}  runs/mlp-{i:05d}.parquet\n".encode() for i in range(4)),
    "split": splits.encode([("mlp-iris", "iris", "meta_train"), ("mlp-wine", "a+b", "none")]),
    "starts": starts.write({"mlp-iris": {"test0": [0, 1], "test1": [2]}}),
    "seal": seal.write({"README.md": b"x", "SHA256SUMS": b"y"}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_texts_of_any_form(tmp_path, tally, effort, kind):
    read = _readers(tmp_path)[kind]
    for content in CORPUS:
        (tmp_path / "SHA256SUMS").unlink(missing_ok=True)
        tally.attempt(f"{kind} {content[:40]!r}", partial(read, content), lambda found: True)
    rng = random.Random(kind)

    @settings(max_examples=effort(50), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60), st.integers(0, 10**6), st.booleans())
    def any_form(content, at, cut):
        at %= len(SOUND[kind])
        end = at + rng.randrange(20) if cut else at
        spliced = SOUND[kind][:at] + content + SOUND[kind][end:]
        tally.attempt(f"{kind} {spliced[:80]!r}", partial(read, spliced), lambda found: True)

    any_form()
