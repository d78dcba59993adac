import csv
import dataclasses
import io
import json
import re
import urllib.parse

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import board_for
from markup import Page
from published import METHODS as ALL
from published import planted_table, scene, traces_of

from metabench.boards.submissions import Submission
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.store import completed
from metabench.publishing.boards import build as publishing
from metabench.publishing.boards.build import PUBLISHED, build, check, contents
from metabench.publishing.boards.view import View
from metabench.scores import score

METHODS = {name: ALL[name] for name in ("empirical_gp", "portfolio", "rgpe", "gp", "sobol", "random")}
COMMAND = "metabench evaluate --board fake"


@pytest.fixture(scope="module")
def made():
    return scene(METHODS, budget=25, tasks=12, resamples=40)


@pytest.fixture(scope="module")
def files(made):
    return contents(View(*made, COMMAND))


@pytest.fixture
def out(made, tmp_path):
    build(*made, tmp_path / "v1", COMMAND)
    return tmp_path / "v1"


def pages(files):
    return {name: Page(data.decode()) for name, data in files.items() if name.endswith(".html")}


# ---------------------------------------------------------------- files
def test_build_writes_what_it_says_and_nothing_else(made, tmp_path):
    (tmp_path / "board.toml").write_text("rules")
    paths = build(*made, tmp_path, COMMAND)
    there = sorted(p for p in tmp_path.rglob("*") if p.is_file() and p.name != "board.toml")
    assert paths == there
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*PUBLISHED, "board.toml"])
    assert (tmp_path / "board.toml").read_text() == "rules"
    assert {f"site/methods/{m}.html" for m in METHODS} <= {p.relative_to(tmp_path).as_posix() for p in paths}


def test_building_twice_gives_the_same_bytes(made, out):
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / "site/methods/gone.html").write_text("a method that left")
    board, _, _, table = made
    traces = pq.read_table(out / "traces.parquet")  # as the command line does: from what is published
    scores = score(traces, table, board, twins=None, resamples=40)
    scores = dataclasses.replace(scores, negative_transfer=made[2].negative_transfer)  # twins were given by hand
    build(board, traces, scores, table, out, COMMAND)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_check_names_what_is_stale(made, out):
    assert check(*made, out, COMMAND) == []
    (out / "README.md").write_text("old")
    (out / "scores.csv").unlink()
    (out / "site/tasks/left.html").write_text("")
    pq.write_table(pq.read_table(out / "traces.parquet").slice(1), out / "traces.parquet")
    (out / "scores.parquet").write_bytes(b"not a table")
    assert check(*made, out, COMMAND) == [
        f"{out / 'README.md'} is stale",
        f"{out / 'scores.csv'} is absent",
        f"{out / 'scores.parquet'} is stale",
        f"{out / 'site/tasks/left.html'} is left over",
        f"{out / 'traces.parquet'} is stale",
    ]
    assert (out / "README.md").read_text() == "old"


def test_check_ignores_how_parquet_was_written(made, out):
    pq.write_table(pq.read_table(out / "scores.parquet"), out / "scores.parquet", compression="none")
    assert check(*made, out, COMMAND) == []


def test_a_failing_build_leaves_the_old_board(made, out, monkeypatch):
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    monkeypatch.setattr(publishing.board_pages, "readme", lambda view: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(*made, out, COMMAND)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_a_folder_that_cannot_be_written_is_one_line(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MetabenchError, match=r"^the leaderboard cannot be written to .*file/v1: Not a directory$"):
        build(*made, tmp_path / "file/v1", COMMAND)


# ---------------------------------------------------------------- numbers
def test_markdown_table_holds_the_scores(made, files):
    lines = files["README.md"].decode().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| Method |"))
    head = [cell.strip() for cell in lines[start].strip("|").split("|")]
    body = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : start + 2 + len(METHODS)]
    ]
    assert all(len(row) == len(head) for row in body)
    summary = made[2].summary
    own = summary[summary["start"] == "own"].set_index(["method", "mark"])
    expected = own.xs(10, level="mark").sort_values(["valid_regret", "mean_rank"]).index.tolist()
    names = [row[0].replace("\\", "").split()[0] for row in body]
    assert names == expected
    for name, row in zip(names, body, strict=True):
        one = own.loc[name, 5]
        assert row[head.index("Valid regret at 5")] == f"{one['valid_regret']:.3f}"
        ten = own.loc[name, 10]
        text = f"**{ten['valid_regret']:.3f}** [{ten['valid_low']:.3f}, {ten['valid_high']:.3f}]"
        assert row[head.index("Valid regret at 10")] == text
        test = [
            float(x) for x in re.findall(r"[−\d.]+", row[head.index("Test regret at 10")].replace("−", "-"))
        ] or None
        assert test is None or len(test) <= 3
        assert row[head.index("Mean rank")] == f"{ten['mean_rank']:.2f}"


