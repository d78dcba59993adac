"""Tables made of tables: nothing is lost, doubled or renamed."""

import numpy as np
import pytest
from table_samples import SPACE, runs_of, task, write_table

from metabench.errors import MetabenchError, UsageError
from metabench.table import TableWriter, load_table, verify
from metabench.table.merge import merge


def more(path, configs=(8, 9), seeds=(2, 3), dataset="iris", elite=None):
    """A table with other seeds, and two configurations after the Sobol part."""
    elite = SPACE.sample(1, 4, method="random") if elite is None else elite
    with TableWriter(path) as writer:
        writer.put_tasks([task(dataset)])
        writer.put_configs("mlp", SPACE, 8)
        writer.add_configs("mlp", SPACE, SPACE.table([SPACE.default()]), ["default"])
        writer.add_configs("mlp", SPACE, elite, ["elite:mlp-digits:tpe"])
        grid = np.array([(c, s) for c in (0, 1, *configs) for s in seeds])
        writer.append("mlp", runs_of(f"mlp-{dataset}", grid[:, 0], grid[:, 1], 9))
    return path


def test_rows_of_all_are_kept_and_the_first_wins(tmp_path):
    first = write_table(tmp_path / "a/v1", datasets=("iris", "wine"))
    second = more(tmp_path / "b", seeds=(0, 2, 3))
    (report,) = merge(tmp_path / "all/v2", [first, second])
    assert (report.tasks, report.configs, report.runs, report.doubled) == (2, 10, 32 + 10, 2)
    assert verify(tmp_path / "all/v2") == []
    old, new = load_table(first), load_table(tmp_path / "all/v2")
    assert new.configs("mlp")[:8].equals(old.configs("mlp"))
    assert new.origins("mlp").tolist() == ["sobol"] * 8 + ["default", "elite:mlp-digits:tpe"]
    ids = ["mlp-iris", "mlp-wine"]
    assert np.array_equal(new.final("mlp", ids)[:, :8, :2], old.final("mlp", ids), equal_nan=True)
    assert np.array_equal(new.ran("mlp", ["mlp-iris"])[0, 8:], [[True, False, True, True]] * 2)
    assert set(old.runs("mlp")["run_id"].to_pylist()) < set(new.runs("mlp")["run_id"].to_pylist())


def test_tasks_that_are_not_kept_leave_no_trace(tmp_path):
    first = write_table(tmp_path / "a/v1", datasets=("iris", "wine"))
    merge(tmp_path / "b/v1", [first], keep=lambda task_id: task_id != "mlp-wine")
    assert load_table(tmp_path / "b/v1").tasks["task_id"].tolist() == ["mlp-iris"] and verify(tmp_path / "b/v1") == []


def test_what_does_not_belong_together_is_refused(tmp_path):
    first, second = write_table(tmp_path / "a/v1"), more(tmp_path / "b")
    third = more(tmp_path / "c", elite=SPACE.sample(1, 5, method="random"))
    with pytest.raises(UsageError, match="different configurations of mlp"):
        merge(tmp_path / "d/v1", [first, second, third])
    with pytest.raises(UsageError, match="holds a table already"):
        merge(first, [second])
    with pytest.raises(UsageError, match="at least one"):
        merge(tmp_path / "e/v1", [])
    other = write_table(tmp_path / "f/v1", datasets=("iris",), metrics={"iris": "r2"})
    with pytest.raises(MetabenchError, match="has another metric"):
        merge(tmp_path / "g/v1", [first, other])


def test_configurations_of_another_processor_are_the_same(tmp_path):
    """Last bits of a Sobol point depend on the processor; the first table's stay."""
    first, second = (
        write_table(tmp_path / "a/v1", datasets=("iris",)),
        write_table(tmp_path / "b/v1", datasets=("wine",)),
    )
    near = load_table(second).configs("mlp")
    near["learning_rate"] *= 1 + 1e-15
    with TableWriter(second) as writer:
        writer._put("mlp", SPACE, near.reset_index(drop=True), ["sobol"] * len(near))
    merge(tmp_path / "c/v1", [first, second])
    assert load_table(tmp_path / "c/v1").configs("mlp").equals(load_table(first).configs("mlp"))
    assert len(load_table(tmp_path / "c/v1").tasks) == 2
