"""What README shows is code that works, on the committed table."""

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from metabench.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
CONSOLE = [
    tuple(block.partition("\n")[::2])
    for part in re.findall(r"```console\n(.*?)```", TEXT, re.S)
    for block in re.split(r"^\$ ", part, flags=re.M)[1:]
]


def test_the_readme_is_short_and_has_four_entrances():
    assert len(TEXT.splitlines()) <= 120
    entrances = ["Tune my network", "Benchmark my method", "Load the tables", "Train my own tables"]
    assert [h for h in re.findall(r"^## (.*)$", TEXT, re.M) if h in entrances] == entrances
    assert len(BLOCKS) == 4 and len(CONSOLE) == 3


def test_the_output_of_tune_is_that_of_the_page_that_runs_it():
    command, output = CONSOLE[0]
    page = (ROOT / "docs/practitioner.md").read_text()
    assert f"$ {command}\n" in page
    assert output in page


def test_a_table_is_trained_and_verified_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command, output in CONSOLE[1:]:
        done = CliRunner().invoke(main, [*shlex.split(command)[1:]], standalone_mode=False)
        assert done.exception is None, command
        mine, shown = done.stdout.splitlines(), output.splitlines()
        assert mine[0].split() == shown[0].split()
        assert [line.split()[:5] for line in mine] == [line.split()[:5] for line in shown]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_a_block_runs(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})


def test_every_reader_sees_the_same_rows():
    import duckdb
    import pandas as pd
    import polars as pl

    import metabench as mb

    path = ROOT / "datasets/starter/v1/runs/mlp.parquet"
    table = mb.load_table("starter")
    ours = table.runs("mlp").to_pandas()
    n = (table.tasks["workload"] == "mlp").sum() * len(table.configs("mlp")) * 2
    assert len(ours) == len(pd.read_parquet(path)) == pl.read_parquet(path).height == n
    ((count, first),) = duckdb.sql(f"select count(*), min(run_id) from '{path}'").fetchall()
    assert (count, first) == (n, ours["run_id"].min())
    assert pl.read_parquet(path)["run_id"].to_list() == ours["run_id"].tolist()


@pytest.mark.skipif(
    not os.environ.get("METABENCH_DATA"), reason="METABENCH_DATA names no folder with the catalogue's files"
)
def test_rows_of_the_starter_table_train_again():
    from metabench.table.rerun import rerun

    report = rerun(ROOT / "datasets/starter/v1", sample=5)
    assert report.agrees, report


def test_digits_of_the_starter_table_train_again():
    """A bundled data set needs no network: any machine can check its rows."""
    from metabench.table import load_table
    from metabench.table.rerun import rerun
    from metabench.training import resident

    if resident.available() is not None:
        pytest.skip(resident.available())
    table = load_table("starter")
    rows = table.runs("mlp", ["run_id", "config_id", "seed"], ["mlp-digits"]).to_pandas()
    chosen = rows[(rows["config_id"] == 3) & (rows["seed"] == 1)]["run_id"].item()
    report = rerun(ROOT / "datasets/starter/v1", run_id=int(chosen))
    assert len(report.runs) == 1 and report.agrees
