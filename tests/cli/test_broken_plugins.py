"""Listings and commands when somebody's plug-in is broken: the others are there, and one line says what is wrong."""

import json
import sys

import pytest
from click.testing import CliRunner

from metabench import tasks
from metabench.cli import main

BROKEN = {
    "import": "raise RuntimeError('oops')",
    "exit": "raise SystemExit(0)",
    "base": "class Worse(BaseException): pass\nraise Worse('oops')",
    "late": "class Mine:\n    name = 'mine'\n    def __init__(self): raise SystemExit(0)\n",
}


@pytest.fixture
def broken(tmp_path, monkeypatch, request):
    """A package whose one plug-in of a kind is broken in some way."""
    kind, how = request.param
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[metabench.{kind}]\nmine = theirs_broken:Mine\n")
    (tmp_path / "theirs_broken.py").write_text(BROKEN[how])
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("theirs_broken", None)
    tasks._listings.cache_clear()
    yield kind
    sys.modules.pop("theirs_broken", None)
    tasks._listings.cache_clear()


def run(*args):
    return CliRunner().invoke(main, args)


@pytest.mark.parametrize(
    "broken",
    [
        (k, h)
        for k in ("metamodels", "sources", "workloads", "reports")
        for h in BROKEN
        if (h != "late" or k == "sources")
    ],
    indirect=True,
)
def test_a_broken_plug_in_hides_no_other(broken):
    done = run("list", broken, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) > 1 and "mine" not in {row["name"] for row in rows}
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and "mine" in done.stderr


@pytest.mark.parametrize("broken", [("sources", h) for h in BROKEN], indirect=True)
def test_a_broken_source_leaves_the_others_data_sets(broken):
    with pytest.warns(UserWarning, match="source 'mine' are left out"):
        assert "mlp-wine" in tasks.names("mlp")


def test_a_name_of_300_characters_is_refused_before_anything_is_computed():
    from metabench.baselines.random import Random
    from metabench.errors import UsageError
    from metabench.evaluation.methods import resolve

    long = type("Long", (Random,), {"name": "m" * 300})
    with pytest.raises(UsageError, match="at most 64") as error:
        resolve([long])
    assert len(str(error.value)) < 300
    with pytest.raises(UsageError) as error:
        resolve([type("Odd", (Random,), {"name": "\x1b[2J" * 100})])
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 300
