"""Files of kept networks, trials and fitted meta-models: damage is seen when they are opened, in one line."""

import hashlib
import json
import shutil
import warnings

import numpy as np
import pytest
from safetensors.numpy import load, save

import metabench as mb
from metabench import registry, tasks
from metabench.advise import saved, stored, tune
from metabench.errors import MetabenchError, UsageError
from metabench.pretrained.record import SHIPPED, Record


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("genuine") / "model"
    workload = registry.create("workloads", "mlp")
    saved.write(folder, tasks.get("mlp-iris"), None, workload.space.default() | {"width": 16, "depth": 1}, 0)
    return folder


@pytest.fixture
def folder(genuine, tmp_path):
    return shutil.copytree(genuine, tmp_path / "model")


def said(folder) -> str:
    with warnings.catch_warnings(), pytest.raises(MetabenchError) as caught:
        warnings.simplefilter("ignore")
        mb.load_model(folder)
    text = str(caught.value)
    assert text.isprintable() and len(text) < 1200
    return text


def change(folder, seal=True, **fields):
    """Fields of model.json replaced, its own digest made to fit or left as it was."""
    found = json.loads((folder / stored.FACTS).read_text()) | fields
    if seal:
        found["sha256"] = stored._own({k: v for k, v in found.items() if k != "sha256"})
    (folder / stored.FACTS).write_text(json.dumps(found))


def weigh(folder, content: bytes):
    """Other weights, with the digest that fits."""
    (folder / stored.WEIGHTS).write_bytes(content)
    change(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def test_a_kept_network_is_opened(folder):
    assert mb.load_model(folder).description["format"] == stored.FORMAT
    assert mb.load_model(folder.parent).config["width"] == 16


@pytest.mark.parametrize("name", [stored.FACTS, stored.WEIGHTS])
def test_no_flipped_bit_is_loaded(folder, name):
    content, rng = (folder / name).read_bytes(), np.random.default_rng(3)
    for _ in range(100):
        at = int(rng.integers(len(content)))
        (folder / name).write_bytes(
            content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
        )
        try:
            if json.loads((folder / stored.FACTS).read_bytes()) == json.loads(content):
                continue  # white space
        except ValueError:
            pass
        said(folder)


def test_weights_that_are_not_finite_are_refused_whatever_their_digest(folder):
    arrays = load((folder / stored.WEIGHTS).read_bytes())
    for value in (np.nan, np.inf, -np.inf):
        name = next(iter(arrays))
        bad = {**arrays, name: arrays[name].copy()}
        bad[name].flat[0] = value
        weigh(folder, save(bad))
        assert "not finite" in said(folder)


def test_weights_of_another_network_are_refused(folder):
    arrays = load((folder / stored.WEIGHTS).read_bytes())
    weigh(folder, save({name: value[:-1] for name, value in arrays.items()}))
    assert "incomplete or malformed" in said(folder)
    weigh(folder, b"\xff" * 8 + b"{}")
    assert stored.WEIGHTS in said(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("workload", 3),
        ("workload", "absent"),
        ("workload", "\x1b[2J"),
        ("config", []),
        ("config", {"width": "wide"}),
        ("config", {"width": 1 << 40}),
        ("seed", -1),
        ("seed", True),
        ("kind", None),
        ("metric", 3.0),
        ("scores", {"valid": "x"}),
        ("target", 7),
        ("shape", [10**9, 10**9]),
        ("shape", "ab"),
        ("n_outputs", 0),
        ("n_outputs", 10**12),
        ("output", {"labels": None}),
        ("output", {"labels": "abc", "mean": 0.0, "std": 1.0}),
        ("output", []),
        ("output", {"labels": ["a"], "mean": 0.0, "std": 1.0}),
        ("inputs", {"form": "table", "facts": {}}),
        ("inputs", {"form": "spell", "facts": {}}),
        ("inputs", 3),
        ("inputs", {"form": "table", "facts": {"moments": [], "columns": [{"kind": "Evil"}]}}),
        ("inputs", {"form": "words", "facts": {"codes": [], "length": 3, "unit": "word"}}),
        (
            "inputs",
            {"form": "series", "facts": {"mean": [0.0], "std": [], "length": 3, "factor": 1, "dtype": "float32"}},
        ),
        ("inputs", {"form": "image", "facts": {"mean": "x", "std": [1.0], "shape": [8, 8, 1]}}),
        ("inputs", {"form": "pairs", "facts": {"codes": {}, "targets": {}, "length": 5, "words": [1]}}),
        ("format", 3),
        ("format", "\x1b"),
    ],
)
def test_a_description_is_checked_when_it_is_opened(folder, field, value):
    """With a digest that fits: what is written by hand must still be what a network is made of."""
    change(folder, **{field: value})
    said(folder)


