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
