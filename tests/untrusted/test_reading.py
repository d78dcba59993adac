"""Files of strangers: what is no regular file, too large, a lie about its size, or made to stall is one line."""

import gzip
import io
import os
import struct
import threading
import time
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metabench import untrusted
from metabench.errors import MetabenchError, UsageError

MB = 1 << 20


def said(call) -> str:
    with pytest.raises(MetabenchError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable() and len(text) < 1200
    return text


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_what_is_no_regular_file_is_refused_at_once(tmp_path, fifo):
    began = time.monotonic()
    for path in (fifo, "/dev/zero", "/dev/stdin", tmp_path):
        assert "regular file" in said(lambda path=path: untrusted.read_bytes(path)) or path == "/dev/stdin"
    assert time.monotonic() - began < 2


def test_a_link_is_followed_only_where_that_is_wanted(tmp_path):
    (tmp_path / "here").write_bytes(b"content")
    (tmp_path / "link").symlink_to("here")
    assert untrusted.read_bytes(tmp_path / "link") == b"content"
    assert "symbolic link" in said(lambda: untrusted.read_bytes(tmp_path / "link", follow=False))
    with pytest.raises(FileNotFoundError):
        untrusted.read_bytes(tmp_path / "absent")


def test_a_size_is_a_limit_also_of_a_sparse_file_and_of_one_that_grows(tmp_path, monkeypatch):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "at most 1 MB" in said(lambda: untrusted.read_bytes(path, most=MB))
    path.write_bytes(b"x" * 100)
    status = os.stat(path)
    path.write_bytes(b"x" * 2 * MB)
    monkeypatch.setattr(os, "fstat", lambda handle: status)  # it was small when it was looked at
    assert "more than 1 MB" in said(lambda: untrusted.read_bytes(path, most=MB))


def test_the_error_is_of_the_type_that_was_asked_for(fifo):
    with pytest.raises(UsageError):
        untrusted.read_bytes(fifo, error=UsageError)


@pytest.mark.parametrize(
    "text",
    ['{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "", "\xff", '{"a": -Infinity}'],
    ids=["nan", "twice", "deep", "digits", "empty", "latin", "infinite"],
)
def test_json_that_is_none_is_a_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    assert "a.json" in said(lambda: untrusted.read_json(path))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = 1\na = 2", "\xff"])
def test_toml_that_is_none_is_a_line(tmp_path, text):
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("latin-1"))
    assert "a.toml" in said(lambda: untrusted.read_toml(path))


def test_an_endless_line_ends():
    class Endless(io.TextIOBase):
        def readline(self, size=-1):
            assert 0 < size < 1 << 25
            return "x" * size

    assert "line 1" in said(lambda: list(untrusted.lines(Endless(), "endless.csv", longest=1000)))
    assert list(untrusted.lines(io.StringIO("ab\ncd"), "x", longest=3)) == ["ab\n", "cd"]


def peak(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_gzip_stops_at_its_limit_and_names_damage():
    bomb = gzip.compress(bytes(200 * MB), 9)
    assert peak(lambda: said(lambda: untrusted.gunzip(bomb, "bomb.gz", most=4 * MB))) < 32 * MB
    assert untrusted.gunzip(gzip.compress(b"abc") + gzip.compress(b"def"), "two") == b"abcdef"
    for damaged in (gzip.compress(b"abc" * 100)[:-9], b"\x1f\x8bnothing", b"", gzip.compress(b"abc")[:12] + b"\0" * 12):
        if damaged:
            assert "damaged" in said(lambda damaged=damaged: untrusted.gunzip(damaged, "x.gz"))


def lying_zip(true: bytes, claimed: int, name: str = "x.npy", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive whose only member says that it unpacks to ``claimed`` bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, true)
    raw = bytearray(file.getvalue())
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        raw[raw.index(signature) + at : raw.index(signature) + at + 4] = struct.pack("<I", claimed)
    return bytes(raw)


def test_zip_members_give_no_more_than_they_say():
    lie = lying_zip(bytes(300 * MB), 1000)
    assert peak(lambda: said(lambda: untrusted.unzip(io.BytesIO(lie), "x.zip", most=4 * MB))) < 48 * MB
    honest = lying_zip(bytes(8 * MB), 8 * MB)
    assert "at most 4 MB" in said(lambda: untrusted.unzip(io.BytesIO(honest), "x.zip", most=4 * MB))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = lying_zip(b"abc", 3, method=method)
        assert "method" in said(lambda packed=packed: untrusted.unzip(io.BytesIO(packed), "x.zip"))


def test_a_reader_that_closes_early_does_not_hang(tmp_path, fifo):
    """A FIFO with a writer is refused too: nothing waits for the other end."""
    writer = threading.Thread(target=lambda: os.close(os.open(fifo, os.O_RDWR)), daemon=True)
    writer.start()
    assert "regular" in said(lambda: untrusted.open_regular(fifo))
    writer.join(5)
    assert not writer.is_alive()


@given(st.text(max_size=400), st.integers(10, 120))
def test_names_are_printable_and_short(text, most):
    shown = untrusted.printable(text, most)
    assert shown.isprintable() and len(shown) <= most
    assert shown == text or not text.isprintable() or len(text) > most
    assert untrusted.one_line(text, most).isprintable()


def test_escape_sequences_and_names_of_megabytes_are_shown_harmlessly():
    assert untrusted.printable("a\x1b[2Jb\u202ec\udcff") == "a\\x1b[2Jb\\u202ec\\xff"
    assert len(untrusted.one_line("x\n" * 50_000_000)) <= 1000