def test_index_holds_the_scores_of_every_start(made, files):
    index = files["site/index.html"].decode()
    rows = re.findall(r'<tr data-start="(\w+)" data-method="(\w+)".*?</tr>', index, re.S)
    assert len(rows) == 3 * len(METHODS) and len(set(rows)) == len(rows)
    summary = made[2].summary.set_index(["method", "start", "mark"])
    for start, method in rows:
        row = re.search(rf'<tr data-start="{start}" data-method="{method}".*?</tr>', index, re.S)[0]
        assert f"<b>{summary.loc[method, start, 10]['valid_regret']:.3f}</b>" in row


def test_data_files_agree(made, files):
    frame = pq.read_table(io.BytesIO(files["scores.parquet"])).to_pandas()
    rows = list(csv.DictReader(io.StringIO(files["scores.csv"].decode())))
    summary = json.loads(files["scores.json"])["summary"]
    assert len(frame) == len(rows) == len(summary) == len(made[2].summary)
    for record, row, data in zip(frame.to_dict("records"), rows, summary, strict=True):
        assert record == data
        assert {k: type(data[k])(v) for k, v in row.items()} == data
    for column in ("valid_regret", "test_regret", "minmax_regret", "overhead_s"):
        np.testing.assert_allclose(frame[column], made[2].summary[column], rtol=6e-6, atol=1e-12)
    about = json.loads(files["scores.json"])
    assert about["board"]["digest"] == made[0].digest and about["command"] == COMMAND
    assert len(about["tasks"]) == len(made[2].tasks) == files["site/data/tasks.csv"].count(b"\n") - 1
    assert about["finding"] == publishing.board_pages.finding(View(*made, COMMAND))


def test_traces_are_published_as_they_came(made, files):
    read = pq.read_table(io.BytesIO(files["traces.parquet"]))
    assert "epochs" not in read.column_names and completed(read).equals(made[1])


def test_missing_test_regret_is_left_out(made):
    board, traces, scores, table = made
    gone = dict.fromkeys(("test_regret", "test_low", "test_high"), np.nan)
    floor = dict.fromkeys(scores.floor, np.nan)
    blank = dataclasses.replace(
        scores,
        summary=scores.summary.assign(**gone),
        curves=scores.curves.assign(**gone),
        tasks=scores.tasks.assign(test_regret=np.nan),
        noise_floor=scores.noise_floor.assign(test_regret=np.nan),
        floor=floor,
    )
    made_files = contents(View(board, traces, blank, table, COMMAND))
    assert json.loads(made_files["scores.json"])["summary"][0]["test_regret"] is None
    for name in ("README.md", "site/index.html", "site/methods/gp.html"):
        assert "nan" not in made_files[name].decode().replace("data-method", "").lower().split()
        assert "Test regret" not in made_files[name].decode()


def test_one_method_from_one_start_is_enough():
    made = scene({"random": (0.0, 1e-5)}, budget=5, tasks=8, resamples=10, starts=("own",))
    made_files = contents(View(*made, COMMAND))
    pages(made_files)
    readme = made_files["README.md"].decode()
    assert "After 5 trials on data sets that no method saw, regret is 0." in readme and "best:" not in readme


