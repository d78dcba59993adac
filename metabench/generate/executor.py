"""What trains chunks: worker processes here (:mod:`.processes`) or a Ray cluster (:mod:`.ray_cluster`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from metabench.generate.plan import Chunk


@dataclass(frozen=True)
class Answer:
    """What came of a chunk: rows (schema RUNS), or the reason why there are none."""

    chunk: Chunk
    rows: pa.Table | None = None
    reason: str = ""
    #: whether the process, or the machine, that trained it died
    died: bool = False


class Executor(Protocol):
    """Trains chunks in any order. It stores nothing: rows come back, the caller writes."""

    @property
    def given(self) -> int:
        """Chunks that have no answer yet."""
        ...

    @property
    def vacant(self) -> int:
        """How many more chunks it takes now."""
        ...

    @property
    def idle(self) -> float:
        """Share of the workers' time, from when they were ready, in which they had nothing to do."""
        ...

    def give(self, chunk: Chunk) -> None:
        """Take a chunk, to be started before those that are given later."""
        ...

    def answers(self, seconds: float) -> list[Answer]:
        """What has come, after so many seconds at most. Raises MetabenchError when no work can be done at all."""
        ...

    def close(self) -> None:
        """Drop what was not answered, and let the workers go."""
        ...
