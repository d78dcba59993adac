"""What a writer accepts, refuses and merges."""

import numpy as np
import pytest
from table_samples import SPACE, runs_of, task, write_table

from metabench import schema
from metabench.errors import MetabenchError, UsageError
from metabench.space import Float, Space
from metabench.table import TableWriter, load_table, manifest, verify
from metabench.table import write as write_module


def test_compaction_depends_on_the_rows_alone(tmp_path):
    whole = write_table(tmp_path / "whole")
    pieces = tmp_path / "pieces"
    with TableWriter(pieces) as writer:
        writer.put_configs("mlp", SPACE, 8)
        for salt, dataset in reversed(list(enumerate(("iris", "wine", "digits")))):
            writer.put_tasks([task(dataset)])
            for seed in (1, 0):
                rows = runs_of(f"mlp-{dataset}", np.arange(8), np.full(8, seed), salt)
                # the cohort says which rows came together: make it that of the other table
                grid = load_table(whole).runs("mlp", ["cohort"], [f"mlp-{dataset}"])["cohort"][:8]
                writer.append("mlp", rows.set_column(rows.column_names.index("cohort"), "cohort", grid))
        assert len(writer.run_files("mlp")) == 6
        writer.compact("mlp")
    assert manifest.read(pieces) == manifest.read(whole)
    assert load_table(pieces).digest == load_table(whole).digest
    assert sorted(p.name for p in (pieces / "runs").iterdir()) == ["mlp.parquet"]


def test_a_large_table_is_cut_into_files_of_limited_size(tmp_path, monkeypatch):
    monkeypatch.setattr(write_module, "FILE_BYTES", 20_000)
    monkeypatch.setattr(write_module.rows, "ROW_GROUP", 64)
    path = tmp_path / "t"
    with TableWriter(path) as writer:
        writer.put_tasks([task()])
        writer.put_configs("mlp", SPACE, 512)
        for seed in range(2):
            writer.append("mlp", runs_of("mlp-iris", np.arange(512), np.full(512, seed)))
        before = load_table(path).final("mlp", ["mlp-iris"])
        for _ in range(2):
            writer.compact("mlp")
            names = sorted(p.name for p in (path / "runs").iterdir())
            assert names == [f"mlp-{i:05d}.parquet" for i in range(len(names))]
            assert len(names) > 2
        writer.append("mlp", runs_of("mlp-iris", [0], [2]))
        assert len(writer.run_files("mlp")) == len(names) + 1
    np.testing.assert_array_equal(load_table(path).final("mlp", ["mlp-iris"])[:, :, :2], before)
    assert verify(path) == []


def test_rows_are_never_stored_twice(tmp_path):
    path = write_table(tmp_path / "t", datasets=("iris",))
    with TableWriter(path) as writer:
        with pytest.raises(MetabenchError, match="would be stored twice"):
            writer.append("mlp", runs_of("mlp-iris", [3], [0]))
        writer.append("mlp", runs_of("mlp-iris", [3], [2]))
        with pytest.raises(MetabenchError, match="would be stored twice"):
            writer.append("mlp", runs_of("mlp-iris", [3], [2]))


def test_configurations_grow_as_a_prefix(tmp_path):
    path = tmp_path / "t"
    with TableWriter(path) as writer:
        writer.put_configs("mlp", SPACE, 8)
        small = load_table(path).configs("mlp")
        writer.put_configs("mlp", SPACE, 32)
        large = load_table(path).configs("mlp")
        writer.put_configs("mlp", SPACE, 4)
        assert len(load_table(path).configs("mlp")) == 32
        with pytest.raises(UsageError, match="power of two, got 24"):
            writer.put_configs("mlp", SPACE, 24)
        with pytest.raises(MetabenchError, match=r"configs/mlp.parquet was drawn from another space"):
            writer.put_configs("mlp", Space({**SPACE.parameters, "learning_rate": Float(1e-5, 1.0, log=True)}), 8)
        with pytest.raises(UsageError, match="a name is made of"):
            writer.put_configs("../mlp", SPACE, 8)
    assert large[:8].equals(small)
    assert large.reset_index(drop=True).equals(SPACE.sample(32, seed=0))
    assert load_table(path).space("mlp") == SPACE


def test_tasks_are_added_but_never_changed(tmp_path):
    path = tmp_path / "t"
    with TableWriter(path) as writer:
        writer.put_tasks([task("wine")])
        writer.put_tasks([task("iris", features={"log_rows": 1.0, "gini": 0.5}), task("wine")])
        stored = load_table(path).tasks
        assert stored["task_id"].tolist() == ["mlp-iris", "mlp-wine"]
        assert stored["feature_log_rows"].tolist() == [1.0, 5.01]
        assert stored["feature_entropy"].isna().tolist() == [True, False]
        with pytest.raises(
            MetabenchError, match=r"tasks.parquet: task mlp-wine has another split_hashes than it has now"
        ):
            writer.put_tasks([task("wine", split_hashes=("f" * 64,))])


def test_rows_of_another_numerics_version_are_kept_apart(tmp_path, monkeypatch):
    path = write_table(tmp_path / "t", datasets=("iris",))
    monkeypatch.setattr(schema, "NUMERICS_VERSION", "2")
    with (
        TableWriter(path) as writer,
        pytest.raises(MetabenchError, match="numerics version 1, this metabench makes version 2"),
    ):
        writer.keys("mlp")
    assert verify(path) == [], "an old table stays sound"


def test_failed_rows_can_be_dropped(tmp_path):
    from metabench.table import rows

    path = write_table(tmp_path / "t", datasets=("iris",), n_configs=2)
    with TableWriter(path) as writer:
        before = load_table(path).digest
        writer.append("mlp", rows.failed("mlp-iris", [0, 1], [7, 7], "out of memory", 0, "cpu"))
        writer.drop_failed("mlp")
        assert len(writer.keys("mlp")) == 4
        assert load_table(path).digest == before


def test_configurations_of_other_origin_follow_the_sobol_part(tmp_path):
    extra = SPACE.sample(3, 5, method="random")
    with TableWriter(tmp_path / "t") as writer:
        writer.put_configs("mlp", SPACE, 8)
        default = SPACE.table([SPACE.default()])
        assert writer.add_configs("mlp", SPACE, default, ["default"]) == [8]
        assert writer.add_configs("mlp", SPACE, default, ["default"]) == [8]  # stored once
        assert writer.add_configs("mlp", SPACE, extra, [f"elite:mlp-iris:tpe{i}" for i in range(3)]) == [9, 10, 11]
        writer.put_configs("mlp", SPACE, 4)  # a longer list is kept
        with pytest.raises(MetabenchError, match="8 Sobol configurations, and others after them"):
            writer.put_configs("mlp", SPACE, 16)
    table = load_table(tmp_path / "t")
    assert table.origins("mlp").tolist() == ["sobol"] * 8 + ["default"] + [f"elite:mlp-iris:tpe{i}" for i in range(3)]
    assert list(table.configs("mlp")) == list(SPACE) and len(table.configs("mlp")) == 12
    first = SPACE.sample(8, seed=0)
    assert np.allclose(SPACE.to_unit(table.configs("mlp")[:8]), SPACE.to_unit(first), equal_nan=True)
