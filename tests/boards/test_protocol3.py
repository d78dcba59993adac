"""Boards of protocol 3: their rules, their folds, their searches' random streams, and the verdict on traces."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from metabench import notebook
from metabench.boards.board import parse_board
from metabench.boards.judge import dealt, judge, objective_of
from metabench.errors import MetabenchError, UsageError
from metabench.registry import create
from metabench.scores.references import TaskReference
from metabench.search.base import History, Problem, stream_seed
from metabench.testing.planted import SPACE, PlantedFamily
from tests.fakes import FakeTable

RULES = {
    "name": "three",
    "version": 3,
    "dataset": "fake",
    "dataset_version": 1,
    "digest": "0" * 64,
    "workload": "planted",
    "budget": 12,
    "seeds": 4,
    "protocol": "3",
    "controls": ["random"],
    "contrasts": [["good", "random"]],
    "folds": {"seed": 7, "number": 3, "partitions": 2},
}


def rules(**changes):
    return {k: v for k, v in (RULES | changes).items() if v is not None}


def test_rules_are_read():
    board = parse_board(RULES)
    design = board.design
    assert board.protocol == "3" and board.starts == ("own",) and board.split == {}
    assert (design.seed, design.number, design.partitions, design.fit_seeds, design.sees) == (7, 3, 2, 3, "mean")
    assert design.contrasts == (("good", "random"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": {}}, "key 'folds.seed' is absent"),
        ({"folds": {"seed": 1, "numbr": 5}}, "unknown key in folds.*number"),
        ({"folds": {"seed": 1, "number": 1}}, "folds.number is 1, expected at least 2"),
        ({"folds": {"seed": True}}, "folds.seed is True, expected a whole number"),
        ({"folds": {"seed": 1, "confirmatory": "a"}}, "folds.confirmatory is 'a', expected a list"),
        ({"folds": 5}, "folds is 5, expected a table"),
        ({"replicates": {"sees": "half"}}, "value of replicates.sees.*mean"),
        ({"replicates": {"fit_seeds": 0}}, "fit_seeds is 0, expected at least 1"),
        ({"controls": ["random", "random"]}, "repeat a name"),
        ({"contrasts": [["a"]]}, "is not a pair"),
        ({"contrasts": [["a", "a"]]}, "with itself"),
        ({"contrasts": [["a", "b"], ["b", "a"]]}, "named twice"),
        ({"contrasts": [["a", str(i)] for i in range(11)]}, "11 contrasts are named; at most 10"),
        ({"seeds": 5}, "seeds is 5; protocol 3 needs a multiple"),
        ({"starts": ["own", "random5"]}, 'has starts = \\["own"\\]'),
        ({"split": {"train": ["a"], "valid": [], "test": ["b"]}}, "'split' belongs to earlier"),
        ({"protocol": None}, "key 'split' is absent"),
        ({"protocol": "4", "split": {"train": ["a"], "valid": [], "test": ["b"]}}, "unknown protocol"),
    ],
)
def test_bad_rules_are_named(changes, message):
    with pytest.raises(UsageError, match=message):
        parse_board(rules(**changes))


def test_keys_of_protocol_3_are_refused_elsewhere():
    split = {"train": ["a"], "valid": [], "test": ["b"]}
    with pytest.raises(UsageError, match="'folds' needs protocol"):
        parse_board(rules(protocol=None, split=split, controls=None, contrasts=None))


@pytest.mark.parametrize("searches", [4, 10, 20])
def test_searches_are_shared_evenly_among_partitions_and_replicates(searches):
    design = parse_board(RULES).design
    cells = [design.cell(s, searches) for s in range(searches)]
    for field in ("partition", "replicate"):
        assert np.bincount([getattr(c, field) for c in cells]).tolist() == [searches // 2] * 2
    assert len({c.fit_seed for c in cells}) == 3
    with pytest.raises(UsageError, match="outside"):
        design.cell(searches, searches)


# ---------------------------------------------------------------- random streams
def first_trials(name, task, stream, seed=0):
    family = PlantedFamily()
    problem = Problem(SPACE, family.info(task), SPACE.sample(64, 0), 10, stream=stream)
    history, search = History(), create("baselines", name).start(problem, seed)
    for _ in range(3):
        history.add(search.ask(history), 0.0)
    return history.candidates


@pytest.mark.parametrize("name", ["random", "sobol", "tpe"])
def test_no_two_tasks_share_a_stream_under_protocol_3(name):
    before = {tuple(first_trials(name, t, None)) for t in range(6)}
    now = {tuple(first_trials(name, t, "3")) for t in range(6)}
    assert len(before) == 1 and len(now) == 6  # earlier protocols keep their proposals
    assert first_trials(name, 0, "3") == first_trials(name, 0, "3") != first_trials(name, 0, "3", seed=1)


def test_stream_seeds_differ_in_every_part_of_their_key():
    base = ("3", 0, "a", "random")
    others = [("4", 0, "a", "random"), ("3", 1, "a", "random"), ("3", 0, "b", "random"), ("3", 0, "a", "gp")]
    assert len({stream_seed(*key) for key in [base, *others]}) == 5
    assert all(0 <= stream_seed("3", s, "a", "m") < 2**31 for s in range(50))


# ---------------------------------------------------------------- traces
@pytest.fixture(scope="module")
def case():
    families = [f"f{i // 2}" for i in range(24)]
    table = FakeTable.planted(tasks=24, configs=40, seeds=4, noise=0.03, families=families)
    table.tasks["n_rows"] = np.arange(len(families)) * 100 + 100
    board = replace(parse_board(RULES), digest=table.digest)
    ids = table.tasks["task_id"].tolist()
    valid, test = (table.final("planted", ids, s) for s in ("valid_score", "test_score"))
    mean = np.nan_to_num(valid, nan=-1.0).mean(axis=2)
    best = mean.argmax(axis=1)
    known = {
        t: TaskReference(t, 4, int(best[i]), float(np.nanmean(test[i, best[i]])), 0.02, 0.2, 0.9, 5.0, i > 1)
        for i, t in enumerate(ids)
    }
    return table, board, known, mean


def traces(case, methods=("good", "bad"), tasks=None, fold=False):
    table, board, known, mean = case
    held = {(t, f.partition): f.name for f, b in dealt(board, table, known) for t in b.tasks(table, "test")}
    rows = []
    for method in methods:
        for i, task_id in enumerate(table.tasks["task_id"]):
            order = np.argsort(-mean[i] if method == "good" else mean[i])[: board.budget]
            for seed in range(board.seeds):
                if tasks is None or task_id in tasks:
                    row = {"method": method, "start": "own", "task_id": task_id, "seed": seed}
                    row |= {"config_ids": order.tolist(), "overhead": [0.1] * board.budget}
                    rows.append(row | ({"fold": held[task_id, seed // 2]} if fold else {}))
    return pa.Table.from_pylist(rows)


def test_the_verdict_on_traces(case):
    table, board, known, _ = case
    found = judge(traces(case, fold=True), table, board, known=known, resamples=500)
    assert found.methods["method"].tolist() == ["good", "random", "bad"] and found.methods["tier"].tolist()[0] == 1
    assert found.methods["tier"].iloc[-1] > 1
    row = found.contrasts.iloc[0]
    assert row["method"] == "good" and row["difference"] < 0 and row["p_holm"] < 0.05
    assert found.controls["control"].unique().tolist() == ["random"]
    assert found.methods["overhead_s"].tolist() == pytest.approx([1.2, 0.0, 1.2])
    assert set(found.noisy["method"]) == {"good", "bad", "random"}  # tasks 0 and 1 are not admitted
    assert "area_12" in found.methods
    # what a search saw looks better than what its incumbent is worth
    seen = found.seen.set_index(["method", "trial"])["seen_regret"]
    assert seen["good", 10] < 0.5 < seen["bad", 1]


def test_noisy_tasks_may_be_absent_and_never_count(case):
    table, board, known, _ = case
    counted = [t for t, ref in known.items() if ref.admitted]
    a = judge(traces(case), table, board, known=known, resamples=200)
    b = judge(traces(case, tasks=counted), table, board, known=known, resamples=200)
    assert a.methods.equals(b.methods) and len(b.noisy) == 0
    with pytest.raises(MetabenchError, match="is absent"):
        judge(traces(case, tasks=counted[:-1]), table, board, known=known)


def test_what_is_wrong_with_traces_is_named(case):
    table, board, known, _ = case
    good = traces(case, fold=True)
    swapped = good.set_column(good.schema.get_field_index("fold"), "fold", pa.array(["9.9"] * len(good)))
    with pytest.raises(MetabenchError, match=r"was made in fold 9\.9; fold .* holds it out"):
        judge(swapped, table, board, known=known)
    with pytest.raises(MetabenchError, match="has no reference"):
        judge(good, table, board, known=dict(list(known.items())[3:]))
    with pytest.raises(UsageError, match='not of protocol "3"'):
        judge(good, table, replace(board, design=None), known=known)
    more = {t: replace(ref, seeds=6) for t, ref in known.items()}
    with pytest.raises(MetabenchError, match="needs 6 seeds"):
        judge(good, table, board, known=more)
    with pytest.raises(MetabenchError, match=r"reference\.csv does not exist"):
        judge(good, table, board)


def test_mb_score_gives_the_verdict(case):
    table, board, known, _ = case
    found = notebook.score(traces(case), table, board, known=known, resamples=200)
    assert found.methods["tier"].tolist()[0] == 1 and "<table" in found._repr_html_()


def test_one_noisy_run_is_worse_than_a_mean(case):
    table, board, known, _ = case
    run = replace(board, design=replace(board.design, sees="run"))
    ids = list(known)
    single, star = objective_of(table, "planted", ids, known, "run")
    assert single.seen.shape[2] == 4 and objective_of(table, "planted", ids, known)[0].seen.shape[2] == 2
    assert len(star) == len(ids)
    assert len(judge(traces(case), table, run, known=known, resamples=200).methods) == 3


def test_folds_of_a_board_hold_out_every_task_twice(case):
    table, board, known, _ = case
    found = dealt(board, table, known)
    held = [t for _, narrow in found for t in narrow.tasks(table, "test")]
    assert len(found) == 6 and sorted(held) == sorted([*known, *known])
    for _, narrow in found:
        narrow.check(table)
        family = table.tasks.set_index("task_id")["family"]
        assert not {family[t] for t in narrow.tasks(table, "train")} & {family[t] for t in narrow.tasks(table, "test")}
    with pytest.raises(UsageError, match="fold by fold"):
        board.tasks(table, "test")
