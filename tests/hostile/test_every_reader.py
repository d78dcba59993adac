"""Every reader of a stranger's bytes is given a corpus, damaged files and files of any form: one line, or what it may read.

METABENCH_HOSTILE=20 tries twenty times as much; the suite's share takes well under two minutes.
"""

import gzip
import time
import warnings
from functools import cache

import numpy as np
import pytest
from damage import damaged
from every_reader import readers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metabench import registry
from metabench.advise import files

#: seconds that one file may take on a busy machine
SLOW = 30.0
CORPUS = [
    b"",
    b"\n",
    b"\x00" * 64,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf",
    b"\x1b[2J\x1b]0;x\x07\n",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"a = " + b"[" * 20_000,
    b"x" + b".y" * 20_000 + b" = 1",
    b"9" * 5_000,
    b'{"a": ' + b"9" * 5_000 + b"}",
    b"a,y\n" + b"1," * 20_000 + b"\n",
    b'a,y\n"unclosed' + b"z" * 100_000,
    b"a,y\n1,yes\n" * 5 + b"\x00\x00\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(x) print\n",
    b"PK\x03\x04" + b"\x00" * 60,
    b"PAR1" + b"\xff" * 40 + b"PAR1",
    b"ARROW1\x00\x00" + b"\xff" * 60 + b"ARROW1",
    b"\x93NUMPY\x01\x00\x10\x00{'shape': (10**9,)}",
    b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    b"(cos\nsystem\n(S'true'\ntR.",
    gzip.compress(b"a,y\n" + b"1,2\n" * 300_000),
    b"!!python/object/apply:os.system ['true']",
    b"NaN",
    b"null",
    b"[null]",
    b'{"a": 1, "a": 2}',
]
NAMES = list(readers())


@cache
def made():
    return readers()


def _act(reader, folder, content):
    folder = reader.put(folder, content)

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader.read(folder)

    return read


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_file_is_read(name, tmp_path):
    if name == "findings":
        return  # a stub of one
    reader = made()[name]
    _act(reader, tmp_path / "f", reader.files[reader.harm])()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_form(name, tmp_path, tally, effort):
    reader, rng, began, count = made()[name], np.random.default_rng(len(name)), time.monotonic(), 0
    sound = reader.files[reader.harm]

    def attempt(what, content):
        nonlocal count
        count += 1
        started = time.monotonic()
        tally.attempt(f"{name}: {what}", _act(reader, tmp_path / "f", content), lambda found: True)
        tally.verdict(f"{name}: {what} takes {time.monotonic() - started:.0f} s", time.monotonic() - started < SLOW)

    for content in CORPUS:
        attempt(f"{content[:30]!r}", content)
    for i in range(effort(10)):
        content = damaged(sound, rng)
        attempt(f"damaged #{i} {content[:60]!r}", content)

    @settings(max_examples=effort(8), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.floats(0, 1), st.integers(0, 40))
    def any_form(content, at, lost):
        place = int(at * len(sound))
        spliced = sound[:place] + content + sound[place + lost :]
        attempt(f"{content!r} at {place}", spliced)

    any_form()
    assert count >= len(CORPUS) + effort(10) and time.monotonic() - began < 1200


def test_no_reader_is_left_out():
    """A new format of import, and a new ending of data files, has to be named in every_reader.py."""
    imported = {name.removeprefix("import, ").split(",")[0] for name in NAMES if name.startswith("import, ")}
    readable = {name for name in registry.names("formats") if "read" in vars(registry.load("formats", name))}
    assert readable - imported <= {"synetune", "configspace"}, "binary files, see test_lies.py; an extra"
    read = {f".{file.split('.')[1]}" for name in NAMES if name.startswith("data, ") for file in made()[name].files}
    of_one = [files.DELIMITED, files.PARQUET, files.FEATHER, files.RECORDS]
    assert all(set(endings) & read for endings in of_one) and ".npz" in read and ".png" in read
