"""The committed table `starter`: sound, its card current, its split that of the boards, its metadata loadable."""

import itertools
from pathlib import Path

import pytest

from metabench.leaderboard.board import board_names, load_board
from metabench.table import card, load_table, splits, verify

PATH = Path(__file__).parents[2] / "datasets/starter/v1"


def test_it_is_sound_and_its_card_current():
    assert verify(PATH) == []
    assert card.check(PATH) == []


def test_its_split_is_that_of_every_board_on_it_that_leaves_no_domain_out():
    table = load_table(PATH)
    boards = [b for b in map(load_board, board_names()) if b.digest == table.digest and b.shift is None]
    assert boards
    for board in boards:
        assert splits.write(table.tasks, board.split) == (PATH / splits.FILE).read_bytes(), board.name


def test_every_data_set_has_a_source_and_a_licence():
    tasks = load_table(PATH).tasks
    assert (tasks["licence"] != "").all()
    assert (tasks["url"].str.startswith("https://") | (tasks["source"] == "bundled")).all()


def test_mlcroissant_finds_nothing_to_complain_of():
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(str(PATH / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors | dataset.metadata.ctx.issues.warnings
    tasks = list(dataset.records("tasks"))
    assert [t["tasks/task_id"].decode() for t in tasks] == load_table(PATH).tasks["task_id"].tolist()
    (run,) = itertools.islice(dataset.records("mlp"), 1)
    assert run["mlp/run_id"] == load_table(PATH).runs("mlp", ["run_id"])["run_id"][0].as_py()
