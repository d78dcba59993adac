"""The layers of an autoencoder."""

from __future__ import annotations

from typing import Any


def sizes(arrays, config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Units of the encoder's layers and of the decoder's."""
    hidden = [int(config["width"])] * int(config["depth"])
    encoder = [arrays.n_features, *hidden, int(config["latent"])]
    return encoder, encoder[::-1]