@pytest.mark.parametrize(
    "field", ["workload", "config", "output", "inputs", "shape", "scores", "sha256", "weights_sha256"]
)
def test_a_description_that_lacks_something_is_refused(folder, field):
    found = json.loads((folder / stored.FACTS).read_text())
    del found[field]
    if field != "sha256":
        found["sha256"] = stored._own({k: v for k, v in found.items() if k != "sha256"})
    (folder / stored.FACTS).write_text(json.dumps(found))
    said(folder)


def test_a_folder_without_digests_is_opened_with_a_warning(folder):
    found = json.loads((folder / stored.FACTS).read_text())
    old = {k: v for k, v in found.items() if k not in ("sha256", "weights_sha256")} | {"format": 1}
    (folder / stored.FACTS).write_text(json.dumps(old))
    with pytest.warns(UserWarning, match="without digests"):
        assert mb.load_model(folder).config["width"] == 16


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[]", b"null", b'{"format": 2}', b"\xff\xfe"])
def test_files_that_are_nothing_are_a_line(folder, content):
    (folder / stored.FACTS).write_bytes(content)
    said(folder)


# ---------------------------------------------------------------- trials
TRIAL = {
    "arm": "tuned",
    "config": {"width": 3},
    "status": "ok",
    "seconds": 1.0,
    "flops": 3,
    "epochs": [1, 2],
    "valid": [0.5, 0.6],
    "test": [0.5, 0.6],
    "train_loss": [1.0, 0.5],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": 3},
        {"config": []},
        {"status": "fine"},
        {"seconds": "x"},
        {"flops": None},
        {"epochs": 3},
        {"valid": ["a"] * 2},
        {"test": [0.5]},
        {"train_loss": None},
        {"valid": [], "test": [], "epochs": [1], "train_loss": []},
    ],
    ids=str,
)
def test_trials_are_checked_when_a_folder_is_opened(tmp_path, changes):
    def write(trial):
        text = json.dumps({"format": tune.FORMAT, "key": "k", "trials": [trial]})
        (tmp_path / tune.TRIALS).write_text(text)

    write(TRIAL)
    assert len(tune._stored(tmp_path, "k")["tuned"]) == 1
    write(TRIAL | changes)
    with pytest.raises(MetabenchError, match=r"trials\.json cannot be read") as error:
        tune._stored(tmp_path, "k")
    assert not isinstance(error.value, UsageError)


# ---------------------------------------------------------------- fitted meta-models
@pytest.fixture
def fitted(tmp_path):
    return shutil.copytree(SHIPPED / "cnn-v1", tmp_path / "fitted")


def rewrite(fitted, **fields):
    found = json.loads((fitted / "record.json").read_text()) | fields
    (fitted / "record.json").write_text(json.dumps(found))


def test_a_record_carries_a_digest_of_its_own(fitted):
    record = Record.read(fitted)
    (fitted / "record.json").write_text(record.to_json())
    assert Record.read(fitted) == record
    rewrite(fitted, spread=2.0)
    with pytest.raises(MetabenchError, match="damaged"):
        Record.read(fitted)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spread", "x"),
        ("spread", -1.0),
        ("opening", [1, 1]),
        ("opening", [-3]),
        ("opening", "abc"),
        ("opening", [10**6]),
        ("scales", []),
        ("scales", {"accuracy": {}}),
        ("score_spread", {"accuracy": "x"}),
        ("files", {}),
        ("method", "absent"),
        ("method", 3),
        ("runs", -5),
        ("without", [3]),
        ("measured", {"a": "b"}),
    ],
)
def test_a_record_is_checked_when_it_is_opened(fitted, field, value):
    rewrite(fitted, **{field: value})
    with pytest.raises(MetabenchError) as error:
        mb.load_metamodel(fitted)
    assert str(error.value).isprintable()


def test_the_state_of_a_saved_meta_model_is_checked(tmp_path, fitted):
    model = mb.load_metamodel(fitted).model
    folder = model.save(tmp_path / "saved")
    type(model).load(folder)
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "state.safetensors").write_bytes(content)
    with pytest.raises(MetabenchError, match="not the one"):
        type(model).load(folder)
