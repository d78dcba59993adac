"""A recurrent network that reads series, sounds and characters: Elman, LSTM or GRU, in one direction or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metabench.space import Choice, Float, Ordinal, Space, is_classification, when
from metabench.tasks.metrics import score
from metabench.workloads.base import COMMON, Workload

#: cell → gates, each of them a linear map of the inputs, the state and a constant
GATES = {"elman": 1, "lstm": 4, "gru": 3}


class Rnn(Workload):
    """One recurrent layer (:mod:`metabench.training.recurrence` has the equations), of two cells where it reads in both
    directions; the state after the last moment, of the backward cell after the first, → dropout → a linear layer.

    Weights of the inputs and the biases are uniform with standard deviation ``1 / sqrt(3 units)``, torch's own; those of the
    state ``init_scale`` times that; ``forget_bias`` is added to the bias of the gate that keeps the state (forget in an
    LSTM, update in a GRU; Jozefowicz et al., 2015). The linear layer's weights have ``1 / sqrt(fan_in)``, its bias is zero.
    ``input_noise`` is the standard deviation of noise added to the standardised inputs while training.
    """

    name = "rnn"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        batch_size=Ordinal(16, 32, 64, default=16),
        cell=Choice("elman", "lstm", "gru", default="gru"),
        units=Ordinal(16, 32, 64, default=32),
        direction=Choice("forward", "both", default="both"),
        forget_bias=Float(-1.0, 3.0, default=1.0, when=when("cell", "lstm", "gru")),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
        dropout=Float(0.0, 0.6, default=0.1),
        input_noise=Float(0.0, 0.6, default=0.0),
        label_smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
    )
    kinds = ("classification", "regression")
    modalities = ("series", "audio", "text")
    view = "sequence"
    rows = (768, 384)
    epochs = 50

    @classmethod
    def accepts(cls, listing) -> bool:
        """Of texts those whose letters say it: names, molecules."""
        return super().accepts(listing) and (listing.modality != "text" or listing.unit == "character")

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.rnn.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.rnn.cohort import RnnCohort

        return RnnCohort

    def params(self, arrays, config: dict[str, Any]) -> int:
        units, directions = int(config["units"]), 1 + (config["direction"] == "both")
        cell = GATES[config["cell"]] * units * (arrays.shape[1] + 1 + units)
        return directions * cell + (directions * units + 1) * arrays.n_outputs

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        n, (moments, width), units = len(arrays.x_train), arrays.shape, int(config["units"])
        batch = min(int(config["batch_size"]), n)
        directions = 1 + (config["direction"] == "both")
        # no gradient of the inputs
        moment = GATES[config["cell"]] * units * (4 * (width + 1) + 6 * units)
        return directions * (moment * moments + 6 * units * arrays.n_outputs) * (n // batch) * batch * epochs

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out, moments = super().work(arrays, config, checkpoints), arrays.shape[0]
        lanes = 1 + (config["direction"] == "both")
        units = lanes * moments * int(config["units"]) * out["examples"]
        return out | {
            "evaluated": out["evaluated"] * moments,
            "moments": out["steps"] * moments * lanes,
            "units": units,
            **{f"{cell} units": units * (config["cell"] == cell) for cell in ("lstm", "gru")},
            "noise": out["examples"] * arrays.n_features * (config["input_noise"] > 0),
        }

    def references(self, arrays) -> dict[str, float]:
        """A linear model and nearest neighbours on the moments side by side."""
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

        if arrays.n_classes:
            balanced = "balanced" if arrays.metric == "balanced_accuracy" else None
            models = LogisticRegression(C=0.1, max_iter=300, class_weight=balanced), KNeighborsClassifier(1)
        else:
            models = RidgeCV(alphas=[10.0**k for k in range(-2, 5)]), KNeighborsRegressor(5)
        x, x_test = (part.reshape(len(part), -1) for part in (arrays.x_train, arrays.x_test))
        found = [score(arrays.metric, model.fit(x, arrays.y_train).predict(x_test), arrays.y_test) for model in models]
        return dict(zip(("linear", "neighbours"), found, strict=True))
