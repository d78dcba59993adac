"""Reports on disk: pages follow from stored findings, to the byte; what is stale is said; nothing leaves the folder."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from markupsafe import Markup

from metabench import registry
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.publishing.charts import drawings
from metabench.publishing.charts.drawings import Axis, Cloud, Line
from metabench.publishing.charts.svg import Scale
from metabench.publishing.reports.base import Column, Figure, Findings, Grid, Page, Report, Section, paragraphs
from metabench.publishing.reports.parts import files

EVIL = '<script>alert("x")</script> & co'


ROOT = Path(__file__).parents[3]


class Toy(Report):
    """Counts a table's tasks."""

    name, title, label, needs, published = "toy", "How many?", "Toy", "table", "starter"
    calls = 0

    def inputs(self, given):
        return [len(given.table.tasks)]

    def compute(self, given):
        type(self).calls += 1
        frame = pd.DataFrame({"name": [EVIL, "b"], "value": [1 / 3, np.nan], "low": [0.1, 0.2], "high": [0.4, 0.5]})
        return {"tasks": len(given.table.tasks), "share": np.float64(2 / 3)}, {"numbers": frame}

    def page(self, findings):
        frame = findings.frames["numbers"]
        svg = drawings.rows([Line(EVIL, 0.3, 0.1, 0.4)], Axis("share"), uid="toy", title="Toy", description=EVIL)
        columns = [Column("Name", "name"), Column("Value", "value", "{:.2f}".format, ("low", "high"))]
        section = Section(
            "Part", EVIL, [Figure("Figure.", "text", svg, {EVIL: "c1"})], [Grid("Numbers", columns, frame)]
        )
        return Page(f"There are {findings.facts['tasks']} {EVIL}.", [section], "One.\n\nTwo\n   lines.")


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(registry, "names", lambda kind: ["toy"])
    monkeypatch.setattr(registry, "load", lambda kind, name: Toy)
    monkeypatch.setattr(registry, "create", lambda kind, name: Toy())
    monkeypatch.setattr(Toy, "calls", 0)
    return Toy()


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.links += [found[k] for k in ("href", "src") if k in found]

    def handle_data(self, data):
        self.text.append(data)


def made(toy, out):
    asked = files.context_of(toy, None, None, lambda text: None)
    found, computed = files.find(toy, asked, out)
    files.write({"toy": found}, out)
    return computed


