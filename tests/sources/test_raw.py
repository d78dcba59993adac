"""Readers of images, sounds, series and text on small literal files; files that lie are named in one line."""

import gzip
import io
import json
import os
import struct
import wave
import zipfile

import numpy as np
import pytest
from PIL import Image

from metabench.errors import MetabenchError
from metabench.sources._raw import READERS, read
from metabench.sources.catalogue import Catalogue, _catalogue


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def png(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, "PNG")
    return out.getvalue()


def idx(values) -> bytes:
    values = np.asarray(values, np.uint8)
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def test_idx():
    images = np.arange(12).reshape(3, 2, 2)
    files = [("a-images-idx3-ubyte.gz", gzip.compress(idx(images))), ("a-labels-idx1-ubyte", idx([4, 0, 1]))]
    X, y = read(files, {"format": "idx"})
    assert np.array_equal(X, images) and y == [4, 0, 1]


def test_npz():
    out = io.BytesIO()
    np.savez(out, a=np.zeros((2, 3, 3), np.uint8), b=np.ones((1, 3, 3), np.uint8), l=[[1], [2]], m=[3])
    X, y = read([("x.npz", out.getvalue())], {"format": "npz", "images": ["a", "b"], "labels": ["l", "m"]})
    assert X.shape == (3, 3, 3) and y == [1, 2, 3]


def test_an_archive_with_objects_is_refused():
    out = io.BytesIO()
    np.savez(out, a=np.array([{"run": "me"}], dtype=object))
    with pytest.raises(MetabenchError, match="npz"):
        read([("x.npz", out.getvalue())], {"format": "npz", "images": ["a"], "labels": ["a"]})


def test_characters_and_sprites():
    files = {f"images/Greek/character0{k}/{n}.png": png([[0, 255], [255, 255]]) for k in (1, 2) for n in (1, 2)}
    X, y = read([("x.zip", zipped(files | {"__MACOSX/images/Greek/a/1.png": b""}))], {"format": "characters"})
    assert X.shape == (4, 2, 2) and X[0].tolist() == [[255, 0], [0, 0]] and y[0] == "Greek/character01"
    sheet = np.kron(np.arange(4).reshape(2, 2), np.ones((3, 3)))
    X, y = read([("s.png", png(sheet))], {"format": "sprite", "side": 3, "classes": 2})
    assert [int(tile[0, 0]) for tile in X] == [0, 1, 2, 3] and y == [0, 0, 1, 1]


def test_sounds():
    def sound(rate):
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.array([1, -2, 3], "<i2").tobytes())
        return out.getvalue()

    X, y = read([("x.zip", zipped({"7_ann_0.wav": sound(8000)}))], {"format": "sounds", "rate": 8000})
    assert X[0].tolist() == [1, -2, 3] and y == ["7"]
    with pytest.raises(MetabenchError, match="8000 Hz"):
        read([("x.zip", zipped({"7_ann_0.wav": sound(16000)}))], {"format": "sounds", "rate": 8000})


def test_series():
    text = b"#c\n@problemName x\n@data\n1,2,?:4,5,6:a\n7:8:b\n"
    X, y = read([("x.ts", text)], {"format": "ts", "task": "classification"})
    assert X[0].shape == (2, 3) and np.isnan(X[0][0, 2]) and X[1].tolist() == [[7.0], [8.0]] and y == ["a", "b"]
    X, y = read([("x.ts", b"@data\n1,2:0.5\n")], {"format": "ts", "task": "regression"})
    assert y == [0.5]
    X, y = read([("x", b"1,0.5,1.5\n-1 2 3\n")], {"format": "ucr"})
    assert X[1].tolist() == [[2.0, 3.0]] and y == [1, -1]
    entry = {"format": "measurements", "series": ["b", 0]}
    X, y = read([("x.csv", b"a,b\n1,2\nNA,3\n4,5\n")], entry)
    assert X[0].tolist() == [[2.0, 3.0, 5.0], [1.0, 1.0, 4.0]] and y is None


