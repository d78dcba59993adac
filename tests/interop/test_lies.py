"""Files that lie: a peer's files with one thing in them changed are either read as a sound table or refused in one line.

The files are small and right; a random place of one of them (a value, a list, a key, a cell) then becomes something else.
"""

import csv
import io
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from hpob_samples import write as write_hpob
from table_samples import write_table

from metabench import load_table, registry
from metabench.errors import MetabenchError
from metabench.interop.formats.base import store
from metabench.table import verify

#: what a place may become: no number, no text, no list, none at all, too large, too deep, another type
JUNK = [
    None,
    math.nan,
    math.inf,
    -1,
    0,
    0.5,
    1e300,
    10**400,
    True,
    "",
    "x",
    "0.1",
    "../../etc/passwd",
    "a\nb",
    [],
    [[]],
    [1, [2]],
    {},
    {"": 1},
    {"a": {"b": [None]}},
    [None] * 3,
]


def lcbench(folder):
    def run(rate, start):
        log = {name: [start + i / 10 for i in range(6)] for name in ("Train/val_accuracy", "Train/test_result")}
        return {"config": {"batch_size": 16, "learning_rate": rate}, "log": log | {"time": [0, 1, 2, 3, 4, 4.5]}}

    runs = {"0": run(0.1, 50.0), "1": run(0.001, 60.0)}
    return {"lc.json": {"adult": runs, "vehicle": runs}}, "lc.json"


def taskset(folder):
    def run(rate, first):
        return {"hp": {"rate": rate, "kind": "adam"}} | {
            part: {"loss": [first, first / 2, first / 4]} for part in ("train", "valid", "test")
        }

    return {"t.json": [run(0.1, 3.0), run(0.5, 2.0), run(0.5, 2.5)]}, "t.json"


def pd1(folder):
    def run(rate, **more):
        hps = {"hps.lr_hparams.initial_value": rate, "hps.lr_hparams.power": 10 * rate}
        hps |= {"hps.lr_hparams.decay_steps_factor": rate, "hps.opt_hparams.momentum": 1 - rate, "hps.batch_size": 256}
        curve = {"valid/error_rate": [0.9, 0.5], "valid/ce_loss": [3.0, 2.0], "eval_time": [1.0, 1.0]}
        return hps | {"dataset": "cifar", "model": "resnet", "status": "done"} | curve | more

    return {"p.jsonl": [run(0.1), run(0.01), run(0.2, status="diverged")]}, "p.jsonl"


def icml2020(folder):
    rows = [["task", "blackbox", "hp_lr_log", "hp_kind", "metric_error", "dataset_rows"]]
    rows += [[t, "XGBoost", str(-i / 2), k, str(0.1 * i), "100"] for t in "ab" for i, k in enumerate("xyx")]
    return {"e.csv": rows}, "e.csv"


def algoperf(folder):
    files = {}
    for study, trial, rate in ((0, 1, 0.1), (0, 2, 0.01), (1, 1, 0.1)):
        place = f"study_{study}/mnist_jax/trial_{trial}"
        files[f"{place}/hparams.json"] = {"learning_rate": rate, "beta1": 0.9}
        rows = [["validation/accuracy", "accumulated_submission_time"], ["0.1", "1"], ["0.5", "2"]]
        files[f"{place}/eval_measurements.csv"] = rows
    return files, ""


def hpob(folder):
    write_hpob(folder / "whole", rows=14, small=8)
    files = {p.name: json.loads(p.read_text()) for p in (folder / "whole").iterdir()}
    return files, ""


def synetune(folder):
    ours = load_table(write_table(folder / "ours/v1", n_configs=4))
    registry.create("formats", "synetune").write(ours, folder / "whole")
    binary = {p.name: p.read_bytes() for p in (folder / "whole").iterdir() if p.suffix != ".json"}
    texts = {p.name: json.loads(p.read_text()) for p in (folder / "whole").iterdir() if p.suffix == ".json"}
    return texts | binary, ""


FORMATS = {f.__name__: f for f in (lcbench, taskset, pd1, icml2020, algoperf, hpob, synetune)}


