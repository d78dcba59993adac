"""A multilayer perceptron for tables and flattened images, classification and regression."""

from __future__ import annotations

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
