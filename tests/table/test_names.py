"""A bare name of a table or a board never means a folder of the working directory."""

import shutil

import pytest
from table_samples import write_table

from metabench.boards.board import find_board, load_board
from metabench.errors import UsageError
from metabench.table import find_table, load_table

BOARD = """
name = "search"
version = 1
dataset = "core"
dataset_version = 1
digest = "{digest}"
workload = "mlp"
budget = 4
seeds = 1
[split]
train = ["iris"]
valid = []
test = ["wine"]
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with folders that look like the table core and the board search."""
    monkeypatch.chdir(tmp_path)
    for variable in ("METABENCH_DATASETS", "METABENCH_LEADERBOARDS"):
        monkeypatch.delenv(variable, raising=False)
    write_table(tmp_path / "core/v1", datasets=("iris", "wine"), n_configs=8)
    for folder in (tmp_path / "search", tmp_path / "search/v1"):
        folder.mkdir()
        (folder / "board.toml").write_text(BOARD.format(digest="0" * 64))
    return tmp_path


def test_a_folder_of_the_working_directory_is_no_table_of_its_name(here):
    assert here not in find_table("core", 1).resolve().parents
    shutil.move(here / "core", here / "mine")
    for name in ("mine", "mine.v1", "-mine", "_mine"):
        if name != "mine":
            shutil.copytree(here / "mine", here / name)
        with pytest.raises(UsageError, match=f"the folder of that name is ./{name}"):
            find_table(name)
    assert (
        load_table("./mine").version == 1
        and load_table("mine/v1").version == 1
        and load_table(here / "mine").version == 1
    )
    shutil.copytree(here / "mine/v1", here / "flat")
    with pytest.raises(UsageError, match=r"\./flat"):
        load_table("flat")


def test_a_folder_of_the_working_directory_is_no_board_of_its_name(here):
    assert here not in find_board("search").resolve().parents
    shutil.move(here / "search", here / "mine")
    with pytest.raises(UsageError, match=r"the folder of that name is ./mine"):
        load_board("mine")
    for path in ("./mine", "mine/", "mine/v1", "mine/board.toml", here / "mine"):
        assert load_board(path).budget == 4


def test_places_that_are_named_on_purpose_are_searched(here, monkeypatch):
    monkeypatch.setenv("METABENCH_DATASETS", str(here))
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(here))
    assert find_table("core") == here / "core/v1" and find_board("search") == here / "search/v1/board.toml"
