"""The layers of a variational autoencoder, and the weights of its divergence."""

from __future__ import annotations

from typing import Any

import numpy as np


def sizes(arrays, config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Units of the encoder's layers and of the decoder's."""
    hidden = [int(config["width"])] * int(config["depth"])
    latent = int(config["latent"])
    return [arrays.n_features, *hidden, 2 * latent], [latent, *hidden, arrays.n_features]


def betas(config: dict[str, Any], total: int) -> np.ndarray:
    """The weight of the divergence at each of ``total`` steps, float64."""
    rise = max(1.0, float(config["anneal"]) * total)
    return float(config["beta"]) * np.minimum(1.0, np.arange(1, total + 1) / rise)
