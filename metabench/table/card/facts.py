"""Everything that the pages of a card say, read from the table once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench import schema
from metabench.errors import MetabenchError
from metabench.table import files, manifest, splits
from metabench.table.describe import Description, describe
from metabench.table.place import Place
from metabench.table.read import Table

#: hand-written words about a table, kept beside it and copied into its card
NOTES = "NOTES.md"


@dataclass(frozen=True)
class File:
    """One file of the table."""

    name: str
    what: str
    rows: int
    bytes: int
    schema: str
    sha256: str

    @property
    def workload(self) -> str:
        return Path(self.name).stem.split("-")[0]


@dataclass(frozen=True)
class Facts:
    """A table and what was found in it."""

    table: Table
    #: the one with the most runs first
    workloads: list[Description]
    files: list[File]
    #: task → (family, part of the split); None where the table has no split
    split: dict[str, tuple[str, str]] | None
    #: splits.csv as it is stored
    split_bytes: bytes
    notes: str

    @classmethod
    def of(cls, table: Table, beside: Mapping[str, bytes]) -> Facts:
        """``beside`` holds NOTES.md and splits.csv, where there are any.

        Raises MetabenchError when the table has no runs, or a split of other tasks.
        """
        if not table.workloads or not any(table.runs(w, ["seed"]).num_rows for w in table.workloads):
            raise MetabenchError(f"{table.path} holds no runs to describe; generate some first")
        split = splits.parse(table.path / splits.FILE, beside[splits.FILE]) if splits.FILE in beside else None
        if split is not None and (wrong := splits.problems(table.path / splits.FILE, split, table.tasks)):
            raise MetabenchError(wrong[0])
        found = [describe(table, w) for w in table.workloads if table.runs(w, ["seed"]).num_rows]
        found.sort(key=lambda d: -d.runs)
        sums = {name: value for name, value in manifest.read(table.path).items() if name.endswith(".parquet")}
        listed = [_file(table.path, name, value) for name, value in sums.items()]
        notes = beside.get(NOTES, b"").decode("utf-8").strip()
        return cls(table, found, listed, split, beside.get(splits.FILE, b""), notes)

    @property
    def tasks(self) -> pd.DataFrame:
        return self.table.tasks

    @property
    def title(self) -> str:
        version = self.table.version
        return self.table.name if version is None else f"{self.table.name} v{version}"

    @property
    def folder(self) -> str:
        """Where the table lies from the folder in which ``metabench`` looks for tables."""
        return f"datasets/{self.table.name}/v{self.table.version}"

    @property
    def date(self) -> str | None:
        """The first date in NOTES.md: files do not say when they were made, and a card must not depend on today."""
        match = re.search(r"\b\d{4}-\d{2}-\d{2}\b", self.notes)
        return match[0] if match else None

    @property
    def runs(self) -> int:
        return sum(d.runs for d in self.workloads)

    @property
    def bytes(self) -> int:
        """Size of the runs files."""
        return sum(f.bytes for f in self.files if f.name.startswith("runs/"))

    @property
    def seconds(self) -> float:
        return sum(d.seconds for d in self.workloads)

    @property
    def flops(self) -> float:
        return sum(d.flops for d in self.workloads)

    @property
    def features(self) -> list[str]:
        return [name for name in map(str, self.tasks) if name.startswith("feature_")]

    @property
    def told_origins(self) -> bool:
        """Whether the table says how its configurations came to be."""
        return any(files.read_origins(self.table.path / f"configs/{d.workload}.parquet") for d in self.workloads)

    @property
    def imported(self) -> bool:
        """Whether the runs were made by others."""
        return bool(self.tasks["source"].str.startswith("import:").any())

    @property
    def licence(self) -> str:
        """SPDX name of the table's own licence; that of imported rows is their source's."""
        return "other" if self.imported else "apache-2.0"

    @cached_property
    def checkpoints(self) -> list[int]:
        """Every epoch at which any run was evaluated."""
        seen: set[int] = set()
        for d in self.workloads:
            column = self.table.runs(d.workload, ["epochs"])["epochs"]
            for chunk in column.chunks:
                seen |= set(np.unique(chunk.flatten().to_numpy()).tolist())
        return sorted(seen)

    @property
    def wanted(self) -> int:
        """Cells of tasks × configurations × seeds."""
        return sum(d.configs * d.seeds * len(d.tasks) for d in self.workloads)

    @property
    def smallest(self) -> int:
        return int(self.tasks["n_rows"].min())

    @property
    def largest(self) -> int:
        return int(self.tasks["n_rows"].max())

    def counts(self, column: str) -> dict[str, int]:
        """Value of a column of tasks.parquet → tasks, the most frequent first."""
        counts = self.tasks[column].value_counts()
        return {str(k): int(v) for k, v in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))}

    def part(self, name: str) -> list[str]:
        """Tasks of one part of the split, in the table's order."""
        split = self.split or {}
        return [t for t in self.tasks["task_id"] if split[t][1] == name]

    def parts(self) -> list[dict]:
        """Families, tasks and runs of each part of the split."""
        out = []
        for name in (*splits.PARTS, splits.NONE):
            chosen = set(self.part(name))
            mine = self.tasks[self.tasks["task_id"].isin(chosen)]
            runs = sum(int(d.tasks.loc[d.tasks["task_id"].isin(chosen), "runs"].sum()) for d in self.workloads)
            out.append({"name": name, "families": mine["family"].nunique(), "tasks": len(mine), "runs": runs})
        return [part for part in out if part["tasks"]]


def _file(path: Place, name: str, sha256: str) -> File:
    parquet = files.open_parquet(path / name)
    what = {"configs": "configurations", "runs": "runs"}.get(name.split("/")[0], "tasks")
    version = parquet.schema_arrow.metadata[b"metabench.schema_version"].decode()
    return File(name, what, parquet.metadata.num_rows, (path / name).stat().st_size, version, sha256)


def size_category(n: int) -> str:
    """Hugging Face's class of a number of rows, ``10K<n<100K``."""
    edges = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    power = max(0, math.floor(math.log10(max(n, 1))) - 2)
    return "n<1K" if power == 0 else f"{edges[power - 1]}<n<{edges[power]}" if power < len(edges) else "n>1T"


def kind_of(field: pa.Field) -> str:
    """An Arrow type as a reader meets it: names are strings however they are stored."""
    if pa.types.is_dictionary(field.type):
        return "string"
    return re.sub(r"list<\w+: (\w+)>", r"list of \1", str(field.type)).replace("double", "float64")


def columns(facts: Facts, what: str) -> list[tuple[str, str, str]]:
    """(name, type, meaning) of the columns of ``runs/`` or ``tasks.parquet``, as the table has them."""
    fields, start = {"runs": (schema.RUNS, "runs/"), "tasks": (schema.TASKS, "tasks.parquet")}[what]
    some = next(file.name for file in facts.files if file.name.startswith(start))
    stored = set(files.open_parquet(facts.table.path / some).schema_arrow.names)
    return [(f.name, kind_of(f), f.metadata[b"description"].decode()) for f in fields if f.name in stored]
