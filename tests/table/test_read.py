"""Reading: what is found by which name, what selections give, and what is said of files that are no table's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_samples import SPACE, curves, runs_of, task, write_table

from metabench import schema
from metabench.errors import MetabenchError, UsageError
from metabench.table import TableWriter, join, load_table, manifest


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("datasets") / "core" / "v1")


@pytest.fixture
def table(path):
    return load_table(path)


def expected(series, salt, n=8):
    """[configs, seeds] of a series at the last checkpoint."""
    out = np.full((n, 2), np.nan)
    for seed in range(2):
        given = curves(np.arange(n), np.full(n, seed), salt)
        out[:, seed] = np.where(given.length == 10, getattr(given, series)[:, -1], np.nan)
    return out


def test_final_scores_stand_where_they_belong(table):
    got = table.final("mlp", ["mlp-digits", "mlp-iris"], "test_score")
    assert got.shape == (2, 8, 2)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [expected("test_score", 2), expected("test_score", 0)])
    np.testing.assert_allclose(table.final("mlp", ["mlp-wine"], "train_loss")[0], expected("train_loss", 1), rtol=1e-5)


def test_diverged_failed_and_absent_runs_are_nan(tmp_path):
    from metabench.table import rows

    ids = np.arange(64)
    with TableWriter(tmp_path) as writer:
        writer.put_tasks([task("iris"), task("wine")])
        writer.put_configs("mlp", SPACE, 64)
        writer.append("mlp", runs_of("mlp-iris", ids[:62], np.zeros(62, int)))
        writer.append("mlp", rows.failed("mlp-iris", [62], [0], "no memory", 0, "cpu"))
        writer.append("mlp", runs_of("mlp-wine", [0], [1]))
    table = load_table(tmp_path)
    given = curves(ids, np.zeros(64, int))
    final = table.final("mlp", ["mlp-iris"])[0]
    np.testing.assert_array_equal(np.isnan(final[:62, 0]), given.length[:62] < 10)
    assert (given.length[:62] < 10).any()
    assert np.isnan(final[62:]).all()
    assert np.isnan(final[:, 1]).all(), "seed 1 exists for another task only"
    seconds = table.seconds("mlp", ["mlp-iris"])[0]
    np.testing.assert_allclose(
        seconds[:62][given.length[:62] > 0], given.seconds[:62][given.length[:62] > 0], rtol=1e-3
    )
    assert np.isnan(seconds[62:]).all()
    whole = table.curves("mlp", ["mlp-iris"])[0, :62, 0]
    np.testing.assert_array_equal(whole, given.valid_score[:62])


def test_rows_and_columns_are_selected(table):
    some = table.runs("mlp", ["seed", "valid_score"], ["mlp-wine"])
    assert some.column_names == ["seed", "valid_score"]
    assert some.num_rows == 16
    assert table.runs("mlp").num_rows == 48
    assert table.runs("mlp", tasks=[]).num_rows == 0
    assert table.n_seeds("mlp") == 2
    with pytest.raises(UsageError, match="unknown column 'valid_scores'; did you mean 'valid_score'"):
        table.runs("mlp", ["valid_scores"])
    with pytest.raises(UsageError, match="unknown task in table core 'mlp-irs'; did you mean 'mlp-iris'"):
        table.final("mlp", ["mlp-irs"])
    with pytest.raises(UsageError, match="unknown workload in table core 'cnn'"):
        table.configs("cnn")
    with pytest.raises(UsageError, match="unknown series"):
        table.final("mlp", ["mlp-iris"], "score")


def test_meta_train_is_what_meta_models_expect(table):
    source = table.meta_train("mlp", ["mlp-wine", "mlp-iris"], ["mlp-digits"])
    assert source.space == SPACE
    assert [t.task_id for t in source.tasks] == ["mlp-wine", "mlp-iris"]
    assert source.tasks[0].features == {"log_rows": 5.01, "entropy": 1.1}
    np.testing.assert_array_equal(source.scores[1], expected("valid_score", 0))
    assert source.seconds.shape == (2, 8)
    assert [t.task_id for t in source.valid.tasks] == ["mlp-digits"]
    assert source.encoded.shape == (8, len(SPACE.encoded_names))
    assert table.meta_train("mlp", ["mlp-iris"]).valid is None


def test_configurations_keep_their_types(table):
    configs = table.configs("mlp")
    assert configs.index.tolist() == list(range(8))
    assert {name: str(kind) for name, kind in configs.dtypes.items()}["depth"] == "Int64"
    assert configs.reset_index(drop=True).equals(SPACE.sample(8, seed=0))
    assert configs["beta"].isna().any()


def test_names_are_found_where_they_may_lie(path, tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_DATASETS", str(path.parents[1]))
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "datasets" / "local" / "v3", datasets=("iris",), n_configs=2)
    write_table(tmp_path / "datasets" / "local" / "v10", datasets=("wine",), n_configs=2)
    assert load_table("core").path == path
    assert (load_table("local").version, load_table("local", 3).version) == (10, 3)
    assert load_table("local").name == "local"
    assert load_table(path).digest == load_table(path.parent).digest
    with pytest.raises(UsageError, match="unknown table 'cor'; did you mean 'core'"):
        load_table("cor")
    with pytest.raises(UsageError, match="table local has no version 4; it has 3, 10"):
        load_table("local", 4)
    with pytest.raises(UsageError, match="is no table: it has no SHA256SUMS"):
        load_table(tmp_path)
    with pytest.raises(UsageError, match="is no table"):
        load_table("../datasets/../etc")


def test_tables_of_the_same_configurations_join(table, tmp_path):
    other = load_table(write_table(tmp_path / "more" / "v1", datasets=("moons",), n_configs=16))
    both = join([table, other])
    assert both.tasks["task_id"].tolist() == ["mlp-digits", "mlp-iris", "mlp-wine", "mlp-moons"]
    final = both.final("mlp", ["mlp-moons", "mlp-wine"])
    assert final.shape == (2, 16, 2)
    np.testing.assert_array_equal(final[1, :8], table.final("mlp", ["mlp-wine"])[0])
    np.testing.assert_array_equal(final[0], other.final("mlp", ["mlp-moons"])[0])
    assert np.isnan(final[1, 8:]).all()
    assert both.digest not in (table.digest, other.digest)
    assert both.runs("mlp").num_rows == 48 + 32
    assert both.task_info("mlp-moons").family == "moons"
    with pytest.raises(UsageError, match="task mlp-iris is in both"):
        join([table, load_table(write_table(tmp_path / "again", datasets=("iris",)))])


def test_tables_drawn_on_other_processors_join(table, tmp_path, monkeypatch):
    """Their configurations differ in the last digit."""
    other = load_table(write_table(tmp_path / "other", datasets=("moons",)))
    theirs = other.configs("mlp").copy()
    names = theirs.select_dtypes("float").columns
    theirs[names] = np.nextafter(theirs[names].to_numpy(), np.inf)
    monkeypatch.setattr(other, "configs", lambda workload: theirs)
    assert not theirs.equals(table.configs("mlp"))
    assert set(join([table, other]).tasks["task_id"]) == {"mlp-moons", *table.tasks["task_id"]}
    theirs.loc[0, "learning_rate"] *= 1.001
    with pytest.raises(UsageError, match="hold different configurations of mlp"):
        join([table, other])


def test_tables_of_other_configurations_do_not_join(table, tmp_path):
    from metabench.space import Space

    with TableWriter(tmp_path / "odd") as writer:
        writer.put_tasks([task("odd")])
        writer.put_configs("mlp", Space({n: p for n, p in SPACE.items() if n != "depth"}), 8)
    with pytest.raises(UsageError, match="hold different configurations of mlp"):
        join([table, load_table(tmp_path / "odd")])


def damaged(path, kind):
    """Replace the runs file by one that is no good."""
    file = path / "runs" / "mlp.parquet"
    rows = pq.read_table(file)
    if kind == "foreign":
        pd.DataFrame({"task_id": ["a"]}).to_parquet(file)
    elif kind == "version":
        pq.write_table(rows.replace_schema_metadata({**rows.schema.metadata, b"metabench.schema_version": b"99"}), file)
    elif kind == "column":
        pq.write_table(rows.drop_columns(["test_loss"]), file)
    elif kind == "type":
        at = rows.column_names.index("seed")
        pq.write_table(rows.set_column(at, "seed", rows["seed"].cast(pa.int64())), file)
    elif kind == "more":
        pq.write_table(rows.append_column("extra", rows["seed"]), file)
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[:-500])
    elif kind == "text":
        file.write_text("task_id,seed\n")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "absent":
        file.unlink()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("foreign", "was not written by metabench: it carries no schema version"),
        ("version", "has schema version 99, this metabench reads versions 1 and 2"),
        ("column", "has no column 'test_loss'"),
        ("type", "column 'seed' is int64, expected int16"),
        ("more", "has an unknown column 'extra'"),
        ("truncated", "is no readable Parquet file"),
        ("text", "is no readable Parquet file"),
        ("empty", "is no readable Parquet file"),
        ("absent", "is missing"),
    ],
)
def test_files_that_are_no_good_are_named_in_one_line(tmp_path, kind, said):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=2)
    damaged(path, kind)
    if kind != "absent":  # or the manifest alone would say that it is another file
        sums = manifest.read(path)
        manifest.publish(path, sums | {"runs/mlp.parquet": manifest.sha256(path / "runs/mlp.parquet")})
    with pytest.raises(MetabenchError) as caught:
        load_table(path).runs("mlp")
    assert str(caught.value).startswith(f"{path}/runs/mlp.parquet")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pandas_polars_and_duckdb_read_the_same(path):
    duckdb, pl = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    file = f"{path}/runs/mlp.parquet"
    frames = [
        pd.read_parquet(file),
        pl.read_parquet(file).to_pandas(),
        duckdb.sql(f"select * from '{file}'").df(),
        load_table(path).runs("mlp").to_pandas(),
    ]
    for frame in frames:
        assert list(frame) == schema.RUNS.names
        assert len(frame) == 48
        first = frame.iloc[0]
        assert (first["task_id"], first["config_id"], first["seed"]) == ("mlp-digits", 0, 0)
        for name in ("valid_loss", "epochs", "test_score"):
            assert [list(v) for v in frame[name]] == [list(v) for v in frames[0][name]]
        assert frame["run_id"].tolist() == frames[0]["run_id"].tolist()


@pytest.mark.parametrize("compact", [True, False], ids=["one file", "many files"])
def test_the_digest_of_a_workload_covers_its_rows_and_no_other_workload(tmp_path, compact):
    table = load_table(write_table(tmp_path / "a/v1", compact=compact))
    before = table.digest_of(["mlp"])
    with TableWriter(tmp_path / "a/v1") as writer:
        writer.put_tasks([replace(task("iris"), task_id="cnn-iris", workload="cnn")])
        writer.put_configs("cnn", SPACE, 8)
        writer.append("cnn", runs_of("cnn-iris", [0], [0]))
    assert load_table(tmp_path / "a/v1").digest_of(["mlp"]) == before
    with TableWriter(tmp_path / "a/v1") as writer:
        writer.append("mlp", runs_of("mlp-iris", [0], [7]))
    assert load_table(tmp_path / "a/v1").digest_of(["mlp"]) != before


def test_final_scores_are_those_of_finished_curves_alone(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=64)
    runs = load_table(path).runs(
        "mlp", ["status", "valid_score", "test_score", "final_valid_score", "final_test_score"]
    )
    assert "diverged" in runs["status"].to_pylist()
    for row in runs.to_pylist():
        for name in ("valid", "test"):
            last = row[f"{name}_score"][-1] if row["status"] == "ok" else None
            assert row[f"final_{name}_score"] == last


def test_final_scores_of_a_table_without_them_are_computed(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=64)
    new = load_table(path).runs("mlp")
    old = new.drop_columns(["final_valid_score", "final_test_score"])
    file = path / "runs/mlp.parquet"
    metadata = {**pq.read_schema(file).metadata, b"metabench.schema_version": b"1"}
    pq.write_table(old.replace_schema_metadata(metadata), file)
    manifest.publish(path, manifest.read(path) | {"runs/mlp.parquet": manifest.sha256(file)})
    table = load_table(path)
    assert table.runs("mlp")["final_test_score"].to_pylist() == new["final_test_score"].to_pylist()
    assert table.runs("mlp", ["final_valid_score"]).column_names == ["final_valid_score"]
    assert table.runs("mlp", ["seed", "final_valid_score"], ["mlp-iris"]).column_names == ["seed", "final_valid_score"]