def test_what_is_stored_is_not_computed_again_and_pages_are_the_same(toy, tmp_path):
    assert made(toy, tmp_path) is True
    before = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert made(toy, tmp_path) is False and toy.calls == 1
    assert {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert {Path("index.html"), Path("toy.html"), Path("data/toy.json"), Path("data/toy-numbers.csv")} <= set(before)
    assert files.stale(tmp_path) == []
    held = json.loads(before[Path("data/toy.json")])
    assert held["facts"]["share"] == 0.666667 and held["numbers"][1]["value"] is None
    assert held["made"]["command"] == "metabench report toy --table starter" and len(held["made"]["key"]) == 64


def test_findings_come_back_as_they_were_stored(tmp_path):
    frame = pd.DataFrame({"n": [1, 2], "x": [np.nan, 0.5], "empty": [np.nan, np.nan], "s": ["a", None]})
    found = Findings.of("toy", {"key": "k"}, {"a": [1.0, float("nan")]}, {"frame": frame, "none": frame.iloc[:0]})
    again = Findings.from_json(json.dumps(found.to_json()), "here")
    assert again.facts == {"a": [1.0, None]} and list(again.frames["none"]) == list(frame)
    assert again.frames["frame"]["n"].tolist() == [1, 2] and np.isnan(again.frames["frame"]["x"][0])
    with pytest.raises(MetabenchError, match="here holds no findings"):
        Findings.from_json("{}", "here")
    with pytest.raises(MetabenchError, match="of format '0'"):
        Findings.from_json('{"format": "0"}', "here")


def test_every_kind_of_staleness_is_said_in_a_line(toy, tmp_path, monkeypatch):
    made(toy, tmp_path)
    (tmp_path / "toy.html").write_text("edited")
    (tmp_path / "index.html").unlink()
    (tmp_path / "old.html").write_text("left")
    monkeypatch.setattr(Toy, "inputs", lambda self, given: ["other"])
    assert [line.removeprefix(f"{tmp_path}/").split(" ", 2)[:2] for line in files.stale(tmp_path)] == [
        ["data/toy.json", "is"],
        ["index.html", "is"],
        ["old.html", "is"],
        ["toy.html", "is"],
    ]
    assert "of other inputs; run `metabench report toy --table starter" in files.stale(tmp_path)[0]
    monkeypatch.setattr(Toy, "version", 2)
    assert files.outdated(tmp_path) == ["toy"]
    assert any("another version of the report" in line for line in files.stale(tmp_path))
    with pytest.raises(UsageError, match="holds no report 'tou'"):
        files.stale(tmp_path, ["tou"])


def test_names_from_data_are_escaped_and_nothing_is_fetched_from_elsewhere(toy, tmp_path):
    made(toy, tmp_path)
    for page in ("index.html", "toy.html"):
        parsed = Parsed((tmp_path / page).read_text())
        assert [found["src"] for tag, found in parsed.tags if tag == "script"] == ["board.js"]
        assert EVIL in "".join(parsed.text)
        for link in parsed.links:
            assert not re.match(r"(https?:)?//", link)
            target = link.partition("#")[0]
            assert not target or target.startswith("data:") or (tmp_path / target).exists(), link


def test_the_command_line(toy, tmp_path):
    runner = CliRunner()
    done = runner.invoke(main, ["report", "toy", "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["rows"][0]["computed"] is True
    done = runner.invoke(main, ["report", "--out", str(tmp_path / "out"), "--json"])
    assert json.loads(done.stdout)["rows"][0]["computed"] is False
    assert runner.invoke(main, ["report", "--out", str(tmp_path / "out"), "--check"]).exit_code == 0
    (tmp_path / "out/toy.html").write_text("")
    bad = runner.invoke(main, ["report", "--out", str(tmp_path / "out"), "--check"])
    assert bad.exit_code == 1 and "toy.html is stale" in bad.stdout
    wrong = runner.invoke(main, ["report", "toi/../x"], standalone_mode=False)
    assert isinstance(wrong.exception, UsageError) and "unknown report" in str(wrong.exception)


def test_all_reports_say_what_they_are():
    names = registry.builtin("reports")
    assert names == [
        "across",
        "cost",
        "failure",
        "fidelity",
        "importance",
        "learning_rate",
        "similarity",
        "sources",
        "surrogate",
    ]
    for name in names:
        report = registry.load("reports", name)
        assert report.title.endswith("?") and report.needs in ("board", "table") and report.label and report.__doc__


# ---------------------------------------------------------------- words and drawings
def test_paragraphs_are_parted_by_empty_lines():
    assert paragraphs("a\n  b\n\n\n   c\n") == ["a b", "c"]


def test_a_cell_with_and_without_its_interval():
    column = Column("x", "v", "{:.1f}".format, ("low", "high"))
    assert column.cell({"v": 1.0, "low": 0.5, "high": 1.5}) == ("1.0", "[0.5, 1.5]", "1")
    assert column.cell({"v": 1.0, "low": np.nan, "high": np.nan}) == ("1.0", "", "1")
    assert column.cell({"v": np.nan, "low": 0.0, "high": 1.0}) == ("–", "", "")
    assert Column("x", "v").cell({"v": None})[0] == "–"


@pytest.mark.parametrize("axis", [Axis("x"), Axis("x", log=True), Axis("x", low=0.0, high=1.0)])
def test_an_axis_shows_all_values_and_survives_equal_ones(axis):
    for values in ([0.2, 0.9], [0.5, 0.5], [], [float("nan"), 0.3]):
        scale = axis.scale(values, 0.0, 100.0)
        assert scale.high > scale.low and all(0 <= scale(v) <= 100 for v in values if v == v)


def test_a_matrix_is_drawn_by_level_and_small_ones_show_figures():
    small = drawings.matrix(["a", "b"], [[1.0, -0.5], [np.nan, 0.0]], uid="m", title="t", description="d")
    assert "−0.50" in small and 'class="cell down"' in small and "nan" not in small
    large = drawings.matrix([f"t{i}" for i in range(20)], np.eye(20), uid="m", title="t", description="d")
    assert large.count("<path") == 1 and "cell-value" not in large  # the diagonal alone, one level


def test_names_beside_points_do_not_touch():
    spots = [(0.5, 0.5), (0.5, 0.501), (0.501, 0.5)]
    cloud = Cloud("c", "c1", ["one", "two", "three"], *zip(*spots))
    drawn = drawings.points(
        [cloud], Axis("x", low=0, high=1), Axis("y", low=0, high=1), uid="p", title="t", description="d", named=True
    )
    assert isinstance(drawn, Markup) and drawn.count('class="dot"') == 3
    scale = Scale(0.0, 1.0, 52.0, 432.0)
    assert len(drawings._names(cloud, scale, scale)) == drawn.count("point-label") <= 3


def test_the_report_that_the_docs_show_works():
    from metabench.publishing.reports.base import ReportContext
    from metabench.table import load_table

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reports.md").read_text(), re.S)
    known = {}
    exec(compile(block, "docs/reports.md", "exec"), known)
    report, table = known["Divergence"](), load_table("starter")
    facts, frames = report.compute(ReportContext(table))
    found = Findings.of("divergence", {}, facts, frames)
    share = found.frames["shares"].set_index("workload")["share"]
    status = table.runs("mlp", ["status"])["status"].to_pylist()
    assert share["mlp"] == pytest.approx(status.count("diverged") / len(status), abs=1e-6)
    assert report.page(found).answer.startswith("Between ")


def test_published_pages_are_what_their_findings_give():
    assert files.stale_pages(ROOT / "leaderboards/reports") == []


def test_pages_about_an_older_version_of_a_board_are_checked_against_it():
    said = files.stale(ROOT / "leaderboards/reports", ["failure", "sources"])
    assert not [line for line in said if "of other inputs" in line]
