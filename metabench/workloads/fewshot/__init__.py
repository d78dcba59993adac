"""Few-shot classification: networks that tell new classes apart from a handful of rows of each."""

from __future__ import annotations

import itertools
from typing import Any

from metabench.space import Choice, Float, Ordinal, Space, when
from metabench.tasks.episodes import QUERIES
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.fewshot.shape import sizes

#: episodes in an epoch
EPISODES = 128

_PROTOTYPES, _MAML = when("method", "prototypes"), when("method", "maml")


class Fewshot(Workload):
    """An episode has some classes that it shows a few rows of, and others of their rows to name. Classes that networks are
    judged on were never trained on (:mod:`metabench.tasks.episodes`); ``batch_size`` episodes make an update, EPISODES an
    epoch.

    ``prototypes`` (Snell et al., 2017): a network embeds rows in ``embedding`` dimensions; a class is the mean of what was
    shown of it. Logits are the cosine, or minus the squared Euclidean distance a dimension, over ``temperature``.
    ``maml`` (Finn et al., 2017): a network of one output a class takes ``inner_steps`` plain steps of ``inner_rate`` on what
    is shown; what is learned are the weights to start from, by the gradient through those steps or, of ``order`` first, by
    that at their end.

    Networks have ``depth`` hidden layers of ``width`` units and a linear one. Weights are uniform with standard deviation
    ``1 / sqrt(inputs)``, ``init_scale`` times that in hidden layers; biases are zero.
    """

    name = "fewshot"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=2e-3),
        batch_size=Ordinal(4, 8, 16, default=4),
        method=Choice("prototypes", "maml", default="prototypes"),
        distance=Choice("euclidean", "cosine", default="euclidean", when=_PROTOTYPES),
        temperature=Float(0.01, 1.0, log=True, default=0.1, when=_PROTOTYPES),
        embedding=Ordinal(8, 16, 32, 64, default=32, when=_PROTOTYPES),
        inner_rate=Float(0.01, 1.0, log=True, default=0.3, when=_MAML),
        inner_steps=Ordinal(1, 3, 5, default=3, when=_MAML),
        order=Choice("first", "second", default="second", when=_MAML),
        width=Ordinal(32, 64, 128, default=128),
        depth=Ordinal(1, 2, default=1),
        activation=Choice("relu", "tanh", default="relu"),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
    )
    kinds = ("episodes",)
    modalities = ("image", "tabular")
    view = "episodes"
    rows = (3072, 1024)
    epochs = 18

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.fewshot.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.fewshot.cohort import Group

        return Group

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.fewshot.cohort import Episodic

        return Episodic(self, arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.fewshot.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def references(self, arrays) -> dict[str, float]:
        """No learning at all: a row is of the class of the nearest row that is shown, or whose mean is nearest."""
        import numpy as np

        from metabench.tasks.episodes import JUDGED, fixed

        hits = {"nearest row": [], "nearest mean": []}
        for rows in fixed(arrays.y_test, arrays.n_classes, arrays.shots, JUDGED):
            shown = arrays.x_test[rows[:, : arrays.shots]].astype(np.float64)
            asked = arrays.x_test[rows[:, arrays.shots :]][:, :, None, None]
            for name, near in {"nearest row": shown, "nearest mean": shown.mean(1, keepdims=True)}.items():
                distance = ((asked - near) ** 2).sum(-1).min(-1)  # [ways, QUERIES, ways]
                hits[name].append((distance.argmin(-1) == np.arange(arrays.n_classes)[:, None]).mean())
        return {name: float(np.mean(shares)) for name, shares in hits.items()}

    def steps(self, arrays, config: dict[str, Any]) -> int:
        return EPISODES // int(config["batch_size"])

    def params(self, arrays, config: dict[str, Any]) -> int:
        return sum((rows + 1) * columns for rows, columns in itertools.pairwise(sizes(arrays, config)))

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        """Forward and backward for every row of an episode, for what is shown once each inner step; a backward pass through
        inner steps is twice the work of one."""
        units = sizes(arrays, config)
        row = 6 * sum(a * b for a, b in itertools.pairwise(units)) - 2 * units[0] * units[1]
        passes = 1
        if config["method"] == "maml":
            passes = int(config["inner_steps"]) * (3 if config["order"] == "second" else 1)
        rows = arrays.n_outputs * (arrays.shots * passes + QUERIES)
        return rows * row * self.steps(arrays, config) * int(config["batch_size"]) * epochs
