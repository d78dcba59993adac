"""The compiled kernel: every rule of training against the oracle, its shortcuts, and machines that cannot build it."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from metabench import registry
from metabench.errors import MetabenchError
from metabench.tasks.task import Arrays
from metabench.training import choose, hashing, resident, run_cohort

MLP = registry.create("workloads", "mlp")
SERIES = ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
needs_compiler = pytest.mark.skipif(resident.available() is not None, reason=str(resident.available()))

PLAIN = MLP.space.default() | {
    "optimizer": "momentum",
    "momentum": 0.9,
    "beta1": None,
    "beta2": None,
    "learning_rate": 0.01,
    "width": 24,
    "depth": 2,
    "batch_size": 32,
    "dropout": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "clip": "none",
    "clip_norm": None,
    "activation": "tanh",
}
BETAS = {"momentum": None, "beta1": 0.9, "beta2": 0.99}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "momentum": None},
    "momentum": {},
    "nesterov": {"optimizer": "nesterov"},
    **{name: BETAS | {"optimizer": name, "learning_rate": 1e-3} for name in ("adam", "adamw", "lion")},
    "rmsprop": {"optimizer": "rmsprop", "momentum": None, "beta2": 0.99, "learning_rate": 1e-3},
    "adagrad": {"optimizer": "adagrad", "momentum": None},
}
RULES = {
    **{f"{name}, decayed": changes | {"weight_decay": 0.05} for name, changes in OPTIMIZERS.items()},
    **{schedule: {"schedule": schedule} for schedule in ("step", "exponential", "cosine", "one_cycle")},
    **{f"{schedule}, warm": {"schedule": schedule, "warmup": 0.3} for schedule in ("constant", "cosine")},
    **{f"{name}, clipped": changes | {"clip": "norm", "clip_norm": 0.1} for name, changes in OPTIMIZERS.items()},
    **{activation: {"activation": activation} for activation in ("relu", "gelu", "silu")},
    "dropout": {"dropout": 0.4},
    "norm": {"norm": "layer"},
    "input noise": {"input_noise": 0.3},
    "label smoothing": {"label_smoothing": 0.2},
    "all together": {
        "dropout": 0.2,
        "norm": "layer",
        "input_noise": 0.2,
        "clip": "norm",
        "clip_norm": 1.0,
        "weight_decay": 1e-3,
        "schedule": "cosine",
        "warmup": 0.1,
    },
    "odd sizes": {"width": 37, "batch_size": 77, "depth": 3, "norm": "layer", "dropout": 0.1},
    "one vector": {"width": 16, "depth": 4, "batch_size": 16},
}


def arrays(kind="classification", classes=3, features=5, rows=160) -> Arrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * rows, features)).astype(np.float32)
    signal = x @ rng.normal(size=(features, classes))
    y = signal.argmax(1).astype(np.int32) if kind == "classification" else signal[:, 0].astype(np.float32)
    parts = [(x[i::3], y[i::3]) for i in range(3)]
    metric, n = ("accuracy", classes) if kind == "classification" else ("r2", 0)
    return Arrays(kind, metric, n, *(a for part in parts for a in part))


def rules(kind: str) -> dict[str, dict]:
    found = {name: PLAIN | changes for name, changes in RULES.items()}
    if kind == "regression":
        del found["label smoothing"]
    return found


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "classes", "features"),
    [
        ("classification", 3, 5),
        ("classification", 21, 35),
        ("regression", 1, 16),
    ],
)
def test_every_rule_follows_the_oracle(kind, classes, features):
    """Against float64, losses in single precision stay within 2e-5 of one part for up to 40 steps."""
    data, named = arrays(kind, classes, features), rules(kind)
    configs, seeds = pd.DataFrame(list(named.values())), np.arange(len(named))
    slow = run_cohort(MLP, data, configs, seeds, (1, 4), backend="sequential", dtype=torch.float64)
    fast = run_cohort(MLP, data, configs, seeds, (1, 4), backend="resident")
    assert fast.status == slow.status == ["ok"] * len(named)
    for series in ("train_loss", "valid_loss", "test_loss"):
        gap = np.abs(getattr(fast, series) / getattr(slow, series) - 1).max(1)
        worst = int(gap.argmax())
        # the sign of a gradient near zero is a matter of rounding
        bound = np.array([1e-3 if config["optimizer"] == "lion" else 2e-5 for config in named.values()])
        assert (gap < bound).all(), (series, list(named)[worst], gap[worst])
    np.testing.assert_allclose(
        fast.valid_score, slow.valid_score, atol=1.01 / 160 if kind == "classification" else 1e-4
    )


@needs_compiler
def test_updating_at_once_and_after_the_norm_is_the_same():
    """A clip that never binds takes the other way through the backward pass, to the same bits."""
    once = [
        PLAIN | changes | extra for changes in OPTIMIZERS.values() for extra in ({}, {"norm": "layer", "width": 40})
    ]
    after = [config | {"clip": "norm", "clip_norm": 1e9} for config in once]
    seeds = np.arange(len(once))
    a, b = (run_cohort(MLP, arrays(), pd.DataFrame(c), seeds, (1, 3), backend="resident") for c in (once, after))
    for series in SERIES:
        np.testing.assert_array_equal(getattr(a, series), getattr(b, series))


@needs_compiler
def test_rows_come_in_the_hashed_order():
    """One step an epoch on a single row: which row it was shows in the weights. 300 rows have many keys alike per byte."""
    rng = np.random.default_rng(1)
    n = 300
    x, y = rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    config = PLAIN | {"optimizer": "sgd", "momentum": None, "batch_size": n - 1, "learning_rate": 0.5}
    left_out = {int(hashing.permutation(seed, 0, n)[-1]) for seed in range(8)}
    data = Arrays("regression", "r2", 0, x, y, x, y, x, y)
    configs = pd.DataFrame([config] * 8)
    slow = run_cohort(MLP, data, configs, np.arange(8), (1, 2), backend="sequential", dtype=torch.float64)
    fast = run_cohort(MLP, data, configs, np.arange(8), (1, 2), backend="resident")
    assert len(left_out) > 5
    np.testing.assert_allclose(fast.train_loss, slow.train_loss, rtol=1e-6)


# ---------------------------------------------------------------- where it cannot be built
@pytest.fixture
def unbuilt(monkeypatch, tmp_path):
    """A machine on which nothing was compiled yet."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    for function in (resident.load, resident.available):
        function.cache_clear()
    yield tmp_path
    for function in (resident.load, resident.available):
        function.cache_clear()


