"""A change of a table is all or nothing wherever it is cut off."""

import errno
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from table_samples import runs_of, write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, load_table, manifest, verify


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


class Counter:
    """Lets a number of file operations happen and cuts the next one off; a cut write leaves half of its bytes."""

    def __init__(self, monkeypatch, limit):
        self.left = limit
        write, replace, unlink, fsync = manifest._write, os.replace, Path.unlink, os.fsync

        def half(path, content):
            if self.left == 0:
                path.write_bytes(content[: len(content) // 2])
            self.step()
            write(path, content)

        monkeypatch.setattr(manifest, "_write", half)
        for owner, name, real in ((os, "replace", replace), (Path, "unlink", unlink), (os, "fsync", fsync)):
            monkeypatch.setattr(owner, name, self.counted(real))

    def counted(self, real):
        def call(*args, **settings):
            self.step()
            return real(*args, **settings)

        return call

    def step(self):
        self.left -= 1
        if self.left < 0:
            raise Killed


def content(path):
    """What a reader sees: every row, in key order."""
    rows = load_table(path).runs("mlp").to_pylist()
    return sorted(rows, key=lambda row: (row["task_id"], row["config_id"], row["seed"]))


def append(writer):
    writer.append("mlp", runs_of("mlp-iris", [0, 1], [2, 2]))


def compact(writer):
    writer.compact("mlp")


@pytest.mark.parametrize("action", [append, compact])
def test_cut_off_anywhere_a_change_happened_or_did_not(tmp_path, action):
    base = write_table(tmp_path / "base", datasets=("iris", "wine"), n_configs=2, compact=False)
    before = content(base)
    shutil.copytree(base, tmp_path / "done")
    with TableWriter(tmp_path / "done") as writer:
        action(writer)
    after, files = content(tmp_path / "done"), manifest.read(tmp_path / "done")
    cuts = outcomes = 0
    while True:
        path = tmp_path / f"cut{cuts}"
        shutil.copytree(base, path)
        with pytest.MonkeyPatch.context() as patch, TableWriter(path) as writer:
            counter = Counter(patch, cuts)
            try:
                action(writer)
            except Killed:
                cuts += 1
            else:
                assert counter.left == 0, "one operation more than were allowed is the end"
                break
        found = content(path)  # opening it finishes what was published
        assert found in (before, after)
        with TableWriter(path) as writer:
            assert content(path) == found
            if found == before:
                action(writer)
        assert content(path) == after
        assert verify(path) == []
        assert not list(path.rglob(".*.new"))
        if found == after:
            outcomes += 1
            assert manifest.read(path) == files
        else:
            assert outcomes == 0, "once published, a change stays"
    assert cuts > 8
    assert outcomes > 2


def test_cut_off_while_recovering(tmp_path):
    base = write_table(tmp_path / "base", datasets=("iris", "wine"), n_configs=2, compact=False)
    with pytest.MonkeyPatch.context() as patch, TableWriter(base) as writer:
        published = Counter(patch, 100)
        replace = os.replace

        def stop_after_publishing(source, target):
            replace(source, target)
            if Path(target).name == manifest.NEXT:
                published.left = 0

        patch.setattr(os, "replace", stop_after_publishing)
        with pytest.raises(Killed):
            writer.compact("mlp")
    assert (base / manifest.NEXT).exists()
    assert verify(base) == [
        f"{base}/SHA256SUMS.next: a write was interrupted; load or generate the table once to finish it"
    ]
    for cut in range(20):
        with pytest.MonkeyPatch.context() as patch, manifest.locked(base):
            Counter(patch, cut)
            try:
                manifest.recover(base)
                break
            except Killed:
                pass
    assert verify(base) == []
    assert sorted(p.name for p in (base / "runs").iterdir()) == ["mlp.parquet"]


def test_the_manifest_is_what_sha256sum_checks(tmp_path):
    path = write_table(tmp_path / "t")
    run = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=path, capture_output=True, text=True)
    assert run.stdout == "configs/mlp.parquet: OK\nruns/mlp.parquet: OK\ntasks.parquet: OK\n"
    assert manifest.digest(path) == hashlib.sha256((path / "SHA256SUMS").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "line",
    [
        "{h}  ../../etc/passwd",
        "{h}  runs/../tasks.parquet",
        "{h}  /etc/passwd",
        "{h} tasks.parquet",
        "abc  tasks.parquet",
        "{h}  runs/mlp-1.parquet",
        "{h}  README.md",
        "{h}  tasks.parquet\n{h}  tasks.parquet",
    ],
)
def test_a_manifest_names_table_files_only(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line.format(h="0" * 64) + "\n")
    with pytest.raises(MetabenchError, match=r"SHA256SUMS, line [12]: expected"):
        manifest.read(tmp_path)


def test_a_cut_manifest_is_refused(tmp_path):
    (tmp_path / "SHA256SUMS").write_text("0" * 64 + "  tasks.parquet\n" + "0" * 64 + "  runs/a.parquet")
    with pytest.raises(MetabenchError, match="cut off"):
        manifest.read(tmp_path)


def test_one_writer_at_a_time(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=2)
    code = f"from metabench.table import TableWriter\nwith TableWriter({str(path)!r}, lock_timeout=0.1): pass"
    with TableWriter(path):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"MetabenchError: {path} is being written by another process; wait until it has finished" in run.stderr
    with TableWriter(path):
        pass


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_the_table_as_it_was(tmp_path, monkeypatch, where):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=2, compact=False)
    before = content(path)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with TableWriter(path) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(os, where, full)
            with pytest.raises(MetabenchError, match="cannot be written: No space left on device") as caught:
                append(writer)
        assert "\n" not in str(caught.value)
        assert content(path) == before
        assert not list(path.rglob(".*.new"))
        append(writer)
    assert len(content(path)) == len(before) + 2
    assert verify(path) == []