# ---------------------------------------------------------------- pages
def test_pages_are_well_formed_and_ids_are_unique(files):
    for name, page in pages(files).items():
        assert len(set(page.ids)) == len(page.ids), name
        assert [t for t, _ in page.tags].count("h1") == 1, name
        for tag, found in page.tags:
            if tag == "svg" and "aria-hidden" not in found:
                assert set(found["aria-labelledby"].split()) <= set(page.ids)
        tables = [t for t, _ in page.tags].count("table")
        assert tables == [t for t, _ in page.tags].count("caption") > 0, name


def test_every_link_inside_the_site_resolves(files):
    parsed = pages(files)
    n = 0
    for name, page in parsed.items():
        for link in page.links:
            if link.startswith(("https://", "data:")):
                continue
            path, _, fragment = link.partition("#")
            target = urllib.parse.urljoin(name, path) if path else name
            assert target in files, f"{name} links to {link}"
            assert not fragment or fragment in parsed[target].ids, f"{name} links to {link}"
            n += 1
    assert n > 100


def test_nothing_is_fetched_from_elsewhere(files):
    for name, page in pages(files).items():
        for tag, found in page.tags:
            if tag in {"script", "link", "img", "iframe", "source"}:
                assert not re.match(r"(https?:)?//", found.get("src", found.get("href", ""))), name
    for name in ("site/style.css", "regret.svg"):
        assert b"@import" not in files[name] and b"url(" not in files[name]


def test_names_from_data_are_escaped():
    evil = '<script>alert("x")</script> & co | `x`'
    board, traces, scores, table = scene({"random": (0.0, 1e-5)}, budget=5, tasks=8, resamples=10, title=evil)
    table.tasks["family"] = table.tasks["licence"] = table.tasks["kind"] = evil
    made_files = contents(View(board, traces, scores, table, f"metabench evaluate --board '{evil}'"))
    for name, page in pages(made_files).items():
        scripts = [found for tag, found in page.tags if tag == "script"]
        assert all(found.get("src") or found == {"type": "application/json", "id": "data"} for found in scripts), name
        assert len(scripts) <= 3, name  # our own
        assert evil in "".join(page.text), name
    readme = made_files["README.md"].decode()
    heading = readme.splitlines()[0]
    assert "<script>" not in heading.replace("\\<", "") and heading.startswith("# \\<script\\>")
    assert b"<script" not in made_files["regret.svg"]


@pytest.mark.parametrize("name", ["<script>", "../up", "a/b", "", ".hidden", "a b", "x" * 101, "a\n"])
def test_unsafe_method_names_are_refused(made, name, tmp_path):
    board, traces, scores, table = made
    frames = {
        f.name: getattr(scores, f.name).replace({"method": {"gp": name}})
        for f in dataclasses.fields(scores)
        if isinstance(getattr(scores, f.name), pd.DataFrame) and "method" in getattr(scores, f.name)
    }
    with pytest.raises(UsageError, match="cannot name a page"):
        build(board, traces, dataclasses.replace(scores, **frames), table, tmp_path / "out", COMMAND)
    assert not (tmp_path / "out").exists()


def test_unsafe_task_names_and_shared_pages_are_refused(made, tmp_path):
    board, traces, scores, table = made
    evil = dataclasses.replace(scores, tasks=scores.tasks.replace({"task_id": {"planted-7": "../planted-7"}}))
    with pytest.raises(UsageError, match=r"task '\.\./planted-7' cannot name a page"):
        build(board, traces, evil, table, tmp_path / "out", COMMAND)
    both = dataclasses.replace(scores, summary=scores.summary.replace({"method": {"gp": "Random"}}))
    with pytest.raises(UsageError, match=r"method 'random' and 'Random' would share the page random\.html"):
        build(board, traces, both, table, tmp_path / "out", COMMAND)


