"""Which way a metric improves: ``max`` or ``min``, as tables have it."""

from __future__ import annotations


def sign(direction: str) -> float:
    """What scores are multiplied by so that larger is better.

    Args:
        direction: ``max`` or ``min``.

    Returns:
        1.0 where larger scores are better, -1.0 where smaller ones are.
    """
    return 1.0 if direction == "max" else -1.0
