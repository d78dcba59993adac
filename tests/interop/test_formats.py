"""Peers' formats: what is read is what stands there, our tables survive the way out and back, files that lie are refused."""

import gzip
import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from table_samples import write_table

from metabench import load_table, registry
from metabench.boards.board import Board
from metabench.cli import main
from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.base import identifier, infer_space, store
from metabench.space import Choice, Float, Int
from metabench.table import verify


def brought(tmp_path, name, source):
    """A table made of a peer's files; it is sound."""
    folder = tmp_path / "made/v1"
    store(list(registry.create("formats", name).read(source)), folder, name)
    assert verify(folder) == []
    return load_table(folder)


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


# ---------------------------------------------------------------- reading
HPOB = {
    "4796": {
        "3": {"X": [[0.0, 1.0], [0.5, 0.25]], "y": [[0.5], [0.75]]},
        "31": {"X": [[0.5, 0.25], [1.0, 0.0], [0.5, 0.25]], "y": [[0.1], [0.2], [0.3]]},
    }
}


def test_hpob(tmp_path):
    put(tmp_path / "h/meta-train-dataset.json", HPOB)
    put(tmp_path / "h/meta-dataset-descriptors.json", {"4796": {"variables_order": ["cp", "minsplit"]}})
    table = brought(tmp_path, "hpob", tmp_path / "h")
    assert table.workloads == ["hpob_4796"] and table.tasks["task_id"].tolist() == ["hpob_4796-3", "hpob_4796-31"]
    assert table.configs("hpob_4796").to_dict("list") == {
        "cp": [0.0, 0.5, 1.0, 0.5],
        "minsplit": [1.0, 0.25, 0.0, 0.25],
    }
    scores = table.final("hpob_4796", ["hpob_4796-3", "hpob_4796-31"])
    expected = [[0.5, 0.75, None, None], [None, 0.1, 0.2, 0.3]]  # a row that repeats is a candidate of its own
    np.testing.assert_allclose(scores[:, :, 0], np.array(expected, dtype=float), rtol=1e-7)
    source = table.meta_train("hpob_4796", ["hpob_4796-3"])
    assert not source.observed.all()  # what was never run is not what diverged


def lcbench(points=(9.0, 10.0, 20.0, 30.0, 30.0)):
    config = {"batch_size": 16, "learning_rate": 1e-4, "num_layers": 1}
    log = {"Train/val_accuracy": list(points), "Train/test_result": list(points), "time": [0, 1, 2, 3, 3.5]}
    other = {"Train/val_accuracy": [5, 6, 7, 8, 8], "Train/test_result": [5, 6, 7, 8, 8], "time": [0, 1, 2, 3, 3.5]}
    wide = {"batch_size": 512, "learning_rate": 0.1, "num_layers": 5}
    return {"adult": {"0": {"config": config, "log": log, "results": {}}, "1": {"config": wide, "log": other}}}


def test_lcbench_drops_the_untrained_network_and_the_repeat(tmp_path):
    table = brought(tmp_path, "lcbench", put(tmp_path / "lc.json", lcbench()))
    curves = table.curves("lcbench", ["lcbench-adult"])
    assert curves[0, :, 0].tolist() == [[10, 20, 30], [6, 7, 8]]
    assert table.seconds("lcbench", ["lcbench-adult"]).tolist() == [[3.0, 3.0]]
    assert table.space("lcbench")["learning_rate"].log and not table.space("lcbench")["num_layers"].log


def test_taskset_keeps_runs_that_diverged(tmp_path):
    def run(rate, losses):
        return {"hp": {"learning_rate": rate, "kind": "adam"}} | {
            p: {"loss": losses} for p in ("train", "valid", "test")
        }

    runs = [run(0.1, [3.0, 2.0, 1.0]), run(10.0, [3.0, math.nan, math.nan])]
    put(tmp_path / "t/Associative GRU.json", runs)
    table = brought(tmp_path, "taskset", tmp_path / "t")
    assert table.tasks["task_id"].tolist() == ["taskset-associative_gru"]
    assert table.tasks["direction"].tolist() == ["min"]
    assert table.runs("taskset", ["status"])["status"].to_pylist() == ["ok", "diverged"]
    np.testing.assert_array_equal(table.final("taskset", ["taskset-associative_gru"])[0], [[1.0], [np.nan]])


def pd1(**changes):
    hps = {"hps.lr_hparams.initial_value": 0.1, "hps.lr_hparams.power": 1.0, "hps.lr_hparams.decay_steps_factor": 0.5}
    hps |= {"hps.opt_hparams.momentum": 0.9, "hps.batch_size": 256, "dataset": "cifar100", "model": "wide_resnet"}
    curve = {"valid/error_rate": [0.9, 0.5, 0.4], "valid/ce_loss": [3.0, 2.0, 1.5], "eval_time": [1.0, 1.0, 1.0]}
    return hps | curve | {"status": "done", "study_group": "unmatched"} | changes