def test_no_scores_is_a_clear_error(made, tmp_path):
    board, traces, scores, table = made
    with pytest.raises(UsageError, match="board fake: there are no scores to publish"):
        build(board, traces, dataclasses.replace(scores, summary=scores.summary[:0]), table, tmp_path, COMMAND)


# ---------------------------------------------------------------- the view
def planted(made, better=(), worse=(), winner=None):
    """The board with tests that come out as said, at every mark and from every start."""
    board, traces, scores, table = made
    controls = scores.controls.assign(p_holm=0.5, difference=-0.1)
    ours = controls["control"] == "random"
    controls.loc[ours & controls["method"].isin(better), "p_holm"] = 0.049
    controls.loc[ours & controls["method"].isin(worse), ["p_holm", "difference"]] = 0.049, 0.1
    pairs = scores.pairs.assign(p_holm=0.5)
    for side, sign in (("method_a", -1.0), ("method_b", 1.0)):
        pairs.loc[pairs[side] == winner, ["p_holm", "difference"]] = 0.01, sign
    return View(board, traces, dataclasses.replace(scores, controls=controls, pairs=pairs), table, COMMAND)


def test_no_method_is_called_best_without_a_test(made):
    text = publishing.board_pages.finding(planted(made))
    assert "no method is shown to be better than random search" in text
    assert "The data do not show which method is best: 0 of 15 pairs of methods differ significantly." in text


def test_the_finding_counts_what_the_tests_against_random_show(made):
    view = planted(made, better=["rgpe", "gp"], worse=["sobol"])
    text = publishing.board_pages.finding(view)
    assert "2 of 5 methods are shown to be better than random search" in text
    rows = {row.entry.name: row for row in view.rows("own")}
    assert {name: row.group for name, row in rows.items()} == {
        "rgpe": 1, "gp": 1, "sobol": 3, "random": 2, "portfolio": 2, "empirical_gp": 2
    }  # fmt: skip
    values = [rows[m].valid[10].value for m in ("rgpe", "gp")]
    assert f"Their regret is {min(values):.3f}–{max(values):.3f}" in text
    assert rows["sobol"].label == "worse than random"


def test_a_method_that_beats_every_other_one_is_named(made):
    view = planted(made, better=["gp"], winner="gp")
    assert view.standing("own").winner == "gp" and view.standing("own").decided == 5
    assert "gp is shown to be better than every other method." in publishing.board_pages.finding(view)


def test_tiers_are_groups_and_joint_intervals_decide():
    from metabench.publishing.boards.standing import judged

    methods = pd.DataFrame({"method": list(METHODS), "tier": [1, 1, 1, 2, 2, 3]})
    pairs = pd.DataFrame({"joint_low": [0.1, -0.1, -0.3], "joint_high": [0.2, 0.1, -0.1]})
    standing = judged(methods, pairs)
    assert (standing.decided, standing.pairs, standing.winner, standing.tiers) == (2, 3, None, True)
    assert standing.label("gp") == "tier 2" and standing.members(1) == ["empirical_gp", "portfolio", "rgpe"]
    assert judged(methods.assign(tier=[1, 2, 2, 2, 2, 3]), pairs).winner == "empirical_gp"


def test_the_script_gets_what_the_page_shows(made, files):
    text = files["site/index.html"].decode()
    held = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    summary = made[2].summary.set_index(["method", "start", "mark"])
    for start, found in held["starts"].items():
        for method, marks in found["mean"].items():
            for mark, (value, low, high) in zip(held["marks"], marks, strict=True):
                row = summary.loc[method, start, mark]
                np.testing.assert_allclose(
                    [value, low, high], row[["valid_regret", "valid_low", "valid_high"]].astype(float), atol=6e-5
                )
    assert [t[0] for t in held["tasks"]] == sorted(made[2].tasks["task_id"].unique())
    assert [t[3] for t in held["tasks"]] == [
        bool(n >= 2000) for n in made[3].tasks.set_index("task_id").loc[[t[0] for t in held["tasks"]], "n_rows"]
    ]


