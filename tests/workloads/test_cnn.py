"""The convolutional network: its augmentation, and shapes that a made-up task does not have."""

import itertools

import numpy as np
import pytest
import torch

from metabench import registry
from metabench.tasks.task import Arrays
from metabench.training.augment import STRENGTHS, Augment, augmented
from metabench.training.data import Data
from metabench.workloads.cnn import blocks

CNN = registry.create("workloads", "cnn")
STRONG = {"shift": 0.2, "rotation": 40.0, "scale": 0.4, "flip": 0.5, "cutout": 0.4}


def pictures(n: int, shape=(2, 9, 7), seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(size=(n, *shape)))


def moved(images, seeds, step, **strengths):
    """Images [B, ...] as runs with these seeds see them, [R, B, ...]."""
    runs = len(seeds)
    given = {name: np.full(runs, strengths.get(name, 0.0)) for name in STRENGTHS}
    augment = Augment(given, np.asarray(seeds), len(images), images.shape[1:], images.dtype, images.device)
    return augment(images.repeat(runs, 1, 1, 1), step).view(runs, *images.shape)


def test_augmentation_over_the_run_axis_is_that_of_one_run():
    images = pictures(6)
    for step in (0, 7):
        together = moved(images, [3, 9], step, **STRONG)
        for run, seed in zip(together, (3, 9), strict=True):
            torch.testing.assert_close(run, augmented(images, STRONG, seed, step), rtol=0, atol=1e-12)
        # a captured graph knows the step on the device alone
        assert torch.equal(together, moved(images, [3, 9], torch.tensor([step]), **STRONG))


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_strength_changes_images_anew_for_every_run_step_and_image(name):
    images = pictures(1).repeat(8, 1, 1, 1)
    first, other_run = moved(images, [0, 1], 0, **{name: STRONG[name]})
    later = moved(images, [0], 1, **{name: STRONG[name]})[0]
    assert not torch.equal(first, images)
    assert not torch.equal(first, other_run) and not torch.equal(first, later)
    assert len({tuple(image.flatten().tolist()) for image in first}) >= (2 if name == "flip" else 8)


def test_no_strength_changes_nothing_and_a_mirror_is_exact():
    images = pictures(16)
    torch.testing.assert_close(moved(images, [0], 0)[0], images, rtol=0, atol=1e-12)
    for image, flipped in zip(images, moved(images, [0], 0, flip=1.0)[0], strict=True):
        torch.testing.assert_close(flipped, image.flip(2), rtol=0, atol=1e-12)


def test_a_shift_moves_and_a_turn_turns():
    """A bright pixel goes where it should, and as far as the strength says."""
    images = torch.zeros(64, 1, 15, 15, dtype=torch.float64)
    images[:, 0, 7, 7] = 1.0
    place = torch.arange(15.0, dtype=torch.float64) - 7

    def centres(some):  # [B, 2], right and down
        return torch.stack([(some.sum(2)[:, 0] * place).sum(1), (some.sum(3)[:, 0] * place).sum(1)], 1)

    found = centres(moved(images, [0], 0, shift=0.2)[0])
    assert 2.5 < found.abs().max() <= 3.0 + 1e-9 and found.mean().abs() < 1.0
    torch.testing.assert_close(moved(images, [0], 0, rotation=45.0)[0][:, 0, 7, 7], images[:, 0, 7, 7])
    off = torch.zeros_like(images)
    off[:, 0, 7, 12] = 1.0
    turned = centres(moved(off, [0], 0, rotation=45.0)[0])
    assert turned[:, 1].max() > 2.5 and turned[:, 1].min() < -2.5
    cut = moved(torch.ones_like(images), [0], 0, cutout=0.4)[0]
    assert 0 < (cut == 0).sum((1, 2, 3)).max() <= 36


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 7, 5), (1, 2, 9)])
def test_any_shape_pools_and_learns_as_the_plain_network(shape):
    """Odd sides, sides that are soon a pixel: an epoch of every kind of pooling, with and without a norm, in float64."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, *shape)).astype(np.float32), rng.integers(3, size=40).astype(np.int32)
    arrays = Arrays("classification", "accuracy", 3, x, y, x[:20], y[:20], x[20:], y[20:])
    data = Data.of(arrays, "cpu", torch.float64)
    kinds = itertools.product(("max", "average", "stride"), ("none", "layer"), (3, 5))
    for pooling, norm, kernel in kinds:
        config = CNN.space.default() | {
            "pooling": pooling,
            "norm": norm,
            "kernel": kernel,
            "blocks": 3,
            "channels": 4,
            "batch_size": 16,
        }
        table = CNN.space.table([config])
        plain = CNN.alone(arrays, config, 1, data, 1)
        assert sum(p.numel() for p in plain.net.parameters()) == CNN.params(arrays, config)
        plain.epoch(0)
        with torch.no_grad():
            runs = CNN.learners(arrays, table, np.array([1]), data, 1)
            runs.begin(0)
            for step in range(runs.steps):
                runs.advance(step)
            found = runs.evaluate()
        for part, (loss, _) in plain.evaluate().items():
            assert found[part][0].item() == pytest.approx(loss, rel=1e-8), (pooling, norm, kernel)


def test_blocks_halve_the_side_and_double_the_channels():
    config = CNN.space.default() | {"blocks": 3, "channels": 4}
    made = blocks((3, 15, 15), config)
    assert [(b.inputs, b.outputs, b.seen, b.left) for b in made] == [
        (3, 4, (15, 15), (7, 7)),
        (4, 8, (7, 7), (3, 3)),
        (8, 16, (3, 3), (1, 1)),
    ]
    strided = blocks((3, 15, 15), config | {"pooling": "stride"})
    assert [(b.stride, b.convolved, b.left) for b in strided] == [
        (2, (8, 8), (8, 8)),
        (2, (4, 4), (4, 4)),
        (2, (2, 2), (2, 2)),
    ]