def test_pd1(tmp_path):
    lines = [
        pd1(),
        pd1(
            **{
                "hps.lr_hparams.initial_value": 10.0,
                "hps.lr_hparams.power": 0.2,
                "hps.lr_hparams.decay_steps_factor": 0.9,
                "hps.opt_hparams.momentum": 0.99,
                "status": "diverged",
                "valid/error_rate": [0.95],
                "valid/ce_loss": [9.0],
            }
        ),
        pd1(dataset="imagenet", **{"valid/error_rate": [0.8, 0.7], "valid/ce_loss": [5.0, 4.0]}),
    ]
    path = tmp_path / "pd1.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    table = brought(tmp_path, "pd1", path)
    cifar, imagenet = table.tasks["task_id"]
    assert "cifar100" in cifar and "imagenet" in imagenet
    assert table.configs("pd1")["one_minus_momentum"].tolist() == pytest.approx([0.1, 0.01])
    assert table.space("pd1")["one_minus_momentum"].log and not table.space("pd1")["power"].log
    runs = table.runs("pd1").to_pylist()
    assert [r["status"] for r in runs] == ["ok", "diverged", "ok"]
    assert [r["epochs"] for r in runs] == [[1, 2, 3], [1], [1, 2]]


def test_icml2020(tmp_path):
    text = (
        "task,blackbox,hp_lr_log,hp_kind,metric_error,metric_time,dataset_rows\n"
        "a,XGBoost,-2.5,x,0.3,1,100\na,XGBoost,-1.5,y,0.2,1,100\nb,XGBoost,-2.5,x,0.5,1,200\nb,XGBoost,-2.5,x,0.6,1,200\n"
        "a,DeepAR,1,,0.9,1,100\na,DeepAR,3,,0.8,1,100\n"
    )
    (tmp_path / "e.csv").write_text(text)
    table = brought(tmp_path, "icml2020", tmp_path / "e.csv")
    assert table.workloads == ["deepar", "xgboost"]
    assert set(table.tasks["direction"]) == {"min"} and table.task_info("xgboost-b").features == {"rows": 200.0}
    scores = table.final("xgboost", ["xgboost-a", "xgboost-b"])
    np.testing.assert_allclose(scores, [[[0.3, np.nan], [0.2, np.nan]], [[0.5, 0.6], [np.nan, np.nan]]], rtol=1e-6)
    assert table.space("xgboost")["kind"] == Choice("x", "y") and list(table.space("deepar")) == ["lr_log"]


def test_algoperf(tmp_path):
    for study, trial, rate, scores in ((0, 1, 0.1, [0.1, 0.5]), (0, 2, 0.01, [0.2, 0.4, 0.6]), (1, 1, 0.1, [0.1, 0.7])):
        folder = tmp_path / f"a/study_{study}/mnist_jax/trial_{trial}"
        put(folder / "hparams.json", {"learning_rate": rate, "beta1": 0.9})
        frame = pd.DataFrame(
            {"validation/accuracy": scores, "accumulated_submission_time": np.arange(len(scores)) + 1.0}
        )
        frame.to_csv(folder / "eval_measurements.csv", index=False)
    table = brought(tmp_path, "algoperf", tmp_path / "a")
    np.testing.assert_allclose(
        table.curves("algoperf", ["algoperf-mnist_jax"])[0], [[[0.1, 0.5], [0.1, 0.7]], [[0.2, 0.4], [np.nan, np.nan]]]
    )
    assert table.seconds("algoperf", ["algoperf-mnist_jax"]).tolist() == [[2.0, 2.0]]


# ---------------------------------------------------------------- out and back
@pytest.fixture
def ours(tmp_path):
    return load_table(write_table(tmp_path / "ours/v1"))


def test_hpob_out_and_back_is_exact(ours, tmp_path):
    (workload,) = ours.workloads
    families = ours.tasks["family"].tolist()
    split = {"train": tuple(families[:1]), "valid": (), "test": tuple(families[1:])}
    board = Board("b", 1, "ours", 1, ours.digest_of([workload]), workload, 5, 1, split)
    written = registry.create("formats", "hpob").write(ours, tmp_path / "out", board=board)
    assert {p.name for p in written} >= {"meta-test-dataset.json", "bo-initializations.json"}
    table = brought(tmp_path, "hpob", tmp_path / "out")
    (theirs,) = table.workloads
    for task_id in ours.tasks["task_id"]:
        mine = ours.final(workload, [task_id])[0, :, 0]
        back = table.final(theirs, [f"{theirs}-{task_id.removeprefix(workload + '-')}"])[0]
        n = len(table.configs(theirs))
        assert n == len(ours.configs(workload)) and back.shape == (n, 1)
        expected = np.where(np.isfinite(mine), mine, np.nanmin(mine))
        assert back[:, 0].tolist() == expected.tolist()
    first = json.loads((tmp_path / "out/bo-initializations.json").read_text())[workload]
    assert all(list(tests) == [f"test{i}" for i in range(5)] for tests in first.values())
    assert all(len(set(rows)) == 5 for tests in first.values() for rows in tests.values())


