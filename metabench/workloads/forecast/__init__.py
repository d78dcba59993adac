"""Forecasts of a series from the moments before: a dense or a recurrent network, beside what persists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metabench.space import Choice, Float, Ordinal, Space
from metabench.tasks.metrics import score
from metabench.workloads.base import COMMON, Workload


class Forecast(Workload):
    """One hidden layer of ``units``, a GRU's last state (:mod:`metabench.training.recurrence`) or rectified linear
    (``dense``) → dropout → a linear layer, one output for each moment ahead. To them is added, by ``anchor``, nothing, the last
    value known, or a linear map of all that is known, which starts as the last value (Zeng et al., 2023, "Are Transformers
    Effective for Time Series Forecasting?", on such maps).

    The hidden layer's weights and biases are uniform with standard deviation ``init_scale / sqrt(3 fan_in)`` (of a GRU the
    units count), the output layer's weights with ``1 / sqrt(3 units)``, its bias is zero. ``input_noise`` is the standard
    deviation of noise added to the standardised inputs while training.
    """

    name = "forecast"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=2e-3),
        batch_size=Ordinal(16, 32, 64, default=32),
        network=Choice("dense", "gru", default="gru"),
        units=Ordinal(16, 32, 64, default=32),
        anchor=Choice("none", "last", "linear", default="last"),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
        dropout=Float(0.0, 0.6, default=0.0),
        input_noise=Float(0.0, 0.6, default=0.0),
    )
    kinds = ("forecasting",)
    modalities = ("series",)
    view = "windows"
    rows = (2048, 1024)
    epochs = 26

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.forecast.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.forecast.cohort import ForecastCohort

        return ForecastCohort

    def params(self, arrays, config: dict[str, Any]) -> int:
        hidden, top, skip = self._weights(arrays, config)
        return hidden + top + skip + arrays.n_outputs

    @staticmethod
    def _weights(arrays, config: dict[str, Any]) -> tuple[int, int, int]:
        """Weights of the hidden layer, of the output layer, of the linear map."""
        (_, width), units = arrays.shape, int(config["units"])
        hidden = 3 * units * (width + 1 + units) if config["network"] == "gru" else units * (arrays.n_features + 1)
        skip = arrays.n_features * arrays.n_outputs if config["anchor"] == "linear" else 0
        return hidden, units * arrays.n_outputs, skip

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        n, (moments, width), units = len(arrays.x_train), arrays.shape, int(config["units"])
        batch = min(int(config["batch_size"]), n)
        hidden, top, skip = self._weights(arrays, config)
        # no gradient of the inputs
        below = 4 * hidden if config["network"] == "dense" else moments * 3 * units * (4 * (width + 1) + 6 * units)
        return (below + 6 * top + 4 * skip) * (n // batch) * batch * epochs

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out, gru = super().work(arrays, config, checkpoints), config["network"] == "gru"
        moments = arrays.shape[0] if gru else 1
        return out | {
            "evaluated": out["evaluated"] * moments,
            "moments": out["steps"] * moments,
            "gru units": out["examples"] * moments * int(config["units"]) * gru,
            "noise": out["examples"] * arrays.n_features * (config["input_noise"] > 0),
        }

    def references(self, arrays) -> dict[str, float]:
        """What persists, what repeats (the period, of at most the moments known, that fits the training rows best), and ridge
        regression on all that is known."""
        from sklearn.linear_model import RidgeCV

        def repeated(x, period: int):
            return x[:, -period + np.arange(arrays.n_outputs) % period, 0]

        x, x_test = arrays.x_train, arrays.x_test
        period = min(range(2, x.shape[1] + 1), key=lambda p: score(arrays.metric, repeated(x, p), arrays.y_train))
        ridge = RidgeCV(alphas=[10.0**k for k in range(-3, 5)]).fit(x.reshape(len(x), -1), arrays.y_train)
        found = {
            "last value": repeated(x_test, 1),
            "last period": repeated(x_test, period),
            "ridge": ridge.predict(x_test.reshape(len(x_test), -1)),
        }
        return {name: score(arrays.metric, forecast, arrays.y_test) for name, forecast in found.items()}
