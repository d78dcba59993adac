"""The tasks that a fitted meta-model learned from, as it keeps them: what was known of each, and what came out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metabench import untrusted
from metabench.brief import brief
from metabench.errors import MetabenchError
from metabench.metatrain import TaskInfo


@brief
@dataclass(frozen=True)
class KnownTask:
    """A source task: what was known of it, and what came out."""

    info: TaskInfo
    #: its best configurations (positions in the source's table), best first
    best: tuple[int, ...]
    #: their mean validation scores over the seeds
    scores: tuple[float, ...]


def tasks_to_json(tasks: Sequence[KnownTask]) -> str:
    rows = []
    for known in tasks:
        facts = dataclasses.asdict(known.info)
        facts["features"] = {n: float(f"{v:.7g}") if np.isfinite(v) else None for n, v in known.info.features.items()}
        rows.append({**facts, "best": list(known.best), "scores": list(known.scores)})
    return json.dumps(rows, indent=0, allow_nan=False) + "\n"


def tasks_from_json(path: Path) -> tuple[KnownTask, ...]:
    """Raises MetabenchError when the file is not what :func:`tasks_to_json` wrote."""
    try:
        out = []
        for row in untrusted.read_json(path):
            best, scores = tuple(map(int, row.pop("best"))), tuple(map(float, row.pop("scores")))
            row["features"] = {n: np.nan if v is None else float(v) for n, v in row["features"].items()}
            out.append(KnownTask(TaskInfo(**row), best, scores))
        return tuple(out)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MetabenchError(f"{path} cannot be read as source tasks ({type(error).__name__}: {error})") from None
