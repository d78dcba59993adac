"""The card says what the table holds, the same bytes every time, and its one-liners work."""

import hashlib
import json
import re
import shutil
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_samples import SPACE, runs_of, task, write_table

from metabench.errors import MetabenchError
from metabench.table import TableWriter, card, files, load_table, manifest, rows, verify
from metabench.table import write as write_module
from metabench.table.card import pages, pictures
from metabench.table.describe import describe, reached, spearman
from metabench.training.curves import Curves


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cards") / "datasets" / "core" / "v1"
    return write_table(folder, datasets=("iris", "wine", "digits"), n_configs=32, metrics={"wine": "r2"})


def planted(path, scores, directions=None, test=None):
    """A table whose final scores are ``scores`` [tasks, configs, seeds] on validation rows, and on test rows if these have
    no scores of their own."""
    tasks, configs, seeds = scores.shape
    with TableWriter(path) as writer:
        directions = directions or ["max"] * tasks
        writer.put_tasks([task(f"t{i}", direction=d, metric="r2") for i, d in enumerate(directions)])
        writer.put_configs("mlp", SPACE, configs)
        for i in range(tasks):
            out = Curves.empty(configs * seeds, (1,), "fake-1", "test processor")
            for name in ("train_loss", "valid_loss", "test_loss"):
                getattr(out, name)[:] = 1.0
            out.valid_score[:, 0] = scores[i].ravel()
            out.test_score[:, 0] = (scores if test is None else test)[i].ravel()
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


def test_what_a_table_reaches_is_what_its_best_in_validation_scores_in_test(tmp_path):
    valid = np.array([[0.2, 0.4], [0.9, 0.7], [0.9, np.nan], [0.5, 0.5]])[None]  # a run that diverged is worst
    test = np.array([[0.9, 0.9], [0.6, 0.8], [0.1, np.nan], [0.5, 0.5]])[None]
    table = planted(tmp_path, np.concatenate([valid, -valid]), ["max", "min"], np.concatenate([test, -test]))
    assert reached(table, "mlp-t0") == pytest.approx({"median": 0.6, "best": 0.7})
    assert reached(table, "mlp-t1") == pytest.approx({"median": -0.6, "best": -0.7}), (
        "a score to minimise is turned round"
    )
    for absent in ("mlp-t9", "cnn-t0"):
        assert np.isnan(list(reached(table, absent).values())).all()


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


FAMILIES = {"train": ["iris"], "valid": ["wine"], "test": []}


def test_the_card_is_written_and_checked(path):
    written = card.write(path)
    names = [
        "README.md",
        "DATASHEET.md",
        "difficulty-mlp.svg",
        "similarity-mlp.svg",
        "croissant.json",
        "SHA256SUMS.card",
    ]
    assert [p.name for p in written] == names
    first = [p.read_bytes() for p in written]
    assert card.check(path) == []
    card.write(path)
    assert [p.read_bytes() for p in written] == first
    written[3].write_text("<svg/>")
    assert card.check(path) == [written[3]]
    written[0].unlink()
    assert card.check(path) == [written[0], written[3]]
    card.write(path)
    assert not list(path.glob(".*.part"))


def test_other_words_or_another_split_make_it_stale(path, tmp_path):
    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path)
    (path / "NOTES.md").write_text("Made on 2026-01-02 by hand.\n")
    assert [p.name for p in card.check(path)] == ["README.md", "croissant.json", "SHA256SUMS.card"]
    card.write(path, FAMILIES)
    assert card.check(path) == [] and verify(path) == []
    assert json.loads((path / "croissant.json").read_text())["datePublished"] == "2026-01-02"
    (path / "splits.csv").write_text((path / "splits.csv").read_text().replace("meta_valid", "meta_test"))
    stale = ["README.md", "DATASHEET.md", "croissant.json", "SHA256SUMS.card"]
    assert [p.name for p in card.check(path)] == stale


def test_rows_that_come_after_the_card_are_told(path, tmp_path):
    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path)
    with TableWriter(path) as writer:
        writer.append("mlp", runs_of("mlp-iris", [0], [2]))
    assert verify(path) == [f"{path}/README.md describes another state of the table; write the card again"]
    card.write(path)
    assert verify(path) == []


