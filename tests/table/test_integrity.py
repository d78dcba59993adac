"""What scores are read from is hashed where it is read: no flip, swap or loss goes unseen, and reading stays quick."""

import os
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from table_samples import runs_of, task, write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, integrity, load_table, manifest, verify

FILES = ("tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet")


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("genuine") / "t" / "v1", datasets=("iris", "wine"))


@pytest.fixture
def path(genuine, tmp_path):
    return shutil.copytree(genuine, tmp_path / "t" / "v1")


def read_all(path):
    table = load_table(path)
    return table.tasks, table.configs("mlp"), table.runs("mlp"), table.final("mlp", ["mlp-iris"])


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_is_read(path, name):
    """Fifty of each file, none of them checked by ``verify`` first."""
    content, rng = (path / name).read_bytes(), np.random.default_rng(len(name))
    for _ in range(50):
        at = int(rng.integers(len(content)))
        (path / name).write_bytes(content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :])
        with pytest.raises(MetabenchError, match=r"verify.*repair") as error:
            read_all(path)
        assert str(error.value).startswith(str(path / name)) and "\n" not in str(error.value)
    (path / name).write_bytes(content)
    read_all(path)


def test_a_change_that_keeps_size_and_time_is_seen(path):
    """A hash is remembered, but not beyond a change of the file: the time of change cannot be set by hand."""
    name = path / "runs/mlp.parquet"
    read_all(path)
    before, content = os.stat(name), bytearray(name.read_bytes())
    content[100] ^= 1
    name.write_bytes(content)
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(MetabenchError, match="not the file"):
        read_all(path)


def test_a_file_is_hashed_once(path, monkeypatch):
    hashed = []
    genuine = manifest.sha256
    monkeypatch.setattr(integrity.manifest, "sha256", lambda p: hashed.append(p.name) or genuine(p))
    monkeypatch.setattr(integrity, "RACY", -1.0)
    for _ in range(3):
        read_all(path)
    assert sorted(hashed) == ["mlp.parquet", "mlp.parquet", "tasks.parquet"]


def test_a_swap_with_another_table_s_file_is_seen(path, tmp_path):
    other = write_table(tmp_path / "other", datasets=("iris", "wine"), n_seeds=1)
    shutil.copy(other / "runs/mlp.parquet", path / "runs/mlp.parquet")
    with pytest.raises(MetabenchError, match="not the file"):
        load_table(path).final("mlp", ["mlp-iris"])


