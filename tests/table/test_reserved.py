"""Data sets that are kept out of every table, so that there is something left to show recommendations on."""

from pathlib import Path

import pytest

from metabench import tasks
from metabench.table import load_table, table_names

ROOT = Path(__file__).parents[2]
RESERVED = [line for line in (ROOT / "datasets/reserved.txt").read_text().splitlines() if line and line[0] != "#"]


def families():
    found = {}
    for task_id in RESERVED:
        source, _ = tasks._listings()[task_id.partition("-")[2]]
        entry = source._entry(task_id.partition("-")[2])
        found[task_id] = entry.get("family", task_id.partition("-")[2])
    return found


def test_twenty_and_more_are_reserved_and_known():
    assert len(RESERVED) >= 20 and set(RESERVED) <= set(tasks.names("mlp")) and sorted(set(RESERVED)) == RESERVED
    assert len(set(families().values())) == len(RESERVED)


@pytest.mark.parametrize("name", table_names())
def test_no_table_holds_them_or_their_families(name):
    held = load_table(name).tasks
    held = held[held["workload"] == "mlp"]
    assert not set(RESERVED) & set(held["task_id"])
    assert not set(families().values()) & set(held["family"])
