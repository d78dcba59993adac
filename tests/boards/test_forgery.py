"""What a board keeps of submissions: bound whole, checked again at every build, apart from the suite's own traces."""

import dataclasses
import hashlib
import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import First, board_for, read_here, signed
from published import planted_table

from metabench import schema
from metabench.boards.submissions import Refused, accept, accepted, check, draft, kept, read
from metabench.boards.submissions.folder import packed
from metabench.errors import MetabenchError
from metabench.evaluation import evaluate
from metabench.workflows import publishing


class Mine(First):
    """The first untried candidate."""

    name = "mine"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("metabench.boards.submissions.columns.parquet", read_here)


@pytest.fixture(scope="module")
def table():
    return planted_table(tasks=12, configs=64)


@pytest.fixture
def board(table, tmp_path):
    board = dataclasses.replace(board_for(table, budget=5), path=tmp_path / "fake/v1")
    board.path.mkdir(parents=True)
    split = "\n".join(f"{part} = {json.dumps(list(families))}" for part, families in board.split.items())
    rules = {"name": "fake", "version": 1, "dataset": "fake", "dataset_version": 1, "digest": board.digest}
    rules |= {"workload": "planted", "budget": 5, "seeds": 2}
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in rules.items())
    (board.path / "board.toml").write_text(f"{text}\n[split]\n{split}\n")
    return board


@pytest.fixture
def folder(table, board, tmp_path):
    return signed(draft(tmp_path / "mine", evaluate(Mine, board, table), Mine(), board, table))


@pytest.fixture
def place(folder, board, table):
    return accept(check(folder, board, table), board, table)


def seal(place, board, status="confirmed", /, **changed):
    """Write a status.json that fits the folder, as somebody would who knows its form; ``changed`` are lies in it."""
    packet = read(place)
    facts = kept._facts(packet.submission, packet.toml, packet.traces, board, status) | changed
    (place / "status.json").write_text(kept._sealed(facts))


def rewrite(place, change):
    rows = pq.read_table(place / "traces.parquet").to_pylist()
    change(rows)
    (place / "traces.parquet").write_bytes(packed(pa.Table.from_pylist(rows, schema.TRACES)))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(board, table, match):
    with pytest.raises(MetabenchError, match=match) as caught:
        list(accepted(board, table))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


# ---------------------------------------------------------------- forged after acceptance
@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("submission.toml", "Ada Lovelace", "Charles Babbage", "of 'authors'"),
        ("submission.toml", '"planted-0", ', "", "of 'trained_on'"),
        ("submission.toml", "tuned_on = []", 'tuned_on = ["planted-1"]', "of 'tuned_on'"),
        ("submission.toml", "The first untried", "The best", "of 'files'"),
        ("submission.toml", "# Say what", "#  Say what", "of 'files'"),
        ("status.json", '"recomputed"', '"confirmed"', "changed since it was written"),
        ("status.json", '"recomputed"', '"audited"', "none that this metabench writes"),
        ("status.json", "Ada Lovelace", "Charles Babbage", "of 'authors'"),
        ("status.json", '"name": "fake",\n  "version": 1\n', '"name": "fake",\n  "version": 2\n', "of 'board'"),
        ("status.json", '"sha256"', '"sha512"', "of|changed since it was written"),
        ("status.json", '"form": 2', '"form": 1', "of 'form'"),
        ("status.json", '"status"', '"status": "confirmed", "status"', "twice"),
        ("status.json", "{", "[" * 30_000, "nested too deeply|no JSON"),
        ("status.json", '"form": 2', '"form": ' + "9" * 5000, "JSON|of 'form'"),
    ],
)
def test_what_changed_after_acceptance_is_refused(place, board, table, file, old, new, match):
    edit(place / file, old, new)
    refused(board, table, match)


@pytest.mark.parametrize(
    "lie",
    [
        {"authors": ["Charles Babbage"]},
        {"trained_on": []},
        {"method": "other"},
        {"form": 3},
        {"status": "audited"},
        {"board": {"name": "fake", "version": 2}},
        {"board": {"name": "other", "version": 1}},
        {"metabench": 3},
        {"table": {"name": "fake", "version": 1, "digest": "0" * 64}},
        {"files": {}},
    ],
    ids=str,
)
def test_a_fitting_seal_does_not_make_a_lie_true(place, board, table, lie):
    seal(place, board, **lie)
    refused(board, table, "submit it again")


