"""The committed tables: sound, their cards current, their splits those of the boards, their metadata loadable."""

import itertools
import re
from pathlib import Path

import pytest

from metabench.boards.board import board_names, load_board
from metabench.table import card, load_table, splits, verify

DATASETS = Path(__file__).parents[2] / "datasets"
PATH = DATASETS / "starter/v1"
SHIPPED = sorted(path.parent for path in DATASETS.glob("*/v*/SHA256SUMS"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_they_are_sound_and_their_cards_current(path):
    assert verify(path) == []
    assert card.check(path) == []


def test_its_split_is_that_of_the_boards_on_it_that_leave_no_domain_out():
    table = load_table(PATH)
    folders = [folder for name in board_names() for folder in load_board(name).path.parent.glob("v*")]
    boards = [
        b
        for b in map(load_board, folders)
        if b.dataset == table.name and b.digest == b.digest_on(table) and b.shift is None
    ]
    stored = (PATH / splits.FILE).read_bytes()
    leading = {board.name: board.split for board in boards if board.name in ("search", "workloads")}
    together = {part: [f for split in leading.values() for f in split[part]] for part in ("train", "valid", "test")}
    assert splits.write(table.tasks, together) == stored
    for board in boards:  # a board may hold out fewer
        for part, families in board.split.items():
            assert set(families) <= set(table.split[part]), (board.name, part)


def test_every_data_set_has_a_source_and_a_licence():
    tasks = load_table(PATH).tasks
    assert (tasks["licence"] != "").all()
    assert (tasks["url"].str.startswith("https://") | tasks["source"].isin(["bundled", "control"])).all()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_mlcroissant_validates_and_loads_them(path):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(str(path / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    # a date, which is recommended, is that of a table's notes
    assert not issues.errors | {w for w in issues.warnings if "datePublished" not in w or (path / "NOTES.md").exists()}
    tasks = list(dataset.records("tasks"))
    assert [t["tasks/task_id"].decode() for t in tasks] == load_table(path).tasks["task_id"].tolist()
    for workload in load_table(path).workloads if path == PATH else ():  # the loader reads a runs file as a whole
        name = next(r.uuid for r in dataset.metadata.record_sets if re.fullmatch(rf"{workload}(-\d+)?", r.uuid))
        (run,) = itertools.islice(dataset.records(name), 1)
        assert run[f"{name}/run_id"] == load_table(path).runs(workload, ["run_id"])["run_id"][0].as_py()
