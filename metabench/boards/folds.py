"""Folds of a board: every task is held out in turn, and what methods learn from never shares a family with it.

The families of the admitted tasks are dealt into folds, several times over (partitions). Families that share rows
(:func:`metabench.table.splits.members`) go together. Dealing is by size of the data sets: those of each third by number
of rows are dealt in the order of a hash of seed, partition and name, each to the fold with the fewest tasks so far. So
folds are balanced by number of tasks and by size, and follow from the seed alone.

Donors, families without admitted tasks, are learned from in every fold. The confirmatory families, and all that share rows
with them, stand in no fold on either side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metabench.errors import UsageError
from metabench.table.splits import members

if TYPE_CHECKING:
    import pandas as pd

#: classes of size that are dealt one after the other
SIZES = 3


@dataclass(frozen=True)
class Fold:
    """One fold of one partition: families to learn from, and families that are held out."""

    partition: int
    number: int
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def name(self) -> str:
        """``partition.fold``, both from 1; what the column ``fold`` of traces holds."""
        return f"{self.partition + 1}.{self.number + 1}"


def joined(families: Iterable[str]) -> list[frozenset[str]]:
    """Families grouped so that those that share rows, directly or by others, are together; in the order of their names."""
    families = sorted(set(families))
    groups: list[tuple[set[str], set[str]]] = []
    for family in families:
        names, parts = {family}, set(members(family))
        for met in [g for g in groups if g[1] & parts]:
            groups.remove(met)
            names, parts = names | met[0], parts | met[1]
        groups.append((names, parts))
    return sorted((frozenset(names) for names, _ in groups), key=sorted)


def deal(
    tasks: pd.DataFrame,
    admitted: Collection[str],
    *,
    seed: int,
    folds: int = 5,
    partitions: int = 2,
    confirmatory: Collection[str] = (),
) -> list[Fold]:
    """Deal the families of a table into folds.

    Args:
        tasks: the table's tasks of the board's workloads, with columns task_id, family and n_rows.
        admitted: ids of the tasks that are held out in turn; the rest are donors.
        seed: what the dealing follows from, as board.toml has it.
        folds: folds of a partition.
        partitions: how often all tasks are dealt; each is held out once in every partition.
        confirmatory: families that no method may learn from or be scored on.

    Returns:
        The folds, partition by partition.

    Raises:
        UsageError: when an admitted task is unknown or of a confirmatory family, or there are fewer groups of admitted
            families than folds.
    """
    family = dict(zip(tasks["task_id"], tasks["family"], strict=True))
    if unknown := sorted(set(admitted) - family.keys()):
        raise UsageError(f"admitted task {unknown[0]!r} is not in the table")
    groups = joined([*family.values(), *confirmatory])
    reserved = {name for group in groups if group & set(confirmatory) for name in group}
    if secret := sorted(t for t in admitted if family[t] in reserved):
        raise UsageError(f"task {secret[0]} is of the confirmatory family {family[secret[0]]!r}; it cannot be admitted")
    count: dict[frozenset, int] = {}
    rows: dict[frozenset, int] = {}
    group_of = {name: group for group in groups for name in group}
    for task_id, name, size in zip(tasks["task_id"], tasks["family"], tasks["n_rows"], strict=True):
        if task_id in admitted:
            group = group_of[name]
            count[group] = count.get(group, 0) + 1
            rows[group] = max(rows.get(group, 0), int(size))
    if len(count) < folds:
        raise UsageError(f"{len(count)} groups of families are too few for {folds} folds")
    present = {name for name in family.values() if name not in reserved}
    by_size = sorted(count, key=lambda group: (rows[group], sorted(group)))
    out = []
    for partition in range(partitions):
        side: list[set[str]] = [set() for _ in range(folds)]
        total = [0] * folds
        for third in range(SIZES):
            part = by_size[len(by_size) * third // SIZES : len(by_size) * (third + 1) // SIZES]
            # the largest groups first, since they are the hardest to place
            for group in sorted(part, key=lambda group: (-count[group], _hash(seed, partition, group))):
                at = min(range(folds), key=lambda f: (total[f], _hash(seed, partition, third, f)))
                side[at] |= group & present
                total[at] += count[group]
        for number, held_out in enumerate(side):
            out.append(Fold(partition, number, tuple(sorted(present - held_out)), tuple(sorted(held_out))))
    return out


def held_out(fold: Fold, tasks: pd.DataFrame, admitted: Collection[str]) -> list[str]:
    """Ids of the admitted tasks of a fold's held-out families, in the table's order."""
    mine = tasks["family"].isin(fold.test) & tasks["task_id"].isin(list(admitted))
    return tasks.loc[mine, "task_id"].tolist()


def sources(fold: Fold, tasks: pd.DataFrame) -> list[str]:
    """Ids of the tasks that methods learn from in a fold, in the table's order: admitted or not."""
    return tasks.loc[tasks["family"].isin(fold.train), "task_id"].tolist()


def problems(found: Iterable[Fold], confirmatory: Collection[str] = ()) -> list[str]:
    """What is wrong with folds, one line each: families on both sides, by name or by shared rows, or confirmatory ones."""
    out = []
    secret = frozenset().union(*map(members, confirmatory)) if confirmatory else frozenset()
    for fold in found:
        learned = {part: family for family in fold.train for part in members(family)}
        for family in fold.test:
            if shared := sorted(members(family) & learned.keys()):
                out.append(
                    f"fold {fold.name}: family {family!r} is held out and shares rows with {learned[shared[0]]!r}"
                )
        for family in (*fold.train, *fold.test):
            if members(family) & secret:
                out.append(f"fold {fold.name}: family {family!r} shares rows with a confirmatory family")
    return out


def _hash(seed: int, *key: object) -> bytes:
    words = [",".join(sorted(part)) if isinstance(part, frozenset) else str(part) for part in key]
    return hashlib.sha256("/".join([str(seed), *words]).encode()).digest()