def repeated(rows):
    rows[0]["config_ids"][1] = rows[0]["config_ids"][0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (repeated, "must be distinct"),
        (lambda rows: rows.pop(), "is absent"),
        (lambda rows: rows[0]["overhead"].__setitem__(0, -5.0), "no time in seconds"),
        (lambda rows: rows[0]["overhead"].__setitem__(0, float("nan")), "no time in seconds"),
        (lambda rows: rows[0]["overhead"].__setitem__(0, float("inf")), "no time in seconds"),
        (lambda rows: rows[0]["config_ids"].__setitem__(0, 64), "in 0 … 63"),
        (lambda rows: [row.update(method="random") for row in rows], "holds method 'random'"),
        (lambda rows: rows[0].update(task_id="planted-0"), "not in meta-test"),
    ],
)
def test_sealed_traces_have_to_keep_the_rules(place, board, table, change, match):
    rewrite(place, change)
    seal(place, board)
    refused(board, table, match)


@pytest.mark.parametrize("name", ["random", "Random", "gp", "portfolio"])
def test_a_builtins_name_is_reserved_also_in_folders_made_by_hand(place, board, table, name):
    forged = place.with_name(name)
    place.rename(forged)
    edit(forged / "submission.toml", 'method = "mine"', f'method = "{name}"')
    rewrite(forged, lambda rows: [row.update(method=name) for row in rows])
    seal(forged, board)
    refused(board, table, "built-in's name")


def test_one_method_in_two_folders_is_refused(place, board, table):
    shutil.copytree(place, place.with_name("other"))
    refused(board, table, "holds method 'mine'")
    place.with_name("other").rename(place.with_name("MINE"))
    edit(place.with_name("MINE") / "submission.toml", 'method = "mine"', 'method = "MINE"')
    rewrite(place.with_name("MINE"), lambda rows: [row.update(method="MINE") for row in rows])
    seal(place.with_name("MINE"), board)
    refused(board, table, "too|by case alone")


def link_file(place):
    (place / "traces.parquet").rename(place.parent.parent / "t")
    (place / "traces.parquet").symlink_to(place.parent.parent / "t")


def link_folder(place):
    place.rename(place.parent.parent / "elsewhere")
    place.symlink_to(place.parent.parent / "elsewhere")


def fifo(place):
    (place / "traces.parquet").unlink()
    os.mkfifo(place / "traces.parquet")


@pytest.mark.parametrize(
    ("harm", "match"),
    [
        (link_file, "symbolic link"),
        (link_folder, "symbolic link"),
        (fifo, "does not belong here"),
        (lambda place: (place / "status.json").unlink(), "was not accepted"),
        (lambda place: (place / "status.json").write_text("{}"), "none that this metabench writes"),
        (lambda place: (place / "status.json").write_text("null"), "none that this metabench writes"),
        (lambda place: (place / "note.txt").write_text(""), "does not belong here"),
        (lambda place: (place.parent / "README").write_text(""), "is a file"),
        (lambda place: os.truncate(place / "status.json", 2**25), "at most"),
    ],
)
def test_folders_that_were_not_accepted_so_are_refused(place, board, table, harm, match):
    harm(place)
    refused(board, table, match)


# ---------------------------------------------------------------- between check and use
def test_what_is_kept_is_what_was_checked(folder, board, table):
    checked = check(folder, board, table)
    edit(folder / "submission.toml", "Ada Lovelace", "Charles Babbage")
    (folder / "traces.parquet").write_bytes(b"forged")
    accept(checked, board, table)
    ((submission, traces),) = accepted(board, table)
    assert submission.authors == ("Ada Lovelace",) and traces.equals(checked.traces)


def test_another_authors_submission_is_not_replaced(place, folder, board, table):
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    edit(folder / "submission.toml", "Ada Lovelace", "Charles Babbage")
    theirs = check(folder, board, table)
    with pytest.raises(Refused, match="was submitted by Ada Lovelace; choose another name, or --replace"):
        accept(theirs, board, table)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before
    accept(theirs, board, table, replaces=True)
    ((submission, _),) = accepted(board, table)
    assert submission.authors == ("Charles Babbage",)


