"""The layers of the network."""

from __future__ import annotations

from typing import Any


def sizes(arrays, config: dict[str, Any]) -> list[int]:
    """Inputs of every layer, and outputs of the last."""
    outputs = config["embedding"] if config["method"] == "prototypes" else arrays.n_outputs
    return [arrays.n_features, *[int(config["width"])] * int(config["depth"]), int(outputs)]