def broken(tmp_path, name: str) -> str:
    path = tmp_path / name
    path.write_text("not a program")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("cxx", "reason"),
    [
        ("/bin/false", "/bin/false could not compile mlp.cpp: no message"),
        ("no-such-compiler", "CXX names no-such-compiler, which is not on the path"),
        ("a folder", "is not on the path"),
        ("a broken program", "cannot be run: Exec format error"),
    ],
)
def test_a_compiler_that_fails_is_one_line_and_the_next_best(unbuilt, monkeypatch, cxx, reason):
    monkeypatch.setenv("CXX", {"a folder": str(unbuilt), "a broken program": broken(unbuilt, "cxx")}.get(cxx, cxx))
    with pytest.warns(UserWarning, match="resident backend not available") as told:
        assert choose(MLP, "cpu") == "batched"
    assert len(told) == 1 and reason in str(told[0].message) and "\n" not in str(told[0].message)
    with pytest.raises(MetabenchError, match="resident backend not available") as error:
        run_cohort(MLP, arrays(), pd.DataFrame([PLAIN]), [0], (1,), backend="resident")
    assert reason in str(error.value)


def test_no_compiler_at_all(unbuilt, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(unbuilt))
    assert resident.available() == "no C++ compiler (looked for c++, g++, clang++; set CXX to name one)"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        out = run_cohort(MLP, arrays(), pd.DataFrame([PLAIN]), [0], (1,))
    assert out.engine.startswith("batched") and len(told) == 1


@needs_compiler
def test_a_cache_that_cannot_be_written(unbuilt):
    (unbuilt / "cache").write_text("a file stands where the folder should be")
    assert (
        resident.available() == f"compiled kernels cannot be stored in {unbuilt / 'cache' / 'kernels'}: Not a directory"
    )
    with pytest.warns(UserWarning, match="cannot be stored"):
        assert choose(MLP, "cpu") == "batched"


@needs_compiler
def test_a_damaged_kernel_is_told(unbuilt, monkeypatch):
    monkeypatch.setattr(resident, "build", lambda *_: unbuilt / "kernel.so")
    (unbuilt / "kernel.so").write_bytes(b"cut off")
    assert "the compiled kernel cannot be loaded" in resident.available()
