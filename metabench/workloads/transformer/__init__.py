"""A small transformer that reads a text letter by letter and says the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metabench.space import Choice, Float, Ordinal, Space
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.transformer.shape import WIDER


class Transformer(Workload):
    """A decoder (Vaswani et al., 2017): embeddings of tokens and positions → dropout → layers of causal attention and of a
    rectified linear part four times as wide, each with dropout, added to what it read → a linear layer. Layer norms stand before
    each part and at the end (``norm`` pre) or after each sum (post).

    ``embedding_scale`` is the standard deviation of the uniform embeddings and of the sinusoids. Weights of linear layers are
    uniform with ``init_scale / sqrt(fan_in)``, where a sum follows divided by the root of the number of sums (Radford et al.,
    2019), of the last layer with ``1 / sqrt(fan_in)``; biases are zero.
    """

    name = "transformer"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        batch_size=Ordinal(4, 8, 16, default=4),
        width=Ordinal(16, 32, 64, default=32),
        heads=Ordinal(1, 2, 4, default=2),
        layers=Ordinal(1, 2, default=1),
        norm=Choice("pre", "post", default="pre"),
        positions=Choice("learned", "sinusoid", "none", default="learned"),
        embedding_scale=Float(0.02, 2.0, log=True, default=0.3),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
        dropout=Float(0.0, 0.4, default=0.0),
    )
    kinds = ("language",)
    modalities = ("text",)
    view = "language"
    rows = (768, 128)
    epochs = 5

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.transformer.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.transformer.cohort import TransformerCohort

        return TransformerCohort

    @staticmethod
    def products(arrays, config: dict[str, Any]) -> int:
        """Weights and biases of all linear layers."""
        width = int(config["width"])
        wide = WIDER * width
        layer = 4 * width * (width + 1) + wide * (width + 1) + width * (wide + 1)
        return int(config["layers"]) * layer + arrays.n_outputs * (width + 1)

    def params(self, arrays, config: dict[str, Any]) -> int:
        width, layers = int(config["width"]), int(config["layers"])
        rows = arrays.vocabulary + (arrays.shape[0] if config["positions"] == "learned" else 0)
        norms = 2 * layers + (config["norm"] == "pre")
        return rows * width + self.products(arrays, config) + 2 * width * norms

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        n, moments = len(arrays.x_train), arrays.shape[0]
        batch = min(int(config["batch_size"]), n)
        attention = 12 * int(config["layers"]) * moments * int(config["width"])
        token = 6 * self.products(arrays, config) + attention
        return token * moments * (n // batch) * batch * epochs

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out, moments, layers = super().work(arrays, config, checkpoints), arrays.shape[0], int(config["layers"])
        tokens = out["examples"] * moments
        units = tokens * layers * int(config["width"])
        return out | {
            "evaluated": out["evaluated"] * moments,
            "layers": out["steps"] * layers,
            "units": units,
            "dropped units": units * (config["dropout"] > 0),
            "scores": tokens * moments * layers * int(config["heads"]),
            "classes": tokens * arrays.n_outputs,
        }

    def references(self, arrays) -> dict[str, float]:
        """Bits by the frequencies of two and of three letters in the training rows, each interpolated with those of fewer."""
        size, x, y = arrays.vocabulary, arrays.x_train, arrays.y_train
        one = np.bincount(y.ravel(), minlength=size) + 1.0
        two, three = np.zeros((size, size)), np.zeros((size, size, size))
        np.add.at(two, (x, y), 1.0)
        np.add.at(three, (x[:, :-1], x[:, 1:], y[:, 1:]), 1.0)
        two = interpolated(two, one / one.sum())
        three = interpolated(three, two)
        x, y = arrays.x_test, arrays.y_test
        by_two = -np.log2(two[x, y])
        # no letter stands before the first of a window
        by_three = np.concatenate([by_two[:, :1], -np.log2(three[x[:, :-1], x[:, 1:], y[:, 1:]])], 1)
        return {"two letters": float(by_two.mean()), "three letters": float(by_three.mean())}


def interpolated(counts: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Counts [..., letters] as probabilities, mixed with those of the next lower order by the number of kinds that were seen
    (Witten & Bell, 1991)."""
    kinds = (counts > 0).sum(-1, keepdims=True)
    total = counts.sum(-1, keepdims=True) + kinds
    return np.where(total > 0, (counts + kinds * lower) / np.maximum(total, 1), lower)
