"""Training again what a live submission says it trained: its values come from here, not from the file."""

from __future__ import annotations

import secrets
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from metabench import schema
from metabench.errors import MetabenchError
from metabench.evaluation.traces import Traces
from metabench.search.continuous import Trial, from_text
from metabench.search.live import Live

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.table import Table


#: trials of an accepted submission that every build trains again
SAMPLE = 4


class Differs(MetabenchError):
    """A stored trial is not what training it on the same kind of machine gives."""


def retrain(traces: pa.Table, board: Board, table: Table) -> pa.Table:
    """Traces (schema LIVE, their structure checked) with the values that training every trial gives on this machine.

    Raises Differs naming the first trial whose status or scores are not these, to the last bit, although processor and
    engine are those that the trace names. Elsewhere what was stored is replaced: sums are taken in another order there.
    """
    space, rows = table.space(board.workload), traces.to_pylist()
    trials = [
        Trial(row["task_id"], row["seed"], from_text(space, text)) for row in rows for text in row["configs"]
    ]  # in the order of the rows
    outcomes = iter(Live.from_table(table, board.workload, board.tasks(table, "test")).answer(trials))
    for row in rows:
        found = [next(outcomes) for _ in row["configs"]]
        again: dict[str, Any] = {
            "status": [o.status for o in found],
            "valid_score": np.array([o.valid for o in found], np.float32),
            "test_score": np.array([o.test for o in found], np.float32),
        }
        if (row["engine"], row["device"]) == (found[0].engine, found[0].device):
            for trial in range(len(found)):
                for name, values in again.items():
                    _same(row, name, trial, row[name][trial], values[trial])
        row |= again | {"seconds": [o.seconds for o in found]}
        row |= {"engine": found[0].engine, "device": found[0].device}
    return Traces(pa.Table.from_pylist(rows, schema.LIVE), Traces.of(traces).about).arrow()


def retrain_some(traces: pa.Table, board: Board, table: Table, n: int = SAMPLE) -> None:
    """Train ``n`` stored trials again, drawn anew each time, and compare them as :func:`retrain` does.

    A forged share p of all trials is found with probability 1 − (1 − p)ⁿ. Where a task's data cannot be had, a warning
    says that nothing was trained. Raises Differs.
    """
    rows = traces.to_pylist()
    lists = [field.name for field in schema.LIVE if pa.types.is_list(field.type)]
    drawn = []
    for _ in range(n if rows else 0):
        row = secrets.choice(rows)
        trial = secrets.randbelow(len(row["configs"]))
        drawn.append(row | {name: row[name][trial : trial + 1] for name in lists})
    try:
        retrain(pa.Table.from_pylist(drawn, schema.LIVE), board, table)
    except Differs:
        raise
    except MetabenchError as error:
        warnings.warn(f"stored trials were not trained again: {error}", stacklevel=2)


def _same(row: dict[str, Any], name: str, trial: int, stored: Any, again: Any) -> None:
    equal = stored == again if isinstance(stored, str) else np.array_equal(np.float32(stored), again, equal_nan=True)
    if not equal:
        where = f"task {row['task_id']}, seed {row['seed']}, trial {trial + 1}"
        raise Differs(f"{where}: {name} is {stored}, training it again gives {again}")
