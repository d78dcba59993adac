"""A worker process: one thread that trains chunks. Work arrives as JSON and rows leave as Arrow, through one pipe."""

from __future__ import annotations

import json
import os
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

#: first byte of an answer
ROWS, FAILED = b"R", b"F"


def request(task_id: str, config_ids: np.ndarray, seeds: np.ndarray) -> bytes:
    """A chunk of work as the bytes that :func:`main` understands."""
    return json.dumps([task_id, np.asarray(config_ids).tolist(), np.asarray(seeds).tolist()]).encode()


def main(pipe: Connection, parent: int, path: str, workload: str, device: str, backend: str) -> None:
    """Answer requests until the pipe closes. The process ends by itself when its parent dies."""
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    import warnings

    from metabench import registry

    warnings.simplefilter("ignore", UserWarning)  # the parent has told about the backend once
    load = registry.create("workloads", workload)
    configs = stored_configs(Path(path), workload)
    while True:
        try:
            task_id, config_ids, seeds = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = ROWS + _encode(train(load, task_id, configs, config_ids, seeds, device, backend))
        except Exception as error:  # a chunk that fails becomes rows that say why
            answer = FAILED + f"{type(error).__name__}: {error}".encode()
        pipe.send_bytes(answer)


def stored_configs(path: Path, workload: str) -> pd.DataFrame:
    """The configuration table that a table's rows refer to, indexed by config_id."""
    from metabench.table import files

    space, table = files.read_configs(path / f"configs/{workload}.parquet")
    frame = table.to_pandas(types_mapper=files.nullable).set_index("config_id")
    return frame.astype({name: p.dtype for name, p in space.items()})


def train(workload, task_id: str, configs, config_ids, seeds, device: str, backend: str) -> pa.Table:
    """Train the runs of one chunk; rows in the schema of a runs file."""
    from metabench import tasks
    from metabench.table import rows
    from metabench.training import run_cohort

    task = tasks.get(task_id)
    arrays = task.arrays(int(seeds[0]))
    chosen = configs.loc[config_ids]
    curves = run_cohort(workload, arrays, chosen, seeds, task.checkpoints, device=device, backend=backend)
    cohort = rows.cohort_id(rows.run_ids([task_id] * len(config_ids), config_ids, seeds))
    return rows.from_curves(task_id, config_ids, seeds, curves, cohort)


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