def test_a_damaged_shard_is_not_given_a_new_hash(tmp_path):
    """Merging shards reads them: what is damaged must not become sound on the way."""
    path = write_table(tmp_path / "t/v1", datasets=("iris", "wine"), compact=False)
    name = path / "runs/mlp-00000.parquet"
    content = bytearray(name.read_bytes())
    content[len(content) // 3] ^= 4
    name.write_bytes(content)
    with TableWriter(path) as writer, pytest.raises(MetabenchError, match="not the file"):
        writer.compact("mlp")


def test_pages_carry_checksums(path):
    for name in FILES:
        whole = pq.read_table(path / name)
        assert whole.equals(pq.read_table(path / name, page_checksum_verification=True))
    content, caught = (path / "runs/mlp.parquet").read_bytes(), 0
    for at in range(200, 3000, 100):
        (path / "runs/mlp.parquet").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            pq.read_table(path / "runs/mlp.parquet", page_checksum_verification=True)
        except OSError:
            caught += 1
    assert caught >= 25


# ---------------------------------------------------------------- what a writer does not do
def test_a_lost_manifest_is_not_written_over(path):
    (path / manifest.SUMS).unlink()
    before = {name: (path / name).read_bytes() for name in FILES}
    with pytest.raises(MetabenchError, match=r"no SHA256SUMS.*metabench repair"), TableWriter(path):
        pass
    assert before == {name: (path / name).read_bytes() for name in FILES} and not (path / manifest.SUMS).exists()


@pytest.mark.parametrize("name", [manifest.SUMS, "tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet"])
def test_what_vanishes_during_a_run_is_noticed(path, name):
    ids, seeds = np.array([0, 1]), np.array([7, 7])
    with TableWriter(path) as writer:
        writer.put_tasks([task("iris")])
        (path / name).unlink()
        with pytest.raises(MetabenchError, match=r"while the table was being written.*repair"):
            writer.append("mlp", runs_of("mlp-iris", ids, seeds))
        with pytest.raises(MetabenchError, match="while the table was being written"):
            writer.check_whole()


def test_a_manifest_that_another_replaced_is_noticed(path):
    with TableWriter(path) as writer:
        sums = manifest.read(path)
        manifest.publish(path, {name: value for name, value in sums.items() if name != "runs/mlp.parquet"})
        with pytest.raises(MetabenchError, match="changed or removed"):
            writer.append("mlp", runs_of("mlp-iris", np.array([0]), np.array([7])))


# ---------------------------------------------------------------- readers without rights, odd folders
def test_a_published_change_is_read_where_nothing_may_be_written(path, monkeypatch):
    """A writer was killed between publishing and moving; the reader cannot finish its work, and reads it as it is."""
    monkeypatch.setattr(manifest, "_finish", lambda folder: None)
    with TableWriter(path) as writer:
        writer.append("mlp", runs_of("mlp-iris", np.array([0]), np.array([7])))
        assert (path / manifest.NEXT).exists()
        monkeypatch.undo()

        def denied(folder, timeout=5.0):
            raise MetabenchError(f"{folder} cannot be written: Read-only file system")

        monkeypatch.setattr(manifest, "locked", denied)
        monkeypatch.setattr(manifest.settle, "__defaults__", (0.1,))
        assert len(load_table(path).runs("mlp")) == 33
        assert np.isfinite(load_table(path).seconds("mlp", ["mlp-iris"])).any()


@pytest.mark.parametrize(
    "name",
    [
        "tasks.parquet",
        "runs/mlp.parquet",
        "configs",
        "runs",
        "splits.csv",
        "SHA256SUMS.card",
        "README.md",
        "SHA256SUMS",
    ],
)
def test_a_folder_where_a_file_should_be_is_a_line(path, name):
    target = path / name
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    if name in ("configs", "runs"):
        target.write_text("a file")
    else:
        target.mkdir()
    found = verify(path)
    assert all("\n" not in line for line in found)
    assert found or name == "README.md"


@pytest.mark.parametrize("name", ["runs/mlp.csv", "extra.parquet", "core", "configs/notes.txt", "runs/deep/x.parquet"])
def test_what_belongs_to_nothing_is_told(path, name):
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("x")
    assert any("is not listed in" in line for line in verify(path))


def test_a_million_rows_open_in_a_second(tmp_path):
    """A file of the size that a million rows have is hashed within the time that opening may take."""
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 64)
    began = time.process_time()
    integrity.sha256(file)
    assert time.process_time() - began < 1.0


def test_links_in_the_place_of_parts_and_locks_are_not_written_through(path, tmp_path):
    """Hidden names of parts follow from their content, so that somebody may put a link there beforehand."""
    victim = tmp_path / "victim"
    victim.write_text("kept")
    content = b"x" * 100
    import hashlib

    hidden = manifest._hidden(path / "starts.csv", hashlib.sha256(content).hexdigest())
    hidden.symlink_to(victim)
    with TableWriter(path):
        manifest.commit(path, {"starts.csv": content})
    assert victim.read_text() == "kept" and (path / "starts.csv").read_bytes() == content
    assert not (path / "starts.csv").is_symlink()
    (path / ".lock").unlink()
    (path / ".lock").symlink_to(victim)
    with pytest.raises(MetabenchError, match="symbolic link"), TableWriter(path):
        pass
    assert victim.read_text() == "kept"
