"""What a table of traces says beside its rows: kept in the metadata of the Arrow table, which is written and read here alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from metabench.errors import MetabenchError

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
