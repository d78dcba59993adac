"""``reference.csv``: what every task of a board of protocol 3 is measured by, frozen beside board.toml.

A row per task: the seeds that it has, the configuration that the race chose, y*, and the figures that admit it. They were
computed before any method ran, and no method's results enter them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from metabench import untrusted
from metabench.errors import MetabenchError

FILE = "reference.csv"


@dataclass(frozen=True)
class TaskReference:
    """The reference of one task. Scores are raw, in units of the task's metric."""

    task_id: str
    #: table seeds of the task; the first half is replicate A, the second B
    seeds: int
    #: reference configuration, and its expected test score y*
    config: int
    star: float
    #: shortfall of the reference and bias of the naive maximum, in units of regret (:mod:`metabench.scores.star`)
    shortfall: float
    naive_bias: float
    #: reliability of a replicate's mean, and span in its standard errors (:mod:`metabench.table.reliability`)
    reliability: float
    span: float
    #: does the task count; the others form the stratum "noisy"
    admitted: bool


def encode(references: Iterable[TaskReference]) -> bytes:
    """The file of some references."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(TaskReference)])
    for one in references:
        writer.writerow(
            [int(v) if isinstance(v, bool) else repr(v) if isinstance(v, float) else v for v in astuple(one)]
        )
    return text.getvalue().encode()


def parse(content: bytes, where: str = FILE) -> dict[str, TaskReference]:
    """Task → its reference.

    Args:
        content: the bytes of a file as :func:`encode` writes it.
        where: name of the file, for messages.

    Raises:
        MetabenchError: naming the first line that is malformed, or a task that is listed twice.
    """
    names = [f.name for f in fields(TaskReference)]
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MetabenchError(f"{where} cannot be read: {error}") from None
    if not rows or rows[0] != names:
        raise MetabenchError(f"{where}: expected the columns {', '.join(names)}")
    out: dict[str, TaskReference] = {}
    for number, row in enumerate(rows[1:], 2):
        line = f"{where}, line {number}"
        if len(row) != len(names):
            raise MetabenchError(f"{line}: {len(row)} values, expected {len(names)}")
        try:
            seeds, config = int(row[1]), int(row[2])
            star, shortfall, bias, reliability, span = (float(v) for v in row[3:8])
        except ValueError as error:
            raise MetabenchError(f"{line}: {error}") from None
        if seeds < 2 or seeds % 2 or config < 0 or row[8] not in ("0", "1") or not math.isfinite(star):
            raise MetabenchError(
                f"{line}: seeds are even and at least 2, config is at least 0, star finite, admitted 0 or 1"
            )
        if row[0] in out:
            raise MetabenchError(f"{line}: task {row[0]} is listed twice")
        admitted = row[8] == "1"
        out[row[0]] = TaskReference(row[0], seeds, config, star, shortfall, bias, reliability, span, admitted)
    return out


def read(folder: Path | None) -> dict[str, TaskReference]:
    """The references beside a board's rules.

    Args:
        folder: the folder that holds board.toml.

    Raises:
        MetabenchError: when there is no such file, or it is malformed.
    """
    path = None if folder is None else folder / FILE
    if path is None or not path.is_file():
        raise MetabenchError(f"{path or FILE} does not exist; protocol 3 needs the reference of every task")
    return parse(untrusted.read_bytes(path, most=16 << 20), str(path))