def test_sizes_of_downloads_are_those_of_the_files(files):
    text = files["site/index.html"].decode()
    for name in ("summary", "pairs"):
        kb = len(files[f"site/data/{name}.csv"]) / 1e3
        assert re.search(rf'data/{name}\.csv">CSV<span class="sr">[^<]*</span></a> <small>{max(kb, 1):.0f} kB', text)


def test_a_board_is_cited_as_the_project_is():
    from pathlib import Path

    from metabench.publishing.boards.words import AUTHORS, YEAR

    citation = (Path(__file__).parents[2] / "CITATION.cff").read_text()
    assert f"- name: {AUTHORS.strip('{}')}" in citation and f"date-released: {YEAR}-" in citation


def test_where_it_wins_ranks_ties_by_their_mean(made):
    view = View(*made, COMMAND)
    won = publishing.board_pages._wins(view, "own", "gp")
    differences = [w["difference"] for w in won]
    assert differences == sorted(differences)
    tasks = made[2].tasks.query("start == 'own' and mark == 10")
    for w in won:
        here = tasks[tasks["task_id"] == w["id"]].set_index("method")["valid_regret"]
        assert w["rank"] == here.rank()["gp"]


def test_a_board_of_several_workloads_shows_each(made):
    board, _, scores, table = made
    held = board.tasks(table, "test")
    tasks = table.tasks.assign(workload=["other" if t in held[:2] else "planted" for t in table.tasks["task_id"]])
    view = View(*made, COMMAND)
    view.task_facts = {r["task_id"]: r for r in tasks.to_dict("records") if r["task_id"] in held}
    assert view.workloads == {"other": sorted(held[:2]), "planted": sorted(held[2:])}
    own = scores.tasks.query("start == 'own' and mark == 10 and method == 'gp'").set_index("task_id")["valid_regret"]
    assert view.by_workload("own", "gp") == pytest.approx(
        {"other": own[held[:2]].mean(), "planted": own[held[2:]].mean()}
    )
    lines = publishing.board_pages._parted(view, "own", view.rows("own"))
    for workload in view.workloads:
        best = [line["entry"].name for line in lines if line["cells"][workload][2]]
        values = {line["entry"].name: line["cells"][workload][0] for line in lines}
        assert best == [m for m, v in values.items() if v == min(values.values())]


def test_schema_metadata_of_scores(files):
    metadata = pq.read_schema(pa.BufferReader(files["scores.parquet"])).metadata
    assert metadata == {b"metabench.schema_version": b"1"}


# ---------------------------------------------------------------- submissions
def test_a_submission_is_shown_with_its_status_and_without_markup(made):
    said = {"board": "fake", "digest": "0" * 64, "authors": ("A & B",), "trained_on": ("planted-0",)}
    link = "https://example.org/?a=1&b=%22"
    submission = Submission(method="rgpe", summary="Ranks & weighs", code=link, status="confirmed", **said)
    files = contents(View(*made, COMMAND, [submission]))
    page = files["site/methods/rgpe.html"].decode()
    assert "submission, confirmed" in page and "By A &amp; B." in page and "Ranks &amp; weighs" in page
    assert 'href="https://example.org/?a=1&amp;b=%22"' in page and "with fresh search seeds" in " ".join(page.split())
    assert "submission, confirmed" in files["site/index.html"].decode()
    assert "| submission, confirmed |" in files["README.md"].decode()
    pages(files)


def test_a_single_held_out_family_is_drawn_without_intervals():
    families = ["a", "b", "c", "d", "e", "f"] + ["held"] * 6
    table = planted_table(tasks=12, configs=64)
    table._infos = {
        k: dataclasses.replace(info, family=f) for (k, info), f in zip(table._infos.items(), families, strict=True)
    }
    table.tasks["family"] = families
    board = board_for(table, budget=10, starts=("own",))
    traces = traces_of(table, board, METHODS)
    files = contents(View(board, traces, score(traces, table, board, resamples=20), table, COMMAND))
    assert not [name for name, data in files.items() if b"nan" in data.lower() and name.endswith((".html", ".svg"))]
    pages(files)
