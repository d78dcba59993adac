"""Searches that are not bound to a table's rows: their pool, and methods that name any point of the space.

Where scores are made to order (``live`` trains, ``surrogate`` predicts), a trial is a configuration and not a row. A
searcher that proposes rows is handed a dense pool of its own for every task and seed (:func:`dense_pool`), of which no
table holds but a part. One that has a method ``suggest_config(trials) → configuration`` is asked that instead, and may name any
point of the space; it is told what was tried as a table of configurations (:class:`Trials`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from metabench.brief import brief
from metabench.errors import UsageError
from metabench.plain import plain
from metabench.search.base import Problem
from metabench.space import Space

#: random configurations of a dense pool
POOL = 2048
#: characters that the text of a configuration may have
LONGEST = 20_000


@brief
@dataclass
class Trials:
    """Trials so far, in order: a configuration table, and raw scores (NaN where a run diverged)."""

    configs: pd.DataFrame
    scores: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)


@runtime_checkable
class Suggests(Protocol):
    """A searcher that names configurations itself, after ``start`` as any other."""

    def suggest_config(self, trials: Trials) -> Mapping[str, Any]:
        """The configuration to try next; never one that was tried."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What one trial gave: raw scores (NaN unless ``status`` is ok), the seconds it cost, and who says so."""

    valid: float
    #: never shown to a method
    test: float
    status: str
    seconds: float
    engine: str
    device: str


@dataclass(frozen=True)
class Trial:
    """One question to an objective: what does this configuration score on the task with this seed?"""

    task_id: str
    seed: int
    config: Mapping[str, Any]


def dense_pool(space: Space, stored: pd.DataFrame, task_id: str, seed: int, size: int = POOL) -> pd.DataFrame:
    """The pool of one search: the default configuration, those of the table, and ``size`` random ones of its own.

    The random ones depend on the task and the seed alone, so all methods find the same.
    """
    digest = hashlib.sha256(f"pool{size}/{task_id}/{seed}".encode()).digest()
    fresh = space.sample(size, int.from_bytes(digest[:8], "little"), method="random")
    parts = [space.table([space.default()]), stored[list(space)], fresh]
    joined = pd.concat(parts, ignore_index=True).astype({name: p.dtype for name, p in space.items()})
    return joined.drop_duplicates(ignore_index=True)


def problem(space: Space, stored: pd.DataFrame, task, seed: int, budget: int, size: int = POOL) -> Problem:
    """The search of one task with one seed; ``task`` is its TaskInfo."""
    return Problem(space, task, dense_pool(space, stored, task.task_id, seed, size), budget)


def row(space: Space, configs: pd.DataFrame, position: int) -> dict[str, Any]:
    """One row of a configuration table as a valid configuration."""
    values = configs.iloc[position]
    return space.validate({name: None if pd.isna(values[name]) else values[name] for name in space})


def to_text(space: Space, config: Mapping[str, Any]) -> str:
    """A configuration as JSON, inactive hyperparameters left out: equal text is an equal configuration."""
    return json.dumps({n: v for n, v in plain(space.validate(config)).items() if v is not None})


def from_text(space: Space, text: str) -> dict[str, Any]:
    """The configuration that :func:`to_text` wrote. Raises UsageError when it is none of the space."""
    try:
        read = json.loads(text) if len(text) <= LONGEST else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise UsageError(f"{text[:60]!r} is no configuration in JSON")
    return space.validate(read)
