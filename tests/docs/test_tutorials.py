"""The pages of docs/tutorials: what they show runs and prints what stands there; every workload has one."""

import importlib.util
import re
from pathlib import Path

import pytest

import metabench as mb
from metabench import pretrained

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for p in (ROOT / "docs/tutorials").glob("*.md") if p.name != "README.md")
INDEX = (ROOT / "docs/tutorials/README.md").read_text()


@pytest.fixture(scope="module")
def tutorials():
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "benchmarks/tutorials.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_workload_with_a_metamodel_has_a_page_that_the_index_names():
    assert {p.stem for p in PAGES} == {name.rpartition("-v")[0] for name in pretrained.names()} - {"mlp"}
    assert all(f"({p.name})" in INDEX for p in PAGES) and "(../practitioner.md)" in INDEX
    scripts = {p.name.split(".")[0] for p in (ROOT / "metabench/advise/templates").glob("*.py.j2")}
    assert scripts - {"torch", "labelled", "table"} == set(re.findall(r"`(\w+)` \| yes", INDEX))


def test_the_index_names_the_pages_whose_data_their_metamodels_know():
    families = mb.load_table("core", 1).tasks.set_index("task_id")["family"]
    knowing = set()
    for page in PAGES:
        text = page.read_text()
        used = {f"mlp-{name}" for name in re.findall(r"load_(\w+)\(", text)} | set(re.findall(r"--task (\S+)", text))
        known = {task.info.family for task in pretrained.for_workload(page.stem).tasks}
        knowing |= {page.stem} if known & set(families[sorted(used & set(families.index))]) else set()
    said = INDEX[INDEX.index("The pages of") : INDEX.index("know already")]
    assert knowing == set(re.findall(r"`(\w+)`", said)) == {"cnn", "gan", "policy", "vae"}


def test_the_table_is_that_of_the_records(tutorials):
    inside = INDEX[INDEX.index(tutorials.BEGIN) + len(tutorials.BEGIN) : INDEX.index(tutorials.END)]
    assert inside == tutorials.table()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_is_shown(tutorials, page, tmp_path, monkeypatch):
    """Words are the same; of numbers those that no training makes: scores may differ on another processor."""
    monkeypatch.chdir(tmp_path)
    shown = 0
    for language, body, said, printed in tutorials.ran(page.read_text()):
        ours, theirs = (text.rstrip().splitlines() for text in (printed, said))
        assert len(ours) == len(theirs), body
        shown += bool(theirs)
        for mine, line in zip(ours, theirs):
            if language == "console" and body.startswith("metabench recommend"):
                assert mine.rstrip() == line
            elif language == "console":
                assert mine.split(" ")[0] == line.split(" ")[0]
            else:
                assert _words(mine) == _words(line)
    assert shown >= 2


def _words(line):
    return re.sub(r"-?\d+(\.\d+)?|\s+", " ", line).split()
