"""What a table of traces says beside its rows: kept in the metadata of the Arrow table, which is written and read here alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation.store import read_traces

_TWINS, _BOARD, _SURROGATE = b"metabench.twins", b"metabench.board", b"metabench.surrogate"


@dataclass(frozen=True)
class About:
    """Facts about the searches of a table of traces."""

    #: method → the method that does the same without learning from source tasks
    twins: Mapping[str, str] = field(default_factory=dict)
    #: the folder of the board that they were made on, and its profile
    board: str | None = None
    profile: str | None = None
    #: the error of the surrogate that answered in place of training: a record for each task
    surrogate: Sequence[Mapping[str, Any]] | None = None

    @classmethod
    def of(cls, traces: pa.Table | pa.Schema) -> About:
        """The facts that a table, or its schema, carries; those that it lacks are absent.

        Raises MetabenchError when they are not what this class writes.
        """
        held = (traces.schema if isinstance(traces, pa.Table) else traces).metadata or {}
        try:
            twins, board = json.loads(held.get(_TWINS, b"{}")), json.loads(held.get(_BOARD, b"null")) or {}
            return cls(dict(twins), board.get("board"), board.get("profile"), json.loads(held.get(_SURROGATE, b"null")))
        except (ValueError, TypeError, AttributeError, RecursionError):
            what = "what they say of methods, board or surrogate cannot be read"
            raise MetabenchError(f"traces: {what}") from None

    def put_on(self, traces: pa.Table) -> pa.Table:
        """The table with these facts in place of those that it carries."""
        held = {k: v for k, v in (traces.schema.metadata or {}).items() if k not in (_TWINS, _BOARD, _SURROGATE)}
        held[_TWINS] = json.dumps(dict(self.twins), sort_keys=True).encode()
        if self.board is not None:
            held[_BOARD] = json.dumps({"board": self.board, "profile": self.profile}).encode()
        if self.surrogate is not None:
            held[_SURROGATE] = json.dumps(list(self.surrogate)).encode()
        return traces.replace_schema_metadata(held)


def together(traces: pa.Table, published: pa.Table) -> pa.Table:
    """Both, with what both say of the methods' twins, and what the first says of a surrogate."""
    mine, theirs = About.of(traces), About.of(published)
    kind = next(k for k in (schema.LIVE, schema.FOLDED, schema.TRACES) if set(k.names) <= set(traces.schema.names))
    both = pa.concat_tables([traces.cast(kind), published.cast(kind)]).replace_schema_metadata(kind.metadata)
    return replace(mine, twins={**theirs.twins, **mine.twins}, board=None).put_on(both)


def read_published(path: str | os.PathLike, kind: pa.Schema) -> pa.Table:
    """A file of traces, checked (:func:`~metabench.evaluation.store.read_traces`), with what it says of them."""
    traces = read_traces(path, kind)
    return About.of(pq.read_schema(path)).put_on(traces)
