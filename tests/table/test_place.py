"""A table on a file system that is no folder: the same content, all-or-nothing changes, one writer at a time."""

import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs
from table_samples import runs_of, write_table

from metabench.errors import MetabenchError, UsageError
from metabench.table import TableWriter, card, load_table, lock, manifest, splits, starts, verify
from metabench.table.place import Remote, place


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


@pytest.fixture
def bucket():
    """The URI of a prefix of its own, kept in memory."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def quick(monkeypatch):
    """A pulse that beats often, and a short patience with those that do not."""
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "LEASE", 0.5)


def copied(source, target):
    for info in source.filesystem.get_file_info(fs.FileSelector(source.key, recursive=True)):
        if info.type == fs.FileType.File:
            (target / info.path.removeprefix(source.key)).write_bytes(
                Remote(source.filesystem, info.path, "").read_bytes()
            )
    return target


def content(path):
    rows = load_table(path).runs("mlp").to_pylist()
    return sorted(rows, key=lambda row: (row["task_id"], row["config_id"], row["seed"]))


# ---------------------------------------------------------------- places
def test_a_folder_stays_a_folder(tmp_path):
    assert place(str(tmp_path)) == tmp_path == place(tmp_path)
    assert place(f"file://{tmp_path}/a") == tmp_path / "a"
    assert place("datasets/starter") == Path("datasets/starter")


def test_what_is_secret_is_not_shown():
    found = place("s3://key:secret@bucket/table/v1/?region=eu-west-1&scheme=http")
    assert isinstance(found, Remote)
    assert str(found / "runs") == "s3://bucket/table/v1/runs"
    assert "secret" not in repr(found)
    assert (found.name, found.parent.name, str(found.with_name("v2"))) == ("v1", "table", "s3://bucket/table/v2")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nosuch://bucket/x", "nosuch://bucket/x cannot be used: Protocol not known: nosuch"),
        ("s3://", "s3:// names no place: a table lies in s3://<bucket>/<prefix>"),
        ("s3://a:b@c/d?zork=1", "s3://c/d cannot be used: Unexpected query parameter in S3 URI: 'zork'"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(uri, said):
    with pytest.raises(UsageError) as raised:
        place(uri)
    assert str(raised.value) == said


def test_no_table_there(bucket):
    with pytest.raises(UsageError, match=r"^memory://[0-9a-f]+/x is no table: it has no SHA256SUMS$"):
        load_table(f"{bucket}/x")
    assert verify(f"{bucket}/x") == [f"{bucket}/x is no table: it has no SHA256SUMS"]


# ---------------------------------------------------------------- tables
def test_a_remote_table_is_the_table(bucket, tmp_path):
    here, there = write_table(tmp_path / "t" / "v3"), write_table(f"{bucket}/t/v3")
    near, far = load_table(here), load_table(there)
    assert (far.name, far.version, far.digest) == ("t", 3, near.digest)
    assert far.runs("mlp").equals(near.runs("mlp"))
    assert far.runs("mlp", ["seed"], ["mlp-wine"]).equals(near.runs("mlp", ["seed"], ["mlp-wine"]))
    assert far.configs("mlp").equals(near.configs("mlp"))
    assert load_table(f"{bucket}/t").digest == load_table(f"{bucket}/t", 3).digest == near.digest
    assert verify(there) == []


def test_the_card_of_a_remote_table(bucket, tmp_path):
    here, there = write_table(tmp_path / "t" / "v1"), write_table(f"{bucket}/t/v1")
    card.write(here)
    for path in card.write(there):
        assert path.read_bytes() == (here / path.name).read_bytes(), path
    assert card.check(there) == [] and verify(there) == []
    (place(there) / "README.md").write_bytes(b"other")
    assert [str(path) for path in card.check(there)] == [f"{there}/README.md"]


def test_verify_names_the_object(bucket):
    there = write_table(f"{bucket}/t/v1")
    runs = place(there) / "runs/mlp.parquet"
    whole = runs.read_bytes()
    runs.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert verify(there) == [f"{there}/runs/mlp.parquet: its sha256 is not the one in SHA256SUMS"]
    runs.unlink()
    assert verify(there) == [f"{there}/runs/mlp.parquet is missing"]
    runs.write_bytes(whole)
    (place(there) / "runs/mlp-00007.parquet").write_bytes(whole)
    assert verify(there) == [f"{there}/runs/mlp-00007.parquet is not listed in SHA256SUMS"]


class Counter:
    """Lets a number of changes of the store happen and cuts the next one off."""

    def __init__(self, monkeypatch, limit):
        self.left = limit

        def replace(source, target):  # a move is two requests
            target.write_bytes(source.read_bytes())
            source.unlink()

        for name, real in (("write_bytes", Remote.write_bytes), ("unlink", Remote.unlink), ("replace", replace)):
            monkeypatch.setattr(Remote, name, real if name == "replace" else self.counted(real))

    def counted(self, real):
        def call(path, *args, **settings):
            if lock.LOCK in path.name:
                return real(path, *args, **settings)
            self.left -= 1
            if self.left < 0:
                raise Killed
            return real(path, *args, **settings)

        return call


def append(writer):
    writer.append("mlp", runs_of("mlp-iris", [0, 1], [2, 2]))


def compact(writer):
    writer.compact("mlp")


@pytest.mark.parametrize("action", [append, compact])
def test_cut_off_at_any_request_a_change_happened_or_did_not(bucket, action, quick):
    base = place(write_table(f"{bucket}/base", datasets=("iris", "wine"), n_configs=2, compact=False))
    before = content(base)
    with TableWriter(copied(base, base.with_name("done"))) as writer:
        action(writer)
    after, files = content(base.with_name("done")), manifest.read(base.with_name("done"))
    cuts, published = 0, []
    while True:
        path = copied(base, base.with_name(f"cut{cuts}"))
        with pytest.MonkeyPatch.context() as patch, TableWriter(path) as writer:
            counter = Counter(patch, cuts)
            try:
                action(writer)
            except Killed:
                cuts += 1
            else:
                assert counter.left == 0
                break
        found = content(path)  # opening it finishes what was published
        assert found in (before, after)
        published.append(manifest.read(path) == files)
        if not published[-1]:
            with TableWriter(path) as writer:
                action(writer)
        assert content(path) == after and verify(path) == []
        assert not [p for sub in ("", "runs") for p in (path / sub).glob(".*")]
    assert published == sorted(published) and 2 < sum(published) < cuts - 2, "once published, a change stays"


# ---------------------------------------------------------------- one writer
def test_the_second_writer_is_refused_by_name(bucket, quick):
    there = write_table(f"{bucket}/t/v1")
    with (
        TableWriter(there),
        pytest.raises(MetabenchError, match=rf"^{there} is being written by process \d+ on \S+; wait until it has"),
        TableWriter(there, lock_timeout=0.2),
    ):
        raise AssertionError("two writers")
    with TableWriter(there) as writer:
        append(writer)
    assert not place(there).glob(".lock*"), "nothing of the locks is left"


def test_of_many_writers_at_once_one_writes_at_a_time(bucket, quick):
    there, inside, most = write_table(f"{bucket}/t/v1"), [], []

    def work():
        with TableWriter(there, lock_timeout=30.0):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_dead_writer_is_succeeded(bucket, quick):
    there = place(write_table(f"{bucket}/t/v1"))
    (there / ".lock-dead").write_bytes(b"process 1 on gone")
    (there / ".lock-dead.pulse").write_bytes(b"7")
    began = time.monotonic()
    with TableWriter(there) as writer:
        assert time.monotonic() - began > lock.LEASE
        append(writer)
    assert not there.glob(".lock*")


def test_a_writer_that_was_taken_for_dead_writes_no_more(bucket, quick):
    there = place(write_table(f"{bucket}/t/v1"))
    before = manifest.read(there)
    with TableWriter(there) as late:
        for path in there.glob(".lock*"):  # as its successor does
            path.unlink()
        time.sleep(4 * lock.BEAT)  # its pulse goes on
        with TableWriter(there) as successor:
            with pytest.raises(MetabenchError, match="another writer took this one for dead"):
                append(late)
            # and if that happens while it writes its new files
            with pytest.raises(MetabenchError, match="another writer took this one for dead"):
                manifest.commit(there, {"runs/mlp-00000.parquet": b"late"}, check=late._check)
            assert manifest.read(there) == before
            assert not (there / "runs").glob(".*"), "what it wrote is gone"
            append(successor)
    assert verify(there) == []


# ---------------------------------------------------------------- integrity
NAMES = ("tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet", "splits.csv", "starts.csv")


@pytest.fixture
def remote(bucket, tmp_path):
    """A table with a split and prescribed starts, both listed."""
    local = write_table(tmp_path / "t" / "v1", datasets=("iris", "wine"))
    with TableWriter(local) as writer:
        listed = {
            "splits.csv": splits.encode([("mlp-iris", "iris", "meta_train"), ("mlp-wine", "wine", "meta_test")]),
            "starts.csv": starts.write({"mlp-iris": {"test0": [0, 1]}}),
        }
        manifest.commit(writer.path, listed)
    target = place(f"{bucket}/t/v1")
    for path in local.rglob("*"):
        if path.is_file() and path.name != ".lock":
            (target / path.relative_to(local).as_posix()).write_bytes(path.read_bytes())
    return target


def read_all(path):
    table = load_table(path)
    return table.tasks, table.configs("mlp"), table.runs("mlp").to_pylist(), table.split, table.starts


@pytest.mark.parametrize("name", NAMES)
def test_no_flipped_bit_of_a_remote_file_is_read(remote, name):
    content, rng = (remote / name).read_bytes(), np.random.default_rng(len(name))
    for _ in range(25):
        at = int(rng.integers(len(content)))
        harmed = content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
        (remote / name).write_bytes(harmed)
        with pytest.raises(MetabenchError, match="is not the file that SHA256SUMS lists") as error:
            read_all(remote)
        assert str(error.value).startswith(f"{remote / name} ") and "\n" not in str(error.value)
    (remote / name).write_bytes(content)
    read_all(remote)


def test_what_is_read_of_a_remote_file_is_what_was_hashed(remote):
    """A store that answers otherwise after the check changes nothing: it is asked once."""
    table = load_table(remote)
    table.runs("mlp", ["seed"])  # opens the file
    genuine = load_table(remote).runs("mlp").to_pylist()
    content = (remote / "runs/mlp.parquet").read_bytes()
    (remote / "runs/mlp.parquet").write_bytes(content[: len(content) // 2] * 2)
    assert table.runs("mlp").to_pylist() == genuine
    with pytest.raises(MetabenchError, match="is not the file"):
        load_table(remote).runs("mlp")


def test_a_remote_file_is_fetched_once(remote, monkeypatch):
    fetched = []
    opened = Remote.open
    monkeypatch.setattr(Remote, "open", lambda self, mode="rb": fetched.append(self.name) or opened(self, mode))
    table = load_table(remote)
    for _ in range(3):
        table.runs("mlp")
        table.final("mlp", ["mlp-iris"])
        table.configs("mlp")
    assert [name for name in fetched if name == "mlp.parquet"] == ["mlp.parquet"] * 2  # configurations and runs


def test_a_remote_manifest_that_does_not_end(bucket, monkeypatch):
    target = place(f"{bucket}/t/v1")
    (target / "SHA256SUMS").write_bytes(b"0" * 2000)
    monkeypatch.setattr("metabench.table.place.SMALL", 1000)
    with pytest.raises(MetabenchError, match=r"SHA256SUMS has more than 1,000 bytes"):
        manifest.read(target)
