"""How often a policy learns, and what it is judged on."""

from __future__ import annotations

from typing import Any

#: steps of the simulated system in an epoch
FRAMES = 4096
#: start states of each part that a policy is judged on
JUDGED = 32


def updates(config: dict[str, Any]) -> int:
    """Updates an epoch."""
    return max(1, FRAMES // (int(config["batch_size"]) * int(config["rollout"])))
