"""Surveys of a table's tasks that were made before, in the cache folder: the forests of a table take minutes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import untrusted
from metabench.errors import MetabenchError
from metabench.explain.cases import source_of, targets
from metabench.explain.importance import survey
from metabench.files import replace_file

#: counted up when :func:`metabench.explain.survey` gives other numbers
FORMAT = 1


def stored_survey(
    table,
    workload: str,
    tasks: Sequence[str] | None = None,
    target: str = "rank",
    seed: int = 0,
    *,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """:func:`metabench.explain.survey`, which is read where the same scores were surveyed before.

    Args:
        table: As of :func:`metabench.explain.importance`, like ``workload``, ``tasks``, ``target`` and ``seed``.
        folder: Where surveys are kept; one that cannot be written to keeps none.
        progress: Called with (tasks done, tasks) where forests are fitted.

    Returns:
        The importances, and the effect of every hyperparameter.

    Raises:
        UsageError: An unknown workload, task or target.
    """
    path = folder / f"{_key(table, workload, tasks, target, seed)}.json"
    try:
        return _read(path)
    except (
        OSError,
        MetabenchError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # absent, or not whole: made anew
        made = survey(table, workload, tasks, target, seed, progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, _text(*made).encode())
    except OSError:
        pass
    return made


def _key(table, workload: str, tasks: Sequence[str] | None, target: str, seed: int) -> str:
    source = source_of(table, workload, tasks)
    digest = hashlib.sha256(np.ascontiguousarray(targets(source, target)).tobytes())
    digest.update(source.configs.to_json(double_precision=15, orient="split").encode())
    known = [[info.task_id, info.family, info.kind] for info in source.tasks]
    digest.update(json.dumps([FORMAT, known, seed, source.space.to_json(), version("scikit-learn")]).encode())
    return digest.hexdigest()[:32]


def _text(found: pd.DataFrame, effects: dict[str, pd.DataFrame]) -> str:
    return json.dumps({"importance": _plain(found), "effects": {name: _plain(part) for name, part in effects.items()}})


def _plain(frame: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON has it: NaN is null."""
    columns = {name: frame[name].tolist() for name in frame}
    cells = {name: [None if v != v else v for v in values] for name, values in columns.items()}
    return {"columns": cells, "dtypes": {name: str(dtype) for name, dtype in frame.dtypes.items()}}


def _frame(stored: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(stored["columns"], dtype=object).astype(stored["dtypes"])


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    stored = untrusted.read_json(path)
    return _frame(stored["importance"]), {name: _frame(part) for name, part in stored["effects"].items()}


__all__ = ["stored_survey"]
