"""A worker process: one thread that trains chunks. Work arrives as JSON and rows leave as Arrow, through one pipe."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from multiprocessing.connection import Connection

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench.processes import ignore_interrupts
from metabench.untrusted import one_line

#: first byte of an answer: ready for work, rows, or why there are none
READY, ROWS, FAILED = b"S", b"R", b"F"


def request(task_id: str, config_ids: np.ndarray, seeds: np.ndarray) -> bytes:
    """A chunk of work as the bytes that :func:`main` understands."""
    return json.dumps([task_id, np.asarray(config_ids).tolist(), np.asarray(seeds).tolist()]).encode()


def main(
    pipe: Connection,
    parent: int,
    workload: str,
    configs: pd.DataFrame,
    device: str,
    backend: str,
    together: int | None = None,
) -> None:
    """Say READY, then answer requests until the pipe closes. The process ends by itself when its parent dies.

    ``configs`` is the table's configuration table, indexed by config_id.
    """
    ignore_interrupts()  # Ctrl-C is for the parent, which stores what there is
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    import warnings

    from metabench import registry

    warnings.simplefilter("ignore", UserWarning)  # the parent has told about the backend once
    network = registry.create("workloads", workload)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        pipe.send_bytes(READY)
        while True:
            task_id, config_ids, seeds = json.loads(pipe.recv_bytes())
            try:
                answer = ROWS + _encode(train(network, task_id, configs, config_ids, seeds, device, backend, together))
            except BaseException as error:  # a task that cannot be had fails all its runs
                answer = FAILED + _reason(error).encode()
            pipe.send_bytes(answer)


def train(
    workload, task_id: str, configs, config_ids, seeds, device: str, backend: str, together: int | None = None
) -> pa.Table:
    """Train the runs of one chunk; rows in the schema of a runs file.

    Where training raises, halves of the chunk are tried alone until the runs that fail stand apart: they become rows
    that say why, and no other run is lost to them.
    """
    from metabench import tasks
    from metabench.table import rows
    from metabench.training import run_cohort

    task = tasks.get(task_id)
    arrays = task.arrays(int(seeds[0]))
    config_ids, seeds = np.asarray(config_ids), np.asarray(seeds)
    cohort = rows.cohort_id(rows.run_ids([task_id] * len(config_ids), config_ids, seeds))

    def part(at: slice) -> list[pa.Table]:
        ids, own = config_ids[at], seeds[at]
        try:
            curves = run_cohort(
                workload,
                arrays,
                configs.loc[ids],
                own,
                task.checkpoints,
                device=device,
                backend=backend,
                together=together,
            )
            return [rows.from_curves(task_id, ids, own, curves, cohort)]
        except BaseException as error:  # a plug-in may raise anything
            if len(ids) == 1:
                return [rows.failed(task_id, ids, own, _reason(error), cohort, device)]
            middle = at.start + len(ids) // 2
            return part(slice(at.start, middle)) + part(slice(middle, at.stop))

    return rows.join_chunks(part(slice(0, len(config_ids)))).unify_dictionaries()


def _reason(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def decode(answer: bytes) -> pa.Table:
    """Rows of an answer that starts with ROWS."""
    return pa.ipc.open_stream(answer[1:]).read_all()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