def test_synetune_out_and_back_is_exact(ours, tmp_path):
    (workload,) = ours.workloads
    form = registry.create("formats", "synetune")
    form.write(ours, tmp_path / "out")
    facts = json.loads((tmp_path / "out/metadata.json").read_text())
    put(tmp_path / "out/metadata.json", facts | {"default_metric": "metric_valid_score"})
    table = brought(tmp_path, "synetune", tmp_path / "out")
    names = [f"out-{identifier(t)}" for t in facts["task_names"]]
    mine, back = ours.curves(workload, facts["task_names"]), table.curves("out", names)
    assert mine.shape == back.shape and ((mine == back) | (np.isnan(mine) & np.isnan(back))).all()
    epochs = {tuple(e) for e in table.runs("out", ["epochs", "status"]).to_pandas().query("status == 'ok'")["epochs"]}
    assert epochs == {tuple(e) for e in ours.runs(workload).to_pandas().query("status == 'ok'")["epochs"]}
    for name, p in ours.space(workload).items():
        assert type(table.space("out")[name]) is type(p) and getattr(p, "options", None) == getattr(
            table.space("out")[name], "options", None
        )


def test_csv_holds_the_last_values(ours, tmp_path):
    (workload,) = ours.workloads
    registry.create("formats", "csv").write(ours, tmp_path)
    frame, runs = pd.read_csv(tmp_path / f"{workload}.csv"), ours.runs(workload).to_pylist()
    assert len(frame) == len(runs) and len(pd.read_csv(tmp_path / "tasks.csv")) == len(ours.tasks)
    for row, run in zip(frame.to_dict("records"), runs, strict=True):
        last = run["valid_score"][-1] if run["valid_score"] else np.nan
        np.testing.assert_allclose(row["valid_score"], last, rtol=1e-6)
        assert (row["task_id"], row["config_id"], row["seed"]) == (run["task_id"], run["config_id"], run["seed"])


# ---------------------------------------------------------------- files that lie
LIES = {
    "hpob": [
        ({"1": {"d": {"X": [[0.1], [0.2, 0.3]], "y": [[1], [2]]}}}, "ragged"),
        ({"1": {"d": {"X": [[0.1], [0.2]], "y": [[1]]}}}, r"X has shape \(2, 1\) and y"),
        ({"1": {"d": {"X": [[0.1], [1.2]], "y": [[1], [2]]}}}, r"leaves \[0, 1\]"),
        ({"1": {"d": {"X": [[0.1], ["a"]], "y": [[1], [2]]}}}, "ragged or holds"),
        ({"1": {"d": {"X": [[0.1]]}}}, "has no X and y"),
        ({"1": [1]}, "holds no data sets"),
        ([1], "holds list, expected dict"),
    ],
    "lcbench": [
        ({"adult": {"0": {"config": {}, "log": {"Train/val_accuracy": [1, 2]}}}}, "under 3"),
        ({"adult": {"0": {"config": {}}}}, "no config and log"),
        ({"adult": {"0": {"config": {}, "log": {"Train/val_accuracy": [1, 2, [3], 4]}}}}, "no flat list"),
        ({"adult": {"0": {"config": {"a": 1}, "log": {"Train/val_accuracy": [1, 2, 3]}}}}, "takes two values"),
        ({"adult": {}}, "holds no runs"),
    ],
    "taskset": [
        ([{"hp": {"a": 1}, "train": {"loss": [1, 2]}, "valid": {"loss": [1]}}], "no test loss|expected"),
        ([{"train": {}}], "has no hp"),
        ([], "holds no runs"),
        ({}, "expected list"),
    ],
    "pd1": [
        (pd1(**{"hps.opt_hparams.momentum": "0.9"}), "expected a number"),
        (pd1(status=None), "has no status"),
        (pd1(**{"valid/error_rate": [], "valid/ce_loss": []}), "no finished run"),
        (pd1(**{"valid/ce_loss": [1.0]}), "has 1 values, expected 3"),
    ],
}


