"""Training stored rows again: they are what they say they are, or a report says where they differ.

On the same kind of processor with the same engine every bit must come again. Elsewhere sums are taken in another order:
most curves stay within a tolerance, but some runs are chaotic (a large learning rate makes of the last bit another
network). A run is called chaotic when two backends of this machine, which differ in the order of sums alone, part over it
as well; such runs can agree in distribution only.
"""

from __future__ import annotations

import fnmatch
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.table import rows
from metabench.table.find import load_table
from metabench.table.place import Place
from metabench.table.read import Table
from metabench.training.curves import SERIES

#: curves agree when no loss (or R²) differs by more than this share, or this much …
TOLERANCE = 1e-3
#: … and no share of right rows by more than this, or by two rows: the last bit decides some predictions
SCORE_TOLERANCE = 0.01
#: share of the runs that are not chaotic which may differ elsewhere; probability under which distributions differ
SPARE, SIGNIFICANCE = 0.05, 1e-3
EQUAL, CLOSE, CHAOTIC, DIFFERENT = "equal", "close", "chaotic", "different"


@dataclass(frozen=True)
class Row:
    """One run that was trained again."""

    run_id: int
    task_id: str
    config_id: int
    seed: int
    verdict: str
    #: largest relative difference of a loss (infinite where the curves' lengths differ), and the epoch at which they part
    gap: float
    parted: int | None
    #: last validation score, stored and again; None where there is none
    stored: float | None
    again: float | None
    #: whether processor and engine here are those of the row
    same_machine: bool


