"""Every reader of bytes that may be a stranger's: small sound files, and how they are read."""

from __future__ import annotations

import bz2
import csv
import gzip
import importlib.util
import io
import json
import lzma
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from hpob_samples import content as hpob_files
from PIL import Image
from table_samples import SPACE

import metabench as mb
from metabench import registry, untrusted
from metabench.advise.data import read as read_data
from metabench.advise.stored import check_trials
from metabench.boards.board import load_board
from metabench.boards.submissions import parse as parse_submission
from metabench.errors import MetabenchError
from metabench.generate.cost import _stored as cost_model
from metabench.interop import hpob_results
from metabench.interop.formats.configspace import read_space, to_configspace
from metabench.pretrained import known, load
from metabench.pretrained.record import SHIPPED
from metabench.publishing.reports.parts import files as reports
from metabench.scores import references
from metabench.table import reserved
from metabench.workflows.elites import read_donors


@dataclass
class Reader:
    """``files``: name → content; ``read`` is given their folder. ``harm`` is the file that is damaged."""

    files: dict[str, bytes]
    harm: str
    read: Callable[[Path], object]

    def put(self, folder: Path, content: bytes) -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        for name, sound in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if name == self.harm else sound)
        return folder


def _table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40).round(3), "b": rng.integers(5, size=40), "c": ["x", "yy"] * 20})
    return frame.assign(y=np.where(frame.a > 0, "yes", "no"))


