"""Reliability against tasks whose variances are known."""

import numpy as np
import pytest

from metabench.table.reliability import MOST, Reliability, components, reliability


def task(rng, signal=1.0, noise=1.0, configs=64, seeds=10):
    """Scores with a seed effect that is large and must not count."""
    truth = rng.normal(0, signal, (configs, 1))
    return truth, truth + rng.normal(0, 5.0, (1, seeds)) + rng.normal(0, noise, (configs, seeds))


def test_components_of_variance_are_unbiased():
    rng = np.random.default_rng(0)
    found = np.array([components(task(rng, 1.5, 2.0, seeds=4)[1]) for _ in range(400)])
    assert found.mean(axis=0) == pytest.approx([1.5**2, 2.0**2], rel=0.05)


@pytest.mark.parametrize("seeds", [2, 4, 10])
def test_it_is_that_of_the_better_half(seeds):
    """Against the squared correlation of replicates with the truth among the truly better half."""
    rng = np.random.default_rng(seeds)
    estimates, truths = [], []
    for _ in range(300):
        truth, y = task(rng, 1.0, 0.5, seeds=seeds)
        better = np.argsort(-truth[:, 0])[:32]
        estimates.append(reliability(y).of(1))
        run = truth[better] + rng.normal(0, 0.5, (32, 200))
        truths.append(np.mean([np.corrcoef(truth[better, 0], column)[0, 1] ** 2 for column in run.T]))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), abs=0.05)


def test_a_task_of_noise_alone_is_not_admitted():
    rng = np.random.default_rng(1)
    admitted = [reliability(task(rng, 0.0, 1.0)[1]).admitted for _ in range(100)]
    assert np.mean(admitted) <= 0.02
    assert reliability(task(rng, 0.0, 1.0)[1]).needed == MOST


def test_a_task_without_noise_needs_two_seeds():
    found = reliability(task(np.random.default_rng(2), 1.0, 0.0)[1], "max")
    assert found.replicate == pytest.approx(1.0) and found.needed == 2 and found.admitted


def test_directions_mirror_and_failing_configurations_do_not_count():
    _, y = task(np.random.default_rng(3), 1.0, 1.0)
    assert reliability(y).of(5) == pytest.approx(reliability(-y, "min").of(5))
    worse = y.copy()
    worse[np.argsort(y.mean(axis=1))[:6]] -= 1e6
    worse[np.argsort(y.mean(axis=1))[:3]] = np.nan
    assert reliability(worse).of(5) == pytest.approx(reliability(y).of(5), abs=0.15)


def test_more_seeds_are_more_reliable():
    found = Reliability(1.0, 4.0, 1.0, 10)
    assert found.of(4) == 0.5 and found.of(16) == 0.8
    assert found.needed == MOST and Reliability(1.0, 1.0, 1.0, 2).needed == 8
    assert found.admitted == (found.replicate >= 0.5 and found.span >= 3 * np.sqrt(4 / 5))


@pytest.mark.parametrize("shape", [(64, 1), (3, 4), (8,)])
def test_too_few_scores_are_refused(shape):
    with pytest.raises(ValueError, match="at least 4 configurations and 2 seeds"):
        reliability(np.zeros(shape))
