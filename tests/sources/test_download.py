"""Downloads: bounded in size and time, checked, and fetched again when the cached file is damaged."""

import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from metabench.errors import MetabenchError
from metabench.sources import _fetch

CONTENT = b"right" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self):
        Handler.asked += 1
        self.send_response(404 if self.path == "/absent" else 200)
        self.end_headers()
        try:
            if self.path == "/right":
                self.wfile.write(CONTENT)
            elif self.path == "/wrong":
                self.wfile.write(CONTENT[:-1])
            while self.path in ("/endless", "/slow"):
                self.wfile.write(bytes(1 << 20) if self.path == "/endless" else b"x" * 100_000)
                time.sleep(0.01 if self.path == "/endless" else 0.2)
        except OSError:
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(_fetch, "LARGEST", 8 << 20)
    monkeypatch.setattr(_fetch, "SECONDS", 1.0)
    Handler.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def raw(tmp_path):
    folder = tmp_path / "raw"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_downloaded_once(server, tmp_path):
    assert _fetch.fetch(f"{server}/right", SHA) == _fetch.fetch(f"{server}/right", SHA) == CONTENT
    assert Handler.asked == 1 and raw(tmp_path) == [SHA]


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT[:-1] + b"x", bytes(9 << 20)])
def test_a_damaged_file_is_fetched_again(server, tmp_path, damage):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / SHA).write_bytes(damage)
    assert _fetch.fetch(f"{server}/right", SHA) == CONTENT and Handler.asked == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [("endless", "8 MB"), ("slow", "minutes"), ("wrong", "not the expected file"), ("absent", "cannot download")],
)
def test_what_is_not_to_be_had_is_a_line_and_leaves_nothing(server, tmp_path, path, line):
    began = time.monotonic()
    with pytest.raises(MetabenchError, match=line) as error:
        _fetch.fetch(f"{server}/{path}", SHA)
    assert "\n" not in str(error.value) and raw(tmp_path) == [] and time.monotonic() - began < 20