def _bytes(write: Callable) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _arrow(open_: Callable) -> bytes:
    table, file = pa.Table.from_pandas(_table(), preserve_index=False), io.BytesIO()
    with open_(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _data_files() -> dict[str, tuple[str, bytes, dict]]:
    """Name → its file, its bytes, and how it is read."""
    frame = _table()
    text = frame.to_csv(index=False).encode()
    records = frame.to_dict("records")
    rng = np.random.default_rng(1)
    words = "".join(f"{'good' if i % 2 else 'bad'}\tword{i % 3} another {i}\n" for i in range(40)).encode()
    table, of_text = {"target": "y"}, {"workload": "text"}
    return {
        "csv": ("x.csv", text, table),
        "csv, UTF-16": ("x.csv", text.decode().encode("utf-16"), table | {"encoding": "utf-16"}),
        "csv, gzip": ("x.csv.gz", gzip.compress(text), table),
        "csv, bzip2": ("x.csv.bz2", bz2.compress(text), table),
        "csv, xz": ("x.csv.xz", lzma.compress(text), table),
        "csv, zstd": ("x.csv.zst", pa.Codec("zstd").compress(text, asbytes=True), table),
        "tsv": ("x.tsv", text.replace(b",", b"\t"), table),
        "json lines": ("x.jsonl", b"".join(json.dumps(r).encode() + b"\n" for r in records), table),
        "json": ("x.json", json.dumps(records).encode(), table),
        "parquet": ("x.parquet", _bytes(frame.to_parquet), table),
        "feather": ("x.feather", _arrow(pa.ipc.new_file), table),
        "arrow stream": ("x.arrow", _arrow(pa.ipc.new_stream), table),
        "npz": ("x.npz", _bytes(lambda f: np.savez(f, x=rng.normal(size=(40, 3)), y=np.arange(40) % 2)), {}),
        "lines of text": ("x.txt", words, of_text),
        "corpus": ("x.txt", words * 200, {"workload": "transformer"}),
        "pairs": ("x.txt", words * 3, {"workload": "seq2seq"}),
        "series": (
            "x.csv",
            ("v,w\n" + "".join(f"{i % 7},{i}\n" for i in range(400))).encode(),
            {"workload": "forecast", "target": "v"},
        ),
        "rows without labels": ("x.csv", frame.drop(columns="y").to_csv(index=False).encode(), {"workload": "vae"}),
    }


def _image(folder: Path) -> object:
    return read_data(folder, workload="cnn")


def _images() -> dict[str, bytes]:
    rng, found = np.random.default_rng(2), {}
    for i in range(20):
        pixels = rng.integers(255, size=(9, 9), dtype=np.uint8)
        found[f"{'ab'[i % 2]}/{i}.png"] = _bytes(lambda f, p=pixels: Image.fromarray(p).save(f, "PNG"))
    return found


def _imports() -> dict[str, Reader]:
    points, config = [1.0, 2.0, 3.0, 3.0], {"batch_size": 16, "learning_rate": 0.1}
    log = {"Train/val_accuracy": points, "Train/test_result": points, "time": [0, 1, 2, 2.5]}
    runs = {"0": {"config": config, "log": log}, "1": {"config": config | {"learning_rate": 0.2}, "log": log}}
    curve = {part: {"loss": [3.0, 2.0]} for part in ("train", "valid", "test")}
    hps = {f"hps.{n}": 0.1 for n in ("lr_hparams.power", "lr_hparams.decay_steps_factor", "opt_hparams.momentum")}
    pd1 = hps | {"dataset": "cifar", "model": "resnet", "status": "done", "hps.batch_size": 256}
    pd1 |= {"valid/error_rate": [0.9, 0.5], "valid/ce_loss": [3.0, 2.0], "eval_time": [1.0, 1.0]}
    icml = io.StringIO()
    csv.writer(icml).writerows(
        [["task", "blackbox", "hp_lr_log", "hp_kind", "metric_error"]]
        + [[t, "XGBoost", -i / 2, k, 0.1 * i] for t in "ab" for i, k in enumerate("xyx")]
    )
    place = "study_0/mnist_jax/trial_"
    algoperf = {f"{place}{i}/hparams.json": json.dumps({"learning_rate": 0.1 / i}).encode() for i in (1, 2)}
    measured = b"validation/accuracy,accumulated_submission_time\n0.1,1\n0.5,2\n"
    algoperf |= {f"{place}{i}/eval_measurements.csv": measured for i in (1, 2)}
    hpob = {name: json.dumps(value).encode() for name, value in hpob_files(rows=10, small=8).items()}

    def reader(name, files, harm, entry=None):
        def read(folder):
            return list(registry.create("formats", name).read(folder / entry if entry else folder))

        return Reader(files, harm, read)

    two = [json.dumps(pd1 | {"hps.lr_hparams.initial_value": rate}).encode() for rate in (0.1, 0.2)]
    tried = [{"hp": {"rate": rate, "kind": "adam"}} | curve for rate in (0.1, 0.5)]
    made = {
        "lcbench": reader("lcbench", {"l.json": json.dumps({"adult": runs}).encode()}, "l.json", "l.json"),
        "taskset": reader("taskset", {"t.json": json.dumps(tried).encode()}, "t.json", "t.json"),
        "pd1": reader("pd1", {"p.jsonl": b"\n".join(two)}, "p.jsonl", "p.jsonl"),
        "pd1, gzip": reader("pd1", {"p.jsonl.gz": gzip.compress(b"\n".join(two))}, "p.jsonl.gz", "p.jsonl.gz"),
        "icml2020": reader("icml2020", {"e.csv": icml.getvalue().encode()}, "e.csv", "e.csv"),
    }
    for name in ("hparams.json", "eval_measurements.csv"):
        made[f"algoperf, {name}"] = reader("algoperf", algoperf, f"{place}1/{name}")
    for name in ("meta-train-dataset.json", "bo-initializations.json", "meta-dataset-descriptors.json"):
        made[f"hpob, {name}"] = reader("hpob", hpob, name)
    if importlib.util.find_spec("ConfigSpace"):
        with tempfile.TemporaryDirectory() as folder:
            to_configspace(SPACE).to_json(Path(folder) / "s.json")
            sound = (Path(folder) / "s.json").read_bytes()
        made["configspace"] = Reader({"s.json": sound}, "s.json", lambda f: read_space(f / "s.json"))
    return made


RULES = b"""name = "mine"
version = 1
title = "T"
dataset = "core"
dataset_version = 1
digest = "0000000000000000000000000000000000000000000000000000000000000000"
workload = "mlp"
objective = "replay"
budget = 10
seeds = 2
marks = [1, 10]
starts = ["own"]
[split]
train = ["a"]
valid = []
test = ["b"]
"""
SUBMISSION = b"""method = "mine"
board = "few-shot-v2"
digest = "0000000000000000000000000000000000000000000000000000000000000000"
summary = "It searches."
authors = ["Ada Lovelace"]
trained_on = []
"""


def _documents() -> dict[str, Reader]:
    cost = json.dumps({"prices": {"call": 0.1, "flop": 1e-9}, "together": None, "error": 0.2}).encode()
    trial = {
        "arm": "tuned",
        "config": {"a": 1},
        "status": "ok",
        "score": 0.5,
        "test_score": 0.5,
        "seconds": 1.0,
        "flops": 1.0,
        "params": 3,
    }
    trial |= {"epochs": [1], "valid": [0.5], "test": [0.5], "train_loss": [1.0]}
    one = references.TaskReference("mlp-a", 2, 0, 0.9, 0.1, 0.5, 0.4, 0.3, True)
    fitted = {path.name: path.read_bytes() for path in (SHIPPED / "cnn-v1").iterdir() if path.is_file()}
    pieces = {
        "rules": ("board.toml", RULES, lambda f: load_board(f / "board.toml")),
        "submission": ("s.toml", SUBMISSION, lambda f: parse_submission(untrusted.read_toml(f / "s.toml"))),
        "costs": ("c.json", cost, lambda f: _cost(f / "c.json")),
        "trials": ("t.json", json.dumps([trial]).encode(), lambda f: _trials(f / "t.json")),
        "references": (references.FILE, references.encode([one]), references.read),
        "reserved": ("r.txt", b"[proof]\nmlp-a\n[confirmatory]\nmlp-b\n", lambda f: reserved.read(f / "r.txt")),
        "donors": ("d.txt", b"# tasks\nmlp-a\nmlp-b\n", lambda f: read_donors(f / "d.txt")),
        "source tasks": ("k.json", fitted["tasks.json"], lambda f: known.tasks_from_json(f / "k.json")),
        "findings": ("f.json", b'{"format": 1, "report": "x", "columns": {}}', lambda f: reports.read(f / "f.json")),
        "results": (
            "h.json",
            b'{"4796": {"3": {"test0": [0.1, 0.5, 1.0]}}}',
            lambda f: hpob_results.read(f / "h.json"),
        ),
    }
    made = {name: Reader({file: sound}, file, read) for name, (file, sound, read) in pieces.items()}
    for name in fitted:
        made[f"meta-model, {name}"] = Reader(fitted, name, _metamodel)
    return made


def _cost(path: Path) -> object:
    """As the reader of the cache does: whatever is wrong, costs are measured again."""
    try:
        return cost_model(untrusted.read_json(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _trials(path: Path) -> object:
    """As `tune` reads them: a ValueError is a line of its own there."""
    try:
        return check_trials(untrusted.read_json(path))
    except ValueError as error:
        raise MetabenchError(str(error)) from None


def _metamodel(folder: Path) -> object:
    load._opened.cache_clear()
    return mb.load_metamodel(folder)


def _raw() -> dict[str, Reader]:
    """Raw files of data sets, as catalogue entries have them read."""
    from metabench.sources import _raw, _readers

    arff = b"@relation r\n@attribute a numeric\n@attribute y {yes,no}\n@data\n1,yes\n?,no\n"
    pixels = np.random.default_rng(3).integers(255, size=(4, 5, 5), dtype=np.uint8)
    idx = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape) + pixels.tobytes()
    labels = b"\x00\x00\x08\x01" + (4).to_bytes(4, "big") + bytes([0, 1, 0, 1])
    of_idx = lambda f: _raw.read([(n, (f / n).read_bytes()) for n in ("images", "labels")], {"format": "idx"})  # noqa: E731
    ts = b"@problemName p\n@dimensions 1\n@classLabel true a b\n@data\n1.0,2.0,3.0:a\n2.0,1.0,0.5:b\n"
    return {
        "arff": Reader({"a": arff}, "a", lambda f: _entry(_readers.read_arff, f / "a")),
        "npz of a source": Reader(
            {"n": _bytes(lambda o: np.savez(o, X=np.eye(3), y=np.arange(3)))},
            "n",
            lambda f: _entry(_readers.read_npz, f / "n"),
        ),
        "idx": Reader({"images": idx, "labels": labels}, "images", of_idx),
        "ts": Reader(
            {"t": ts},
            "t",
            lambda f: _raw.read([("t", (f / "t").read_bytes())], {"format": "ts", "task": "classification"}),
        ),
    }


def _entry(read: Callable[[bytes], object], path: Path) -> object:
    """As the catalogue calls it: what a file's bytes make a reader raise is one line."""
    try:
        return read(path.read_bytes())
    except (ValueError, KeyError, IndexError, UnicodeError) as error:
        raise MetabenchError(f"{path.name}: {untrusted.one_line(error, 200)}") from None


def readers() -> dict[str, Reader]:
    made = {
        f"data, {name}": Reader({file: sound}, file, lambda f, n=file, how=how: read_data(f / n, **how))
        for name, (file, sound, how) in _data_files().items()
    }
    images = _images()
    made["data, images"] = Reader(images, "a/0.png", _image)
    made |= {f"import, {name}": reader for name, reader in _imports().items()}
    return made | _documents() | _raw()