@dataclass(frozen=True)
class Rerun:
    """What training rows again gave."""

    runs: tuple[Row, ...]

    def count(self, verdict: str) -> int:
        return sum(run.verdict == verdict for run in self.runs)

    @property
    def same_machine(self) -> bool:
        """Whether this machine's processor and engine are those of all the rows."""
        return all(run.same_machine for run in self.runs)

    @cached_property
    def shift(self) -> tuple[float, float]:
        """Mean of the last scores again minus stored, and the probability of such differences between equals: the
        Wilcoxon signed-rank test (1945) over runs whose scores differ; 1 where none do."""
        from scipy import stats

        pairs = [(r.stored, r.again) for r in self.runs if r.stored is not None and r.again is not None]
        gaps = np.array([again - stored for stored, again in pairs])
        if not gaps.any():
            return 0.0, 1.0
        return float(gaps.mean()), float(cast(Any, stats.wilcoxon(gaps[gaps != 0])).pvalue)

    @property
    def agrees(self) -> bool:
        """On the same kind of machine: every row is equal. Elsewhere: at least 95 % of the runs that are not chaotic are
        close, and the scores of all are distributed alike."""
        here = [run for run in self.runs if run.same_machine]
        elsewhere = [run for run in self.runs if not run.same_machine and run.verdict != CHAOTIC]
        differ = sum(run.verdict == DIFFERENT for run in elsewhere)
        return (
            all(run.verdict == EQUAL for run in here)
            and differ <= SPARE * len(elsewhere)
            and self.shift[1] >= SIGNIFICANCE
        )

    def to_dict(self) -> dict[str, Any]:
        """The summary, without the single runs."""
        mean, p = self.shift
        return {
            "rows": len(self.runs),
            **{v: self.count(v) for v in (EQUAL, CLOSE, CHAOTIC, DIFFERENT)},
            "same_machine": self.same_machine,
            "worst": max((r.gap for r in self.runs), default=0.0),
            "score_shift": mean,
            "score_shift_p": p,
            "tolerance": TOLERANCE,
            "agrees": self.agrees,
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A row per run."""
        return [asdict(run) for run in self.runs]


def rerun(
    name_or_path: str | Place, *, sample: int = 20, run_id: int | None = None, seed: int = 0, tasks: str = "*"
) -> Rerun:
    """Train a random sample of a table's rows (or the row ``run_id``) again on the backend that made them; of the tasks
    whose names match ``tasks`` alone, a glob or a comma-separated list of them.

    Raises UsageError when there is no such row or task, MetabenchError when a task's data has changed or cannot be had.
    """
    table = load_table(name_or_path)
    return Rerun(tuple(_again(table, record) for record in _chosen(table, sample, run_id, seed, tasks)))


def _chosen(table: Table, sample: int, run_id: int | None, seed: int, pattern: str) -> list[dict[str, Any]]:
    """Rows to train, in the order of the files; only those row groups are read in full that hold one."""
    keys = {w: table.runs(w, ["run_id", "task_id", "status"]) for w in table.workloads}
    ids = np.concatenate([part["run_id"].to_numpy() for part in keys.values()])
    if run_id is not None:
        wanted = ids[ids == run_id]
        if not len(wanted):
            raise UsageError(f"table {table.name} has no row with run_id {run_id}")
    else:
        status = np.concatenate([part["status"].cast(pa.string()).to_numpy() for part in keys.values()])
        task = np.concatenate([part["task_id"].cast(pa.string()).to_numpy() for part in keys.values()])
        matching = [t for one in pattern.split(",") for t in fnmatch.filter(table.tasks["task_id"], one.strip())]
        if not matching:
            raise UsageError(f"table {table.name} has no task {pattern!r}")
        done = ids[(status != "failed") & np.isin(task, matching)]
        wanted = np.random.default_rng(seed).choice(done, min(sample, len(done)), replace=False)
    out = []
    for workload, part in keys.items():
        mine = part.filter(pc.is_in(part["run_id"], pa.array(wanted)))
        if len(mine):
            whole = table.runs(workload, None, pc.unique(mine["task_id"].cast(pa.string())).to_pylist())
            out += whole.filter(pc.is_in(whole["run_id"], mine["run_id"].combine_chunks())).to_pylist()
    return out


def _again(table: Table, record: dict[str, Any]) -> Row:
    from metabench import tasks
    from metabench.training import backends, run_cohort

    task = tasks.get(record["task_id"])
    known = table.tasks.set_index("task_id").loc[record["task_id"], "split_hashes"]
    if list(known) != list(task.split_hashes):
        raise MetabenchError(f"{record['task_id']}: the data set's splits are not those that the table was made with")
    workload = registry.create("workloads", task.workload)
    config = table.configs(task.workload).loc[[record["config_id"]]]
    arrays = task.arrays(record["seed"])

    def train(backend: str):
        return run_cohort(workload, arrays, config, [record["seed"]], task.checkpoints, backend=backend)

    backend = record["engine"].split("-")[0]
    backend = backend if backends().get(backend, "unknown") is None else "auto"
    curves = train(backend)
    same = curves.engine == record["engine"] and curves.device == record["device"]
    stored = {name: np.asarray(record[name], dtype=np.float32) for name in SERIES}
    new = _series(curves)
    n_rows = min(len(arrays.y_valid), len(arrays.y_test))
    allowed = TOLERANCE if task.metric == "r2" else max(SCORE_TOLERANCE, 2.5 / n_rows)
    gap, at, forged = _gap(stored, new, allowed)
    if all(np.array_equal(stored[name], new[name]) for name in SERIES):
        verdict = EQUAL
    elif at is None:
        verdict = CLOSE
    elif same or forged:
        verdict = DIFFERENT
    else:
        other = "batched" if curves.engine.split("-")[0] != "batched" else "sequential"
        verdict = DIFFERENT if _gap(new, _series(train(other)), allowed)[1] is None else CHAOTIC
    return Row(
        run_id=record["run_id"],
        task_id=record["task_id"],
        config_id=record["config_id"],
        seed=record["seed"],
        verdict=verdict,
        gap=gap,
        parted=None if at is None else int(task.checkpoints[min(at, len(task.checkpoints) - 1)]),
        stored=_last(stored),
        again=_last(new),
        same_machine=same,
    )


def _series(curves) -> dict[str, np.ndarray]:
    """The curves of the one run, as they would be stored."""
    raw = {name: np.asarray(getattr(curves, name)[0][: curves.length[0]], dtype=np.float32) for name in SERIES}
    return {name: rows.significant(v, rows.LOSS_BITS) if name in rows.LOSSES else v for name, v in raw.items()}


def _gap(old: dict[str, np.ndarray], new: dict[str, np.ndarray], allowed: float) -> tuple[float, int | None, bool]:
    """Largest relative difference of a loss; the first checkpoint at which curves differ by more than they may; and
    whether a score does where the losses agree, which is no chaos."""
    ends = len(old[SERIES[0]]), len(new[SERIES[0]])
    if ends[0] != ends[1]:
        return np.inf, min(ends), False
    losses, scores = np.zeros(ends[0], bool), np.zeros(ends[0], bool)
    worst = 0.0
    for name in SERIES:
        difference = np.abs(new[name] - old[name])
        if name in rows.LOSSES:
            relative = difference / np.maximum(np.abs(old[name]), 1e-3)
            worst = max(worst, float(relative.max(initial=0.0)))
            losses |= relative > TOLERANCE
        else:
            scores |= difference > allowed * np.maximum(np.abs(old[name]), 1.0)
    apart = losses | scores
    return worst, int(apart.argmax()) if apart.any() else None, bool((scores & ~losses).any())


def _last(series: dict[str, np.ndarray]) -> float | None:
    return float(series["valid_score"][-1]) if len(series["valid_score"]) else None