def test_what_cannot_be_read_is_not_replaced_unasked(place, folder, board, table):
    (place / "submission.toml").write_text("not TOML")
    with pytest.raises(Refused, match="what is no submission"):
        accept(check(folder, board, table), board, table)
    accept(check(folder, board, table), board, table, replaces=True)
    assert len(list(accepted(board, table))) == 1


def test_a_method_of_the_boards_own_traces_is_taken(folder, board, table):
    pq.write_table(evaluate(Mine, board, table), board.path / "traces.parquet")
    with pytest.raises(Refused, match="among the board's own traces"):
        check(folder, board, table)


@pytest.mark.parametrize("board_name", ["../../evil", "./evil", "/tmp/evil", "a/b", "..", "Evil", ""])
def test_a_submission_cannot_choose_a_board_by_path(folder, board_name):
    edit(folder / "submission.toml", 'board = "fake"', f'board = "{board_name}"')
    with pytest.raises(Refused, match="is no board's name"):
        read(folder)


# ---------------------------------------------------------------- built again
@pytest.fixture
def listed(board, table, monkeypatch):
    """The board and its table, found by name."""
    monkeypatch.setattr("metabench.table.load_table", lambda name, version=None: table)
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(board.path.parent.parent))
    return board


def files_of(board):
    return {p.relative_to(board.path).as_posix() for p in board.path.rglob("*") if p.is_file()}


def methods_of(board):
    return set(pq.read_table(board.path / "scores.parquet")["method"].to_pylist())


def test_a_removed_submission_disappears_and_accepted_ones_are_enough(place, listed, table):
    pq.write_table(evaluate("random", listed, table), listed.path / "traces.parquet")
    publishing.publish("fake")
    assert methods_of(listed) == {"mine", "random"} and publishing.stale("fake") == []
    assert set(pq.read_table(listed.path / "traces.parquet")["method"].to_pylist()) == {"random"}
    before = (listed.path / "scores.parquet").read_bytes()
    # all that was published is lost, but for the suite's own traces
    for name in ("scores.parquet", "site"):
        path = listed.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    publishing.publish("fake")
    assert (listed.path / "scores.parquet").read_bytes() == before
    away = listed.path.parent / "away"
    place.rename(away)
    assert any("scores" in line for line in publishing.stale("fake"))
    publishing.publish("fake")
    assert methods_of(listed) == {"random"} and "site/methods/mine.html" not in files_of(listed)
    away.rename(place)
    (listed.path / "traces.parquet").unlink()
    publishing.publish("fake")
    assert methods_of(listed) == {"mine"} and not (listed.path / "traces.parquet").exists()


@pytest.mark.parametrize(
    ("methods", "match"),
    [([Mine], "'mine', which is neither installed nor"), ([Mine, "random"], "'mine', which is neither")],
)
def test_strangers_among_the_suites_own_traces_are_refused(listed, table, methods, match):
    pq.write_table(evaluate(methods, listed, table), listed.path / "traces.parquet")
    with pytest.raises(MetabenchError, match=match):
        publishing.publish("fake")


def test_a_trial_elsewhere_shows_what_was_accepted(place, listed, table, tmp_path):
    out = tmp_path / "trial"
    out.mkdir()
    pq.write_table(evaluate([Mine, "random"], listed, table), out / "traces.parquet")
    publishing.publish("fake", out=out)
    assert set(pq.read_table(out / "traces.parquet")["method"].to_pylist()) == {"random"}
    assert "| submission, recomputed |" in (out / "README.md").read_text()


def test_a_forged_folder_stops_a_build_and_leaves_the_site(place, listed, table):
    publishing.publish("fake")
    before = {name: hashlib.sha256((listed.path / name).read_bytes()).digest() for name in files_of(listed)}
    edit(place / "submission.toml", "Ada Lovelace", "Charles Babbage")
    with pytest.raises(MetabenchError, match="of 'authors'"):
        publishing.publish("fake")
    edit(place / "submission.toml", "Charles Babbage", "Ada Lovelace")
    assert {n: hashlib.sha256((listed.path / n).read_bytes()).digest() for n in files_of(listed)} == before
