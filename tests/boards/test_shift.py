"""Leave a domain out: what methods may learn from, on tables of one workload and of two."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fakes import FakeTable, TwoWorkloads, board_for

from metabench.boards.board import load_board
from metabench.boards.settings import validation_board
from metabench.boards.shift import Shift
from metabench.boards.submissions import Refused, Submission, check_sources
from metabench.errors import UsageError
from metabench.evaluation import evaluate
from metabench.scores import score
from metabench.space import Float, Space
from metabench.testing.planted import SPACE, PlantedFamily

RULES = """
name = "shift"
version = 1
dataset = "core"
dataset_version = 1
digest = "%s"
workload = "planted"
budget = 50
seeds = 5
[split]
train = ["a", "b"]
valid = ["c"]
test = ["d", "e"]
""" % ("0" * 64)
SHIFT = '[shift]\ncolumn = "modality"\ntrain = ["tabular", "text"]\ntest = ["image"]\n'


def write(folder, text=RULES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "board.toml").write_text(text)
    return folder


def mixed(**columns):
    """Twelve planted tasks, a family each, with a column of their own."""
    table = FakeTable.planted(tasks=12)
    table.tasks = table.tasks.assign(**columns)
    return table


def test_a_part_has_the_families_and_the_domain():
    table = mixed(modality=["tabular", "image", "text"] * 4)
    board = board_for(table, train=6, valid=3, shift=Shift("modality", ("tabular", "text"), ("text",), ("image",)))
    board.check(table)
    assert board.tasks(table, "train") == ["planted-0", "planted-2", "planted-3", "planted-5"]
    assert board.tasks(table, "valid") == ["planted-8"]
    assert board.tasks(table, "test") == ["planted-10"]
    source = board.source(table)
    assert [t.task_id for t in source.tasks] == board.tasks(table, "train")
    assert [t.task_id for t in source.valid.tasks] == board.tasks(table, "valid")
    assert board.source(table, calibrated=False).valid is None


def test_a_domain_without_tasks_is_refused():
    table = mixed(modality=["tabular"] * 12)
    board = board_for(table, shift=Shift("modality", ("tabular",), ("tabular",), ("image",)))
    with pytest.raises(UsageError, match=r"split.test has no tasks"):
        board.check(table)


def test_settings_are_chosen_where_methods_learn():
    table = mixed(modality=["tabular", "image", "text"] * 4)
    board = board_for(table, train=6, valid=3, shift=Shift("modality", ("tabular", "text"), ("text",), ("image",)))
    inner = validation_board(board, 5)
    assert inner.tasks(table, "train") == board.tasks(table, "train")
    assert inner.tasks(table, "test") == board.tasks(table, "valid")


@pytest.mark.parametrize("entry", ["planted-1", "planted-4", "sha256:" + f"{4:064x}"])
def test_what_is_of_the_held_out_domain_may_not_be_learned_from(entry):
    table = mixed(modality=["tabular", "image", "text"] * 4, split_hashes=[[f"{i:064x}"] for i in range(12)])
    board = board_for(table, train=6, valid=3, shift=Shift("modality", ("tabular", "text"), ("text",), ("image",)))
    declared = Submission("mine", "fake", board.digest, "", ("me",), trained_on=("planted-0", "planted-2"))
    check_sources(declared, board, table)
    for key in ("trained_on", "tuned_on"):
        with pytest.raises(Refused, match=f"{key} has {entry}, of modality 'image', which is held out"):
            check_sources(dataclasses.replace(declared, **{key: ("planted-0", entry)}), board, table)


# ---------------------------------------------------------------- two workloads
def two_workloads(tasks=10, configs=64):
    """Planted tasks under a workload `narrow`, whose space lacks a hyperparameter, and under `planted`."""
    narrow = Space({n: p for n, p in SPACE.items() if n != "dropout"} | {"clip": Float(0.1, 10.0, log=True)})
    family, pool = PlantedFamily(), SPACE.sample(configs, 0)
    own = pool.drop(columns="dropout").assign(clip=np.geomspace(0.1, 10.0, configs))
    infos = [dataclasses.replace(family.info(t), task_id=f"narrow-{t}", workload="narrow") for t in range(tasks)]
    scores = np.stack([family.scores(t, pool.assign(dropout=0.2), 4) for t in range(tasks)])
    first = FakeTable(scores[..., :2], scores[..., 2:], infos, own, narrow, "narrow")
    later = FakeTable.planted(tasks=2 * tasks, configs=configs)
    return TwoWorkloads(first, later)


@pytest.fixture(scope="module")
def across():
    table = two_workloads()
    families = [f"family{t}" for t in range(20)]
    split = {"train": tuple(families[:8]), "valid": tuple(families[8:10]), "test": tuple(families[10:])}
    shift = Shift("workload", ("narrow",), ("narrow",), ("planted",))
    return table, dataclasses.replace(board_for(table, starts=("own",)), split=split, shift=shift)


def test_a_workload_is_left_out(across):
    table, board = across
    board.check(table)
    assert board.tasks(table, "train") == [f"narrow-{t}" for t in range(8)]
    assert board.tasks(table, "test") == [f"planted-{t}" for t in range(10, 20)]
    source = board.source(table)
    assert set(source.space) == {"clip", *SPACE} - {"dropout"} and len(source.valid.tasks) == 2


@pytest.mark.filterwarnings("ignore:the pool's space is not that of the source")
def test_methods_carry_what_they_learned_to_the_other_workload(across):
    table, board = across
    traces = evaluate(["random", "portfolio", "empirical_gp", "metric_knn"], board, table)
    summary = score(traces, table, board, resamples=20).summary
    at = summary[(summary["mark"] == 5) & (summary["start"] == "own")].set_index("method")["valid_regret"]
    assert at["empirical_gp"] < at["random"] and at["metric_knn"] < at["random"]


def test_several_workloads_are_united(across):
    table, board = across
    both = dataclasses.replace(board, shift=Shift("workload", ("narrow", "planted"), ("narrow",), ("planted",)))
    source = both.source(table)
    assert set(source.space) == {"clip", *SPACE}
    assert pd.Series([t.workload for t in source.tasks]).value_counts().to_dict() == {"narrow": 8, "planted": 8}


def test_settings_of_a_left_out_workload_are_chosen_on_the_other(across):
    table, board = across
    inner = validation_board(board, 5)
    assert (inner.workload, inner.tasks(table, "test")) == ("narrow", ["narrow-8", "narrow-9"])
    several = dataclasses.replace(board, shift=Shift("workload", ("a", "b"), ("a", "b"), ("planted",)))
    with pytest.raises(UsageError, match="meta-valid is of several workloads"):
        validation_board(several, 5)


# ---------------------------------------------------------------- rules
def test_rules_of_a_shift(tmp_path):
    board = load_board(write(tmp_path, RULES + SHIFT))
    assert board.shift == Shift("modality", ("tabular", "text"), ("tabular", "text"), ("image",))
    assert load_board(write(tmp_path / "plain")).shift is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("column", "colum", "unknown key in shift 'colum'; did you mean 'column'?"),
        ('"modality"', '"modalities"', "unknown shift.column 'modalities'; did you mean 'modality'?"),
        ('"modality"', '"family"', "unknown shift.column 'family'"),
        ('["image"]', '["text"]', "modality 'text' is listed in shift.train and in shift.test"),
        ('["image"]', "[]", "shift.test is not a list of values of modality"),
        (
            '["image"]',
            '["image"]\nvalid = ["audio"]',
            "modality 'audio' is listed in shift.valid but not in shift.train",
        ),
        ('"modality"', '"workload"', r"shift.test is \['image'\]; the board's workload is 'planted'"),
    ],
)
def test_bad_shifts_are_refused_in_one_line(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_board(write(tmp_path, RULES + SHIFT.replace(old, new, 1)))
    assert str(tmp_path / "board.toml") in str(caught.value) and "\n" not in str(caught.value)


def test_the_prediction_track_keeps_its_workload(tmp_path):
    rules = RULES.replace("seeds = 5", 'seeds = 5\ntrack = "predict"')
    shift = SHIFT.replace("modality", "workload").replace("image", "planted")
    with pytest.raises(UsageError, match="cannot be left out"):
        load_board(write(tmp_path, rules + shift))
