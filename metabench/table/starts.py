"""``starts.csv``: the first trials that a source prescribes for searches on its tasks, part of an imported table.

HPO-B's ``bo-initializations.json`` is one: five searches of each task, with five first trials each. Search seed s takes
the task's s-th row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from metabench.errors import MetabenchError
from metabench.table import integrity
from metabench.table.place import Place

FILE = "starts.csv"
_COLUMNS = ["task_id", "start", "config_ids"]

#: task → name of a search → configurations of its first trials, in order
Starts = Mapping[str, Mapping[str, Sequence[int]]]


def write(starts: Starts) -> bytes:
    """The file: a row for each task and search, configurations joined by blanks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for task_id, searches in starts.items():
        writer.writerows((task_id, name, " ".join(map(str, ids))) for name, ids in searches.items())
    return text.getvalue().encode()


def read(path: Place) -> dict[str, dict[str, list[int]]]:
    """What :func:`write` wrote. Raises MetabenchError naming the first line that is otherwise."""
    try:
        table = list(csv.reader(io.StringIO(integrity.read_bytes(path).decode("utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None
    if not table or table[0] != _COLUMNS:
        raise MetabenchError(f"{path}: expected the columns {', '.join(_COLUMNS)}")
    out: dict[str, dict[str, list[int]]] = {}
    for number, row in enumerate(table[1:], 2):
        ids = row[2].split() if len(row) == 3 else []
        if (
            not ids
            or not all(i.isascii() and i.isdigit() and len(i) < 10 for i in ids)
            or row[1] in out.get(row[0], ())
        ):
            raise MetabenchError(f"{path}, line {number}: expected a task, a search, once, and its configurations")
        out.setdefault(row[0], {})[row[1]] = [int(i) for i in ids]
    return out


def problems(path: Place, starts: Starts, ran: Mapping[str, np.ndarray]) -> list[str]:
    """Starts of unknown tasks, or with a configuration that is there twice or was never run on the task; one line each.

    ``ran`` maps tasks to the configurations that were run on them, ascending.
    """
    found = []
    for task_id, searches in starts.items():
        if task_id not in ran:
            found.append(f"{path}: task {task_id} has no runs")
            continue
        for name, ids in searches.items():
            if len(set(ids)) < len(ids):
                found.append(f"{path}: task {task_id}, search {name}: a configuration is listed twice")
            elif not np.isin(ids, ran[task_id]).all():
                absent = next(i for i in ids if i not in ran[task_id])
                found.append(f"{path}: task {task_id}, search {name}: configuration {absent} was never run there")
    return found
