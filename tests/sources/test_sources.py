"""Readers on small literal files, the catalogue's honesty about bytes, and data sets that need no network."""

import gzip
import hashlib
import io
import json
import os
import socket

import numpy as np
import pytest

from metabench import registry
from metabench.errors import MetabenchError
from metabench.sources import _fetch, _readers
from metabench.sources.bundled import Bundled
from metabench.sources.catalogue import Catalogue

ARFF = b"""% a comment
@RELATION 'two words'
@attribute length REAL
@attribute 'kind of thing' {a, 'b c', "d"}
@attribute length numeric
@attribute note string
@data
1.5, a, 2, 'it''s'
?, 'b c', -3e1, "x, y"
% in between
4,d,?,plain
"""


def test_arff():
    frame = _readers.read_arff(ARFF)
    assert list(frame.columns) == ["length", "kind of thing", "length.2", "note"]
    np.testing.assert_array_equal(frame["length"], [1.5, np.nan, 4.0])
    assert frame["kind of thing"].tolist() == ["a", "b c", "d"]
    np.testing.assert_array_equal(frame["length.2"], [2.0, -30.0, np.nan])
    assert frame["note"].tolist()[1:] == ["x, y", "plain"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"@attribute a real\n@data\n1,2\n", "line 3: 2 values for 1"),
        (b"@attribute a real\n@data\n{0 1}\n", "line 3: sparse"),
        (b"@attribute a real\n@data\nx\n", "'a' is numeric"),
        (b"@attribute a real\n", "without @data"),
    ],
)
def test_arff_that_lies_is_named(text, says):
    with pytest.raises(MetabenchError, match=says):
        _readers.read_arff(text)


def test_csv_dialects():
    plain = _readers.read_csv(b"a,b\n1,x\nNA,?\n", missing="?")
    assert (
        plain["a"].tolist() == ["1", "NA"]
        and plain["b"].tolist()[0] == "x"
        and plain["b"].isna().tolist() == [False, True]
    )
    blank = _readers.read_csv(b"1  2\n3 4\n", delimiter="whitespace", header=False)
    assert blank.columns.tolist() == ["0", "1"] and blank["1"].tolist() == [2, 4]
    packed = _readers.read_csv(gzip.compress(b"skip me\n1;2\n"), delimiter=";", header=False, skip=1)
    assert packed.to_numpy().tolist() == [[1, 2]]


def test_matlab():
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {"X": np.arange(6.0).reshape(3, 2), "Y": np.array([[1], [2], [1]])})
    frame = _readers.read_mat(file.getvalue())
    assert frame.columns.tolist() == ["x0", "x1", "target"] and frame["target"].tolist() == [1, 2, 1]


def test_bundled_sets_need_no_network(monkeypatch):
    def refuse(*a, **k):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in Bundled().names():
        data = Bundled().load(name)
        assert len(data.X) == Bundled().listing(name).n_rows and data.family


def test_no_two_sources_share_a_name():
    names = [n for s in registry.names("sources") for n in registry.create("sources", s).names()]
    assert len(names) == len(set(names)) > 120


def offline(tmp_path, monkeypatch, data: bytes, claimed: bytes | None = None):
    """A folder as METABENCH_DATA names it, holding one file."""
    sha = hashlib.sha256(claimed or data).hexdigest()
    (tmp_path / "one.csv").write_bytes(data)
    entry = {"files": [{"file": "one.csv", "raw_sha256": sha, "packed": None}]}
    (tmp_path / "manifest.json").write_text(json.dumps({"datasets": [entry]}))
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    return sha


def test_bytes_are_checked(tmp_path, monkeypatch):
    sha = offline(tmp_path, monkeypatch, b"right")
    assert _fetch.fetch("https://nowhere/one.csv", sha) == b"right"
    with pytest.raises(MetabenchError, match="no file with sha256"):
        _fetch.fetch("https://nowhere/two.csv", "0" * 64)


def test_changed_bytes_are_refused(tmp_path, monkeypatch):
    sha = offline(tmp_path, monkeypatch, b"wrong", claimed=b"right")
    with pytest.raises(MetabenchError, match="not the expected file"):
        _fetch.fetch("https://nowhere/one.csv", sha)


def test_names_do_not_lead_out_of_the_folder(tmp_path, monkeypatch):
    entry = {"files": [{"file": "../secret", "raw_sha256": "0" * 64, "packed": None}]}
    (tmp_path / "manifest.json").write_text(json.dumps({"datasets": [entry]}))
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    with pytest.raises(MetabenchError, match="leads out"):
        _fetch.fetch("https://nowhere/x", "0" * 64)


def test_no_network_is_one_line(tmp_path, monkeypatch):
    import requests

    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path))

    def closed(*a, **k):
        raise requests.ConnectionError("closed")

    monkeypatch.setattr(requests, "get", closed)
    with pytest.raises(MetabenchError, match="METABENCH_DATA") as error:
        Catalogue().load("car")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(
    not os.environ.get("METABENCH_DATA"), reason="METABENCH_DATA names no folder with the catalogue's files"
)
@pytest.mark.parametrize("name", ["adult", "anneal", "cnae9", "colon", "parkinsons", "titanic", "yacht"])
def test_catalogue_sets_read(name):
    data, listing = Catalogue().load(name), Catalogue().listing(name)
    assert (data.X[0].shape[1] if data.kind == "forecasting" else len(data.X)) == listing.n_rows
    if name == "parkinsons":
        assert data.groups is not None and len(np.unique(data.groups)) == 32
    if name == "titanic":
        assert not {"name", "boat", "body", "ticket"} & set(data.X.columns)
