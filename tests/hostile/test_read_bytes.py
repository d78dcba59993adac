"""Readers of a stranger's bytes, fed with damaged, swapped and lying ones: one line, or what may be read."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import damaged
from PIL import Image

from metabench import untrusted


def archive() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.random.default_rng(0).normal(size=(20, 5)), y=np.arange(20))
    return file.getvalue()


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(255, size=(24, 18, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(500)), "s": ["x", "yy"] * 250, "l": [[1.5]] * 500}), file)
    return file.getvalue()


READERS = {
    "npz": ([archive()], lambda b: untrusted.npz(b, "x.npz")),
    "image": ([picture(k) for k in untrusted.arrays.FORMATS], lambda b: untrusted.image(b, "x.png")),
    "json": ([b'{"a": [1, 2, {"b": null}], "c": "text"}' * 1], lambda b: untrusted.parse_json(b, "x.json")),
    "toml": ([b'[a]\nb = 1\nc = "text"\n[[d]]\ne = [1, 2]\n'], lambda b: untrusted.parse_toml(b, "x.toml")),
    "gzip": ([gzip.compress(b"some text " * 100)], lambda b: untrusted.gunzip(b, "x.gz")),
    "zip": ([archive()], lambda b: untrusted.unzip(io.BytesIO(b), "x.zip")),
    "footer": ([parquet()], lambda b: untrusted.open_parquet(io.BytesIO(b), "x.parquet")),
}


@pytest.mark.parametrize("kind", READERS)
def test_damaged_bytes(kind, tally, effort):
    """Whatever comes back was within the limits; nothing else than a line is raised."""
    samples, read = READERS[kind]
    rng = np.random.default_rng(len(kind))
    for i in range(effort(150)):
        content = damaged(samples[i % len(samples)], rng)
        for _ in range(int(rng.integers(3))):
            content = damaged(content, rng) if content else content
        tally.attempt(f"{kind} #{i}", lambda c=content: read(c), lambda found: True)


def test_damaged_parquet_in_a_child(tmp_path, tally, effort):
    """Rows of damaged pages, read under a limit of memory."""
    rng, whole = np.random.default_rng(9), parquet()
    for i in range(effort(6)):
        (tmp_path / "x.parquet").write_bytes(damaged(whole, rng))
        tally.attempt(f"#{i}", lambda: untrusted.parquet(tmp_path / "x.parquet"), lambda found: True)


def test_sizes_that_lie(tally):
    """Headers that promise far more than there is, or than may be."""
    for shape in ((10**12,), (10**6, 10**6), (2**63 - 1,), (2**64,), (0, 2**62)):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(118)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            made.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        empty = 0 in shape
        tally.attempt(f"npz {shape}", lambda f=file: untrusted.npz(f.getvalue(), "x.npz"), lambda found, e=empty: e)
    for bomb in (gzip.compress(bytes(1 << 27)), gzip.compress(gzip.compress(bytes(1 << 27))) * 3):
        tally.attempt(
            "gzip", lambda b=bomb: untrusted.gunzip(b, "x.gz", most=1 << 20), lambda found: len(found) <= 1 << 20
        )
    for size in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (0, 5)):
        raw = bytearray(picture("PNG"))
        at = raw.index(b"IHDR") + 4
        raw[at : at + 8] = struct.pack(">II", *size)
        tally.attempt(f"png {size}", lambda r=raw: untrusted.image(bytes(r), "x.png"))
        raw = bytearray(picture("BMP"))
        raw[18:26] = struct.pack("<ii", *size)
        tally.attempt(f"bmp {size}", lambda r=raw: untrusted.image(bytes(r), "x.png"))
