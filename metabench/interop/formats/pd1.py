"""PD1 (Wang et al., 2024, "Pre-trained Gaussian Processes for Bayesian Optimization"): large networks, Nesterov momentum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    read_bytes,
    repeats,
)
from metabench.space import Float, Space

#: hyperparameter there → (ours, on a logarithmic scale)
_HYPERPARAMETERS = {
    "hps.lr_hparams.initial_value": ("initial_learning_rate", True),
    "hps.lr_hparams.power": ("power", False),
    "hps.lr_hparams.decay_steps_factor": ("decay_steps_factor", False),
    "hps.opt_hparams.momentum": ("one_minus_momentum", True),
}
#: what tells tasks apart, in this order
_TASK = ("dataset", "model", "hps.batch_size")


@dataclass(frozen=True)
class _Run:
    task: str
    config: dict[str, float]
    error: np.ndarray
    loss: np.ndarray
    diverged: bool
    seconds: float


class Pd1(Format):
    """PD1's JSON lines (gzipped or not), a training run each; a task is a data set, a model and a batch size.

    The score is the validation error rate, smaller is better. A task has as many checkpoints as its shortest finished run
    (epochs count them); runs whose ``status`` is not done have diverged and keep their curve so far. Momentum is stored
    as 1 − m, since it is searched on a logarithmic scale there.
    """

    name = "pd1"
    reads = "a .jsonl or .jsonl.gz file"

    def read(self, path: Path) -> Iterator[Rows]:
        runs: list[_Run] = []
        for number, line in enumerate(read_bytes(path).splitlines(), 1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                run = json.loads(line)
            except (ValueError, RecursionError):
                raise MetabenchError(f"{where} is no JSON") from None
            if not isinstance(run, Mapping):
                raise MetabenchError(f"{where} is no object")
            run = dict(_flat(run))
            for key in (*_HYPERPARAMETERS, "dataset", "model", "status"):
                if run.get(key) is None:
                    raise MetabenchError(f"{where} has no {key}")
            config = _config(run, where)
            diverged = run["status"] != "done"
            error = numbers(run.get("valid/error_rate") or [], f"{where}, valid/error_rate")
            loss = numbers(run.get("valid/ce_loss") or [np.nan] * len(error), f"{where}, valid/ce_loss", len(error))
            times = numbers(run.get("eval_time") or [], f"{where}, eval_time")
            name = "-".join(str(run[k]) for k in _TASK if run.get(k) is not None)
            runs.append(_Run(identifier(name), config, error, loss, diverged, float(np.nansum(times))))
        if not runs:
            raise MetabenchError(f"{path} holds no runs")
        yield _workload(path, runs)


def _flat(run: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in run.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _config(run: Mapping[str, Any], where: str) -> dict[str, float]:
    out = {}
    for key, (name, _) in _HYPERPARAMETERS.items():
        value = run[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise MetabenchError(f"{where}: {key} is {value!r}, expected a number")
        out[name] = 1.0 - value if name == "one_minus_momentum" else float(value)
    return out


def _workload(path: Path, runs: list[_Run]) -> Rows:
    tasks = list(dict.fromkeys(run.task for run in runs))
    task = np.array([tasks.index(run.task) for run in runs])
    lengths = np.array(
        [min((len(r.error) for r in runs if r.task == name and not r.diverged), default=0) for name in tasks]
    )
    if not lengths.all():
        raise MetabenchError(
            f"{path}: task {tasks[int(np.argmin(lengths))]} has no finished run with a valid/error_rate"
        )
    error, loss = (np.full((len(runs), lengths.max()), np.nan) for _ in range(2))
    for i, run in enumerate(runs):
        for out, values in ((error, run.error), (loss, run.loss)):
            kept = values[: lengths[task[i]]]
            out[i, : len(kept)] = kept
    frame = frame_of([run.config for run in runs], path)
    _, first, config = np.unique(frame.to_numpy(), axis=0, return_index=True, return_inverse=True)
    log = dict(_HYPERPARAMETERS.values())
    inferred: dict[str, Any] = dict(infer_space(frame))
    space = {name: Float(p.low, p.high, log=log[name]) for name, p in inferred.items()}
    measured = np.isfinite(loss[np.isfinite(error)]).all()
    return Rows(
        workload="pd1",
        space=Space(space),
        configs=frame.iloc[first].reset_index(drop=True),
        tasks=[TaskFacts(name, "error_rate", "min", kind="classification") for name in tasks],
        task=task,
        config=config.ravel(),
        seed=repeats(task, config.ravel()),
        epochs=range(1, int(lengths.max()) + 1),
        series={"valid_score": error} | ({"valid_loss": loss} if measured else {}),
        diverged=np.array([run.diverged for run in runs]),
        seconds=np.array([run.seconds for run in runs]),
        lengths=lengths,
    )
