"""The card says what the table holds, the same bytes every time, and its one-liners work."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from table_samples import SPACE, runs_of, task, write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, card, load_table, rows
from metabench.table import write as write_module
from metabench.table.describe import describe, spearman
from metabench.training.curves import Curves


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards") / "datasets" / "core" / "v1"
    return write_table(folder, datasets=("iris", "wine", "digits"), n_configs=32, metrics={"wine": "r2"})


def planted(path, scores, directions=None):
    """A table whose final scores are ``scores`` [tasks, configs, seeds] on validation and on test rows."""
    tasks, configs, seeds = scores.shape
    with TableWriter(path) as writer:
        directions = directions or ["max"] * tasks
        writer.put_tasks([task(f"t{i}", direction=d, metric="r2") for i, d in enumerate(directions)])
        writer.put_configs("mlp", SPACE, configs)
        for i in range(tasks):
            out = Curves.empty(configs * seeds, (1,), "fake-1", "test processor")
            for name in ("train_loss", "valid_loss", "test_loss"):
                getattr(out, name)[:] = 1.0
            out.valid_score[:, 0] = out.test_score[:, 0] = scores[i].ravel()
            out.length[:] = np.isfinite(scores[i].ravel())
            out.status = ["ok" if n else "diverged" for n in out.length]
            out.params[:], out.flops[:], out.seconds[:] = 10, 4_000_000_000, 2.0
            ids, own = np.repeat(np.arange(configs), seeds), np.tile(np.arange(seeds), configs)
            writer.append("mlp", rows.from_curves(f"mlp-t{i}", ids, own, out, 0))
    return load_table(path)


def test_figures_of_a_planted_table(tmp_path):
    base = np.linspace(0.1, 0.9, 16)
    quiet = np.stack([base, base], 1)
    loud = np.stack([base, base[::-1]], 1)  # seeds contradict one another: all seed, no configuration
    d = describe(planted(tmp_path, np.stack([quiet, -quiet, loud]), ["max", "min", "max"]), "mlp")
    assert (d.runs, d.configs, d.seeds) == (96, 16, 2)
    assert (d.diverged, d.failed) == (0, 0)
    assert (d.seconds, d.flops) == (192.0, 96 * 4e9)
    assert d.provenance.to_dict("records") == [{"device": "test processor", "engine": "fake-1", "runs": 96}]
    tasks = d.tasks.set_index("task_id")
    assert tasks["noise"].tolist()[:2] == pytest.approx([0, 0], abs=1e-12)
    assert tasks["seed_rho"].tolist()[:2] == pytest.approx([1, 1])
    assert tasks["noisy"].tolist() == [False, False, True]
    assert d.similarity[0, 1] == pytest.approx(1.0), "a task to minimise is turned round"


def test_spearman_by_hand():
    u = np.array([[1.0, 2, 3, 4], [1, 3, 2, 4], [9, 9, 9, 9]])
    got = spearman(u)
    assert got[0, 1] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert np.isnan(got[2, 0])
    assert spearman(u[:1]).shape == (1, 1)


def test_two_tasks_are_compared_and_one_is_not(tmp_path):
    base = np.linspace(0.1, 0.9, 8)
    two = describe(planted(tmp_path / "two", np.stack([base, base[::-1]])[:, :, None]), "mlp")
    assert two.mean_similarity == pytest.approx(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = planted(tmp_path / "one", base[None, :, None])
        assert np.isnan(describe(one, "mlp").mean_similarity)
        card.write(tmp_path / "one")


def test_diverged_runs_count_as_the_worst(tmp_path):
    scores = np.linspace(0.1, 0.9, 8)[None, :, None].repeat(2, axis=2)
    scores[0, 2] = np.nan
    d = describe(planted(tmp_path, scores), "mlp")
    assert d.diverged == 2 / 16
    assert d.tasks["best"].tolist() == pytest.approx([0.9])


def test_the_card_is_written_and_checked(path):
    written = card.write(path)
    assert [p.name for p in written] == ["README.md", "similarity-mlp.svg"]
    first = [p.read_bytes() for p in written]
    assert card.check(path) == []
    card.write(path)
    assert [p.read_bytes() for p in written] == first
    written[1].write_text("<svg/>")
    assert card.check(path) == [written[1]]
    written[0].unlink()
    assert card.check(path) == written
    card.write(path)


def test_the_card_tells_what_is_there(path):
    text = (path / "README.md").read_text()
    assert text.startswith("---\n")
    assert "192 training runs of real networks on 3 tasks from 3 families" in text
    assert load_table(path).digest in text
    assert "| test processor | fake-1 | 192 |" in text
    for name in ("mlp-iris", "mlp-wine", "mlp-digits", "BSD-3-Clause", "`valid_score`", "bytes a run"):
        assert name in text
    front = text.split("---\n")[1]
    yaml = pytest.importorskip("yaml")
    found = {c["config_name"]: c["data_files"] for c in yaml.safe_load(front)["configs"]}
    assert found == {"tasks": "tasks.parquet", "mlp": "runs/mlp*.parquet", "mlp-configs": "configs/mlp.parquet"}
    assert all(list(path.glob(pattern)) for pattern in found.values())


def run_snippets(path, monkeypatch):
    """Execute the card's code block as it stands, from the folder that holds ``datasets``; every value of ``runs``."""
    pytest.importorskip("duckdb"), pytest.importorskip("polars")
    monkeypatch.chdir(path.parents[2])
    code = re.search(r"```python\n(.*?)```", (path / "README.md").read_text(), re.S)[1]
    found, names = [], {}
    for line in code.strip().splitlines():
        exec(line, names)
        if line.startswith("runs = "):
            found.append(names["runs"] if isinstance(names["runs"], pd.DataFrame) else names["runs"].to_pandas())
    return found


def test_the_one_liners_work(path, monkeypatch):
    card.write(path)
    frames = run_snippets(path, monkeypatch)
    assert [len(f) for f in frames] == [192] * 4
    assert all(f["run_id"].tolist() == frames[0]["run_id"].tolist() for f in frames)


def test_the_one_liners_work_on_many_files(tmp_path, monkeypatch):
    path = write_table(tmp_path / "datasets" / "many" / "v1", compact=False)
    assert len(list((path / "runs").iterdir())) == 3
    card.write(path)
    frames = run_snippets(path, monkeypatch)
    assert [len(f) for f in frames] == [48] * 4
    assert {frozenset(f["run_id"]) for f in frames} == {frozenset(frames[0]["run_id"])}
    assert write_module.FILE_BYTES < 50_000_000, "a file that a repository host takes"


def test_the_picture_is_a_picture(path):
    from xml.etree import ElementTree

    svg = ElementTree.parse(path / "similarity-mlp.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    labels = {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"iris", "wine", "digits"} <= labels


def test_an_empty_table_has_no_card(tmp_path):
    with TableWriter(tmp_path) as writer:
        writer.put_tasks([task()])
        writer.put_configs("mlp", SPACE, 4)
    with pytest.raises(MetabenchError, match="holds no runs to describe; generate some first"):
        card.write(tmp_path)


def test_a_task_that_failed_altogether(tmp_path):
    with TableWriter(tmp_path) as writer:
        writer.put_tasks([task("iris"), task("wine")])
        writer.put_configs("mlp", SPACE, 4)
        writer.append("mlp", runs_of("mlp-iris", np.arange(1, 4), np.zeros(3, int)))
        writer.append("mlp", rows.failed("mlp-wine", np.arange(4), np.zeros(4), "no memory", 0, "cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        card.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "0.0% of the runs diverged, 57.1% failed" in text
    assert "1 tasks (mlp-wine)" in text
