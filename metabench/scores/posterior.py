"""Draws of expected scores given noisy means: nonparametric empirical Bayes.

The distribution of the expected scores is estimated by nonparametric maximum likelihood on a grid (Kiefer & Wolfowitz,
1956; Koenker & Mizera, JASA 2014); every configuration's expectation is then drawn from its posterior.
"""

from __future__ import annotations

import numpy as np

#: places at which expectations may lie, and steps of expectation-maximisation for how many lie there
PLACES, STEPS = 256, 100


def grid(mean: np.ndarray) -> np.ndarray:
    """The places at which expectations may lie, float64 [places], from the least to the largest mean."""
    return np.linspace(mean.min(), mean.max(), PLACES)


def draw_expectations(
    mean: np.ndarray, variance: np.ndarray, n: int, rng: np.random.Generator, steps: int = STEPS
) -> np.ndarray:
    """Draw every configuration's expected score from its posterior.

    Args:
        mean: observed mean scores, float64 [configs].
        variance: variance of each mean about its expectation, broadcast to float64 [configs, places]: of one column
            where it belongs to the configuration, of one row where it depends on the place.
        n: number of draws.
        rng: source of randomness.
        steps: steps of expectation-maximisation. Few leave the distribution smoother: many gather it in few places, at which
            configurations tie, and the best then seems to lead by less than it does.

    Returns:
        Expected scores, float64 [configs, n].
    """
    places = grid(mean)
    step = places[1] - places[0]
    if step == 0:
        return np.repeat(mean[:, None], n, axis=1)
    variance = np.maximum(variance, (0.5 * step) ** 2)
    log = -0.5 * ((mean[:, None] - places) ** 2 / variance + np.log(variance))
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    share = np.full(PLACES, 1.0 / PLACES)
    for _ in range(steps):
        posterior = likelihood * share
        share = (posterior / posterior.sum(axis=1, keepdims=True)).mean(axis=0)
    reached = np.cumsum(likelihood * share, axis=1)
    at = [np.searchsorted(row, row[-1] * rng.random(n)) for row in reached]
    return places[np.minimum(at, PLACES - 1)] + step * (rng.random((len(mean), n)) - 0.5)
