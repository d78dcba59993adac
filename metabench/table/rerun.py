"""Training stored rows again: they are what they say they are, or a report says where they differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.table import rows
from metabench.table.read import load_table
from metabench.training.curves import SERIES

#: curves agree when no loss differs by more than this share, or this much
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Rerun:
    """What training rows again gave: rows that are equal to the last bit, that agree, and that do not."""

    rows: int
    equal: int
    close: int
    different: int
    #: largest relative difference of a loss
    worst: float
    #: whether this machine's processor and engine are those of all the rows
    same_machine: bool
    #: task/config/seed of rows that do not agree
    examples: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Equal on the same kind of machine; elsewhere at least 95 % of the rows close (chaotic runs may part)."""
        return self.equal == self.rows if self.same_machine else self.different <= 0.05 * self.rows

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"agrees": self.agrees}


def rerun(name_or_path: str | Path, *, sample: int = 20, run_id: int | None = None, seed: int = 0) -> Rerun:
    """Train a random sample of a table's rows (or the row ``run_id``) again on the backend that made them.

    Raises UsageError when there is no such row, MetabenchError when a task's data has changed or cannot be had.
    """
    table = load_table(name_or_path)
    stored = pa.concat_tables([table.runs(w) for w in table.workloads]).unify_dictionaries()
    if run_id is not None:
        chosen = np.flatnonzero(stored["run_id"].to_numpy() == run_id)
        if not len(chosen):
            raise UsageError(f"table {table.name} has no row with run_id {run_id}")
    else:
        done = np.flatnonzero(pc.not_equal(stored["status"].cast(pa.string()), "failed").to_numpy())
        chosen = np.sort(np.random.default_rng(seed).choice(done, min(sample, len(done)), replace=False))
    records = stored.take(pa.array(chosen)).to_pylist()
    outcomes = [_again(table, record) for record in records]
    gaps = np.array([gap for gap, _ in outcomes])
    equal = int((gaps == 0).sum())
    close = int(((gaps > 0) & (gaps <= TOLERANCE)).sum())
    parted = [r for r, gap in zip(records, gaps, strict=True) if gap > TOLERANCE]
    return Rerun(
        rows=len(records),
        equal=equal,
        close=close,
        different=len(parted),
        worst=float(gaps.max(initial=0.0)),
        same_machine=all(same for _, same in outcomes),
        examples=tuple(f"{r['task_id']}/{r['config_id']}/{r['seed']}" for r in parted[:10]),
    )


def _again(table, record: dict[str, Any]) -> tuple[float, bool]:
    """Largest relative difference of a curve trained again (infinite when its length differs), and whether the
    processor and engine are the stored ones."""
    from metabench import tasks
    from metabench.training import backends, run_cohort

    task = tasks.get(record["task_id"])
    known = table.tasks.set_index("task_id").loc[record["task_id"], "split_hashes"]
    if list(known) != list(task.split_hashes):
        raise MetabenchError(f"{record['task_id']}: the data set's splits are not those that the table was made with")
    workload = registry.create("workloads", task.workload)
    config = table.configs(task.workload).loc[[record["config_id"]]]
    backend = record["engine"].split("-")[0]
    backend = backend if backends().get(backend, "unknown") is None else "auto"
    arrays = task.arrays(record["seed"])
    curves = run_cohort(workload, arrays, config, [record["seed"]], task.checkpoints, backend=backend)
    same = curves.engine == record["engine"] and curves.device == record["device"]
    if curves.length[0] != len(record["epochs"]):
        return np.inf, same
    gap = 0.0
    for name in SERIES:
        new = np.asarray(getattr(curves, name)[0][: curves.length[0]], dtype=np.float32)
        new = rows.significant(new, rows.LOSS_BITS) if name.endswith("loss") else new
        old = np.asarray(record[name], dtype=np.float32)
        gap = max(gap, float(np.max(np.abs(new - old) / np.maximum(np.abs(old), 1e-3), initial=0.0)))
    return gap, same