def test_a_real_limit_on_file_size(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=2, compact=False)
    before = content(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TableWriter(path) as writer:
        rows = runs_of("mlp-iris", [0, 1], [2, 2])
        writer.keys("mlp")
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        try:
            with pytest.raises(MetabenchError, match=r"cannot be written: File too large"):
                writer.append("mlp", rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert content(path) == before
        writer.append("mlp", rows)
    assert verify(path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user to be")
def test_a_read_only_folder_can_be_read_but_not_written():
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        path = write_table(folder / "t", datasets=("iris",), n_configs=2)
        reader, sender = os.pipe()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            said = [str(len(content(path)))]
            for target in (path, folder / "new"):
                try:
                    TableWriter(target, lock_timeout=0.1).__enter__()
                except MetabenchError as error:
                    said.append(str(error))
            os.write(sender, "\n".join(said).encode())
            os._exit(0)
        os.waitpid(child, 0)
        said = os.read(reader, 10_000).decode().splitlines()
    assert said == [
        "4",
        f"{path} cannot be written: Permission denied",
        f"{folder / 'new'} cannot be written: Permission denied",
    ]


def test_a_reader_waits_for_a_live_writer_and_follows_a_dead_one(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris", "wine"), n_configs=2, compact=False)
    with pytest.MonkeyPatch.context() as patch, TableWriter(path) as writer:
        patch.setattr(manifest, "_finish", lambda folder: None)
        writer.compact("mlp")  # published, and there the writer stops
    assert (path / manifest.NEXT).exists()
    with manifest.locked(path):
        finishing = threading.Timer(0.3, manifest._finish, [path])
        finishing.start()
        assert len(content(path)) == 8
        finishing.join()
    assert not (path / manifest.NEXT).exists()


def test_a_reader_says_when_files_change_under_it(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris", "wine"), n_configs=2, compact=False)
    early = load_table(path)
    with TableWriter(path) as writer:
        writer.compact("mlp")
    with pytest.raises(MetabenchError, match="was changed while it was being read; load it again"):
        early.runs("mlp")
    assert load_table(path).runs("mlp").num_rows == 8
