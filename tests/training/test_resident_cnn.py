"""The compiled convolutional network: every rule against the oracle, whatever the instruction set and the company."""

import numpy as np
import pandas as pd
import pytest
import torch

from metabench import registry
from metabench.tasks.sample import sample
from metabench.tasks.task import Arrays
from metabench.training import choose, resident, run_cohort

CNN = registry.create("workloads", "cnn")
SERIES = ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score")
pytestmark = pytest.mark.skipif(resident.available("cnn") is not None, reason=str(resident.available("cnn")))

PLAIN = CNN.space.default() | {"batch_size": 32, "learning_rate": 1e-3, "dropout": 0.0}
RULES = {
    **{
        f"{pooling}, {norm}": {"pooling": pooling, "norm": norm, "blocks": 3}
        for pooling in ("max", "average", "stride")
        for norm in ("none", "layer")
    },
    **{
        f"{channels} channels, kernel {kernel}": {"channels": channels, "kernel": kernel}
        for channels in (4, 16)
        for kernel in (3, 5)
    },
    **{
        name: {"augmentation": "random", "shift": 0.0, "rotation": 0.0, "scale": 0.0, name: value}
        for name, value in (("shift", 0.2), ("rotation", 40.0), ("scale", 0.4), ("flip", 0.5), ("cutout", 0.5))
    },
    "dropout": {"dropout": 0.5},
    "label smoothing": {"label_smoothing": 0.2},
    "clipped": {"clip": "norm", "clip_norm": 0.1},
    "small batches": {"batch_size": 16},
    "large batches": {"batch_size": 256},
}


def arrays(shape=(2, 9, 7), rows: int = 77, classes: int = 3) -> Arrays:
    """Odd sides, and batches that fill no vector."""
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=3 * rows).astype(np.int32)
    x = rng.normal(size=(3 * rows, *shape)).astype(np.float32) + np.linspace(-1, 1, classes)[y, None, None, None]
    return Arrays(
        "classification",
        "accuracy",
        classes,
        *(part for i in range(3) for part in (x[i::3].astype(np.float32), y[i::3])),
    )


@pytest.mark.parametrize(("shape", "classes"), [((2, 9, 7), 3), ((1, 8, 8), 21), ((3, 2, 5), 2)])
def test_every_rule_follows_the_oracle(shape, classes):
    """Against float64, losses in single precision stay within 2e-5 of one part."""
    data, configs = arrays(shape, classes=classes), pd.DataFrame([PLAIN | changes for changes in RULES.values()])
    seeds = np.arange(len(configs))
    slow = run_cohort(CNN, data, configs, seeds, (1, 3), backend="sequential", dtype=torch.float64)
    fast = run_cohort(CNN, data, configs, seeds, (1, 3), backend="resident")
    assert fast.status == slow.status == ["ok"] * len(configs)
    assert fast.engine.startswith("resident-")
    for series in ("train_loss", "valid_loss", "test_loss"):
        gap = np.abs(getattr(fast, series) / getattr(slow, series) - 1).max(1)
        assert (gap < 2e-5).all(), (series, list(RULES)[int(gap.argmax())], gap.max())
    np.testing.assert_allclose(fast.valid_score, slow.valid_score, atol=1.01 / 77)


def test_a_mixture_of_the_space_follows_the_oracle():
    configs = CNN.space.sample(12, seed=5)
    configs["learning_rate"] = np.minimum(configs["learning_rate"], 1e-3)
    slow = run_cohort(
        CNN, sample("image", 64), configs, np.arange(12), (1, 2), backend="sequential", dtype=torch.float64
    )
    fast = run_cohort(CNN, sample("image", 64), configs, np.arange(12), (1, 2), backend="resident")
    for series in ("train_loss", "valid_loss", "test_loss"):
        np.testing.assert_allclose(getattr(fast, series), getattr(slow, series), rtol=1e-4)


@pytest.mark.parametrize("flags", [("-march=haswell",), ("-march=haswell", "-DMB_PORTABLE")])
def test_every_instruction_set_gives_the_same_bits(flags):
    data = arrays((1, 6, 5), 40)
    configs = pd.DataFrame([PLAIN | RULES[name] | {"channels": 8} for name in RULES if "channels" not in name])
    configs.loc[configs.index[::2], "channels"] = 4
    seeds = np.arange(len(configs))
    native = resident.run(CNN, data, configs, seeds, (1, 2))
    other = resident.run(CNN, data, configs, seeds, (1, 2), library=resident.load(flags, "cnn"))
    for series in SERIES:
        np.testing.assert_array_equal(getattr(native, series), getattr(other, series))


def test_it_is_chosen_diverges_and_stands_alone():
    """A run's curve does not depend on the runs before it; one that leaves the numbers says so."""
    assert choose(CNN, "cpu") == "resident"
    configs = pd.DataFrame(
        [PLAIN, PLAIN | {"optimizer": "sgd", "beta1": None, "beta2": None, "learning_rate": 1e30}, PLAIN]
    )
    data = arrays()
    found = run_cohort(CNN, data, configs, [0, 1, 2], (1, 2))
    assert found.status == ["ok", "diverged", "ok"]
    alone = run_cohort(CNN, data, configs.iloc[[2]], [2], (1, 2))
    for series in SERIES:
        np.testing.assert_array_equal(getattr(alone, series)[0], getattr(found, series)[2])
