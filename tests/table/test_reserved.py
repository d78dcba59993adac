"""Data sets that are kept out of every table, so that there is something left to show recommendations on."""

import hashlib
from pathlib import Path

import pytest

from metabench import tasks
from metabench.sources.bundled import _SETS
from metabench.sources.catalogue import _catalogue
from metabench.table import load_table, reserved, table_names

ROOT = Path(__file__).parents[2]
FILE = ROOT / "datasets/reserved.txt"
#: tables that were there when the list was made
BEFORE = ("core", "core_seeds", "core_variants", "starter")
LARGE = 2_000


def family(name):
    return _SETS[name][4] if name in _SETS else _catalogue()["data"].get(name, {}).get("family", name)


def drawn():
    """The rule at the head of the file."""
    held = [load_table(name, 1).tasks for name in BEFORE]
    held = {f for t in held for f in t.loc[t["workload"] == "mlp", "family"]}
    members = {}
    for task_id in tasks.names("mlp"):
        name = task_id.removeprefix("mlp-")
        members.setdefault(family(name), []).append(name)
    sizes = {}
    for fam, (name, *others) in members.items():
        entry = _catalogue()["data"].get(name, {})
        if fam not in held and not others and not {"made", "unclear", "weak"} & set(entry) and name != "ann_thyroid":
            sizes[name] = tasks._listings()[name][1].n_rows
    ranked = sorted(sizes, key=lambda name: hashlib.sha256(f"reserved/2/{family(name)}".encode()).hexdigest())
    small, large = ([n for n in ranked if (sizes[n] > LARGE) == is_large] for is_large in (False, True))
    ids = [sorted(f"mlp-{n}" for n in part) for part in (small[:8] + large[:16], small[8:] + large[16:30])]
    return {"proof": ids[0], "confirmatory": ids[1]}


def test_the_list_follows_from_its_rule():
    assert reserved.read(FILE) == drawn()


def test_enough_are_reserved_and_half_of_them_are_large():
    for part, least in (("proof", 24), ("confirmatory", 20)):
        names = [task_id.removeprefix("mlp-") for task_id in reserved.read(FILE)[part]]
        rows = [tasks._listings()[name][1].n_rows for name in names]
        assert len({family(name) for name in names}) == len(names) >= least
        assert sum(n > LARGE for n in rows) >= len(names) / 2


@pytest.mark.parametrize("name", table_names())
def test_no_table_holds_them_or_their_families(name):
    held = load_table(name).tasks
    held = held[held["workload"] == "mlp"]
    ids = [task_id for part in reserved.read(FILE).values() for task_id in part]
    assert not set(ids) & set(held["task_id"])
    assert not {family(task_id.removeprefix("mlp-")) for task_id in ids} & set(held["family"])


@pytest.mark.parametrize(
    ("text", "says"),
    [("mlp-iris\n", "no section"), ("[proof]\nmlp-iris\nmlp-iris\n", "twice"), ("[else]\n", "proof or confirmatory")],
)
def test_a_list_that_is_none_is_named(tmp_path, text, says):
    from metabench.errors import MetabenchError

    (tmp_path / "r.txt").write_text(text)
    with pytest.raises(MetabenchError, match=says):
        reserved.read(tmp_path / "r.txt")
