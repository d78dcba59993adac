"""A shift of domain between meta-train and meta-test: leave a modality, a workload or a kind of task out.

The families of a split keep data sets apart. A shift narrows its parts further, by a column of tasks.parquet: methods
learn where the column has some values and are tested where it has others. Settings are chosen and predictions calibrated
where methods learn, so meta-valid is of the domains of meta-train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metabench.errors import UsageError
from metabench.registry import suggest

#: columns of tasks.parquet that tell domains apart
COLUMNS = ("modality", "workload", "kind", "metric", "source")


@dataclass(frozen=True)
class Shift:
    """Values of ``column`` that the tasks of each part have."""

    column: str
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


def parse_shift(rules: Mapping[str, Any], workload: str, track: str, where: str) -> Shift:
    """A Shift from the table ``[shift]`` of a board.toml, whose ``valid`` may be absent (then that of ``train``).

    Raises UsageError naming the file and what is wrong: an unknown key or column, a value on both sides, a meta-valid
    outside the domains of meta-train, or a shift of workloads that does not end at the board's own.
    """
    for key in rules:
        if key not in ("column", "train", "valid", "test"):
            raise UsageError(f"{where}: {suggest(key, ['column', 'train', 'valid', 'test'], 'key in shift')}")
    if (column := rules.get("column")) not in COLUMNS:
        raise UsageError(f"{where}: {suggest(str(column), list(COLUMNS), 'shift.column')}")
    values = {"valid": rules.get("train"), **rules}
    for part in ("train", "valid", "test"):
        listed = values.get(part)
        if not isinstance(listed, list) or not listed or not all(isinstance(v, str) for v in listed):
            raise UsageError(f"{where}: shift.{part} is not a list of values of {column}")
    train, valid, test = (tuple(values[part]) for part in ("train", "valid", "test"))
    if both := sorted(set(train) & set(test)):
        raise UsageError(f"{where}: {column} {both[0]!r} is listed in shift.train and in shift.test")
    if strange := sorted(set(valid) - set(train)):
        raise UsageError(f"{where}: {column} {strange[0]!r} is listed in shift.valid but not in shift.train")
    if column == "workload":
        if test != (workload,):
            raise UsageError(f"{where}: shift.test is {list(test)}; the board's workload is {workload!r}")
        if track == "predict":
            raise UsageError(
                f"{where}: the prediction track is calibrated on the board's workload; it cannot be left out"
            )
    return Shift(column, train, valid, test)
