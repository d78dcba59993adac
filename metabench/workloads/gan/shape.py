"""The layers of the two networks."""

from __future__ import annotations

from typing import Any


def sizes(arrays, config: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Units of the generator's layers and of the critic's."""
    hidden = [int(config["width"])] * int(config["depth"])
    return [int(config["latent"]), *hidden, arrays.n_features], [arrays.n_features, *hidden, 1]
