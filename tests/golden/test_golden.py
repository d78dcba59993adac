"""No built-in method proposes otherwise than its stored record unless its version is another."""

from copy import deepcopy
from pathlib import Path

import pytest

from metabench import registry
from metabench.search.base import Searcher
from metabench.testing import golden

FOLDER = Path(__file__).parent / "proposals"
METHODS = [(kind, name) for kind in ("baselines", "metamodels") for name in registry.builtin(kind)]


@pytest.mark.parametrize(("kind", "name"), METHODS, ids=[name for _, name in METHODS])
def test_proposals_change_with_the_version_alone(kind, name):
    if lacking := registry.lacks(registry.load(kind, name)):
        pytest.skip(f"{name} {lacking}")
    assert (FOLDER / f"{name}.json").exists(), f"run `python -m metabench.testing.golden {name}`"
    stored, now = golden.read(name, FOLDER), golden.observe(name)
    wrong = golden.differs(stored, now)
    if wrong and (packages := golden.other_machine(stored, now)):
        pytest.skip(packages)
    assert wrong is None, wrong


def test_every_record_is_of_a_method():
    assert {path.stem for path in FOLDER.iterdir()} <= {name for _, name in METHODS}


@pytest.mark.parametrize(("kind", "name"), METHODS, ids=[name for _, name in METHODS])
def test_every_method_says_a_version_of_its_own_and_what_it_is_built_on(kind, name):
    cls = registry.load(kind, name)
    assert isinstance(vars(cls).get("version"), str)
    source = Path(__import__(cls.__module__, fromlist=["_"]).__file__).read_text()
    known = golden.versions(cls)
    for other, _ in ((n, k) for k, n in METHODS if n != name):
        imported = any(f"from metabench.{k}.{other} import" in source for k in ("baselines", "metamodels"))
        assert not imported or other in known, f"{name} imports from {other}: put its class into `built_on`"


def test_a_change_is_told_in_one_line_that_says_what_to_do():
    record = golden.read("gp", FOLDER)
    assert golden.differs(record, record) is None
    other = deepcopy(record)
    other["searches"][0]["proposals"][-1] += 1
    line = golden.differs(record, other)
    assert line.startswith("gp does not propose what its version 1 did: raise `version` in its class")
    assert line.endswith("run `python -m metabench.testing.golden gp`") and "\n" not in line
    other["versions"] = {"gp": "2"}
    assert golden.differs(record, other).startswith("the record of gp is of versions gp 1, the code of gp 2: run ")
    predicted = deepcopy(record)
    predicted["searches"][1]["predicted"][0][0] += 0.1
    assert "raise `version`" in golden.differs(record, predicted)
    tuned = record | {"fingerprint": "0"}
    assert "another fingerprint" in golden.differs(record, tuned)


def test_a_changed_proposal_is_noticed(monkeypatch):
    from metabench.baselines.random import Random

    monkeypatch.setattr(Random, "ask", lambda self, history: int(history.untried(len(self.problem.candidates))[0]))
    assert "raise `version`" in golden.differs(golden.read("random", FOLDER), golden.observe("random"))
    assert Random.ask is not Searcher.ask


def test_records_are_written_as_they_are_read(tmp_path):
    record = golden.read("asha", FOLDER)
    path = golden.write(record, tmp_path)
    assert golden.read("asha", tmp_path) == record and path.read_text() == (FOLDER / "asha.json").read_text()