@pytest.mark.parametrize(("name", "value", "message"), [(n, v, m) for n, cases in LIES.items() for v, m in cases])
def test_files_that_lie_are_one_line_and_leave_nothing(tmp_path, name, value, message):
    path = put(tmp_path / "x.json", value)
    with pytest.raises(MetabenchError, match=message) as caught:
        brought(tmp_path, name, path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made/v1/tasks.parquet").exists()


@pytest.mark.parametrize("name", ["hpob", "lcbench", "taskset", "pd1", "icml2020"])
@pytest.mark.parametrize("data", [b"", b"{", b"\x00\xff\xfe", b"[" * 100_000, b'{"a": NaN'])
def test_garbage_is_one_line(tmp_path, name, data):
    (tmp_path / "x.json").write_bytes(data)
    done = CliRunner().invoke(main, ["import", name, str(tmp_path / "x.json"), "--table", str(tmp_path / "t/v1")])
    assert done.exit_code == 1 and isinstance(done.exception, MetabenchError | SystemExit)
    assert "\n" not in str(done.exception)


def test_claims_of_ten_gigabytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_IMPORT_LIMIT", "1000000")
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 50_000_000))
    with pytest.raises(MetabenchError, match="unpacks to more than 1,000,000 bytes"):
        brought(tmp_path, "hpob", tmp_path / "bomb.json.gz")
    (tmp_path / "big.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(MetabenchError, match="at most 1,000,000 are read"):
        brought(tmp_path, "hpob", tmp_path / "big.json")


def test_arrays_that_claim_more_than_there_is(ours, tmp_path):
    registry.create("formats", "synetune").write(ours, tmp_path / "out")
    path = tmp_path / "out/objectives_evaluations.npy"
    data = path.read_bytes()
    path.write_bytes(data[:-8])
    with pytest.raises(MetabenchError, match="out"):
        brought(tmp_path, "synetune", tmp_path / "out")
    np.save(path, np.zeros((1, 2, 3, 4, 5), np.float32))
    with pytest.raises(MetabenchError, match="has shape"):
        brought(tmp_path, "synetune", tmp_path / "out")
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(MetabenchError, match="out"):
        brought(tmp_path, "synetune", tmp_path / "out")


def test_a_table_is_not_written_over(tmp_path):
    path = put(tmp_path / "lc.json", lcbench())
    digest = brought(tmp_path, "lcbench", path).digest
    assert brought(tmp_path, "lcbench", path).digest == digest  # again, as after a kill: nothing is left to do
    other = put(tmp_path / "other.json", lcbench((9.0, 10.0, 20.0, 31.0, 31.0)))
    with pytest.raises(MetabenchError, match="holds a table already"):
        brought(tmp_path, "lcbench", other)


def test_what_cannot_be_exported_says_so(ours, tmp_path):
    with pytest.raises(UsageError, match="lcbench can be imported, not exported"):
        registry.create("formats", "lcbench").write(ours, tmp_path)
    with pytest.raises(UsageError, match="needs --board"):
        registry.create("formats", "hpob").write(ours, tmp_path)


# ---------------------------------------------------------------- parts
def test_spaces_are_inferred():
    frame = pd.DataFrame(
        {
            "rate": [1e-4, 1e-2],
            "units": [64, 1024],
            "wide": [1, 64],
            "share": [0.1, 0.9],
            "kind": ["a", "b"],
            "on": [True, False],
            "same": [3, 3],
            "sometimes": [0.5, None],
        }
    )
    space = infer_space(frame.assign(sometimes=[0.5, 0.7]), log=["units"])
    assert space["rate"] == Float(1e-4, 1e-2, log=True) and space["units"] == Int(64, 1024, log=True)
    assert space["wide"] == Int(1, 64, log=True) and space["share"] == Float(0.1, 0.9)
    assert space["kind"] == Choice("a", "b") and space["on"] == Choice("False", "True")
    assert "same" not in space and "sometimes" not in infer_space(frame)


def test_names_become_identifiers_that_differ():
    assert identifier("adult") == "adult" and identifier("KDDCup09 appetency") == "kddcup09_appetency"
    assert identifier("a/b") != identifier("a.b") and identifier("x" * 80) != identifier("x" * 81)
    assert all(len(identifier(t)) <= 60 for t in ("x" * 200, "é" * 90)) and identifier("../..")


def test_many_tasks_are_read_in_one_pass(tmp_path):
    n = 8000
    frame = pd.DataFrame(
        {
            "task": [f"t{i % n}" for i in range(2 * n)],
            "hp_a": [i // n for i in range(2 * n)],
            "dataset_rows": range(2 * n),
            "metric_error": 0.5,
        }
    )
    frame.to_csv(tmp_path / "e.csv", index=False)
    began = time.process_time()
    (rows,) = registry.create("formats", "icml2020").read(tmp_path / "e.csv")
    assert time.process_time() - began < 5  # 8,000 scans of the frame took over a minute
    assert len(rows.tasks) == n and rows.tasks[1].dataset == "t1" and rows.tasks[1].features == {"rows": 1.0}
    assert rows.tasks[2].dataset == "t10" and rows.tasks[2].features == {"rows": 10.0}
