"""What is special to the forecaster: what its forecasts are anchored to."""

import numpy as np
import torch

from metabench import registry, tasks
from metabench.tasks.sample import sample
from metabench.training import run_cohort
from metabench.training.data import Data

FORECAST = registry.create("workloads", "forecast")
ARRAYS = sample("windows", 64)


def table(*changes):
    return FORECAST.space.table([FORECAST.space.default() | change for change in changes])


def learners(configs):
    data = Data.of(ARRAYS, "cpu", torch.float64)
    return FORECAST.learners(ARRAYS, configs, np.arange(len(configs)), data, 2)


def test_an_anchored_forecast_follows_the_level():
    """Raise the last value: a forecast anchored to it rises as much besides, one that is not does not."""
    for network in ("dense", "gru"):
        configs = table(*({"network": network, "anchor": anchor} for anchor in ("none", "last", "linear")))
        runs = learners(configs).networks
        x = torch.as_tensor(ARRAYS.x_valid[:5], dtype=torch.float64)
        with torch.no_grad():
            free, last, linear = runs.predict(x)
        alone = [FORECAST.build(ARRAYS, row, i).double().eval() for i, row in enumerate(configs.to_dict("records"))]
        with torch.no_grad():
            bare = [net.top(_hidden(net, x)).T for net in alone]
        torch.testing.assert_close(free, bare[0])
        torch.testing.assert_close(last - bare[1], x[:, -1, 0].expand(4, -1))
        torch.testing.assert_close(linear - bare[2], x[:, -1, 0].expand(4, -1))


def _hidden(net, x):
    if not net.recurrent:
        return torch.relu(net.hidden(x.flatten(1)))
    return net.hidden(torch.cat([x, x.new_ones(*x.shape[:2], 1)], 2))[1][0]


def test_only_a_linear_anchor_learns():
    runs = learners(table({"anchor": "none"}, {"anchor": "last"}, {"anchor": "linear"}))
    before = runs.networks.w["skip"].detach().clone()
    with torch.no_grad():
        runs.begin(0)
        runs.advance(0)
    moved = (runs.networks.w["skip"] - before).abs().amax((1, 2)) > 0
    assert moved.tolist() == [False, False, True]


def test_kinds_that_share_a_cohort_do_not_touch_one_another():
    configs = table(*({"anchor": anchor, "dropout": 0.2} for anchor in ("none", "linear", "last")))
    together = run_cohort(FORECAST, ARRAYS, configs, [1, 2, 3], (2,), backend="batched")
    alone = run_cohort(FORECAST, ARRAYS, configs.iloc[[1]], [2], (2,), backend="batched")
    assert together.test_loss[1] == alone.test_loss[0]


def test_it_beats_what_persists_on_a_wave():
    arrays = sample("windows", 256)
    configs = table({"network": "dense"}, {"network": "gru"})
    curves = run_cohort(FORECAST, arrays, configs, [0, 0], (26,), backend="batched")
    persists = np.sqrt(((arrays.y_test - arrays.x_test[:, -1]) ** 2).mean())
    assert (curves.test_score[:, -1] < 0.5 * persists).all()


def test_it_forecasts_four_series():
    assert {"forecast-fc_sunspots", "forecast-fc_beijing_pm25"} < set(tasks.names("forecast"))