def places(value, path=()):
    """Paths to everything inside a nested value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inside:
        yield (*path, key)
        yield from places(member, (*path, key))


def changed(value, path, how, junk):
    """The value with one place replaced, dropped or doubled."""
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    (key, *rest) = path
    if rest or how == "replaced":
        copy[key] = changed(copy[key], rest, how, junk)
    elif how == "dropped":
        del copy[key]
    elif isinstance(copy, list):
        copy.insert(key, copy[key])
    else:
        copy[f"{key}2"] = copy[key]
    return copy


def put(folder, files):
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif name.endswith(".csv"):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(
                [map(str, r) if isinstance(r, list) else [r] for r in value]
            )
            path.write_text(text.getvalue())
        elif name.endswith(".jsonl"):
            path.write_text("\n".join(json.dumps(v) for v in value))
        else:
            path.write_text(json.dumps(value))


@pytest.mark.parametrize("name", FORMATS)
def test_one_lie_is_one_line_or_does_no_harm(name, tmp_path):
    files, entry = FORMATS[name](tmp_path / "made")
    rng = np.random.default_rng(len(name))
    texts = [n for n, v in files.items() if not isinstance(v, bytes)]
    refused = 0
    for number in range(80):
        which = texts[rng.integers(len(texts))]
        every = list(places(files[which]))
        shallow = [p for p in every if len(p) <= 3]
        path = (every, shallow)[number % 2][rng.integers(len((every, shallow)[number % 2]))]
        how, junk = ("replaced", "replaced", "dropped", "doubled")[rng.integers(4)], JUNK[rng.integers(len(JUNK))]
        lie = changed(files[which], path, how, junk)
        source, made = tmp_path / f"s{number}", tmp_path / f"t{number}/v1"
        put(source, files | {which: lie if isinstance(lie, list | dict) else [lie]})
        what = f"{which} {path} {how} {junk!r}"
        try:
            store(list(registry.create("formats", name).read(source / entry)), made, name)
        except MetabenchError as error:
            assert "\n" not in str(error) and len(str(error)) < 600, what
            assert not made.exists() or not any(p.is_file() for p in made.rglob("*") if p.name != ".lock"), what
            refused += 1
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        else:
            assert verify(made) == [], what
        shutil.rmtree(source)
    assert 10 <= refused < 80


def test_the_files_are_right_before_they_lie(tmp_path):
    for name, make in FORMATS.items():
        files, entry = make(tmp_path / name)
        put(tmp_path / name / "s", files)
        store(
            list(registry.create("formats", name).read(tmp_path / name / "s" / entry)), tmp_path / name / "t/v1", name
        )
        assert verify(tmp_path / name / "t/v1") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,hp_a,metric_error\na,1,x\na,2,y\n", "metric_error holds what is no number"),
        ("task,hp_a,metric_error\n,1,0.5\na,2,0.1\n", "line 2 has no task"),
        ("task,metric_error\na,1\n", r"has no column hp_\*"),
        ("task,hp_a\na,1\n", r"has no column metric_\*"),
        ("hp_a,metric_error\n1,1\n", "has no column task"),
        ("task,hp_a,metric_error\na,1,0.5\na,1,0.4\n", "no hyperparameter takes two values"),
        ('task,hp_a,metric_error\na,1,0.5,7,8\n"', "is no CSV"),
    ],
)
def test_icml2020_that_lies(tmp_path, text, message):
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(MetabenchError, match=message):
        list(registry.create("formats", "icml2020").read(tmp_path / "e.csv"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study_0/mnist_jax/trial_1/hparams.json": [1]}, "holds list, expected dict"),
        ({"study_0/mnist_jax/trial_1/hparams.json": None}, "hparams.json is missing"),
        ({"study_0/mnist_jax/trial_1/eval_measurements.csv": [["validation/accuracy"]]}, "holds no measurement"),
        ({"study_0/mnist_jax/trial_1/eval_measurements.csv": [["x"], ["1"]]}, "has none of the columns"),
        ({"study_0/mnist_jax/trial_1/eval_measurements.csv": [["validation/accuracy"], ["hello"]]}, "no number"),
    ],
)
def test_algoperf_that_lies(tmp_path, change, message):
    files, _ = algoperf(tmp_path)
    put(tmp_path / "s", {k: v for k, v in (files | change).items() if v is not None})
    with pytest.raises(MetabenchError, match=message):
        store(list(registry.create("formats", "algoperf").read(tmp_path / "s")), tmp_path / "t/v1", "algoperf")


@pytest.mark.parametrize("name", FORMATS)
def test_claims_of_ten_gigabytes_are_refused(name, tmp_path, monkeypatch):
    files, entry = FORMATS[name](tmp_path / "made")
    put(tmp_path / "s", files)
    monkeypatch.setenv("METABENCH_IMPORT_LIMIT", "10")
    with pytest.raises(MetabenchError, match=r"at most 10 are read \(METABENCH_IMPORT_LIMIT\)"):
        list(registry.create("formats", name).read(tmp_path / "s" / entry))


def test_an_array_that_claims_ten_gigabytes_is_not_allocated(tmp_path):
    files, _ = synetune(tmp_path)
    put(tmp_path / "s", files)
    path = tmp_path / "s/objectives_evaluations.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (10, 1024, 1024, 256, 1)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(MetabenchError, match="s"):
        list(registry.create("formats", "synetune").read(tmp_path / "s"))
    assert pd.read_parquet(tmp_path / "s/hyperparameters.parquet").shape[0] == 4
