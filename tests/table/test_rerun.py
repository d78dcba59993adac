"""Stored rows are trained again: equal to the last bit where they were made, told apart where they were forged."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from metabench.errors import MetabenchError, UsageError
from metabench.generate import generate
from metabench.table import load_table, manifest
from metabench.table import write as write_module
from metabench.table.rerun import rerun
from metabench.training import resident

pytestmark = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("rerun") / "v1"
    generate(path, "mlp", ["mlp-iris", "mlp-wine"], n_configs=16, n_seeds=2, workers=1, progress=False)
    return path


def altered(trained, path, **columns):
    """A copy of the table with some columns changed: name → function of the list of values."""
    shutil.copytree(trained, path)
    table = load_table(path).runs("mlp")
    for name, change in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.field(at), pa.array(change(table[name].to_pylist()), table.field(at).type))
    manifest.commit(path, {"runs/mlp.parquet": write_module.encode_runs(table)})
    return path


def test_rows_come_out_the_same_to_the_last_bit(trained):
    report = rerun(trained, sample=12)
    assert (report.rows, report.equal, report.close, report.different) == (12, 12, 0, 0)
    assert report.same_machine and report.agrees and report.worst == 0 and report.examples == ()
    assert report.to_dict()["agrees"] is True


def test_one_row_by_its_run_id(trained):
    row = load_table(trained).runs("mlp").slice(20, 1).to_pylist()[0]
    assert rerun(trained, run_id=row["run_id"]).equal == 1
    with pytest.raises(UsageError, match="has no row with run_id 5"):
        rerun(trained, run_id=5)


def test_forged_scores_are_found(trained, tmp_path):
    """One score in one row of 64, by one part in ten thousand: not equal; by half: not even close."""

    def nudge(factor):
        return lambda lists: [[*v[:-1], v[-1] * factor] if i == 7 and v else v for i, v in enumerate(lists)]

    row = load_table(trained).runs("mlp").slice(7, 1).to_pylist()[0]
    slight = rerun(altered(trained, tmp_path / "slight", valid_score=nudge(1.0001)), run_id=row["run_id"])
    assert (slight.equal, slight.close, slight.agrees) == (0, 1, False), "the same machine must give equality"
    assert slight.worst == pytest.approx(1e-4, rel=1e-2)
    gross = rerun(altered(trained, tmp_path / "gross", valid_loss=nudge(1.5)), sample=64)
    assert (gross.equal, gross.different, gross.agrees) == (63, 1, False)
    assert gross.examples == (f"{row['task_id']}/{row['config_id']}/{row['seed']}",)


def test_a_cut_curve_is_different(trained, tmp_path):
    def cut(lists):
        return [v[:-1] if i == 3 else v for i, v in enumerate(lists)]

    names = ("epochs", "train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
    path = altered(trained, tmp_path / "t", **dict.fromkeys(names, cut))
    run_id = load_table(path).runs("mlp", ["run_id"])["run_id"][3].as_py()
    assert np.isinf(rerun(path, run_id=run_id).worst)


def test_another_machine_needs_agreement_only(trained, tmp_path):
    def other(values):
        return ["another processor"] * len(values)

    def nudged(lists):
        return [[x * 1.0004 for x in v] for v in lists]

    path = altered(trained, tmp_path / "t", device=other, valid_loss=nudged)
    report = rerun(path, sample=16)
    assert not report.same_machine
    assert (report.equal, report.close) == (0, 16)
    assert report.agrees


def test_a_backend_that_is_not_here_is_replaced(trained, tmp_path):
    path = altered(trained, tmp_path / "t", engine=lambda values: ["elsewhere-9"] * len(values))
    report = rerun(path, sample=4)
    assert (report.equal, report.same_machine) == (4, False)


def test_data_that_changed_is_said(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "t")
    from metabench.table import files, rows

    tasks = files.read_tasks(path / "tasks.parquet")
    at = tasks.schema.get_field_index("split_hashes")
    changed = pa.array([["0" * 64] * 5] * len(tasks), tasks.field(at).type)
    manifest.commit(path, {"tasks.parquet": rows.encode(tasks.set_column(at, tasks.field(at), changed))})
    with pytest.raises(MetabenchError, match="splits are not those that the table was made with"):
        rerun(path, sample=1)
