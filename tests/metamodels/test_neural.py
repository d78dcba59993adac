"""What meta-models that are networks share: targets on one scale, episodes, milestones, devices."""

import numpy as np
import pytest

from metabench.errors import UsageError
from metabench.metamodels.deep_kernel import DeepKernel
from metabench.metamodels.parts.episodes import Tasks, on_normal_scale, warp
from metabench.metamodels.parts.neural import milestone
from metabench.testing import synthetic_source


def test_warps_keep_the_order():
    rng, z = np.random.default_rng(0), np.linspace(-3, 3, 50)
    for _ in range(50):
        assert (np.diff(warp(rng, z)) > 0).all()


def test_units_do_not_matter():
    rng = np.random.default_rng(1)
    y, mean = rng.normal(size=9), rng.normal(size=9)
    plain = on_normal_scale(y, mean, 0.7)
    np.testing.assert_allclose(on_normal_scale(1e6 * y - 3e6, mean, 0.7), plain, rtol=1e-6)
    np.testing.assert_allclose(on_normal_scale(y[:1], mean[:1], 0.7), mean[:1])
    assert np.corrcoef(plain, y)[0, 1] == pytest.approx(1.0)
    assert len(on_normal_scale(y[:0], mean[:0], 0.7)) == 0


def test_many_trials_find_their_scale():
    rng = np.random.default_rng(2)
    mean = rng.normal(size=500)
    z = mean + 0.3 * rng.normal(size=500)
    np.testing.assert_allclose(on_normal_scale(0.8 + 0.01 * z, mean, 0.3), z, atol=0.2)


def test_episodes_hold_what_was_run():
    """Configurations that a task did not run are never shown; hidden ones are others than those shown."""
    rng = np.random.default_rng(3)
    targets = rng.normal(size=(5, 20))
    targets[rng.random(targets.shape) < 0.3] = np.nan
    x = np.arange(20, dtype=np.float32)[:, None]
    tasks = Tasks(x, targets, np.zeros((5, 20)), 1.0)
    for _ in range(20):
        episodes = tasks.draw(rng, 8, 4, 6)
        assert (episodes.x.shape, episodes.seen.shape, episodes.truth.shape) == ((8, 10, 1), (8, 4), (8, 10))
        assert np.isfinite(episodes.truth).all() and np.isfinite(episodes.seen).all()
        for cells, seen, truth in zip(episodes.x[..., 0].astype(int), episodes.seen, episodes.truth, strict=True):
            assert any(np.allclose(targets[t, cells], truth) for t in range(5))
            assert len(set(cells[:4])) == 4 and not set(cells[:4]) & set(cells[4:])
            np.testing.assert_array_equal(np.argsort(seen), np.argsort(truth[:4]))


def test_milestones():
    assert [milestone(n) for n in (0, 1, 2, 3, 8, 9, 10, 11, 12, 14, 15)] == [0, 0, 2, 3, 8, 8, 10, 10, 12, 12, 15]
    assert len({milestone(n) for n in range(1000)}) < 40


def test_a_device_that_is_not_there_is_one_clear_line():
    with pytest.raises(UsageError, match=r"^deep_kernel: device 'tpu9' is not available here; cpu always is$"):
        DeepKernel(device="tpu9").fit(synthetic_source(3, 8))


def test_a_long_training_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr("metabench.metamodels.parts.neural._EVERY", -1.0)
    DeepKernel(layers=1, epochs=2).fit(synthetic_source(3, 8))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].startswith("deep_kernel: step 1 of 2, loss ")
