"""What training returns: the learning curves of a batch of runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SERIES = ("train_loss", "valid_loss", "test_loss", "valid_score", "test_score")


@dataclass
class Curves:
    """Learning curves of R runs at E checkpoints.

    The five series are float32 [R, E], NaN from a run's divergence on; ``length`` [R] says how many checkpoints of each
    run are valid. ``status`` is one of ok, diverged, failed; ``error`` is None unless it failed.
    """

    epochs: np.ndarray
    train_loss: np.ndarray
    valid_loss: np.ndarray
    test_loss: np.ndarray
    valid_score: np.ndarray
    test_score: np.ndarray
    length: np.ndarray
    status: list[str]
    error: list[str | None]
    params: np.ndarray
    flops: np.ndarray
    seconds: np.ndarray
    #: backend and its versions, e.g. "resident-1"
    engine: str
    #: kind of processor
    device: str

    @classmethod
    def empty(cls, runs: int, checkpoints, engine: str, device: str) -> Curves:
        """Curves to be filled in: NaN everywhere, status ok, length 0."""
        e = np.asarray(checkpoints, dtype=np.int16)
        series = {name: np.full((runs, len(e)), np.nan, dtype=np.float32) for name in SERIES}
        return cls(
            epochs=e,
            **series,
            length=np.zeros(runs, dtype=np.int32),
            status=["ok"] * runs,
            error=[None] * runs,
            params=np.zeros(runs, dtype=np.int64),
            flops=np.zeros(runs, dtype=np.int64),
            seconds=np.zeros(runs, dtype=np.float32),
            engine=engine,
            device=device,
        )