def test_the_card_tells_what_is_there(path):
    card.write(path)
    text = (path / "README.md").read_text()
    assert text.startswith("---\n")
    assert "192 training runs of real networks with their learning curves, on 3 tasks from 3 families" in text
    assert load_table(path).digest in text
    assert "| test processor | fake-1 | 192 |" in text
    for name in ("mlp-iris", "mlp-wine", "mlp-digits", "BSD-3-Clause", "`valid_score`", "bytes a run", "`depth` | int"):
        assert name in text
    size = (path / "runs/mlp.parquet").stat().st_size
    assert f"| `runs/mlp.parquet` | runs | 192 | {size:,} | 2 |" in text
    assert "## Split" not in text


def front_matter(path):
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((path / "README.md").read_text().split("---\n")[1])


def test_the_front_matter_names_files_and_parts(path, tmp_path):
    card.write(path)
    found = {c["config_name"]: c["data_files"][0]["path"] for c in front_matter(path)["configs"]}
    assert found == {"mlp": "runs/mlp.parquet", "tasks": "tasks.parquet", "mlp-configs": "configs/mlp.parquet"}
    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path, FAMILIES)
    configs = {c["config_name"]: c for c in front_matter(path)["configs"]}
    assert list(configs) == [
        "mlp",
        "mlp-meta_train",
        "mlp-meta_valid",
        "tasks",
        "tasks-meta_train",
        "tasks-meta_valid",
        "mlp-configs",
    ]
    assert configs["mlp"]["default"] is True
    assert configs["mlp-meta_train"]["data_files"][0]["split"] == "meta_train"
    train = pq.read_table(path / "runs/mlp.parquet", filters=configs["mlp-meta_train"]["filters"])
    assert set(train["task_id"].to_pylist()) == {"mlp-iris"} and len(train) == 64
    text = (path / "README.md").read_text()
    assert "| meta_train | 1 | 1 | 64 |" in text and "| none | 1 | 1 | 64 |" in text


def test_hugging_face_loads_the_folder(path, tmp_path, monkeypatch):
    for name in ("HF_HOME", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets.load")  # our own folder has the package's name
    import datasets

    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path, FAMILIES)
    for config in datasets.get_dataset_config_names(str(path)):
        part = config.split("-meta_")[1] if "-meta_" in config else None
        loaded = datasets.load_dataset(str(path), config, split=f"meta_{part}" if part else "full")
        assert len(loaded) == {"mlp": 192, "tasks": 3, "mlp-configs": 32}.get(config, 64 if "mlp" in config else 1)


