"""The pages over all boards: what they hold, that links lead somewhere, and that they say when they are stale."""

import json
import math
import re
import shutil
import urllib.parse
from pathlib import Path

import pytest
from click.testing import CliRunner
from collected import METHODS
from markup import Page

from metabench import workflows
from metabench.cli import main
from metabench.errors import MetabenchError
from metabench.publishing import site
from metabench.publishing.pages import references
from metabench.publishing.pages.wording import share
from metabench.publishing.site.collect import Collection
from metabench.publishing.site.pages import reports


@pytest.fixture(scope="module")
def pages(built):
    return {p.relative_to(built).as_posix(): Page(p.read_text()) for p in built.rglob("*.html")}


def test_every_page_has_a_title_a_heading_and_its_own_ids(pages):
    assert {"site/index.html", "tiny/v1/site/index.html", "guess/v1/site/index.html"} <= set(pages)
    for name, page in pages.items():
        tags = [tag for tag, _ in page.tags]
        assert tags.count("h1") == 1 and tags.count("title") >= 1, name
        assert len(set(page.ids)) == len(page.ids), name
        assert all("alt" in found for tag, found in page.tags if tag == "img"), name
        assert tags.count("table") == tags.count("caption"), name


def test_every_link_of_every_page_leads_somewhere(built, pages):
    n = 0
    for name, page in pages.items():
        for link in page.links:
            if link.startswith(("https://", "data:")):
                continue
            path, _, fragment = link.partition("#")
            target = urllib.parse.urljoin(name, path) if path else name
            assert (built / target).is_file(), f"{name} links to {link}"
            assert not fragment or fragment in pages[target].ids, f"{name} links to {link}"
            n += 1
    assert n > 1000


def test_boards_and_methods_and_tasks_lead_to_each_other(pages):
    assert "../../../../site/methods/portfolio.html" in pages["tiny/v1/site/methods/portfolio.html"].links
    held = "tasks/mlp-set00008.html"
    assert f"../../../../site/{held}" in pages[f"tiny/v1/site/{held}"].links
    assert f"../../tiny/v1/site/{held}" in pages[f"site/{held}"].links
    assert "../../tiny/v1/site/methods/random.html" in pages["site/methods/random.html"].links


def test_the_front_page_has_every_board_with_its_leader(built, pages):
    front = pages["site/index.html"]
    text = " ".join("".join(front.text).split())
    for board in Collection(built).published:
        leader = board.lines[0]
        assert board.title in text and board.question in text and f"{leader.value:.3f}".replace("-", "−") in text
    assert "metabench evaluate --board empty" in text  # the one without results
    assert "960 runs" not in text and "1,152" in text  # 12 × 32 × 2 and 3 × 64 × 2 runs
    assert not [link for link in front.links if "empty" in link]


def test_a_methods_page_has_its_place_on_every_board(built, pages):
    boards = {b.board.name: b for b in Collection(built).published}
    text = " ".join("".join(pages["site/methods/random.html"].text).split())
    for name in ("tiny", "short"):
        line = next(line for line in boards[name].lines if line.method == "random")
        assert line.place <= len(METHODS[name]) and f"{line.value:.3f}" in text
    assert 'mb.evaluate("random", board)' in text


def test_wins_and_losses_are_those_against_the_median_method(built):
    from metabench.publishing.site.pages import _edges

    b = next(b for b in Collection(built).published if b.board.name == "tiny")
    gap = (b.by_task["portfolio"] - b.by_task.median(axis=1)).sort_values()
    edges = _edges(b, "portfolio")
    assert [t for t, _ in edges["wins"]] == [t for t, g in gap.items() if g < 0][:3]
    assert all(g < 0 for _, g in edges["wins"]) and all(g > 0 for _, g in edges["losses"])


def test_a_workloads_page_has_its_space_its_references_and_its_tasks(pages):
    page = pages["site/workloads/mlp.html"]
    text = " ".join("".join(page.text).split())
    assert "learning_rate" in text and "0.0001 … 1" in text and "higher is better & <so>." in text and "0.812" in text
    assert sum(link.startswith("../tasks/mlp-") for link in page.links) == 12
    untrained = " ".join("".join(pages["site/workloads/gan.html"].text).split())
    assert "No table holds runs of it yet" in untrained


def test_a_tables_page_says_how_to_load_it(pages):
    text = "".join(pages["site/tables/tiny.html"].text)
    assert 'pd.read_parquet("datasets/tiny/v1/runs/mlp-00000.parquet")' in text or "datasets/tiny/v1/runs/mlp" in text
    assert "duckdb.sql" in text and "768 training runs on 12 tasks" in text


