"""Several tables read as one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import pandas as pd
import pyarrow.parquet as pq

from metabench.errors import UsageError
from metabench.registry import suggest
from metabench.space import Space
from metabench.table.place import Place
from metabench.table.read import Table


class JoinedTable(Table):
    """Several tables read as one; see :func:`join`."""

    def __init__(self, tables: Sequence[Table]):
        self.tables = tuple(tables)
        self.path = None  # pyright: ignore[reportAttributeAccessIssue]  # it lies in no folder
        owner: dict[str, Table] = {}
        for table in self.tables:
            for task_id in table.tasks["task_id"]:
                if task_id in owner:
                    raise UsageError(f"task {task_id} is in both {owner[task_id].path} and {table.path}")
                owner[task_id] = table
        for workload in self.workloads:
            longest = self._longest(workload)
            for table in (t for t in self.tables if workload in t.workloads):
                mine, space = table.configs(workload), longest.space(workload)
                if table.space(workload) != space or not space.same(mine, longest.configs(workload)[: len(mine)]):
                    raise UsageError(f"{table.path} and {longest.path} hold different configurations of {workload}")

    @property
    def name(self) -> str:
        return "+".join(table.name for table in self.tables)

    @property
    def version(self) -> None:
        return None

    @cached_property
    def digest(self) -> str:
        """sha256 over the digests of the parts."""
        return hashlib.sha256("\n".join(table.digest for table in self.tables).encode()).hexdigest()

    def digest_of(self, workloads: Sequence[str]) -> str:
        """sha256 over the parts' digests of some workloads."""
        return hashlib.sha256("\n".join(table.digest_of(workloads) for table in self.tables).encode()).hexdigest()

    @property
    def workloads(self) -> list[str]:
        return sorted({workload for table in self.tables for workload in table.workloads})

    @cached_property
    def tasks(self) -> pd.DataFrame:
        return pd.concat([table.tasks for table in self.tables], ignore_index=True)

    def _longest(self, workload: str) -> Table:
        return max((t for t in self.tables if workload in t.workloads), key=lambda t: len(t.configs(workload)))

    def _of(self, workload: str) -> tuple[Space, pd.DataFrame]:
        if workload not in self.workloads:
            raise suggest(workload, self.workloads, f"workload in table {self.name}")
        return self._longest(workload)._of(workload)

    def origins(self, workload: str) -> pd.Series:
        if workload not in self.workloads:
            raise suggest(workload, self.workloads, f"workload in table {self.name}")
        return self._longest(workload).origins(workload)

    def _opened(self, workload: str) -> list[tuple[Place, pq.ParquetFile]]:
        return [pair for t in self.tables if workload in t.workloads for pair in t._opened(workload)]


def join(tables: Sequence[Table]) -> Table:
    """The tasks of several tables side by side; what one table lacks of the longest configuration list is absent.

    Raises UsageError when a task stands in two of them or their configurations differ.
    """
    if not tables:
        raise UsageError("join needs at least one table")
    return tables[0] if len(tables) == 1 else JoinedTable(tables)
