"""A multilayer perceptron for tables and flattened images, classification and regression."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from metabench.space import Choice, Float, Int, Space, is_classification
from metabench.workloads.base import COMMON, Workload


class Mlp(Workload):
    """1–4 hidden layers. Each is linear → (layer norm) → activation → dropout; the output layer is linear.

    Weights are uniform with standard deviation ``init_scale / sqrt(fan_in)`` (the output layer: ``1 / sqrt(fan_in)``),
    biases zero. ``input_noise`` is the standard deviation of noise added to the standardised inputs while training.
    """

    name = "mlp"
    space = COMMON | Space(
        width=Int(16, 256, log=True, default=128),
        depth=Int(1, 4, default=2),
        activation=Choice("relu", "tanh", "gelu", "silu", default="relu"),
        dropout=Float(0.0, 0.6, default=0.1),
        norm=Choice("none", "layer", default="none"),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
        label_smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
        input_noise=Float(0.0, 0.3, default=0.0),
    )
    kinds = ("classification", "regression")
    modalities = ("tabular", "image")

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.mlp.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.mlp.cohort import MlpCohort

        return MlpCohort

    def widths(self, arrays, config: dict[str, Any]) -> list[int]:
        """Units of every layer, input and output included."""
        return [arrays.n_features, *[int(config["width"])] * int(config["depth"]), arrays.n_outputs]

    def params(self, arrays, config: dict[str, Any]) -> int:
        w = self.widths(arrays, config)
        linear = sum(a * b + b for a, b in itertools.pairwise(w))
        return linear + (2 * sum(w[1:-1]) if config["norm"] == "layer" else 0)

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out = super().work(arrays, config, checkpoints)
        units = out["examples"] * int(config["width"]) * int(config["depth"])
        return out | {
            "units": units,
            "smooth units": units * (config["activation"] != "relu"),
            "dropped units": units * (config["dropout"] > 0),
            "normed units": units * (config["norm"] == "layer"),
            "noise": out["examples"] * arrays.n_features * (config["input_noise"] > 0),
        }

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        w = self.widths(arrays, config)
        n = len(arrays.x_train)
        batch = min(int(config["batch_size"]), n)
        example = 6 * sum(a * b for a, b in itertools.pairwise(w)) - 2 * w[0] * w[1]  # no gradient of the input
        return example * (n // batch) * batch * epochs
