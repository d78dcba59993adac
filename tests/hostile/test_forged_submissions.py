"""Random harm to what an author sends and to what a board keeps: refused in one line, or without any effect."""

import hashlib
import json
import os
import random
import shutil
from functools import partial

import pytest
from boards_scene import scene
from fakes import read_here
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metabench.boards.submissions import Refused, accepted, check, kept, parse
from metabench.errors import MetabenchError
from metabench.untrusted import parse_toml

FILES = ("submission.toml", "traces.parquet", "status.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metabench.boards.submissions.columns.parquet", read_here)
        yield scene(tmp_path_factory.mktemp("forgery"))


@pytest.fixture
def kept_folder(made):
    """The accepted folder, whole again afterwards."""
    place = made[3]
    before = {name: (place / name).read_bytes() for name in FILES}
    yield place
    shutil.rmtree(place.parent)
    place.mkdir(parents=True)
    for name, content in before.items():
        (place / name).write_bytes(content)


def restore(place, before):
    shutil.rmtree(place.parent)
    place.mkdir(parents=True)
    for name, content in before.items():
        (place / name).write_bytes(content)


def flip(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 8))):
        at = rng.randrange(8 * len(out))
        out[at // 8] ^= 1 << (at % 8)
    return bytes(out)


HARM = {
    "flip": flip,
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "splice": lambda data, rng: (
        data[: (at := rng.randrange(len(data)))] + rng.randbytes(rng.randrange(1, 40)) + data[at:]
    ),
    "drop": lambda data, rng: data[: (at := rng.randrange(len(data)))] + data[at + rng.randrange(1, 20) :],
    "double": lambda data, rng: data + data[rng.randrange(len(data)) :],
}


def test_bytes_of_an_accepted_folder_that_changed(made, kept_folder, tally, effort):
    board, table, _, _ = made
    before = {name: (kept_folder / name).read_bytes() for name in FILES}
    honest = [(s, hashlib.sha256(str(t.to_pylist()).encode()).digest()) for s, t in accepted(board, table)]
    for seed in range(effort(60)):
        rng = random.Random(seed)
        name, (harm, change) = rng.choice(FILES), rng.choice(sorted(HARM.items()))
        content = change(before[name], rng)
        if content == before[name]:
            continue
        (kept_folder / name).write_bytes(content)

        def same(result):
            return [(s, hashlib.sha256(str(t.to_pylist()).encode()).digest()) for s, t in result] == honest

        # white space of status.json may change: it says the same
        tally.attempt(f"{seed}: {harm} {name}", lambda: list(accepted(board, table)), same)
        restore(kept_folder, before)


def test_facts_of_an_accepted_folder_that_were_sealed_again(made, kept_folder, tally, effort):
    board, table, _, _ = made
    before = {name: (kept_folder / name).read_bytes() for name in FILES}
    whole = json.loads(before["status.json"])
    whole.pop("sha256")
    values = [None, True, 0, -1, 1e300, "", "x", "random", [], {}, [[]], {"name": "fake"}, "0" * 64, ["Eve"], "\x1b[2J"]
    for seed in range(effort(40)):
        rng = random.Random(seed)
        facts = json.loads(json.dumps(whole))
        target = rng.choice([facts, facts["board"], facts["table"], facts["files"]])
        key = rng.choice(sorted(target))
        if target is facts and key in ("status", "metabench"):  # whoever may write to the board may say these
            continue
        if rng.random() < 0.3:
            del target[key]
        else:
            target[key] = rng.choice([v for v in values if v != target[key]])
        (kept_folder / "status.json").write_text(kept._sealed(facts))
        tally.attempt(f"{seed}: {key}", lambda: list(accepted(board, table)))
        restore(kept_folder, before)


def test_links_and_strange_entries(made, kept_folder, tally, tmp_path):
    board, table, mine, _ = made
    before = {name: (kept_folder / name).read_bytes() for name in FILES}
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for where, act in ((kept_folder, lambda: list(accepted(board, table))), (tmp_path / "sent", None)):
        for name in (*FILES, "more", ".hidden", "x" * 255, "\x1b[2J", "\udcff", "a\nb"):
            for kind in ("link", "dangling", "fifo", "folder", "loop"):
                if act is None:
                    shutil.rmtree(where, ignore_errors=True)
                    shutil.copytree(mine, where)
                path = where / name
                path.unlink(missing_ok=True)
                {
                    "link": lambda p: p.symlink_to(secret),
                    "dangling": lambda p: p.symlink_to(tmp_path / "nowhere"),
                    "fifo": os.mkfifo,
                    "folder": os.mkdir,
                    "loop": lambda p: p.symlink_to(p.name),
                }[kind](path)
                tally.attempt(f"{kind} {name!r}", act or partial(check, where, board, table))
                if act is not None:
                    restore(kept_folder, before)


# ---------------------------------------------------------------- submission.toml
CORPUS = [
    b"",
    b"\xff\xfe",
    b"\x00",
    b"a = ",
    b"[[[[",
    b"a" * 60_000,
    b"a = 1\na = 2",
    b"method = " + b"9" * 5000,
    b"method = " + b"9" * 4000,
    b"method = " + b"[" * 20_000,
    b"x = " + b"[" * 500 + b"]" * 500,
    b"a" + b".a" * 20_000 + b" = 1",
    b"[" + b"a." * 10_000 + b"a]",
    b"method = 1e999",
    b"method = nan",
    b"method = 2020-01-01",
    b'method = "\\u001b[2J"',
    b'"\\u001b[2J" = 1',
    b"claims = 3",
    b"[claims]\nx = nan",
    b'[claims]\n"regret@10" = ' + b"9" * 4000,
    b"[claims]\n" + b"x" * 60_000 + b" = 1",
    b"authors = [[[]]]",
    b"authors = [" + b'"a", ' * 10_000 + b"]",
    b'"""' * 1000,
    b"method = '''\n'''",
    b"\r\n" * 30_000,
    b"a={b={c={d={}}}}",
    b"authors = {a = 1}",
    b'trained_on = ["' + b"x" * 50_000 + b'"]',
]


def read_words(content):
    return parse(parse_toml(content, "submission.toml", error=Refused))


@pytest.fixture(scope="module")
def words(made):
    return (made[2] / "submission.toml").read_bytes()


def test_words_of_a_corpus(tally, words):
    for content in CORPUS:
        tally.attempt(repr(content[:40]), partial(read_words, content))
        tally.attempt(
            f"after: {content[:40]!r}", partial(read_words, words + b"\n" + content), lambda x: x.method == "mine"
        )


PLACEHOLDERS = [
    "your name",
    "Your Name",
    "TODO",
    "todo: write",
    "<your name>",
    "my name",
    "author",
    "FIXME",
    "TBD",
    "the authors",
    "first name last name",
    "n/a",
    "?",
    "...",
    " ",
    "",
    "name of your team",
]


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("key", ["authors", "summary"])
def test_placeholders(words, tally, text, key):
    old = b'authors = ["Ada Lovelace"]' if key == "authors" else b'summary = "The first untried candidate."'
    new = f'authors = ["Ada Lovelace", "{text}"]' if key == "authors" else f'summary = "{text}"'
    assert old in words
    tally.attempt(f"{key} {text!r}", lambda: read_words(words.replace(old, new.encode())))


@pytest.mark.parametrize(
    "text", ["Ada Lovelace", "Bar-Yosef", "Name Surname-Tanaka", "方法", "A. Nonymous", "The Name Lab"]
)
def test_authors_are_not_taken_for_placeholders(words, text):
    assert text in read_words(words.replace(b"Ada Lovelace", text.encode())).authors


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["method", "board", "digest", "summary", "authors", "trained_on", "tuned_on", "claims", "code", "spec"]
)


def test_facts_of_any_form(words, tally, effort):
    honest = parse_toml(words, "submission.toml")

    @settings(max_examples=effort(150), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(_KEYS | st.text(max_size=12), _VALUES, min_size=1, max_size=3))
    def any_form(changes):
        tally.attempt(
            f"{changes!r:.80}", lambda: parse(honest | changes), lambda found: found.board == honest["board"] or True
        )

    any_form()


def test_bytes_of_any_form(words, tally, effort):
    @settings(max_examples=effort(100), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200), st.integers(0, 10**6))
    def any_bytes(content, at):
        at %= len(words)
        spliced = words[:at] + content + words[at:]
        tally.attempt(f"{content!r:.60}", lambda: read_words(spliced), lambda found: isinstance(found.method, str))

    any_bytes()


def test_errors_are_errors_of_ours():
    with pytest.raises(MetabenchError):
        read_words(b"\x00")
