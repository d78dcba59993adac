"""The affine map of a target's scale: what cannot be told from equal targets is not read out of rounding."""

import numpy as np
import pytest

from metabench.metamodels.parts.gp import PoolGP, affine_map


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_targets_have_no_scale(n):
    rng = np.random.default_rng(n)
    for _ in range(200):
        w = rng.normal(size=n)
        a, b = affine_map(w * 0.85, rng.normal(size=n), w, guess=0.0)
        assert b == 1.0 and np.isfinite(a)


def test_one_trial_moves_no_prediction():
    """Its value is explained by the location; it was noise divided by rounding before."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 40)) / 6
    kernel, mean = root @ root.T, rng.normal(size=40)
    for i in range(40):
        gp = PoolGP(lambda j: kernel[j], np.diag(kernel), 0.05)
        gp.observe([i])
        moved, variance, _, b = gp.posterior(mean, np.array([rng.normal()]))
        np.testing.assert_allclose(moved, mean, atol=1e-9)
        assert b == 1.0 and (variance <= np.diag(kernel) + 1e-12).all()
