"""The GPU's kernels under Triton's interpreter, on the CPU: every rule of training against the oracle. Where there is a
GPU, tests/training/test_cuda.py checks what is compiled."""

import importlib.util
import os
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from metabench import registry
from metabench.tasks.task import Arrays
from metabench.training import hashing, run_cohort, schedules

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)
if torch.cuda.is_available() or ("triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1"):
    pytest.skip("Triton compiles here, and interprets nothing", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"

import triton
import triton.language as tl

from metabench.training import resident_cuda
from metabench.training.resident_cuda import schedules as on_device

MLP = registry.create("workloads", "mlp")
PLAIN = MLP.space.default() | {
    "width": 20,
    "depth": 2,
    "batch_size": 16,
    "dropout": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "momentum": None,
    "beta1": None,
    "beta2": None,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
}
BETAS = {"beta1": 0.9, "beta2": 0.99}
#: every optimizer, activation, schedule and regulariser in as few runs as may be: the interpreter is slow
RULES = [
    {"optimizer": "sgd", "activation": "relu", "warmup": 0.5, "learning_rate": 0.1, "norm": "layer", "width": 33},
    {"optimizer": "momentum", "momentum": 0.9, "activation": "tanh", "schedule": "step", "dropout": 0.4},
    {"optimizer": "nesterov", "momentum": 0.8, "activation": "gelu", "schedule": "exponential", "depth": 1},
    {"optimizer": "adam", **BETAS, "activation": "silu", "schedule": "cosine", "input_noise": 0.3, "depth": 3},
    {"optimizer": "adamw", **BETAS, "schedule": "one_cycle", "label_smoothing": 0.2, "clip": "norm", "clip_norm": 0.1},
    {"optimizer": "rmsprop", "beta2": 0.99, "schedule": "one_cycle", "warmup": 0.3, "batch_size": 32, "norm": "layer"},
    {"optimizer": "adagrad", "activation": "gelu", "clip": "norm", "clip_norm": 1.0, "batch_size": 256, "dropout": 0.2},
    {"optimizer": "lion", **BETAS, "activation": "silu", "norm": "layer", "input_noise": 0.1},
]


def arrays(kind="classification", classes=3, features=5, rows=34, metric="accuracy") -> Arrays:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * rows, features)).astype(np.float32)
    signal = x @ rng.normal(size=(features, classes))
    y = signal.argmax(1).astype(np.int32) if kind == "classification" else signal[:, 0].astype(np.float32)
    parts = [(x[i::3], y[i::3]) for i in range(3)]
    metric, n = (metric, classes) if kind == "classification" else ("r2", 0)
    return Arrays(kind, metric, n, *(a for part in parts for a in part))


def both(data, configs: pd.DataFrame, seeds, checkpoints=(2,), dtype=torch.float64):
    slow = run_cohort(MLP, data, configs, seeds, checkpoints, backend="sequential", dtype=dtype)
    return resident_cuda.run(MLP, data, configs, seeds, checkpoints, "cpu"), slow


@pytest.mark.parametrize(
    ("kind", "classes", "features", "rules"),
    [
        ("classification", 3, 5, RULES),
        ("regression", 1, 70, RULES[1::5]),
        ("classification", 21, 16, RULES[4:5]),
    ],
)
def test_every_rule_follows_the_oracle(kind, classes, features, rules):
    """Losses in single precision stay within 1e-6 of one part of those in double precision."""
    configs, seeds = pd.DataFrame([PLAIN | changes for changes in rules]), 7 + np.arange(len(rules)) % 3
    fast, slow = both(arrays(kind, classes, features), configs, seeds)
    assert fast.status == slow.status == ["ok"] * len(rules)
    for series in ("train_loss", "valid_loss", "test_loss"):
        gap = np.abs(getattr(fast, series) / getattr(slow, series) - 1).max(1)
        # the sign of a gradient near zero is a matter of rounding
        bound = np.where(configs["optimizer"] == "lion", 1e-4, 1e-6)
        assert (gap < bound).all(), (series, configs["optimizer"][int(gap.argmax())], gap.max())
    for series in ("valid_score", "test_score"):
        np.testing.assert_allclose(getattr(fast, series), getattr(slow, series), rtol=1e-5)
    np.testing.assert_array_equal(fast.params, slow.params)


def test_balanced_accuracy():
    data = arrays(classes=5, metric="balanced_accuracy")
    assert len(np.unique(data.y_valid)) == 5
    fast, slow = both(data, pd.DataFrame([PLAIN | RULES[0]]), [0], (1,))
    np.testing.assert_allclose(fast.valid_score, slow.valid_score, rtol=1e-6)
    np.testing.assert_allclose(fast.test_score, slow.test_score, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_stops_and_its_neighbours_do_not_notice():
    configs = pd.DataFrame([PLAIN | RULES[2]] * 3)
    configs.loc[1, ["optimizer", "learning_rate", "norm"]] = "sgd", 1e30, "none"
    together, slow = both(arrays(), configs, [0, 1, 2], (1, 2), torch.float32)
    assert together.status == slow.status == ["ok", "diverged", "ok"]
    np.testing.assert_array_equal(together.length, slow.length)
    alone = resident_cuda.run(MLP, arrays(), configs.iloc[[2]], [2], (1, 2), "cpu")
    for series in ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score"):
        np.testing.assert_array_equal(getattr(together, series)[2], getattr(alone, series)[0])
        assert np.isnan(getattr(together, series)[1, together.length[1] :]).all()


def test_orders_are_the_hashed_permutations():
    found = resident_cuda.orders(np.array([3, 900]), 4, 2, 50, "cpu").numpy()
    expected = [[hashing.permutation(seed, epoch, 50) for epoch in (4, 5)] for seed in (3, 900)]
    np.testing.assert_array_equal(found, expected)


@triton.jit
def _factors(out, kind, warm, total):
    for step in range(total):
        tl.store(out + step, on_device.factor(kind, warm, total, step))


def test_schedules_on_the_device():
    for place, name in enumerate(schedules.FACTORS):
        for warmup in (0.0, 0.2):
            out = torch.zeros(40, dtype=torch.float64)
            _factors[(1,)](out, place, int(warmup * 40), 40)
            np.testing.assert_allclose(out.numpy(), schedules.factors(name, warmup, 40), rtol=1e-14, err_msg=name)


def test_shapes_that_share_a_launch():
    """Every run is in one chunk, whose tiles hold it; a run's tiles depend on no other run."""
    data, configs = arrays(), MLP.space.sample(256, 1)
    table = resident_cuda.Table.of(data, configs, np.arange(256), 2)
    chunks = table.chunks(1 << 30)
    assert sorted(i for *_, chunk in chunks for i in chunk) == list(range(256))
    assert len(chunks) <= 12
    for tiles, layout, chunk in chunks:
        assert 4 * layout.stride * len(chunk) <= 1 << 30
        for i in chunk:
            config = configs.iloc[i]
            batch = min(config["batch_size"], 34)
            assert tiles == resident_cuda.Tiles.of(int(config["width"]), int(batch), 3)
            assert config["width"] <= tiles.width and batch <= layout.batch and config["depth"] <= layout.layers
    assert all(len(chunk) == 1 for *_, chunk in table.chunks(1))
