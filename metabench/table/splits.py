"""``splits.csv``: which tasks stand in meta-train, meta-valid and meta-test, stored beside the table.

It is a board's rule written out (:mod:`metabench.boards.board`), for readers that know nothing of boards.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from metabench.errors import MetabenchError
from metabench.table.place import Place, read_small

FILE = "splits.csv"
PARTS = ("meta_train", "meta_valid", "meta_test")
#: of tasks that stand in no part
NONE = "none"
_COLUMNS = ["task_id", "family", "split"]


def members(family: str) -> frozenset[str]:
    """The data sets' families that a family is made of: of tasks that see rows of several, ``mnist+notmnist_10k``, all of
    them; else itself. Families that have one in common share rows: they stand on one side of a split."""
    return frozenset(family.split("+"))


def parse(path: Place, content: bytes) -> dict[str, tuple[str, str]]:
    """Task → its family and part (or NONE). Raises MetabenchError when the content is not as :func:`write` writes it."""
    try:
        table = list(csv.reader(io.StringIO(content.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None
    if not table or table[0] != _COLUMNS:
        raise MetabenchError(f"{path}: expected the columns {', '.join(_COLUMNS)}")
    out: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(table[1:], 2):
        if len(row) != 3 or row[2] not in (*PARTS, NONE) or row[0] in out:
            known = ", ".join((*PARTS, NONE))
            raise MetabenchError(f"{path}, line {number}: expected a task, once, its family and one of {known}")
        out[row[0]] = row[1], row[2]
    return out


def write(tasks: pd.DataFrame, families: Mapping[str, Sequence[str]]) -> bytes:
    """The file for a split of families: ``train``, ``valid`` or ``test`` → names, as a board's rules have it."""
    part = {family: f"meta_{name}" for name, members in families.items() for family in members}
    return encode((t.task_id, t.family, part.get(t.family, NONE)) for t in cast(Any, tasks).itertuples())


def encode(rows: Iterable[tuple[str, str, str]]) -> bytes:
    """The file of rows (task, family, part or NONE)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


def problems(path: Place, split: Mapping[str, tuple[str, str]], tasks: pd.DataFrame) -> list[str]:
    """What is wrong with the split of a table's tasks, one line each: above all a family on two sides of it."""
    family = dict(zip(tasks["task_id"], tasks["family"]))
    found = [f"{path}: task {t} is not in tasks.parquet" for t in split.keys() - family.keys()]
    found += [f"{path} lacks task {t}" for t in family.keys() - split.keys()]
    sides: dict[str, tuple[str, str]] = {}
    for task, (said, part) in split.items():
        name = family.get(task, said)
        if name != said:
            found.append(f"{path}: task {task} is of family {name}, not {said}")
        for member in members(name) if part != NONE else ():
            other, where = sides.setdefault(member, (name, part))
            if where != part:
                both = f"family {name} stands" if other == name else f"families {other} and {name} share rows and stand"
                found.append(f"{path}: {both} in {where} and in {part}")
    return sorted(set(found))


def check(folder: Place, tasks: pd.DataFrame) -> list[str]:
    """:func:`problems` of the split that is stored beside a table; none where it has no split."""
    path = folder / FILE
    try:
        return problems(path, parse(path, read_small(path)), tasks)
    except FileNotFoundError:
        return []
    except MetabenchError as error:
        return [str(error)]
