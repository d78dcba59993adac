"""The building blocks over a run axis against the hashed streams and against plain definitions."""

import numpy as np
import pytest
import torch

from metabench.tasks.task import Arrays
from metabench.training import hashing
from metabench.training.evaluation import loss_and_score
from metabench.training.layers import Dropout, InputNoise
from metabench.training.losses import Evaluator, Loss
from metabench.training.runaxis import mix_, multiples, orders, segments, signed
from metabench.workloads.mlp import cohort


def test_orders_are_the_permutations():
    seeds = np.array([4, 0, 4, 9])
    expected = np.stack([hashing.permutation(s, 3, 101) for s in seeds])
    np.testing.assert_array_equal(orders(seeds, 3, 101), expected)


def test_mix_is_the_same_by_numpy_and_by_torch():
    words = np.random.default_rng(0).integers(0, 2**32, 999, dtype=np.uint32)
    x = signed(words)
    mix_(x, torch.empty_like(x))
    np.testing.assert_array_equal(x.numpy().view(np.uint32), hashing.mix(words))

    class Elsewhere(torch.Tensor):  # takes the road of other devices
        device = torch.device("meta")

    y = signed(words).as_subclass(Elsewhere)
    mix_(y, torch.empty_like(y))
    np.testing.assert_array_equal(y.as_subclass(torch.Tensor).numpy().view(np.uint32), hashing.mix(words))


def test_multiples_and_a_key_make_a_hash():
    x = multiples(np.arange(50)) + signed([hashing.key(3, 7, 1)])
    mix_(x, torch.empty_like(x))
    np.testing.assert_array_equal(x.numpy().view(np.uint32), hashing.bits(hashing.key(3, 7, 1), np.arange(50)))


def test_segments():
    assert segments(list("aabca")) == [
        ("a", slice(0, 2)),
        ("b", slice(2, 3)),
        ("c", slice(3, 4)),
        ("a", slice(4, 5)),
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("step", [0, 511, 512, 3000])
def test_dropout_masks_are_the_hashed_ones(dtype, step):
    p, seeds, widths, features, batch = np.array([0.3, 0.0, 0.6]), np.array([1, 2, 1]), np.array([5, 8, 7]), 8, 4
    masks = Dropout(p, seeds, widths, 66, features, batch, dtype, "cpu").mask(step)
    assert masks.dtype == dtype
    for r, width in enumerate(widths):
        bits = hashing.bits(hashing.key(seeds[r], 66, step), np.arange(batch * width)).reshape(batch, width)
        keep = (bits >> np.uint32(8)) >= int(p[r] * 2**24)
        np.testing.assert_allclose(masks[r, :width].T, keep / (1 - p[r]), rtol=1e-7)


def test_noise_is_the_hashed_one():
    scale, seeds = np.array([0.1, 0.0, 0.3]), np.array([5, 6, 7])
    x = torch.zeros(3, 4, 6, dtype=torch.float64)
    InputNoise(scale, seeds, 4, 6, torch.float64, "cpu").add_(x, 17)
    for r, seed in enumerate(seeds):
        keys = (hashing.key(seed, s, 17) for s in (hashing.NOISE_A, hashing.NOISE_B))
        np.testing.assert_allclose(x[r].reshape(-1), scale[r] * hashing.normal(*keys, np.arange(24)), rtol=1e-15)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "r2"])
def test_blocks_give_the_plain_score(metric):
    rng = np.random.default_rng(1)
    if metric == "r2":
        outputs, y = rng.normal(size=(3, 50, 1)), torch.tensor(rng.normal(size=50))
    else:
        outputs, y = rng.normal(size=(3, 50, 4)).round(1), torch.tensor(rng.integers(0, 3, 50))  # ties; class 3 absent
    evaluator = Evaluator(y, metric, outputs.shape[2])
    evaluator.start(3)
    for low in range(0, 50, 16):
        evaluator.add(torch.tensor(outputs[:, low : low + 16]).transpose(1, 2), low)
    loss, score = evaluator.result()
    for r in range(3):
        np.testing.assert_allclose((loss[r], score[r]), loss_and_score(outputs[r], y.numpy(), metric), rtol=1e-12)


def test_ties_go_to_the_first_class_and_nan_is_no_hit():
    y = torch.tensor([0, 1, 1, 0])
    outputs = torch.tensor([[[2.0, 2.0, 1.0, torch.nan], [2.0, 2.0, 1.5, 0.0]]])
    evaluator = Evaluator(y, "accuracy", 2)
    evaluator.start(1)
    evaluator.add(outputs, 0)
    loss, score = evaluator.result()
    assert score.item() == 0.5 and not torch.isfinite(loss).item()
    plain_loss, plain_score = loss_and_score(outputs[0].T.double().numpy(), y.numpy(), "accuracy")
    assert plain_score == 0.5 and not np.isfinite(plain_loss)


def test_an_infinite_loss_is_trouble_of_its_own_run_only():
    import pandas as pd

    none = np.zeros((0, 1), dtype=np.float32)
    arrays = Arrays("classification", "accuracy", 2, none, none, none, none, none, none)
    y = torch.tensor([0, 1])
    loss = Loss(arrays, pd.DataFrame({"label_smoothing": [0.0, 0.0, 0.1]}), y, torch.float32)
    outputs = torch.zeros(3, 2, 2)
    outputs[1, 0, 1] = torch.inf
    loss(outputs, torch.tensor([[0, 1]] * 3))
    assert torch.isfinite(loss.trouble).tolist() == [True, False, True]


def test_padded_width_depends_on_the_run_alone_and_fills_vectors():
    for width in (1, 16, 32, 33, 100, 256, 257, 1000):
        assert cohort.padded(width) >= width and cohort.padded(width) % 32 == 0