@pytest.mark.parametrize("compact", [True, False], ids=["one file", "many files"])
def test_mlcroissant_validates_and_loads(tmp_path, compact):
    mlcroissant = pytest.importorskip("mlcroissant")
    path = write_table(tmp_path / "t", n_configs=4, compact=compact)
    (path / "NOTES.md").write_text("Made on 2026-01-02.")
    card.write(path, FAMILIES)
    dataset = mlcroissant.Dataset(str(path / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors | dataset.metadata.ctx.issues.warnings
    rows_of = {rs.uuid: list(dataset.records(rs.uuid)) for rs in dataset.metadata.record_sets}
    runs = {"mlp": 24} if compact else {f"mlp-0000{i}": 8 for i in range(3)}
    counts = {name: len(records) for name, records in rows_of.items()}
    assert counts == {"tasks": 3, "splits": 3, "mlp-configs": 4} | runs
    stored = load_table(path).runs("mlp").to_pylist()
    first = next(r for r in stored if r["valid_score"])
    same = next(r for name in runs for r in rows_of[name] if r[f"{name}/run_id"] == first["run_id"])
    same = {key.split("/")[1]: value for key, value in same.items()}
    assert same["valid_score"] == pytest.approx(first["valid_score"])
    assert same["task_id"].decode() == first["task_id"]


def test_croissant_names_every_file_with_its_hash(path, tmp_path):
    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path, FAMILIES)
    document = json.loads((path / "croissant.json").read_text())
    listed = {f["contentUrl"]: f for f in document["distribution"]}
    assert set(listed) == {"tasks.parquet", "configs/mlp.parquet", "runs/mlp.parquet", "splits.csv"}
    for name, entry in listed.items():
        content = (path / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["contentSize"] == f"{len(content)} B"
    for record_set in document["recordSet"]:
        source = record_set["field"][0]["source"]["fileObject"]["@id"]
        if source.endswith(".parquet"):
            assert [f["name"] for f in record_set["field"]] == pq.read_schema(path / source).names


def test_the_datasheet_has_seven_sections_and_counts(path, tmp_path):
    path = shutil.copytree(path, tmp_path / "v1")
    card.write(path, FAMILIES)
    text = (path / "DATASHEET.md").read_text()
    assert re.findall(r"^## (\d)\. (\w+)", text, re.M) == [
        ("1", "Motivation"),
        ("2", "Composition"),
        ("3", "Collection"),
        ("4", "Preprocessing"),
        ("5", "Uses"),
        ("6", "Distribution"),
        ("7", "Maintenance"),
    ]
    diverged = load_table(path).runs("mlp", ["status"])["status"].to_pylist().count("diverged")
    assert diverged and f"{diverged} runs diverged" in text
    assert "| runs | 192 |" in text and "| BSD-3-Clause | 3 |" in text and "No cell of tasks" in text
    assert "meta_train 1 task, meta_valid 1 task." in text


def test_names_of_strangers_are_no_markup(tmp_path):
    with TableWriter(tmp_path) as writer:
        writer.put_tasks([task(licence="free | <b>all</b> [x](javascript:y)", url="javascript:alert(1)")])
        writer.put_configs("mlp", SPACE, 4)
        writer.append("mlp", runs_of("mlp-iris", np.arange(4), np.zeros(4, int)))
    card.write(tmp_path)
    for name in ("README.md", "DATASHEET.md"):
        text = (tmp_path / name).read_text()
        assert "free \\| \\<b\\>all\\</b\\> \\[x\\](javascript:y)" in text
    assert "alert" not in (tmp_path / "README.md").read_text()


def test_an_imported_table_claims_nothing_of_ours(tmp_path):
    path = write_table(tmp_path / "t")
    with TableWriter(path):
        tasks = files.read_tasks(path / "tasks.parquet")
        at = tasks.schema.get_field_index("source")
        changed = tasks.set_column(at, tasks.field(at), pa.array(["import:HPO-B x.json"] * len(tasks)))
        manifest.commit(path, {"tasks.parquet": rows.encode(changed)})
    card.write(path)
    text = (path / "DATASHEET.md").read_text() + (path / "README.md").read_text()
    assert "license: other" in text and "imported" in text
    assert "Apache" not in text and "Sobol" not in text


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


@pytest.mark.parametrize("name", ["difficulty-mlp.svg", "similarity-mlp.svg"])
def test_the_pictures_are_pictures(path, name):
    card.write(path)
    svg = ElementTree.parse(path / name).getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg.find("{*}title").text
    labels = {t.text.removesuffix(" ○") for t in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert {"iris", "wine", "digits"} <= labels
    assert svg.find("{*}rect").get("fill") == "#fff", "a ground of its own: legible on dark pages"


def test_trials_of_random_search(tmp_path):
    scores = np.arange(10.0)  # best 9, median 4.5: regret .2 from 8.1 on, so the best alone; .4 has 8 too
    d = describe(planted(tmp_path, np.pad(scores, (0, 6), constant_values=4.5)[None, :, None]), "mlp")
    assert d.tasks["trials"].tolist() == [17 / 2]
    assert d.tasks[["median", "best"]].to_numpy().tolist() == [[4.5, 9.0]]


def test_pictures_of_very_many_tasks_stay_small(path):
    d, n = describe(load_table(path), "mlp"), 300
    many = pd.concat([d.tasks] * (n // 3)).assign(task_id=[f"mlp-t{i}" for i in range(n)])
    rho = spearman(np.random.default_rng(0).normal(size=(n, 8)))
    d = replace(d, tasks=many, similarity=rho)
    for draw in (pictures.similarity, pictures.difficulty):
        svg = draw(d)
        assert len(svg) < 150_000
        assert len(re.findall(r">t\d+(?: \+\d)?(?: ○)?<", svg)) == 128


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
    assert "0.0 % of the runs\ndiverged, 57.1 % failed" in text
    assert "1 tasks (mlp-wine)" in text


@pytest.mark.parametrize(
    "name",
    [
        "a`<img src=x onerror=alert(1)>`b",
        "``x",
        "a|b",
        "<b>",
        "\x1b[31mred",
        "a\nb",
        "[x](javascript:y)",
        "x" * 9000,
        "`",
    ],
)
def test_a_hyperparameters_name_is_text_on_the_card(name):
    span, plain = pages.code(name), pages.name(name)
    fence = re.match("`+", span)[0]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence) and fence not in re.findall("`+", inside)  # so the span ends where it should
    for text in (span, plain):
        assert text.isprintable() and len(text) < 1100
        assert not re.search(r"(?<!\\)\|", text)
    assert not re.search(r"(?<!\\)[<>`\[]", plain)


def test_names_of_our_own_stay_as_they_are():
    assert pages.code("learning_rate") == "`learning_rate`" and pages.name("core_seeds v1") == "core_seeds v1"