def test_texts():
    assert read([("x", b"1 a b\n0 c\n")], {"format": "label-first"}) == (["a b", "c"], ["1", "0"])
    assert read([("x", b"ham\thi\tyou\n")], {"format": "label-tab"}) == (["hi\tyou"], ["ham"])
    assert read([("Arabic.txt", b"Ali\n"), ("Czech.txt", b"Cap\n")], {"format": "file-per-class"}) == (
        ["Ali", "Cap"],
        ["Arabic", "Czech"],
    )
    parts = {k: [] for k in ("val", "test", "oos_train", "oos_val")} | {
        "train": [["a", "x"]],
        "oos_test": [["b", "oos"]],
    }
    assert read([("x", json.dumps(parts).encode())], {"format": "intents"}) == (["a", "b"], ["x", "oos"])
    entry = {"format": "text-column", "text": "s", "target": "t"}
    assert read([("x.csv", b"s,t\nCCO,1.5\n")], entry) == (["CCO"], [1.5])
    assert read([("x", b"a\n"), ("y", b"b")], {"format": "corpus"}) == ("a\nb", None)
    assert read([("x", b"emma\n\nava")], {"format": "names"}) == ("emma\nava\n", None)
    pairs, _ = read([("x", b";;; comment\ncat K AE1 T\ncat(2) K A T # again\n")], {"format": "pronunciations"})
    assert pairs == [(["c", "a", "t"], ["K", "AE1", "T"])]
    pairs, _ = read([("x", b"ser\teres\tV;SG\n")], {"format": "inflections"})
    assert pairs == [(["<V>", "<SG>", "s", "e", "r"], ["e", "r", "e", "s"])]


@pytest.mark.parametrize(
    ("name", "data", "entry"),
    [
        ("a-images", b"\x00\x00\x09\x03", {"format": "idx"}),
        ("a-images", idx(np.zeros((2, 2, 2)))[:-3], {"format": "idx"}),
        ("x.zip", b"no zip", {"format": "sounds", "rate": 8000}),
        ("x.ts", b"1,2:a\n", {"format": "ts", "task": "classification"}),
        ("x.ts", b"@data\n1,b:a\n", {"format": "ts", "task": "classification"}),
        ("x.json", b"{}", {"format": "intents"}),
        ("x.csv", b"a,b\n1,2\n", {"format": "measurements", "series": ["nothing"]}),
        ("x", b"lonely\n", {"format": "label-first"}),
    ],
)
def test_files_that_lie_are_named_in_one_line(name, data, entry):
    with pytest.raises(MetabenchError, match=name) as error:
        read([(name, data)], entry)
    assert "\n" not in str(error.value)


def test_every_entry_has_a_reader():
    entries = {name: entry for name, entry in _catalogue()["data"].items() if "modality" in entry}
    assert len(entries) >= 50 and {entry["format"] for entry in entries.values()} == set(READERS)
    assert {Catalogue().listing(name).modality for name in entries} == {"image", "audio", "series", "text"}


def test_what_was_derived_has_no_address(monkeypatch):
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    with pytest.raises(MetabenchError, match="METABENCH_DATA") as error:
        Catalogue().load("sign_digits")
    assert "JPEG" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(
    not os.environ.get("METABENCH_DATA"), reason="METABENCH_DATA names no folder with the catalogue's files"
)
@pytest.mark.parametrize(
    "name",
    [
        "cmaterdb_bangla",
        "fashion_mnist_900",
        "omniglot_small1",
        "ts_japanesevowels",
        "ts_trace",
        "ts_indoor_movement",
        "trec6",
        "names_18_languages",
        "smiles_esol",
        "tinyshakespeare",
        "cmudict_g2p",
        "inflection_spanish",
        "fc_exchange",
    ],
)
def test_catalogue_collections_read(name):
    data, listing = Catalogue().load(name), Catalogue().listing(name)
    assert (data.modality, data.kind) == (listing.modality, listing.kind) and len(data.X) > 0
