"""LCBench (Zimmer, Lindauer & Hutter, 2021, "Auto-PyTorch Tabular"): 2,000 configurations of MLPs on 35 data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from metabench.errors import MetabenchError
from metabench.interop.formats.base import (
    Format,
    Rows,
    TaskFacts,
    frame_of,
    identifier,
    infer_space,
    numbers,
    read_json,
)

#: series of a log → ours; accuracies are percentages there
_SERIES = {
    "Train/val_accuracy": "valid_score",
    "Train/test_result": "test_score",
    "Train/val_cross_entropy": "valid_loss",
    "Train/test_cross_entropy": "test_loss",
    "Train/train_cross_entropy": "train_loss",
}
#: hyperparameters that were drawn on a logarithmic scale (Table 1 of the paper)
_LOG = ("batch_size", "learning_rate", "max_units")


class LcBench(Format):
    """LCBench's JSON, ``{dataset: {"id": {"config": {…}, "log": {"Train/val_accuracy": [52], …}, "results": {…}}}}``.

    A log has 52 points: the first is the untrained network and the last repeats the one before, so both are left out and
    epochs 1 … 50 remain. Scores are percentages, as there.
    """

    name = "lcbench"
    reads = "a JSON file"

    def read(self, path: Path) -> Iterator[Rows]:
        data = read_json(path)
        configs: dict[tuple, int] = {}
        table, tasks, keys, curves, seconds = [], [], [], [], []
        for dataset, runs in data.items():
            if not isinstance(runs, Mapping) or not runs:
                raise MetabenchError(f"{path}: data set {dataset!r} holds no runs")
            tasks.append(TaskFacts(identifier(dataset), "percent", kind="classification", modality="tabular"))
            for number, run in runs.items():
                where = f"{path}: data set {dataset!r}, run {number!r}"
                if not isinstance(run, Mapping) or not all(isinstance(run.get(k), Mapping) for k in ("config", "log")):
                    raise MetabenchError(f"{where} has no config and log")
                flat = {k: v for k, v in run["config"].items() if isinstance(v, int | float | str)}
                key = tuple(sorted(flat.items()))
                if key not in configs:
                    configs[key] = len(configs)
                    table.append(flat)
                if "Train/val_accuracy" not in run["log"]:
                    raise MetabenchError(f"{where}: its log has no Train/val_accuracy")
                n = len(run["log"]["Train/val_accuracy"])
                if n < 3 or (curves and n - 2 != len(curves[0]["valid_score"])):
                    raise MetabenchError(f"{where}: its log has {n} points, others have another number, or under 3")
                keys.append((len(tasks) - 1, configs[key]))
                curves.append(
                    {
                        ours: numbers(run["log"][name], f"{where}, {name}", n)[1:-1]
                        for name, ours in _SERIES.items()
                        if name in run["log"]
                    }
                )
                elapsed = run["log"].get("time")
                seconds.append(numbers(elapsed, f"{where}, time", n)[-2] if elapsed else np.nan)
        frame = frame_of(table, path)
        space = infer_space(frame, log=_LOG)
        task, config = np.array(keys, dtype=np.int64).reshape(-1, 2).T
        common = [name for name in curves[0] if all(name in c for c in curves)]
        length = len(curves[0]["valid_score"])
        yield Rows(
            workload="lcbench",
            space=space,
            configs=frame,
            tasks=tasks,
            task=task,
            config=config,
            seed=np.zeros(len(task), dtype=np.int64),
            epochs=range(1, length + 1),
            series={name: np.stack([c[name] for c in curves]) for name in common},
            seconds=np.array(seconds),
        )
