"""Schedules against torch's own schedulers."""

import numpy as np
import pandas as pd
import pytest

from metabench.training.schedules import factors, learning_rates

T = 60


def torch_rates(make, steps=T):
    """Learning rates that a torch scheduler gives to an optimizer with lr 1."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    out = []
    for _ in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(out)


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("constant", lambda s, o: s.ConstantLR(o, factor=1.0)),
        ("step", lambda s, o: s.StepLR(o, step_size=T // 3, gamma=0.1)),
        ("exponential", lambda s, o: s.ExponentialLR(o, gamma=0.01 ** (1 / T))),
        ("cosine", lambda s, o: s.CosineAnnealingLR(o, T_max=T)),
    ],
)
def test_equals_torch(schedule, make):
    np.testing.assert_allclose(factors(schedule, 0.0, T), torch_rates(make), rtol=1e-9, atol=1e-12)


def test_one_cycle_has_the_shape_of_torch():
    """torch counts both ends as steps (.3 T - 1 and T - 1), so the two agree up to a shift of under two steps."""
    steps = 3000
    make = lambda s, o: s.OneCycleLR(o, max_lr=1.0, total_steps=steps, pct_start=0.3)  # noqa: E731
    reference = torch_rates(make, steps - 1)
    ours = factors("one_cycle", 0.0, steps)
    np.testing.assert_allclose(ours[:-1], reference, atol=3e-3)
    assert ours[0] == pytest.approx(1 / 25, rel=1e-12)
    assert ours[900] == pytest.approx(1.0, rel=1e-12)
    assert ours[1950] == pytest.approx((1 + 1 / 25e4) / 2, rel=1e-9)


def test_warm_up_rises_linearly_then_the_schedule_starts_at_its_peak():
    got = factors("cosine", 0.1, 40)
    np.testing.assert_allclose(got[:4], [0.2, 0.4, 0.6, 0.8])
    assert got[4] == 1.0
    assert got[4 + 18] == pytest.approx(0.5)
    assert len(got) == 40


def test_a_table_gives_a_row_per_configuration():
    configs = pd.DataFrame(
        {"learning_rate": [0.5, 0.1], "schedule": ["step", "constant"], "warmup": [0.0, 0.2], "other": [1, 2]}
    )
    got = learning_rates(configs, 9)
    assert got.shape == (2, 9)
    np.testing.assert_allclose(got[0], [0.5] * 3 + [0.05] * 3 + [0.005] * 3)
    np.testing.assert_allclose(got[1], [0.05] + [0.1] * 8)
    np.testing.assert_array_equal(got[1], learning_rates(configs.iloc[1].to_dict(), 9))


@pytest.mark.parametrize("steps", [1, 2])
def test_very_short_training(steps):
    for schedule in ("constant", "step", "exponential", "cosine", "one_cycle"):
        got = factors(schedule, 0.2, steps)
        assert got.shape == (steps,) and np.isfinite(got).all() and (got > 0).all()
