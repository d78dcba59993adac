"""Boards of protocol 3 from a table to a page: folds without leakage, resumption, streams, plans and the verdict."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import metabench as mb
from metabench.boards import making, plan
from metabench.boards.board import Board, load_board
from metabench.boards.judge import dealt, judge, objective_of
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import CellStore, MethodsFailed, evaluate, resolve
from metabench.evaluation import plan as groups_of
from metabench.evaluation.progress import Progress
from metabench.scores import orders, references
from metabench.scores.verdict import Searches, verdict
from metabench.search.base import Searcher, stream_seed
from metabench.table.splits import members
from tests.fakes import FakeTable, First, Last, Raises

FAMILIES = [f"f{i // 2}" for i in range(20)] + ["donor", "f1+wide"]


def planted(**changes):
    settings = {"tasks": 22, "configs": 70, "seeds": 4, "noise": 0.03, "families": FAMILIES} | changes
    table = FakeTable.planted(**settings)
    table.tasks["n_rows"] = np.arange(len(table.tasks)) * 100 + 100
    origins = ["sobol"] * 69 + [f"elite:{table.tasks['task_id'][20]}:gp"]
    table.origins = lambda workload: pd.Series(origins)
    return table


@pytest.fixture(scope="module")
def table():
    return planted()


@pytest.fixture(scope="module")
def stored(tmp_path_factory, table):
    """A folder of a board that `leaderboard new` would make: four searches of eight trials, three folds twice; with traces."""
    never = making.donors(table, "planted")
    rows, left = making.reference_rows(table, "planted", 8, never)
    assert not left and {r.task_id for r in rows}.isdisjoint(never)
    text = making.rules(
        "three", 3, "Three", table, "planted", budget=8, seeds=4, folds=3, contrasts=[("last", "first")]
    )
    folder = tmp_path_factory.mktemp("stored")
    making.write(folder, text, rows)
    pq.write_table(evaluate(["default", "portfolio", "rush"], load_board(folder), table), folder / "traces.parquet")
    return folder


@pytest.fixture
def board(tmp_path, stored, table):
    """The board without traces."""
    folder = tmp_path / "three/v3"
    shutil.copytree(stored, folder, ignore=shutil.ignore_patterns("traces.parquet"))
    return load_board(folder).settled(table)


class Notes(Searcher):
    """Writes down what it is fitted on, and with which seed, and searches at random."""

    name = "notes"
    fits: ClassVar[list] = []

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def fit(self, source):
        self.learned_ = frozenset(t.task_id for t in source.tasks)
        Notes.fits.append((self.learned_, self.random_state))
        return self

    def begin(self):
        Notes.fits.append((self.learned_, self.problem.task.task_id))
        self.order = self.rng.permutation(len(self.problem.candidates)).tolist()

    def ask(self, history):
        return self.order[len(history)]


def rows_of(traces):
    return {(r["method"], r["task_id"], r["seed"]): r for r in traces.to_pylist()}


# ---------------------------------------------------------------- folds
def test_a_method_never_learns_from_the_task_its_family_or_what_shares_rows_with_it(board, table):
    Notes.fits.clear()
    traces = evaluate(Notes, board, table)
    family = dict(zip(table.tasks["task_id"], table.tasks["family"], strict=True))
    donor = next(t for t, f in family.items() if f == "donor")
    searched = [(learned, t) for learned, t in Notes.fits if isinstance(t, str)]
    assert len(searched) == len(traces) == 4 * len(references.read(board.path))
    for learned, task in searched:
        taboo = members(family[task])
        assert not [t for t in learned if members(family[t]) & taboo] and donor in learned
    assert donor not in set(traces["task_id"].to_pylist())  # what elites were found on is never held out
    # a fold is fitted once for each of the fit seeds of its searches
    fitted = [fit for fit in Notes.fits if isinstance(fit[1], int)]
    assert len(fitted) == len(set(fitted)) == 3 * 2 * 2 and {seed for _, seed in fitted} == {0, 1, 2}


def test_every_task_is_held_out_once_in_each_partition_and_seeds_take_turns(board, table):
    traces = evaluate(First, board, table)
    held = {(t, f.partition): f.name for f, narrow in dealt(board, table) for t in narrow.tasks(table, "test")}
    for (_, task, seed), row in rows_of(traces).items():
        assert row["fold"] == held[task, board.design.cell(seed, board.seeds).partition]
    assert len(set(traces["cell"].to_pylist())) == len(traces)


def test_a_search_sees_the_mean_of_its_replicate_and_only_the_pool_of_the_task(board, table):
    class Keeps(First):
        name = "keeps"
        told: ClassVar[dict] = {}

        def ask(self, history):
            Keeps.told[self.problem.task.task_id, self.seed] = list(history.scores)
            return super().ask(history)

    evaluate(Keeps, board, table)
    known = references.read(board.path)
    valid = table.final("planted", list(known))
    for i, (task, ref) in enumerate(known.items()):
        for seed in range(4):
            half = slice(0, ref.seeds // 2) if seed % 2 == 0 else slice(ref.seeds // 2, ref.seeds)
            expected = valid[i, :7, half].mean(axis=1)
            assert Keeps.told[task, stream_seed("3", seed, task, "keeps")] == pytest.approx(expected.tolist())


def test_no_two_tasks_nor_searches_share_a_stream(board, table):
    traces = evaluate("sobol", board, table)
    tried = {tuple(row["config_ids"]) for row in traces.to_pylist()}
    assert len(tried) == len(traces)


def test_a_ragged_table_gives_every_task_the_pool_of_its_seeds(tmp_path):
    ragged = planted()
    made = np.ones((22, 70, 4), dtype=bool)
    made[:11, 60:, 2:] = False
    made[0, 5:, :] = False
    ragged.ran = lambda workload, ids: made[[ragged.tasks["task_id"].tolist().index(t) for t in ids]]
    rows, left = making.reference_rows(ragged, "planted", 8)
    first = ragged.tasks["task_id"][0]
    assert first in left and all(row.task_id != first for row in rows)
    known = {row.task_id: replace(row, seeds=4) for row in rows}
    sides, _ = objective_of(ragged, "planted", list(known), known)
    assert sides.pool is not None and sorted(set(sides.pool.sum(axis=1))) == [60, 70]
    assert np.isnan(sides.seen[~sides.pool]).all()


# ---------------------------------------------------------------- keys and storage
def stopped(board, table, folder, how):
    """Evaluate in a process of its own, which ends at the 25th search."""

    class Stops(Notes):
        name = "stops"
        left = 25

        def begin(self):
            Stops.left -= 1
            if Stops.left == 0:
                os.kill(os.getpid(), how)
            super().begin()

    if how is None:
        return Stops
    child = multiprocessing.get_context("fork").Process(
        target=evaluate, args=(Stops, board, table), kwargs={"store": folder}
    )
    child.start()
    child.join()
    assert child.exitcode
    return None


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_finished_cells_survive_a_kill_and_only_the_rest_is_computed(board, table, tmp_path, monkeypatch, how):
    monkeypatch.setattr("metabench.evaluation.run.FLUSH", 0.0)
    stopped(board, table, tmp_path / "cells", how)
    Stops = stopped(board, table, tmp_path / "cells", None)
    Stops.left = 10**6
    kept = CellStore(tmp_path / "cells", board.traces_schema)
    keys = [k for g in groups_of(resolve(Stops), board, table) for k in g.keys.values()]
    done = len(kept.read(keys))
    assert 10 < done < 25
    Notes.fits.clear()
    again = evaluate(Stops, board, table, store=tmp_path / "cells")
    assert len([t for _, t in Notes.fits if isinstance(t, str)]) == len(again) - done
    whole = evaluate(Stops, board, table)
    assert [r["config_ids"] for r in again.to_pylist()] == [r["config_ids"] for r in whole.to_pylist()]


def test_workers_make_the_same_searches(board, table):
    one, two = (evaluate(["default", "rush"], board, table, workers=n) for n in (1, 2))
    assert one["config_ids"].to_pylist() == two["config_ids"].to_pylist() and one["cell"].equals(two["cell"])


def test_keys_say_what_a_search_can_see(board, table):
    def cells(method, of):
        return {(g.fold, g.task_id, s): k for g in groups_of(resolve(method), board, of) for s, k in g.keys.items()}

    def changed(method):
        before, after = cells(method, table), cells(method, other)
        return {cell for cell in before if before[cell] != after[cell]}

    other, task = planted(), "planted-3"
    other._series["valid_score"][3, 5, 0] += 0.1  # one run of one task, in replicate A
    own = {cell for cell in cells("default", table) if cell[1] == task}
    assert changed("default") == {cell for cell in own if cell[2] % 2 == 0} and own
    # a method that learns sees it in all folds but those that hold the task out
    held = {fold for fold, _, _ in own}
    elsewhere = {cell for cell in cells("portfolio", table) if cell[0] not in held}
    assert changed("portfolio") == elsewhere | {cell for cell in own if cell[2] % 2 == 0}
    # a fit's seed counts where a fit is random, nowhere else
    assert {g.fit_seed for g in groups_of(resolve("portfolio"), board, table)} == {0}
    assert {g.fit_seed for g in groups_of(resolve(Notes), board, table)} == {0, 1, 2}


def test_lite_makes_the_first_searches_of_the_whole_board(board, table, tmp_path):
    lite = evaluate(First, board, table, profile="lite", store=tmp_path)
    whole = rows_of(evaluate(First, board, table, store=tmp_path))
    assert len(lite) * 2 == len(whole)
    assert all(whole[key]["cell"] == row["cell"] for key, row in rows_of(lite).items())
    found = judge(lite, table, board.profile("lite"), resamples=100)
    assert set(found.methods["method"]) == {"first", "random"}


def test_profiles_that_are_no_beginning_of_the_board_are_refused(board):
    text = (board.path / "board.toml").read_text()
    for wrong, message in (
        ("seeds = 2\npartitions = 2", "are not the first 2"),
        ("partitions = 3", "more than the board"),
    ):
        (board.path / "board.toml").write_text(text.replace("seeds = 2\npartitions = 1", wrong))
        with pytest.raises(UsageError, match=message):
            load_board(board.path)


def test_a_method_that_fails_leaves_the_others_whole(board, table):
    with pytest.raises(MethodsFailed) as caught:
        evaluate([Raises, First], board, table)
    assert list(caught.value.failures) == ["raises"] and set(caught.value.traces["method"].to_pylist()) == {"first"}


# ---------------------------------------------------------------- the verdict
def test_the_verdict_is_that_of_the_statistics_on_the_same_searches(board, table):
    traces = evaluate([First, Last], board, table)
    found = judge(traces, table, board, resamples=300)
    known = references.read(board.path)
    ids = [t for t, ref in known.items() if ref.admitted]
    sides, star = objective_of(table, "planted", ids, known)
    exact = orders.random_regret(sides, star, board.budget)
    regret = {"random": exact[:, np.arange(board.seeds) % 2]}
    at = rows_of(traces)
    for name in ("first", "last"):
        grid = np.array([[[at[name, t, s]["config_ids"] for s in range(board.seeds)] for t in ids]])
        regret[name] = 1.0 - sides.utilities(grid, star)[0]
    families = [table.task_info(t).family for t in ids]
    twins = {"last": "first"}
    expected = verdict(
        Searches(regret, families), named=[("last", "first")], twins=twins, marks=board.marks, resamples=300
    )
    assert found.verdict.methods.drop(columns="overhead_s").equals(expected.methods)
    assert found.controls.equals(expected.controls) and found.contrasts.equals(expected.contrasts)
    assert found.verdict.transfer.equals(expected.transfer) and found.verdict.power.keys() == expected.power.keys()
    means = found.tasks.groupby("method")["area"].mean()
    assert means["first"] == pytest.approx(Searches(regret, families).areas(8)[0].mean())


def test_y_star_comes_from_seeds_that_did_not_choose_it():
    rng = np.random.default_rng(0)
    from metabench.scores import star

    gaps = []
    for _ in range(200):
        mean = rng.normal(size=60)
        v, e = (mean[:, None] + rng.normal(size=(60, 4)) for _ in range(2))
        found = star.of_table(v, e, draws=20)
        gaps.append((found.score - mean[v[:, :3].mean(axis=1).argmax()], e.max() - mean.max()))
    unbiased, naive = np.mean(gaps, axis=0)
    assert abs(unbiased) < 0.15 and naive > 1.0
    with pytest.raises(UsageError, match="two configurations"):
        star.of_table(np.full((3, 2), np.nan), np.zeros((3, 2)))


# ---------------------------------------------------------------- what people see
@pytest.fixture
def published(board, stored, table, monkeypatch, tmp_path):
    """The board with traces, found by its folder, its table at hand wherever it is opened."""
    monkeypatch.setattr("metabench.table.load_table", lambda *a, **k: table)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    shutil.copy(stored / "traces.parquet", board.path)
    return board


def judged(board, table):
    return judge(pq.read_table(board.path / "traces.parquet"), table, board, resamples=50)


def test_a_build_writes_tiers_differences_and_reliability_and_is_current(published, table):
    from metabench import workflows
    from metabench.publishing.boards import verdicts
    from metabench.publishing.boards.view import Home

    name = str(published.path)
    paths = workflows.publish(name)
    assert {p.name for p in paths} >= {
        "README.md",
        "scores.json",
        "scores.parquet",
        "regret.svg",
        "index.html",
        "pairs.csv",
    }
    assert workflows.stale(name) == []
    readme, page = ((published.path / p).read_text() for p in ("README.md", "site/index.html"))
    for text in (readme, page):
        assert "tier" in text.lower() and "not evaluated" in text and "{{" not in text and "nan" not in text.split()
    told = json.loads((published.path / "scores.json").read_text())
    assert {"split_half", "detectable", "decided"} <= told["power"].keys() and told["ranked_by"]["mark"] == 8
    assert {r["method"] for r in told["summary"]} == {"default", "portfolio", "rush", "random"}
    pairs = pd.read_csv(published.path / "site/data/pairs.csv")
    assert {"joint_low", "joint_high"} <= set(pairs) and len(pairs) == 6
    beside = verdicts.contents(published, judged(published, table), table, "x", Home("../../../site/", True, docs=True))
    assert b'href="../../../site/methods/index.html"' in beside["site/index.html"]
    (published.path / "README.md").write_text("other")
    assert len(workflows.stale(name)) == 1


def test_pages_over_all_boards_show_tiers(published):
    from metabench import workflows
    from metabench.publishing.site.collect import PublishedBoard

    workflows.publish(str(published.path))
    b = PublishedBoard(published.path)
    assert [line.method for line in b.lines] == pd.DataFrame(b.results["summary"])["method"].tolist()
    assert "tier" in b.measure and b.by_task.shape[1] == 4 and "valid_regret" in b.curves() and not b.has_pages


def test_evaluating_one_method_is_said_before_and_ranked_beside_what_is_published(published, table, tmp_path, capsys):
    from metabench import workflows

    done = workflows.evaluate_board(str(published.path), ["tests.fakes:Last"], out=tmp_path / "out")
    said = capsys.readouterr().err
    assert "cells are missing: about" in said and "no trace says" not in said  # a pilot told how long it takes
    rows = workflows.ranking(done.scores)
    assert {r["method"] for r in rows} == {"default", "portfolio", "rush", "random", "last"}
    assert {"tier", "area_8", "ranks", "p_first", "less_random"} <= rows[0].keys()
    planned = plan.planned(published, "full", table, ["default"], tmp_path / "cache/cells", 1)
    assert planned.missing == 0


def test_a_notebook_shows_tiers_differences_and_a_figure(published, table):
    outcome = mb.score(mb.evaluate(First, published, table), table, published, resamples=100)
    html = outcome._repr_html_()
    assert "tier" in html and "control" in html and "<svg" in html and outcome.mine == ("first",)
    assert ">first<" in outcome.figure()._repr_svg_()
    beside = mb.score(mb.evaluate(First, published, table), resamples=100)
    assert set(beside.methods["method"]) == {"first", "default", "portfolio", "rush", "random"}


def test_a_board_is_settled_once(published, table, monkeypatch, tmp_path):
    from metabench.workflows.evaluation import evaluate_on

    checks = []
    check = Board.check
    monkeypatch.setattr(Board, "check", lambda self, t: checks.append(1) or check(self, t))
    evaluate_on(load_board(published.path), table, ["default"], "full", 1, tmp_path / "out")
    assert len(checks) == 1
    with pytest.raises(MetabenchError, match="is frozen on"):
        load_board(published.path).settled(planned_other())


def planned_other():
    return planted(noise=0.5)


def test_new_boards_are_made_by_a_command_that_can_be_repeated(table, tmp_path, monkeypatch):
    from metabench.workflows.making import make_board

    monkeypatch.setattr("metabench.table.load_table", lambda *a, **k: table)
    folder = tmp_path / "search/v3"
    monkeypatch.setattr(making, "FOLDS", 3)
    made = make_board(folder, "fake", 1, "planted", budget=8)
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert made == make_board(folder, "fake", 1, "planted", budget=8)
    assert first == {p.name: p.read_bytes() for p in folder.iterdir()} and set(first) == {"board.toml", "reference.csv"}
    listed = tmp_path / "donors.txt"
    listed.write_text(f"# never\n{table.tasks['task_id'][2]}\n")
    fewer = make_board(folder, "fake", 1, "planted", budget=8, donors=listed)
    assert fewer.tasks == made.tasks - 3 and fewer.donors == made.donors + 3  # f1, and f1+wide that shares rows
    with pytest.raises(UsageError, match="no folder of a board"):
        make_board(tmp_path / "search/three", "fake", 1, "planted")
    with pytest.raises(UsageError, match="families; 50 folds need 100"):
        monkeypatch.setattr(making, "FOLDS", 50)
        make_board(folder, "fake", 1, "planted", budget=8)
    (folder / "traces.parquet").write_bytes(b"")
    monkeypatch.setattr(making, "FOLDS", 3)
    with pytest.raises(UsageError, match="holds traces"):
        make_board(folder, "fake", 1, "planted", budget=8)


def test_progress_tells_of_tasks_and_time_left_off_a_terminal(board, table, capsys, monkeypatch):
    monkeypatch.setattr("metabench.evaluation.progress.EVERY", 0.01)
    groups = groups_of(resolve([First]), board, table)
    with Progress(groups, set()) as shown:
        while "first fit takes" not in capsys.readouterr().err:
            pass
        for group in groups[: len(groups) // 2]:
            shown.finished(group)
        line = shown.line()
    assert "first, fold 1." in line and " left" in line and f"of {len(groups) // 2} tasks" in line
    with Progress(groups, {k for g in groups for k in g.keys.values()}) as idle:
        assert idle._thread is None


# ---------------------------------------------------------------- elsewhere
def test_cells_are_carried_over_after_a_sample_was_computed_again(published):
    from metabench.workflows import rekey

    path = published.path / "traces.parquet"
    before = pq.read_table(path)
    old = before.set_column(before.schema.get_field_index("cell"), "cell", [["old"] * len(before)])
    pq.write_table(old.replace_schema_metadata(before.schema.metadata), path)
    done = rekey(str(published.path), 5)
    assert (done.cells, done.changed, done.verified) == (len(before), len(before), 5)
    assert pq.read_table(path)["cell"].equals(before["cell"])


def test_what_needs_a_split_says_so_in_a_line(published, table, tmp_path):
    from metabench.boards import submissions
    from metabench.boards.settings import choose_settings
    from metabench.publishing.reports.parts.searches import one_workload

    for call in (
        lambda: submissions.draft(
            tmp_path / "mine", pq.read_table(published.path / "traces.parquet"), First(), published, table
        ),
        lambda: choose_settings("gp_weighted", published, table),
        lambda: one_workload(published, table),
        lambda: published.tasks(table, "test"),
    ):
        with pytest.raises(UsageError, match="deals folds"):
            call()
