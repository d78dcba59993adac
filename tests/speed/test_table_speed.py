"""What `metabench speed --tables` measures, on a small table; nothing here asks how long it took."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from metabench import load_table
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.speed import tables
from metabench.speed.tables import Row
from metabench.table import synthetic


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(tables, "CONFIGS", 256)
    monkeypatch.setattr(tables, "LOOK_UPS", 1000)


@pytest.fixture
def child(monkeypatch):
    """The measuring process, called here: it has the small table's sizes."""

    def run(*words):
        from contextlib import redirect_stdout
        from io import StringIO

        out = StringIO()
        with redirect_stdout(out):
            tables.main(*words)
        return json.loads(out.getvalue())

    monkeypatch.setattr(tables, "_child", run)


def test_every_target_is_measured(child):
    done = CliRunner().invoke(main, ["speed", "--tables", "--runs", "10240", "--repeats", "1", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    ours = {(r["what"], r["unit"]): r for r in rows if r["contender"] == "metabench"}
    assert {key: r["target"] for key, r in ours.items()} == {
        ("a run", "bytes"): 110.0,
        ("open, one task's columns", "s"): 1.0,
        ("open, one task's columns", "MB"): 300.0,
        ("look-ups in one batch", "/s"): 1e6,
        ("one look-up", "µs"): 20.0,
        ("verify", "s"): 10.0,
    }
    assert {r["runs"] for r in ours.values()} == {10_240, 9 * 1024} and all(r["value"] > 0 for r in rows)
    assert {(r["what"], r["unit"]) for r in rows if r["contender"] != "metabench"} == {
        ("a run", "bytes"),
        ("open, one task's columns", "s"),
        ("open, one task's columns", "MB"),
    }
    words = CliRunner().invoke(main, ["speed", "--tables", "--runs", "2048", "--repeats", "1"])
    assert "HPO-B's layout" in words.stdout and "µs" in words.stdout


def test_targets_are_ceilings_but_for_rates():
    assert Row("a", "b", 1, 5.0, "s", 10.0).met and not Row("a", "b", 1, 11.0, "s", 10.0).met
    assert Row("a", "b", 1, 2e6, "/s", 1e6).met and not Row("a", "b", 1, 5.0, "/s", 1e6).met
    assert Row("a", "b", 1, 5.0, "s").met is None


def test_the_made_up_table_has_sixty_numbers_a_run(tmp_path):
    table = load_table(synthetic.write(tmp_path / "million/v1", tasks=4, configs=64, seeds=4))
    runs = table.runs("mlp").to_pandas().query("status == 'ok'")
    assert {len(v) for name in ("train_loss", "test_score") for v in runs[name]} == {12}
    valid = table.final("mlp", table.tasks["task_id"].tolist())
    assert np.isfinite(valid).mean() > 0.9


def test_mistakes_are_one_line(monkeypatch):
    with pytest.raises(UsageError, match="1000 runs are too few; two tasks of the made-up table have 2,048"):
        next(iter(tables.measure(1000)))
    monkeypatch.setattr(tables.sys, "executable", "false")
    with pytest.raises(MetabenchError, match="the measuring process failed: no reason"):
        tables._child("json", "no-such", "w", "t")
