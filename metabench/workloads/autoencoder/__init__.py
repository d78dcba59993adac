"""A dense autoencoder: rows through a few numbers and back (Hinton & Salakhutdinov, 2006)."""

from __future__ import annotations

import itertools
from typing import Any

from metabench.space import Choice, Float, Ordinal, Space
from metabench.workloads.autoencoder.shape import sizes
from metabench.workloads.base import COMMON, Workload


class Autoencoder(Workload):
    """The encoder has ``depth`` hidden layers of ``width`` units, linear → activation → dropout, then ``latent`` linear
    units; the decoder the same the other way round. Trained on the mean squared error of the standardised inputs,
    scored by its root (1 is the mean of every input).

    Weights are uniform with standard deviation ``1 / sqrt(fan_in)``, biases zero. ``input_noise`` is the standard
    deviation of noise on the inputs while training, which are to be given back without it (Vincent et al., 2008).
    """

    name = "autoencoder"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        batch_size=Ordinal(16, 32, 64, 128, 256, default=16),
        latent=Ordinal(2, 4, 8, 16, 32, default=16),
        width=Ordinal(32, 64, 128, default=64),
        depth=Ordinal(1, 2, default=1),
        activation=Choice("relu", "tanh", "gelu", "silu", default="silu"),
        dropout=Float(0.0, 0.5, default=0.0),
        input_noise=Float(0.0, 0.5, default=0.0),
    )
    modalities = ("image", "tabular")
    view = "reconstruction"
    rows = (2048, 1024)
    epochs = 36
    #: columns of the tables: fewer need no code, many more are cut to their principal components
    columns = (16, 256)

    @classmethod
    def accepts(cls, listing) -> bool:
        low, high = cls.columns
        return super().accepts(listing) and (listing.modality == "image" or low <= listing.features <= high)

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.autoencoder.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.autoencoder.cohort import AutoencoderCohort

        return AutoencoderCohort

    def params(self, arrays, config: dict[str, Any]) -> int:
        return sum(a * b + b for units in sizes(arrays, config) for a, b in itertools.pairwise(units))

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        encoder, decoder = sizes(arrays, config)
        n = len(arrays.x_train)
        batch = min(int(config["batch_size"]), n)
        products = sum(a * b for units in (encoder, decoder) for a, b in itertools.pairwise(units))
        return (6 * products - 2 * encoder[0] * encoder[1]) * (n // batch) * batch * epochs

    def references(self, arrays) -> dict[str, float]:
        """Principal components: four, and as many as the default configuration has latent numbers."""
        import numpy as np
        from sklearn.decomposition import PCA

        found = {}
        for size in (4, int(self.space.default()["latent"])):
            pca = PCA(min(size, arrays.n_features), svd_solver="full").fit(arrays.x_train.astype(np.float64))
            residual = pca.inverse_transform(pca.transform(arrays.x_test)) - arrays.x_test
            found[f"PCA, {size} components"] = float(np.sqrt((residual**2).mean()))
        return found