def test_a_task_is_shown_from_the_table_that_has_most_of_it(built, tmp_path, monkeypatch):
    c = Collection(built)
    assert c.places["text-set00001"].table.name == "large" and c.places["mlp-set00001"].table.name == "tiny"
    assert list(c.places) == sorted(c.places) and len(c.places) == 15


def test_what_one_seed_cannot_tell_is_a_dash():
    published = list((Path(__file__).parents[3] / "leaderboards/site").rglob("*.html"))
    assert published and not [p.name for p in published if re.search(r">nan\b", p.read_text())]
    assert (share(math.nan), share(-0.125), share(-0.001)) == ("–", "−0.12", "0.00")


def test_building_twice_gives_the_same_bytes_and_nothing_is_stale(inside):
    assert workflows.all_stale() == []
    first = {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()}
    workflows.publish_all()
    assert {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()} == first


def test_what_is_stale_is_named_and_status_1(built, tmp_path, monkeypatch):
    root = tmp_path / "leaderboards"
    shutil.copytree(built, root)
    shutil.copytree(built.parent / "datasets", tmp_path / "datasets")
    shutil.copytree(built.parent / "docs", tmp_path / "docs")
    (root / "site/index.html").write_text("old")
    (root / "site/methods/random.html").unlink()
    (root / "site/methods/gone.html").write_text("")
    assert site.check(root) == [
        f"{root / 'site/index.html'} is stale",
        f"{root / 'site/methods/gone.html'} is left over",
        f"{root / 'site/methods/random.html'} is absent",
    ]
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(root))
    monkeypatch.setenv("METABENCH_DATASETS", str(tmp_path / "datasets"))
    done = CliRunner().invoke(main, ["leaderboard", "build", "--all", "--check"])
    assert done.exit_code == 1 and "all boards: 3 published files are stale" in done.stderr
    assert (root / "site/index.html").read_text() == "old"
    site.build(root)
    assert site.check(root) == []


def test_all_takes_no_profile():
    done = CliRunner().invoke(main, ["leaderboard", "build", "--all", "--profile", "lite"])
    assert done.exit_code == 2 and "--all is about what is published" in done.stderr


def test_a_folder_without_boards_and_results_of_an_earlier_build_are_one_line(built, tmp_path):
    with pytest.raises(MetabenchError, match="holds no board"):
        site.build(tmp_path)
    shutil.copytree(built / "short", tmp_path / "short")
    for text, message in (('{"summary": []}', "is of an earlier build"), ("{", "is no JSON document")):
        (tmp_path / "short/v1/scores.json").write_text(text)
        with pytest.raises(MetabenchError, match=message):
            Collection(tmp_path)


def test_earlier_versions_keep_their_scores_and_lose_their_pages(built, tmp_path, monkeypatch):
    root = tmp_path / "leaderboards"
    shutil.copytree(built, root)
    shutil.copytree(built.parent / "datasets", tmp_path / "datasets")
    shutil.copytree(root / "short/v1", root / "short/v2")
    rules = root / "short/v2/board.toml"
    rules.write_text(rules.read_text().replace("version = 1", "version = 2", 1))
    monkeypatch.setenv("METABENCH_LEADERBOARDS", str(root))
    monkeypatch.setenv("METABENCH_DATASETS", str(tmp_path / "datasets"))
    before = (root / "short/v1/scores.parquet").read_bytes()
    assert any("short/v1/site is left over" in line for line in workflows.all_stale())
    workflows.publish_all()
    assert workflows.all_stale() == []
    assert {p.name for p in (root / "short/v1").iterdir()} == {"board.toml", "scores.parquet", "traces.parquet"}
    assert (root / "short/v1/scores.parquet").read_bytes() == before
    linked = [p for p in root.rglob("*.html") if "short/v1" in p.read_text(encoding="utf-8")]
    assert linked == []
    assert '"../../v1/scores.parquet"' in (root / "short/v2/site/index.html").read_text(encoding="utf-8")
    assert [(b.board.name, b.board.version) for b in Collection(root).standing("portfolio")] == [
        ("tiny", 1),
        ("short", 2),
    ]
    (root / "short/v1/scores.parquet").write_bytes(b"")
    assert [line for line in workflows.all_stale() if "short/v1/scores.parquet is stale" in line]


def test_a_run_in_several_tables_counts_once_and_variants_have_no_page(built, tmp_path, monkeypatch):
    for name in ("leaderboards", "datasets"):
        shutil.copytree(built.parent / name, tmp_path / name)
    before = Collection(tmp_path / "leaderboards")
    assert before.runs["mlp"] == 12 * 32 * 2 and len(before.facts) == 2
    shutil.copytree(tmp_path / "datasets/tiny", tmp_path / "datasets/again")
    after = Collection(tmp_path / "leaderboards")
    assert len(after.facts) == 3 and after.runs == before.runs
    first = next(iter(before.places))
    monkeypatch.setattr("metabench.publishing.site.collect.is_variant", lambda task: task == first)
    assert set(Collection(tmp_path / "leaderboards").places) == set(before.places) - {first}


