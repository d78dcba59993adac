"""Image classification by a small convolutional network, with augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metabench.space import Choice, Float, Int, Ordinal, Space, is_classification, when
from metabench.tasks.metrics import score
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.cnn.shape import blocks, features

#: augmentation hyperparameters count where there is any
_AUGMENTED = when("augmentation", "random")


class Cnn(Workload):
    """1–3 blocks, dropout, a linear layer. A block is convolution → (layer norm) → ReLU → pooling to half the side; each has
    twice the channels of the one before, the first ``channels``.

    Convolutions keep the side (zeros around). ``pooling``: the largest or the mean of 2 × 2 (an odd rim is dropped), or a
    convolution of stride 2 instead; images a pixel wide stay as they are. ``norm``: each image over all its channels and
    pixels, a scale and a shift a channel (group norm of one group). Weights are uniform with standard deviation
    ``init_scale * sqrt(2 / fan_in)`` (He et al., 2015; the linear layer: ``1 / sqrt(fan_in)``), biases zero.

    ``augmentation`` moves every training image anew: it is mirrored with probability ``flip``, enlarged by up to
    ``1 + scale`` or as much reduced, turned by up to ``rotation`` degrees, shifted by up to ``shift`` of its side each way
    (bilinear; what lies beyond the edge is like the edge), and a square of ``cutout`` of its side around a random point is
    set to the mean (DeVries & Taylor, 2017).
    """

    name = "cnn"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=5e-3),
        batch_size=Ordinal(16, 32, 64, 128, 256, default=32),
        channels=Ordinal(4, 8, 16, default=16),
        blocks=Int(1, 3, default=2),
        kernel=Ordinal(3, 5, default=3),
        pooling=Choice("max", "average", "stride", default="max"),
        norm=Choice("none", "layer", default="none"),
        dropout=Float(0.0, 0.6, default=0.1),
        init_scale=Float(0.25, 4.0, log=True, default=1.0),
        label_smoothing=Float(0.0, 0.2, default=0.0, when=is_classification),
        augmentation=Choice("none", "random", default="none"),
        shift=Float(0.0, 0.25, default=0.1, when=_AUGMENTED),
        rotation=Float(0.0, 45.0, default=10.0, when=_AUGMENTED),
        scale=Float(0.0, 0.5, default=0.1, when=_AUGMENTED),
        flip=Float(0.0, 0.5, default=0.0, when=_AUGMENTED),
        cutout=Float(0.0, 0.5, default=0.0, when=_AUGMENTED),
    )
    kinds = ("classification",)
    modalities = ("image",)
    view = "image"
    rows = (2048, 1024)
    epochs = 18

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.cnn.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.cnn.cohort import CnnCohort

        return CnnCohort

    def references(self, arrays) -> dict[str, float]:
        """A linear model and a support vector machine (RBF kernel) on the pixels."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC

        train, test = (x.reshape(len(x), -1) for x in (arrays.x_train, arrays.x_test))
        balanced = "balanced" if arrays.metric == "balanced_accuracy" else None
        methods = {
            "linear": LogisticRegression(C=0.01, max_iter=300, class_weight=balanced),
            "SVM": SVC(class_weight=balanced),
        }
        return {
            name: score(arrays.metric, method.fit(train, arrays.y_train).predict(test), arrays.y_test)
            for name, method in methods.items()
        }

    def work(self, arrays, config: dict[str, Any], checkpoints: Sequence[int]) -> dict[str, float]:
        out, made = super().work(arrays, config, checkpoints), blocks(arrays.shape, config)
        rows = len(arrays.x_train) + len(arrays.x_valid) + len(arrays.x_test)
        units = sum(b.outputs * b.convolved[0] * b.convolved[1] for b in made) * out["examples"]
        return out | {
            "evaluated": float(rows * sum(b.macs for b in made) * len(checkpoints)),
            "units": units,
            "normed units": units * (config["norm"] == "layer"),
            "moved pixels": out["examples"] * arrays.n_features * (config["augmentation"] == "random"),
        }

    def params(self, arrays, config: dict[str, Any]) -> int:
        made = blocks(arrays.shape, config)
        scales = 2 * (config["norm"] == "layer")
        return sum((b.fan_in + 1 + scales) * b.outputs for b in made) + (features(made) + 1) * arrays.n_outputs

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        made, n = blocks(arrays.shape, config), len(arrays.x_train)
        batch = min(int(config["batch_size"]), n)
        # no gradient of the images
        example = 6 * sum(b.macs for b in made) - 2 * made[0].macs + 6 * features(made) * arrays.n_outputs
        return example * (n // batch) * batch * epochs
