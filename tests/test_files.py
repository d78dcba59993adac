"""A file or a folder is replaced in full or not at all, and nothing is left beside it."""

import os
import re
import stat
import subprocess
import sys

import pytest

from metabench import files


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_added_and_replaced_in_folders_that_are_made(tmp_path):
    path = tmp_path / "a/b/c.txt"
    files.replace_file(path, "first ü\n")
    files.replace_file(path, b"second")
    assert path.read_bytes() == b"second" and names(path.parent) == ["c.txt"]


def test_a_file_has_the_rights_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").write_text("")
    files.replace_file(tmp_path / "made", "")
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(error), files.replacing(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["f"]


def test_a_file_that_cannot_take_its_place_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/inside").write_text("x")
    with pytest.raises(OSError, match="taken"):
        files.replace_file(tmp_path / "taken", "new")
    assert names(tmp_path) == ["taken"] and names(tmp_path / "taken") == ["inside"]


def test_what_is_written_is_synced_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("fsync"))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), rename(a, b)))
    files.replace_file(tmp_path / "f", "x")
    assert calls == ["fsync", "rename", "fsync"]  # the file, its name, the folder that holds the name


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    code = (
        "import os, signal, sys; from metabench import files\n"
        "with files.replacing(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode < 0
    assert path.read_text() == "old"


def test_a_folder_is_added_and_replaced_whole(tmp_path):
    place = tmp_path / "home/place"
    for content in ({"a": "1", "b": "2"}, {"c": "3"}):
        with files.replacing_folder(place) as made:
            for name, text in content.items():
                (made / name).write_text(text)
        assert {p.name: p.read_text() for p in place.iterdir()} == content
    assert names(place.parent) == ["place"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").write_text("old")
    with pytest.raises(ValueError, match="no"), files.replacing_folder(place) as made:
        (made / "new").write_text("new")
        raise ValueError("no")
    rename = os.replace
    monkeypatch.setattr(files, "exchange", lambda a, b: False)

    def full(a, b):
        if (a / "new").exists():
            raise OSError(28, "No space left on device", str(b))
        rename(a, b)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"), files.replacing_folder(place) as made:
        (made / "new").write_text("new")
    assert names(tmp_path) == ["place"] and names(place) == ["old"]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/kept").write_text("kept")
    (tmp_path / "link").symlink_to("real")
    with files.replacing_folder(tmp_path / "link") as made:
        (made / "new").write_text("new")
    assert names(tmp_path / "link") == ["new"] and names(tmp_path / "real") == ["kept"]
    assert names(tmp_path) == ["link", "real"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    """Parts of a dead process go, files, folders and links alike; those of a living one, of another machine and plain
    files stay."""
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    name = files.beside(tmp_path / "a.txt").name
    dead = name.replace(f"-{os.getpid()}-", f"-{int(gone.stdout)}-")
    elsewhere = re.sub(r"\.[0-9a-f]{8}-", ".00000000-", dead)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    place = tmp_path / "place"
    place.mkdir()
    for made in (name, dead, elsewhere, "a.part", ".a.txt.part"):
        (place / made).write_text("x")
    (place / dead.replace(".a.txt.", ".b.")).mkdir()
    (place / dead.replace(".a.txt.", ".b.") / "inside").write_text("x")
    (place / dead.replace(".a.txt.", ".c.")).symlink_to(outside)
    old = elsewhere.replace(".a.txt.", ".old.")
    (place / old).write_text("x")
    os.utime(place / old, (1, 1))
    files.sweep(place)
    assert {path.name for path in place.iterdir()} == {name, elsewhere, "a.part", ".a.txt.part"}
    assert (outside / "kept").exists()
    files.sweep(tmp_path / "absent")


# ---------------------------------------------------------------- trees
@pytest.fixture(params=[True, False], ids=["exchanged", "moved aside"])
def either_way(request, monkeypatch):
    """With the system's call that exchanges two entries, and without it."""
    if not request.param:
        monkeypatch.setattr(files, "exchange", lambda a, b: False)


def test_a_tree_replaces_its_entries_and_leaves_others(tmp_path, either_way):
    (tmp_path / "kept").write_text("kept")
    for content in ({"a.txt": b"1", "site/x/y": b"2", "site/z": b"3"}, {"a.txt": b"4", "site/q": b"5"}):
        files.write_tree(tmp_path, content)
        there = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert there == content | {"kept": b"kept"}


def test_a_tree_writes_over_links_and_not_through_them(tmp_path, either_way):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    place = tmp_path / "place"
    place.mkdir()
    (place / "site").symlink_to(outside)
    (place / "a.txt").symlink_to(outside / "file")
    files.write_tree(place, {"site/file": b"ours", "a.txt": b"ours"})
    assert (outside / "file").read_text() == "theirs" and names(place) == ["a.txt", "site"]


CRASH = """
import os, signal, sys
from metabench import files
steps = int(sys.argv[2])
if sys.argv[3] == "aside":
    files.exchange = lambda a, b: False
def count(event, args):
    global steps
    if event in ("os.rename", "open", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree"):
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
files.write_tree(sys.argv[1], {"site/a": b"new", "site/b": b"new", "c": b"new"})
"""


@pytest.mark.parametrize("how", ["exchanged", "aside"])
def test_a_tree_that_is_killed_anywhere_is_mended_by_the_next_call(tmp_path, how):
    finished = False
    for step in range(0, 90, 3):
        place = tmp_path / f"{how}{step}"
        files.write_tree(place, {"site/a": b"old", "c": b"old"})
        done = subprocess.run([sys.executable, "-c", CRASH, str(place), str(step), how], check=False)
        if how == "exchanged" and files._exchange() is not None:
            assert {p.read_bytes() for p in (place / "site").iterdir()} in ({b"old"}, {b"new"})
        files.write_tree(place, {"site/a": b"next", "c": b"next"})
        assert names(place) == ["c", "site"] and names(place / "site") == ["a"]
        if finished := done.returncode == 0:
            break
    assert finished and step > 8


def test_what_earlier_versions_left_is_swept_after_a_day(tmp_path):
    early = [tmp_path / ".build-abc", tmp_path / ".incoming-abc", tmp_path / ".m.own.0123.parquet.77.part"]
    for path in early:
        path.mkdir()
    (tmp_path / ".hidden").mkdir()
    files.sweep(tmp_path)
    assert len(names(tmp_path)) == 4
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    files.sweep(tmp_path)
    assert names(tmp_path) == [".hidden"]
