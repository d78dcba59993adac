"""Tables and boards for an installed package: fetched whole or not at all, and one line for whatever goes wrong."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import metabench
from metabench import checkout, downloads
from metabench.downloads import fetching, listing, mirrors
from metabench.errors import MetabenchError, UsageError
from metabench.table import load_table, verify
from metabench.table.find import PACKAGED

ROOT = Path(metabench.__file__).parents[1]


class Server(BaseHTTPRequestHandler):
    """Serves a folder: whole, in ranges, cut after some bytes, or a page in the place of every file."""

    def __init__(self, *args, root, how, **kwargs):
        self.root, self.how = root, how
        super().__init__(*args, **kwargs)

    def do_GET(self):
        self.how.setdefault("asked", []).append(
            (self.path, self.headers.get("Range"), self.headers.get("Authorization"))
        )
        path = self.root / self.path.lstrip("/").partition("?")[0]
        if self.how.get("html"):
            return self._send(200, b"<!DOCTYPE html><p>sign in", self.how["html"])
        if "api/datasets" in self.path:
            return self._send(*self.how.get("api", (404, b"[]")), "application/json")
        if not path.is_file():
            return self._send(404, b"no", "text/plain")
        data, status = path.read_bytes(), 200
        if (wanted := self.headers.get("Range")) and self.how.get("ranges", True):
            data, status = data[int(wanted.removeprefix("bytes=").rstrip("-")) :], 206
        if cut := self.how.get("cut"):
            self._head(status, "application/octet-stream", len(data))
            self.wfile.write(data[:cut])
            return None
        return self._send(status, data, "application/octet-stream")

    def _head(self, status, kind, size):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def _send(self, status, data, kind):
        self._head(status, kind, len(data))
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path):
    """A table and a board laid out as on a mirror."""
    root = tmp_path / "mirror"
    shutil.copytree(PACKAGED / "starter/v0", root / "datasets/tiny/v1")
    board = root / "leaderboards/small/v1"
    board.mkdir(parents=True)
    shutil.copyfile(ROOT / "leaderboards/few-shot/v1/board.toml", board / "board.toml")
    shutil.copyfile(ROOT / "leaderboards/few-shot/v1/traces.parquet", board / "traces.parquet")
    return root


@pytest.fixture
def served(mirror):
    how = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, root=mirror, how=how))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    how["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield how
    server.shutdown()


@pytest.fixture(autouse=True)
def installed(mirror, tmp_path, monkeypatch):
    """As an installed package would see it: no clone, an empty cache, a registry of the mirror."""
    registry = tmp_path / "registry.json"
    registry.write_text(listing.as_json(list(listing.scan(mirror))), encoding="utf-8")
    monkeypatch.setattr(listing, "REGISTRY", registry)
    monkeypatch.setattr(checkout, "beside", lambda name: [])
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABENCH_MIRROR", str(mirror))
    for name in ("METABENCH_DATASETS", "METABENCH_LEADERBOARDS", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    listing.entries.cache_clear()
    yield
    listing.entries.cache_clear()


def entry():
    return downloads.find("datasets", "tiny")


def test_the_registry_lists_what_the_clone_holds():
    """`metabench publish --list` after a change of a table or board brings the two together again."""
    known = json.loads((Path(listing.__file__).parent / "registry.json").read_text(encoding="utf-8"))
    for kind, mark in listing.KINDS.items():
        for folder in sorted((ROOT / kind).glob("*/v*")):
            if (folder / mark).is_file():
                listed = known[kind].get(folder.parent.name, {}).get(folder.name[1:])
                found = {k: list(v) for k, v in listing.list_folder(kind, folder).files.items()}
                assert listed == found, f"{folder}: run `metabench publish --list` and commit what it changes"


def test_the_table_in_the_wheel_is_a_part_of_starter():
    assert verify(PACKAGED / "starter/v0") == []
    assert sum(p.stat().st_size for p in PACKAGED.rglob("*") if p.is_file()) <= 3_000_000
    small, whole = load_table(PACKAGED / "starter/v0"), load_table(ROOT / "datasets/starter/v1")
    assert small.workloads == ["mlp"] and set(small.tasks["workload"]) == {"mlp"}
    ids = list(small.tasks["task_id"])[:5]
    assert (small.final("mlp", ids)[..., 0] == whole.final("mlp", ids)[..., 0]).mean() > 0.9
    assert small.configs("mlp").equals(whole.configs("mlp"))


def test_the_table_in_the_wheel_opens_without_a_network(monkeypatch):
    monkeypatch.setattr(mirrors, "read", lambda *a: pytest.fail("asked the network"))
    assert load_table("starter").version == 0


def test_a_table_is_fetched_once_and_says_how_large_it_is(capsys, monkeypatch):
    table = load_table("tiny")
    said = capsys.readouterr().err
    assert said.startswith("metabench: loading table tiny v1, 2.8 MB, from ") and said.count("\n") == 1
    assert table.workloads == ["mlp"] and verify(table.path) == []
    monkeypatch.setenv("METABENCH_MIRROR", "/nowhere")
    assert load_table("tiny", 1).path == table.path
    assert not capsys.readouterr().err


def test_a_board_is_fetched_with_its_traces():
    board = metabench.load_board("small")
    assert (board.path / "traces.parquet").is_file() and board.name == "few-shot"


@pytest.mark.parametrize("form", ["file://{}", "{}/"])
def test_a_mirror_may_be_a_folder(mirror, monkeypatch, form):
    monkeypatch.setenv("METABENCH_MIRROR", form.format(mirror))
    assert load_table("tiny").version == 1


def test_a_cut_download_goes_on_where_it_stopped(served, monkeypatch):
    monkeypatch.setenv("METABENCH_MIRROR", served["url"])
    served["cut"] = 40_000
    with pytest.raises(MetabenchError, match="was cut off"):
        downloads.fetch(entry())
    assert not (downloads.folder(entry()) / "SHA256SUMS").exists()
    with pytest.raises(UsageError):
        load_table(downloads.folder(entry()))
    served.update(cut=None, asked=[])
    downloads.fetch(entry())
    assert ("bytes=40000-") in {wanted for _, wanted, _ in served["asked"]}
    assert verify(downloads.folder(entry())) == []
    assert [p for p in (downloads.folder(entry()).parents[2] / "partial").iterdir() if p.name != ".lock"] == []


def test_a_server_that_cannot_resume_is_asked_from_the_start(served, monkeypatch):
    monkeypatch.setenv("METABENCH_MIRROR", served["url"])
    served["cut"] = 40_000
    with pytest.raises(MetabenchError, match="cut off"):
        downloads.fetch(entry())
    served.update(cut=None, ranges=False)
    assert verify(downloads.fetch(entry())) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_mirror_that_serves_a_page_is_found_out(served, monkeypatch, kind):
    monkeypatch.setenv("METABENCH_MIRROR", served["url"])
    served["html"] = kind
    with pytest.raises(MetabenchError, match="is a web page and not the file"):
        downloads.fetch(entry())
    assert not downloads.on_disk(entry())


def test_other_bytes_than_the_listed_ones_are_refused(mirror):
    path = mirror / "datasets/tiny/v1/tasks.parquet"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MetabenchError, match=r"tasks\.parquet is not the listed file: its sha256"):
        downloads.fetch(entry())
    path.write_bytes(bytes(data) + b"more")
    with pytest.raises(MetabenchError, match="it has more than"):
        downloads.fetch(entry())
    assert not (downloads.folder(entry()) / "SHA256SUMS").exists()


def test_a_damaged_file_of_the_cache_is_fetched_again():
    place = downloads.fetch(entry())
    (place / "tasks.parquet").write_bytes(b"x" * (place / "tasks.parquet").stat().st_size)
    assert verify(downloads.fetch(entry())) == []


def test_no_network_is_one_line_that_says_what_to_do(monkeypatch):
    monkeypatch.setenv("METABENCH_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(MetabenchError, match="set METABENCH_MIRROR to a folder that holds") as error:
        load_table("tiny")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("/nowhere", "has no file"),
        ("ftp://host/x", "a mirror is a folder"),
        ("hf://datasets/x", "hf://datasets/<owner>"),
    ],
)
def test_a_mirror_that_is_none_is_one_line(monkeypatch, where, line):
    monkeypatch.setenv("METABENCH_MIRROR", where)
    with pytest.raises(MetabenchError, match=line):
        downloads.fetch(entry())


def test_a_full_disk_is_one_line(monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetching.shutil, "copyfile", full)
    with pytest.raises(MetabenchError, match="the disk is full"):
        downloads.fetch(entry())
    assert not downloads.on_disk(entry())


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(MetabenchError, match=r"cannot be written .* point METABENCH_CACHE"):
        downloads.fetch(entry())


def test_unknown_names_and_versions():
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        load_table("tinny")
    with pytest.raises(UsageError, match="table tiny has no version 7; it has 1"):
        load_table("tiny", 7)
    with pytest.raises(UsageError, match="board small has no version 3; it has 1"):
        metabench.load_board("small", 3)
    with pytest.raises(UsageError, match="unknown board 'smoll'; did you mean 'small'"):
        metabench.load_board("smoll")


def test_the_hub_is_asked_with_its_token_and_nobody_else_is(served, mirror, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", served["url"])
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    monkeypatch.setenv("METABENCH_MIRROR", "hf://datasets/owner/name@v1")
    hub = mirror / "datasets/owner/name/resolve/v1"
    shutil.copytree(mirror / "datasets/tiny", hub / "datasets/tiny")
    downloads.fetch(entry())
    assert all(path.startswith("/datasets/owner/name/resolve/v1/datasets/tiny/v1/") for path, *_ in served["asked"])
    assert {token for *_, token in served["asked"]} == {"Bearer secret-token"}
    assert mirrors.headers("https://example.org/x") == {}


def test_a_package_called_datasets_changes_nothing(tmp_path):
    """Hugging Face's `datasets` lies beside an installed package, and may be the working folder."""
    fake = tmp_path / "site/datasets"
    (fake / "starter").mkdir(parents=True)
    (fake / "__init__.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    (fake / "starter/__init__.py").write_text("", encoding="utf-8")
    code = (
        "import metabench.checkout as c; c.beside = lambda name: []\n"
        "from metabench.table import load_table, table_names\n"
        "table = load_table('starter'); print(table.path, table.version, table_names())"
    )
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path / "site",
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == [str(PACKAGED / "starter/v0"), "0"]


def test_publishing_to_the_hub_asks_what_is_there_and_a_dry_run_uploads_nothing(served, mirror, monkeypatch):
    from metabench.workflows import releasing

    monkeypatch.setenv("HF_ENDPOINT", served["url"])
    files = {f"datasets/tiny/v1/{k}": v for k, v in entry().files.items()}
    same, other = sorted(files)[:2]
    there = [
        {"type": "file", "path": same, "oid": "git", "lfs": {"oid": files[same][0]}},
        {"type": "file", "path": other, "oid": hashlib.sha1(b"x").hexdigest()},
    ]
    served["api"] = (200, json.dumps(there).encode())
    said = []
    done = releasing.publish(mirror, "hf://datasets/owner/name", ["tiny"], True, said.append)
    assert {u.path: u.state for u in done} == dict.fromkeys(files, "new") | {same: "there", other: "changed"}
    assert said == [
        f"3 of 4 files to upload, {sum(s for p, (_, s) in files.items() if p != same) / 1e6:.1f} MB, "
        "to hf://datasets/owner/name"
    ]
    assert [path for path, *_ in served["asked"]] == ["/api/datasets/owner/name/tree/main?recursive=true"]
    served["api"] = (500, b"")
    with pytest.raises(MetabenchError, match="answers 500"):
        releasing.publish(mirror, "hf://datasets/owner/name", [], True, said.append)
    with pytest.raises(UsageError, match="publish to a folder or to hf://"):
        releasing.publish(mirror, "gs://bucket", [], True, said.append)


def test_publishing_to_a_folder_makes_a_mirror(mirror, tmp_path, monkeypatch):
    from metabench.workflows import releasing

    to = tmp_path / "assets"
    assert {u.state for u in releasing.publish(mirror, str(to), [], False, print)} == {"new"}
    assert {u.state for u in releasing.publish(mirror, str(to), [], False, print)} == {"there"}
    monkeypatch.setenv("METABENCH_MIRROR", str(to))
    assert verify(downloads.fetch(entry())) == []
