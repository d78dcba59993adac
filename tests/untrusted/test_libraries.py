"""Arrays, images and Parquet of strangers: sizes are checked before memory is taken, formats are a list."""

import io
import os
import struct
import subprocess
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metabench import untrusted
from metabench.errors import MetabenchError

MB = 1 << 20


def said(call) -> str:
    with pytest.raises(MetabenchError) as caught:
        call()
    text = str(caught.value)
    assert text.isprintable() and len(text) < 1200
    return text


# ---------------------------------------------------------------- numpy
def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            out.writestr(name.replace("_", "."), content)
    return file.getvalue()


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def test_arrays_come_back_in_native_order():
    file = io.BytesIO()
    kept = {
        "a": np.arange(6.0).reshape(2, 3).astype(">f8"),
        "b": np.asfortranarray(np.ones((3, 2), "i2")),
        "c": np.float32(3),
        "d": np.empty((0, 4)),
        "e": np.array(["x", "yy"]),
    }
    np.savez_compressed(file, **kept)
    found = untrusted.npz(file.getvalue())
    for name, value in kept.items():
        assert (
            found[name].dtype.isnative and np.array_equal(found[name], value) and found[name].shape == np.shape(value)
        )


@pytest.mark.parametrize(
    "content",
    [
        archive(x_npy=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }")),
        archive(x_npy=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1), }", bytes(8))),
        archive(x_npy=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n.")),
        archive(x_npy=npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", bytes(8))),
        archive(x_npy=npy("__import__('os').system('true')")),
        archive(x_npy=npy("(" * 110)),
        archive(x_npy=b"\x93NUMPY\x09\x00nothing"),
        archive(x_npy=b""),
        b"PK\x03\x04 no archive",
        b"",
    ],
    ids=["huge", "negative", "object", "structure", "code", "nested", "version", "empty", "no-zip", "nothing"],
)
def test_archives_that_lie_are_a_line(content):
    assert "x.npz" in said(lambda: untrusted.npz(content, "x.npz"))


def test_an_archive_is_bounded_before_it_is_unpacked():
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(8 * MB))
    assert len(file.getvalue()) < MB
    assert "at most 16 MB" in said(lambda: untrusted.npz(file.getvalue(), "x.npz", most=16 * MB))


# ---------------------------------------------------------------- images
def picture(kind: str, size=(8, 6)) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_images_of_the_list_are_read_whatever_they_are_called(kind, tmp_path):
    (tmp_path / "x.dat").write_bytes(picture(kind))
    assert untrusted.image(tmp_path / "x.dat").size == (8, 6)


@pytest.mark.parametrize("kind", ["PPM", "PCX", "TGA", "ICO", "PDF", "EPS", "SGI", "DDS"])
def test_other_formats_are_refused_under_an_image_s_name(kind, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **kwargs: started.append(args))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))
    monkeypatch.setattr(os, "system", started.append)
    (tmp_path / "x.png").write_bytes(picture(kind))
    assert "format" in said(lambda: untrusted.image(tmp_path / "x.png"))
    assert started == []


def test_pixels_are_counted_before_they_are_decoded(tmp_path):
    large = bytearray(picture("PNG"))
    header = large.index(b"IHDR")
    large[header + 4 : header + 12] = struct.pack(">II", 30_000, 30_000)
    import zlib

    large[header + 17 : header + 21] = struct.pack(">I", zlib.crc32(bytes(large[header : header + 17])))
    assert "pixels" in said(lambda: untrusted.image(bytes(large), "x.png"))
    for cut in range(0, len(large), 5):
        said(lambda cut=cut: untrusted.image(bytes(large[:cut]), "x.png"))


# ---------------------------------------------------------------- Parquet
def test_parquet_arrives_as_it_was_written(tmp_path):
    table = pa.table(
        {"a": list(range(100)), "b": [[1.5, None]] * 100, "c": pa.array(["x", "y"] * 50).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    assert untrusted.parquet(tmp_path / "a.parquet").to_pydict() == table.to_pydict()
    assert untrusted.parquet(tmp_path / "a.parquet", columns=["c", "a"]).column_names == ["c", "a"]
    assert "no column" in said(lambda: untrusted.parquet(tmp_path / "a.parquet", columns=["z\x1b[1m"]))
    assert "rows" in said(lambda: untrusted.parquet(tmp_path / "a.parquet", rows=99))


def test_two_kilobytes_do_not_become_ten_gigabytes(tmp_path):
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, "i4")), pa.array(["y" * 10_000]))
    pq.write_table(pa.table({"s": repeated}), tmp_path / "bomb.parquet", store_schema=False)
    assert (tmp_path / "bomb.parquet").stat().st_size < 10_000
    began = time.monotonic()
    line = said(lambda: untrusted.parquet(tmp_path / "bomb.parquet", values=128 * MB))
    assert "128 MB" in line and time.monotonic() - began < 60


def test_a_footer_s_claims_are_checked(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": list(range(100))}), path)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    rng = np.random.default_rng(1)
    broken = [whole[: len(whole) // 2], whole[-20:], b"PAR1", b"", whole[:-8] + b"\xff\xff\xff\x7fPAR1"]
    for _ in range(60):
        at = len(whole) - 8 - footer + int(rng.integers(footer))
        broken.append(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
    for content in broken:
        try:
            untrusted.open_parquet(io.BytesIO(content), "a.parquet")
        except MetabenchError as error:
            assert str(error).isprintable() and len(str(error)) < 1200


def explode() -> bytes:
    return bytes(bytearray(1 << 40))


def stall() -> bytes:
    time.sleep(60)
    return b""


def flood() -> bytes:
    return bytes(8 * MB)


def test_a_child_is_bounded_in_memory_time_and_output(monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    here = "test_libraries"
    # pyarrow and pytest alone reserve some hundred megabytes of addresses
    assert "memory" in said(lambda: untrusted.bounded(f"{here}:explode", where="x"))
    assert "longer than 1 s" in said(lambda: untrusted.bounded(f"{here}:stall", where="x", seconds=1))
    assert "larger than 1 MB" in said(lambda: untrusted.bounded(f"{here}:flood", where="x", output=MB))
    assert len(untrusted.bounded(f"{here}:flood", where="x", output=9 * MB)) == 8 * MB
