"""Recommendations for a person's data: task features, the configurations to train, what they promise, which known tasks
are like it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from metabench import pretrained, tasks
from metabench.advise.data import Read, read
from metabench.brief import brief
from metabench.errors import UsageError
from metabench.plain import plain, whole
from metabench.pretrained import Pretrained
from metabench.pretrained.model import SAID
from metabench.pretrained.neighbours import Neighbour
from metabench.search.continuous import row
from metabench.tasks import Task


@brief
@dataclass(frozen=True)
class Recommendation:
    """What :func:`recommend` says. ``configs`` are those to train, in this order, with what they promise (``percentile``:
    the expected share of configurations that one beats; ``score``: its expected validation score; each with a 90 %
    interval)."""

    task: Task
    model: Pretrained
    configs: pd.DataFrame
    neighbours: tuple[Neighbour, ...]
    #: what was done to the data, a line each
    notes: tuple[str, ...]
    #: None for a task that is not a person's data
    read: Read | None
    #: the file that the data came from, if it came from one
    path: Path | None = None

    def config(self, rank: int = 1) -> dict[str, Any]:
        """The configuration of that rank, from 1 on; hyperparameters that do not count are left out."""
        if not 1 <= rank <= len(self.configs):
            raise UsageError(f"there is no configuration {rank}; {len(self.configs)} were asked for")
        names = [str(n) for n in self.configs if n not in SAID]
        values: Any = self.configs[names].iloc[rank - 1]
        return {n: plain(values[n]) for n in names if not pd.isna(values[n])}

    def snippet(self, rank: int = 1) -> str:
        """A plain torch script that trains the configuration of that rank on the same file."""
        from metabench.advise.snippet import script

        return script(self.task, self.read, self.path, self.config(rank))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        record = self.model.record
        return {
            "task": facts(self.task) | {"features": {n: plain(v) for n, v in self.task.features.items()}},
            "notes": list(self.notes),
            "model": {
                "name": record.name,
                "method": record.method,
                "table": record.table,
                "tasks": record.tasks,
                "runs": record.runs,
                "table_digest": record.table_digest,
            },
            "configurations": [
                {"rank": i + 1, "config": self.config(i + 1), **{n: plain(self.configs[n].iloc[i]) for n in SAID}}
                for i in range(len(self.configs))
            ],
            "nearest": [
                {
                    "task": n.task_id,
                    "distance": n.distance,
                    "nearer_than": n.nearer_than,
                    "alike_in": [{"feature": f, "here": mine, "there": there} for f, mine, there in n.why],
                    "best_config": {k: plain(v) for k, v in n.config.items()},
                    "its_score": n.score,
                    "metric": n.metric,
                }
                for n in self.neighbours
            ],
        }

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return f"<ul>{said}</ul>{self.configs.T.to_html()}"


def recommend(
    data: Any,
    target: Any = None,
    *,
    workload: str = "mlp",
    k: int = 5,
    model: str | Pretrained | None = None,
    kind: str | None = None,
    encoding: str = "utf-8",
    decimal: str | None = None,
    missing: Sequence[str] = (),
) -> Recommendation:
    """Recommend k configurations for your data, without training.

    The configurations are the meta-model's portfolio, in an order that is the same for all data. Their expected scores
    depend on your data.

    Args:
        data: What :func:`metabench.advise.data.read` takes, or a :class:`metabench.tasks.Task`, which names its workload.
        target: The target column, or the targets.
        workload: Kind of network to train.
        k: How many configurations.
        model: A fitted meta-model, its name or its folder; None for the newest that ships for the workload.
        kind: classification or regression; None to find out.
        encoding: Encoding of a text file.
        decimal: "." or ","; None to find out.
        missing: Words that mean a missing value, in any column.

    Returns:
        The configurations with predictions, similar known tasks, and notes on the treatment of the data.

    Raises:
        UsageError: The data does not make a task of the workload, or there is no meta-model for it.
    """
    k = whole(k, "k")
    fitted, task, found = understood(data, target, workload, model, kind, encoding, decimal, missing)
    configs = fitted.top_configs(task, k)
    path = Path(data) if isinstance(data, str | Path) else None
    return Recommendation(task, fitted, configs, tuple(fitted.nearest(task)), all_notes(task, found), found, path)


def all_notes(task: Task, found: Read | None) -> tuple[str, ...]:
    """What was done to a person's data, in reading it and on its way to the network."""
    return () if found is None else (*found.notes, *task.notes)


def understood(
    data: Any,
    target: Any,
    workload: str,
    model: str | Pretrained | None,
    kind: str | None,
    encoding: str,
    decimal: str | None = None,
    missing: Sequence[str] = (),
) -> tuple[Pretrained, Task, Read | None]:
    """The meta-model, the task, and the data that it is made of (None where ``data`` is a task)."""
    if isinstance(data, Task):
        if target is not None or kind is not None:
            raise UsageError(f"{data.task_id} is a task: it has its target")
        return opened(model, data.workload), data, None
    fitted = opened(model, workload)
    found = read(data, target, workload, kind=kind, encoding=encoding, decimal=decimal, missing=missing)
    return fitted, task_of(found, workload), found


def opened(model: str | Path | Pretrained | None, workload: str) -> Pretrained:
    """The meta-model that is meant. Raises UsageError when it is for another workload."""
    if isinstance(model, Pretrained):
        fitted = model
    else:
        fitted = pretrained.for_workload(workload) if model is None else pretrained.load_metamodel(model)
    if fitted.workload != workload:
        raise UsageError(f"meta-model {fitted.name} is for workload {fitted.workload}, not for {workload}")
    return fitted


def task_of(found: Read, workload: str) -> Task:
    """The task on a data set. Raises UsageError when its targets do not allow one."""
    return tasks.from_dataset(found.dataset, workload)


def task_from_csv(path: str | Path, target: str, workload: str = "mlp") -> Task:
    """The task on a file of rows. The treatment of the data is not reported (see :func:`recommend`).

    Args:
        path: a CSV, TSV or Parquet file; the task is called like it.
        target: the column to predict.
        workload: the network to train.

    Returns:
        The task.

    Raises:
        UsageError: The file holds no such task; one line says why.
    """
    return task_of(read(Path(path), target, workload), workload)


def facts(task: Task) -> dict[str, Any]:
    """What a person wants to know of a task at a glance."""
    names = (
        "task_id",
        "workload",
        "kind",
        "metric",
        "direction",
        "n_rows",
        "n_train",
        "n_valid",
        "n_test",
        "n_features",
        "n_classes",
        "chance",
    )
    return {name: plain(getattr(task, name)) for name in names} | {"epochs": max(task.checkpoints)}


def configurations(model: Pretrained, configs: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a configuration table as valid configurations."""
    return [row(model.space, configs, i) for i in range(len(configs))]


__all__ = ["Recommendation", "recommend", "task_from_csv"]
