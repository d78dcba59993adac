"""Transfer: a network that learned one data set goes on to another, of which there are few rows."""

from __future__ import annotations

from typing import Any

from metabench.space import Choice, Float, Ordinal, Space, when
from metabench.tasks.metrics import score
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.transfer.shape import DEPTH

#: rows of a data set that are seen in an epoch, drawn with replacement
EXAMPLES = 2048


class Transfer(Workload):
    """Three hidden layers and two heads, one for the classes of the source and one for the target's.

    For ``pretraining`` per cent of the epochs the body and the source's head learn the source. Then a new optimizer, its
    schedule begun anew, tunes the body and the target's head: the first ``frozen`` layers stay as they are, the others learn
    at ``body_rate`` times the head's rate (Yosinski et al., 2014; Howard & Ruder, 2018). With ``mixing`` the source's loss
    goes on to be learned, times ``source_weight``. An update sees ``batch_size`` rows of each.

    Weights are uniform with standard deviation ``init_scale / sqrt(inputs)``, those of heads ``1 / sqrt(inputs)``; biases
    are zero. While the source is learned, scores are those of a head that knows nothing yet.
    """

    name = "transfer"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=2e-3),
        batch_size=Ordinal(16, 32, 64, default=32),
        pretraining=Ordinal(0, 25, 50, 75, default=50),
        frozen=Ordinal(0, 1, 2, 3, default=0),
        body_rate=Float(0.01, 1.0, log=True, default=0.3),
        mixing=Choice("no", "yes", default="no"),
        source_weight=Float(0.01, 1.0, log=True, default=0.1, when=when("mixing", "yes")),
        width=Ordinal(32, 64, 128, default=64),
        activation=Choice("relu", "tanh", default="relu"),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
    )
    kinds = ("transfer",)
    modalities = ("image",)
    view = "transfer"
    rows = (384, 1024)
    epochs = 18

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.transfer.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.transfer.cohort import Group

        return Group

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.transfer.cohort import Transferring

        return Transferring(self, arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.transfer.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def references(self, arrays) -> dict[str, float]:
        """Logistic regression on the target's rows; the default network on them alone, and with a body that stays as the
        source left it."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        from metabench.tasks.task import checkpoints
        from metabench.training import run_cohort

        balanced = "balanced" if arrays.metric == "balanced_accuracy" else None
        linear = LogisticRegression(C=0.01, max_iter=500, class_weight=balanced).fit(arrays.x_train, arrays.y_train)
        found = {"logistic regression": score(arrays.metric, linear.predict(arrays.x_test), arrays.y_test)}
        for name, change in {"target alone": {"pretraining": 0}, "frozen body": {"frozen": DEPTH}}.items():
            config = self.space.table([self.space.default() | change])
            last = checkpoints(len(arrays.x_train), self.epochs)[-1:]
            found[name] = float(run_cohort(self, arrays, config, np.zeros(1, dtype=int), last).test_score[0, -1])
        return found

    @staticmethod
    def pretrained(config: dict[str, Any], epochs: int) -> int:
        """Epochs of the source; at least one is left for the target."""
        return min(epochs - 1, round(int(config["pretraining"]) * epochs / 100))

    def steps(self, arrays, config: dict[str, Any]) -> int:
        return EXAMPLES // int(config["batch_size"])

    @staticmethod
    def _body(arrays, config: dict[str, Any]) -> list[int]:
        """Weights of the hidden layers."""
        width = int(config["width"])
        return [arrays.n_features * width, *[width * width] * (DEPTH - 1)]

    def params(self, arrays, config: dict[str, Any]) -> int:
        width, outputs = int(config["width"]), arrays.n_outputs + arrays.source_classes
        return sum(self._body(arrays, config)) + DEPTH * width + (width + 1) * outputs

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        """Forward and backward; no gradient of inputs, nor back through layers that are frozen. As an average over the whole
        training, so that every epoch counts alike."""
        width, body, frozen = int(config["width"]), self._body(arrays, config), int(config["frozen"])
        share = int(config["pretraining"]) / 100
        source = 6 * (sum(body) + width * arrays.source_classes) - 2 * body[0]
        target = 2 * sum(body) + 4 * sum(body[frozen:]) + 6 * width * arrays.n_outputs
        target -= 2 * body[frozen] if frozen < DEPTH else 2 * width * arrays.n_outputs
        if config["mixing"] == "yes":
            target += 2 * sum(body) + 4 * sum(body[frozen:]) + 6 * width * arrays.source_classes
            target -= 2 * body[frozen] if frozen < DEPTH else 2 * width * arrays.source_classes
        seen = self.steps(arrays, config) * int(config["batch_size"])
        return round((share * source + (1 - share) * target) * seen) * epochs