# ---------------------------------------------------------------- parts
def test_references_are_escaped_and_absent_sections_are_none(tmp_path):
    table = {"columns": ["x", "y"], "rows": [["1", "**2**"]]}
    held = {"title": "t", "sections": [{"name": "a", "blocks": [{"text": "some `code` <b>"}, table]}]}
    (tmp_path / "w.json").write_text(json.dumps(held))
    found = references.read(tmp_path / "w.json", "a")
    assert [str(p) for p in found.paragraphs] == ["some <code>code</code> &lt;b&gt;"]
    assert [[str(c) for c in row] for row in found.tables[0]] == [["x", "y"], ["1", "<b>2</b>"]]
    assert references.read(tmp_path / "w.json", "c") is None and references.read(tmp_path / "none.json", "a") is None
    assert references.markdown(held) == "# t\n\n## a\n\nsome `code` <b>\n\n| x | y |\n|---:|---|\n| 1 | **2** |\n"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"sections": [{"blocks": 3}]}',
        '{"sections": [{"name": "a", "blocks": [{"picture": 1}]}]}',
        '{"sections": [{"name": "a", "blocks": [{"columns": ["x"], "rows": [["1", "2"]]}]}]}',
    ],
)
def test_damaged_references_are_one_line(text, tmp_path):
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(MetabenchError, match=r"^.*w\.json cannot be read as references: [^\n]+$"):
        references.read(tmp_path / "w.json", "a")


def test_the_page_of_references_is_made_of_their_data():
    docs = Path(__file__).parents[3] / "docs"
    assert (docs / "workloads.md").read_text() == references.markdown(references.load(docs / "workloads.json"))


def test_reports_are_listed_by_their_heads(tmp_path):
    (tmp_path / "b.html").write_text('<title>Two · metabench</title><meta name="description" content="a &amp; b">')
    (tmp_path / "a.html").write_text("<title>One</title><svg><title>not this</title></svg>")
    (tmp_path / "index.html").write_text("<title>All</title>")
    found = [(re.sub(r".*/", "", page), title, text) for page, title, text in reports(tmp_path)]
    assert found == [("a.html", "One", ""), ("b.html", "Two", "a & b")]


def test_tables_are_shown_in_the_version_that_boards_are_made_on(built, tmp_path):
    for name in ("leaderboards", "datasets"):
        shutil.copytree(built.parent / name, tmp_path / name)
    for version in (2, 3):
        shutil.copytree(tmp_path / "datasets/tiny/v1", tmp_path / f"datasets/tiny/v{version}")
        shutil.copytree(tmp_path / "datasets/tiny/v1", tmp_path / f"datasets/other/v{version}")
    shown = {(f.table.path.parent.name, f.table.path.name) for f in Collection(tmp_path / "leaderboards").facts}
    assert {("tiny", "v1"), ("other", "v3")} <= shown and len(shown) == 3


# ---------------------------------------------------------------- the front page
def test_the_recommended_method_is_that_of_the_shipped_metamodel():
    from metabench.pretrained import load_metamodel
    from metabench.publishing.boards.view import RECOMMENDED

    record = json.loads((Path(__file__).parents[3] / "metabench/pretrained/mlp-v1/record.json").read_text())
    assert record["method"] == RECOMMENDED and load_metamodel("mlp-v1")


def test_findings_carry_the_published_numbers_and_a_caveat():
    from metabench.publishing.site.front import findings

    c = Collection(Path(__file__).parents[3] / "leaderboards")
    found = {f["b"].board.name: f for f in findings(c)}
    assert set(found) == {"search", "predict", "multi-fidelity"} and all(f["caveat"] for f in found.values())
    search = found["search"]["b"]
    led = [line.value for line in search.lines if search.standing.groups[line.method] == 1]
    assert f"{len(led)} of {len(search.lines) - 1} methods" in found["search"]["text"]
    assert f"{min(led):.3f}–{max(led):.3f}" in found["search"]["text"]
    decided = sum(
        r["p_holm"] < 0.05 for r in search.results["pairs"] if r["start"] == "own" and r["mark"] == search.mark
    )
    assert f"{decided} of {search.standing.pairs} pairs" in found["search"]["caveat"]
    asha = found["multi-fidelity"]["b"].line("asha")
    assert f"{asha.value:.3f}" in found["multi-fidelity"]["text"]
