"""Stored rows are trained again: equal to the last bit where they were made, told apart where they were forged."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from metabench import registry, tasks
from metabench.errors import MetabenchError, UsageError
from metabench.generate import generate
from metabench.table import load_table, manifest, rows
from metabench.table import write as write_module
from metabench.table.rerun import Rerun, Row, rerun
from metabench.training import resident, run_cohort

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


def verdicts(report):
    return tuple(report.count(v) for v in ("equal", "close", "chaotic", "different"))


def test_rows_come_out_the_same_to_the_last_bit(trained):
    report = rerun(trained, sample=12)
    assert (len(report.runs), *verdicts(report)) == (12, 12, 0, 0, 0)
    assert report.same_machine and report.agrees and report.shift == (0.0, 1.0)
    assert report.to_dict() | {"rows": 12, "agrees": True, "worst": 0.0} == report.to_dict()
    assert all(row["stored"] == row["again"] and row["parted"] is None for row in report.to_rows())
    assert len({run.run_id for run in report.runs}) == 12
    assert rerun(trained, sample=12) == report
    assert rerun(trained, sample=12, seed=1) != report


def test_one_row_by_its_run_id(trained):
    row = load_table(trained).runs("mlp").slice(20, 1).to_pylist()[0]
    (run,) = rerun(trained, run_id=row["run_id"]).runs
    assert (run.task_id, run.config_id, run.seed) == (row["task_id"], row["config_id"], row["seed"])
    with pytest.raises(UsageError, match="has no row with run_id 5"):
        rerun(trained, run_id=5)


def test_a_sample_of_certain_tasks(trained):
    task_id = load_table(trained).tasks["task_id"][1]
    assert {run.task_id for run in rerun(trained, sample=3, tasks=task_id).runs} == {task_id}
    with pytest.raises(UsageError, match="has no task 'cnn-\\*'"):
        rerun(trained, tasks="cnn-*")


def nudged(factor, rows=(7,)):
    """Multiplies the last value of the lists in some rows."""
    return lambda lists: [[*v[:-1], v[-1] * factor] if i in rows and v else v for i, v in enumerate(lists)]


def others(values):
    return ["another processor"] * len(values)


def test_forged_rows_are_found(trained, tmp_path):
    """One value in one row of 64, by one part in ten thousand: not equal; by half: not even close."""
    row = load_table(trained).runs("mlp").slice(7, 1).to_pylist()[0]
    slight = rerun(altered(trained, tmp_path / "slight", valid_score=nudged(1.0001)), run_id=row["run_id"])
    assert verdicts(slight) == (0, 1, 0, 0) and not slight.agrees, "the same machine must give equality"
    loss = rerun(altered(trained, tmp_path / "loss", test_loss=nudged(1.0001)), run_id=row["run_id"])
    assert loss.runs[0].gap == pytest.approx(1e-4, rel=0.2) and loss.runs[0].verdict == "close"
    gross = rerun(altered(trained, tmp_path / "gross", valid_loss=nudged(1.5)), sample=64)
    assert verdicts(gross) == (63, 0, 0, 1) and not gross.agrees
    (run,) = (r for r in gross.runs if r.verdict != "equal")
    assert (run.run_id, run.parted) == (row["run_id"], row["epochs"][-1])


def test_a_cut_curve_is_different(trained, tmp_path):
    def cut(lists):
        return [v[:-1] if i == 3 else v for i, v in enumerate(lists)]

    names = ("epochs", "train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
    path = altered(trained, tmp_path / "t", **dict.fromkeys(names, cut))
    run_id = load_table(path).runs("mlp", ["run_id"])["run_id"][3].as_py()
    (run,) = rerun(path, run_id=run_id).runs
    assert np.isinf(run.gap) and run.verdict == "different" and run.parted == 50


def test_another_machine_needs_agreement_only(trained, tmp_path):
    def near(lists):
        return [[x * 1.0004 for x in v] for v in lists]

    report = rerun(altered(trained, tmp_path / "t", device=others, valid_loss=near), sample=16)
    assert not report.same_machine
    assert verdicts(report) == (0, 16, 0, 0) and report.agrees


def test_forged_rows_are_found_on_another_machine(trained, tmp_path):
    """One row of 64 may differ, eight may not; the score alone betrays them too."""
    few = rerun(altered(trained, tmp_path / "few", device=others, valid_loss=nudged(1.5)), sample=64)
    assert verdicts(few) == (63, 0, 0, 1) and few.agrees
    many = altered(trained, tmp_path / "many", device=others, valid_score=nudged(0.5, range(0, 64, 8)))
    report = rerun(many, sample=64)
    assert report.count("different") == 8 and not report.agrees


def test_a_table_of_another_backend_agrees_but_for_its_chaos(trained, tmp_path):
    """Rows that ordinary torch made, on a machine that is not there: the resident backend trains them again."""
    path = shutil.copytree(trained, tmp_path / "v1")
    task, ids = tasks.get("mlp-iris"), np.arange(16)
    configs = load_table(path).configs("mlp").loc[ids]
    workload = registry.create("workloads", "mlp")
    curves = run_cohort(workload, task.arrays(0), configs, np.zeros(16, int), task.checkpoints, backend="sequential")
    curves.engine = "elsewhere-9"
    table = rows.from_curves("mlp-iris", ids, np.zeros(16, int), curves, 0)
    manifest.commit(path, {"runs/mlp.parquet": write_module.encode_runs(table)})
    report = rerun(path, sample=16)
    equal, close, chaotic, different = verdicts(report)
    assert not report.same_machine and report.agrees
    assert equal + close >= 10 and chaotic >= 1 and different == 0
    assert all(run.parted for run in report.runs if run.verdict == "chaotic")


def test_chaotic_runs_must_agree_in_distribution():
    rng = np.random.default_rng(0)

    def report(shift):
        stored = rng.uniform(0.4, 0.9, 40)
        again = stored + rng.normal(scale=0.05, size=40) + shift
        runs = [Row(i, "t", i, 0, "chaotic", 1.0, 5, s, a, False) for i, (s, a) in enumerate(zip(stored, again))]
        return Rerun(tuple(runs))

    assert report(0.0).agrees and report(0.0).shift[0] == pytest.approx(0, abs=0.03)
    assert not report(0.1).agrees and not report(-0.1).agrees
    assert Rerun(()).agrees


def test_a_backend_that_is_not_here_is_replaced(trained, tmp_path):
    path = altered(trained, tmp_path / "t", engine=lambda values: ["elsewhere-9"] * len(values))
    report = rerun(path, sample=4)
    assert verdicts(report) == (4, 0, 0, 0) and not report.same_machine


def test_data_that_changed_is_said(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "t")
    from metabench.table import files, rows

    tasks = files.read_tasks(path / "tasks.parquet")
    at = tasks.schema.get_field_index("split_hashes")
    changed = pa.array([["0" * 64] * 5] * len(tasks), tasks.field(at).type)
    manifest.commit(path, {"tasks.parquet": rows.encode(tasks.set_column(at, tasks.field(at), changed))})
    with pytest.raises(MetabenchError, match="splits are not those that the table was made with"):
        rerun(path, sample=1)
