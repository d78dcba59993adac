"""The traces of a board: searches, a row each, with what is known about them; read, joined and written here alone.

At a prompt they are an Arrow table whose metadata hold these facts (:meth:`Traces.arrow`), which :meth:`Traces.of` takes apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation.about import About
from metabench.evaluation.store import read_traces
from metabench.files import replacing, sweep

#: the schemas that traces have, the one with the most particular columns first
KINDS = (schema.LIVE, schema.FOLDED, schema.TRACES)


@dataclass(frozen=True)
class Traces:
    """Searches of methods, a row for each cell, and facts about them."""

    #: one of the schemas KINDS
    rows: pa.Table
    about: About = field(default_factory=About)

    @classmethod
    def of(cls, table: pa.Table) -> Traces:
        """The traces that an Arrow table holds.

        Args:
            table: what :meth:`arrow` gives, or any part of its rows.

        Raises:
            MetabenchError: when the facts in its metadata cannot be read.
        """
        return cls(table, About.of(table))

    @classmethod
    def none(cls, kind: pa.Schema) -> Traces:
        """No searches, of one of the schemas."""
        return cls(kind.empty_table())

    @classmethod
    def read(cls, path: str | os.PathLike, kind: pa.Schema) -> Traces:
        """The traces of a file.

        Args:
            path: the file.
            kind: the schema that they must have.

        Raises:
            MetabenchError: naming the file when it is absent, damaged or of another schema.
        """
        rows = read_traces(path, kind)
        return cls(rows, About.of(pq.read_schema(path)))

    @property
    def kind(self) -> pa.Schema:
        """Their schema."""
        return next(k for k in KINDS if set(k.names) <= {*self.rows.schema.names, "epochs"})

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of their rows."""
        return list(dict.fromkeys(self.rows["method"].to_pylist()))

    def without(self, methods: Iterable[str]) -> Traces:
        """The traces of all other methods."""
        return replace(
            self, rows=self.rows.filter(pc.invert(pc.is_in(self.rows["method"], pa.array(list(methods), pa.string()))))
        )

    def beside(self, others: Traces) -> Traces:
        """Both, with the twins that both know, and with the surrogate's error of these; the board is no longer named."""
        kind = self.kind
        rows = pa.concat_tables([self.rows.cast(kind), others.rows.cast(kind)]).replace_schema_metadata(kind.metadata)
        return Traces(rows, replace(self.about, twins={**others.about.twins, **self.about.twins}, board=None))

    def arrow(self) -> pa.Table:
        """The rows with the facts in their metadata."""
        return self.about.put_on(self.rows)

    def write(self, path: Path) -> None:
        """Write a file whole or not at all. Raises MetabenchError when it cannot be written."""
        try:
            sweep(path.parent)
            with replacing(path) as part:
                pq.write_table(self.arrow(), part, compression="zstd")
        except OSError as error:
            raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
