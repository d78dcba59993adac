import pandas as pd
import pytest
from fakes import FakeTable, board_for

from metabench.boards.board import draw_split, find_board, load_board
from metabench.errors import MetabenchError, UsageError

RULES = """
name = "search"
version = 2
title = "Search"
dataset = "core"
dataset_version = 1
digest = "%s"
workload = "planted"
budget = 50
seeds = 5
[profiles.lite]
budget = 10
seeds = 2
starts = ["own"]
[split]
train = ["a", "b"]
valid = ["c"]
test = ["d", "e"]
""" % ("0" * 64)


def write(folder, text=RULES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.toml").write_text(text)
    return folder


def test_rules_and_their_defaults(tmp_path):
    board = load_board(write(tmp_path / "v2"))
    assert (board.name, board.version, board.budget, board.seeds) == ("search", 2, 50, 5)
    assert board.marks == (1, 2, 3, 5, 10, 25, 50)
    assert board.starts == ("own", "random5", "portfolio3")
    assert board.split == {"train": ("a", "b"), "valid": ("c",), "test": ("d", "e")}
    assert board.path == tmp_path / "v2"


def test_a_profile_overrides_and_full_does_not(tmp_path):
    board = load_board(write(tmp_path))
    lite = board.profile("lite")
    assert (lite.budget, lite.seeds, lite.starts, lite.marks) == (10, 2, ("own",), (1, 2, 3, 5, 10))
    assert board.profile("full") is board
    assert lite.profile("lite") is lite
    with pytest.raises(UsageError, match="did you mean 'lite'"):
        board.profile("lit")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget = 50", "budgett = 50", "unknown key 'budgett'; did you mean 'budget'?"),
        ("seeds = 5", "", "key 'seeds' is absent"),
        ("seeds = 5", 'seeds = "5"', "seeds is '5', expected a whole number"),
        ("seeds = 5", "seeds = true", "seeds is True, expected a whole number"),
        ("seeds = 5", "seeds = 0", "seeds is 0, expected at least 1"),
        ('["c"]', '["a"]', "family 'a' is listed in split.train and in split.valid; it may be listed once"),
        ('["c"]', '["c", "c"]', "family 'c' is listed in split.valid; it may be listed once"),
        ('["c"]', '["a+c"]', "families 'a' and 'a\\+c' share rows, but are listed in split.train and in split.valid"),
        ('["c"]', '"c"', "split.valid is not a list of families"),
        ('["d", "e"]', "[]", "split.test is empty"),
        ("train = ", "trian = ", "unknown part in split 'trian'; did you mean 'train'?"),
        ('"own"]', '"owm"]', "profiles.lite: unknown start 'owm'; did you mean 'own'?"),
        ("seeds = 2", "seeds = 2\nmarks = [1]", "unknown key in profiles.lite 'marks'"),
        ("0" * 64, "abc", "digest 'abc' is not 64 hexadecimal digits"),
        ('name = "search"', 'name = "../x"', "name '../x' may hold only"),
        ("budget = 50", "budget = 50\nmarks = [1, 60]", r"marks \[1, 60\] leave the range 1 … budget \(50\)"),
        ("budget = 50", "budget = 50\nmarks = [5, 1]", "are not increasing whole numbers"),
        ("budget = 50", 'budget = 50\nobjective = "surrogate"', "unknown objective 'surrogate'; known: live, replay"),
        ("budget = 50", 'budget = 50\nobjective = "live"\nstarts = ["random5"]', r'has starts = \["own"\]'),
        ("budget = 50", "budget = ", "Invalid value"),
    ],
)
def test_bad_rules_are_refused_in_one_line(tmp_path, old, new, message):
    assert old in RULES
    with pytest.raises(UsageError, match=message) as caught:
        load_board(write(tmp_path, RULES.replace(old, new, 1)))
    assert str(tmp_path / "board.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_boards_are_found_by_name_and_version(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(tmp_path))
    for n in (2, 10):
        write(tmp_path / "search" / f"v{n}", RULES.replace("version = 2", f"version = {n}", 1))
    assert load_board("search").version == 10
    assert load_board("search", 2).version == 2
    assert find_board(tmp_path / "search" / "v2" / "board.toml").parent.name == "v2"
    with pytest.raises(UsageError, match="has no version 3; it has 2, 10"):
        load_board("search", 3)
    with pytest.raises(UsageError, match="unknown board 'serach'; did you mean 'search'"):
        load_board("serach")
    with pytest.raises(UsageError, match="is no board: it has no board"):
        load_board(tmp_path)


def test_tasks_of_a_part_follow_the_families():
    table = FakeTable.planted(tasks=5, families=["a", "b", "a", "c", "d"])
    board = board_for(table, train=1, valid=1)
    assert board.tasks(table, "train") == ["planted-0", "planted-2"]
    assert board.tasks(table, "valid") == ["planted-1"]
    assert board.tasks(table, "test") == ["planted-3", "planted-4"]


def test_another_table_or_an_unknown_family_is_refused():
    table = FakeTable.planted(tasks=4)
    board = board_for(table, train=2, valid=1)
    board.check(table)
    with pytest.raises(MetabenchError, match="is frozen on fake v1 with digest"):
        board.check(FakeTable.planted(tasks=4, noise=0.02))
    wrong = board_for(table, train=2, valid=1)
    wrong.split["test"] = ("famly3",)
    with pytest.raises(UsageError, match=r"family in split.test of board fake 'famly3'; did you mean 'family3'"):
        wrong.check(table)


def frame(n, kinds=("classification",)):
    rows = [{"family": f"f{i}", "kind": kinds[i % len(kinds)]} for i in range(n)]
    return pd.DataFrame(rows + rows[:7])  # some families have two tasks


def test_a_drawn_split_deals_whole_families_in_the_shares_asked_for():
    tasks = frame(60, ("classification", "classification", "regression"))
    split = draw_split(tasks, seed=0)
    everyone = [f for part in split.values() for f in part]
    assert sorted(everyone) == sorted(set(tasks["family"]))
    kind = tasks.drop_duplicates("family").set_index("family")["kind"]
    for name, size in (("classification", 40), ("regression", 20)):
        dealt = [sum(kind[f] == name for f in split[part]) for part in ("train", "valid", "test")]
        assert dealt == [0.6 * size, 0.15 * size, 0.25 * size]
    assert split == draw_split(tasks.sample(frac=1, random_state=1), seed=0)
    assert split != draw_split(tasks, seed=1)


def test_families_that_share_rows_go_together():
    names = ["a", "b", "c", "a+b", "c+d", "d", "e+f", "f+g", *(f"x{i}" for i in range(30))]
    tasks = pd.DataFrame({"family": names, "kind": ["transfer" if "+" in n else "classification" for n in names]})
    for seed in range(6):
        side = {family: part for part, families in draw_split(tasks, seed).items() for family in families}
        assert sorted(side) == sorted(names)
        for whole in (("a", "b", "a+b"), ("c", "d", "c+d"), ("e+f", "f+g")):
            assert len({side[family] for family in whole}) == 1


def test_adding_a_family_moves_few_others():
    before, after = draw_split(frame(40), seed=0), draw_split(frame(41), seed=0)
    side = {f: part for part, families in before.items() for f in families}
    moved = [f for part, families in after.items() for f in families if side.get(f, part) != part]
    assert len(moved) <= 2
