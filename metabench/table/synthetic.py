"""Made-up tables of the true schema and any size: what reading, checking and storing cost is measured on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np

from metabench import registry
from metabench.table import manifest, rows
from metabench.table.write import TableWriter, encode_runs
from metabench.tasks.task import Arrays, Task
from metabench.training.curves import Curves

#: as those of the engine, two more
CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50, 71, 100)
#: metrics in turn, in about the shares of the table `starter`
METRICS = ("accuracy", "r2", "accuracy", "balanced_accuracy", "accuracy", "r2", "accuracy", "balanced_accuracy", "r2")
#: runs in one file
FILE_RUNS = 262_144


def write(path: str | Path, tasks: int = 64, configs: int = 4096, seeds: int = 4, workload: str = "mlp") -> Path:
    """A table of tasks × configs × seeds invented runs in the folder ``path``; its bytes follow from the sizes.

    Curves fall as powers of the epoch to an asymptote of the configuration, with seed noise; 2 % of the runs diverge.
    Losses and R² have the digits that training gives, accuracies are counts. ``configs`` is a power of two.
    """
    space = registry.create("workloads", workload).space
    facts = [_task(i, workload) for i in range(tasks)]
    ids, own = np.repeat(np.arange(configs), seeds), np.tile(np.arange(seeds), configs)
    with TableWriter(path) as writer:
        writer.put_tasks(facts)
        writer.put_configs(workload, space, configs)
        step = max(1, FILE_RUNS // len(ids))

        def encoded(first: int) -> bytes:
            parts = [
                rows.from_curves(f.task_id, ids, own, _curves(f, ids, own, salt), cohort=salt)
                for salt, f in enumerate(facts[first : first + step], first)
            ]
            return encode_runs(rows.ordered(rows.join_chunks(parts)))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, content in enumerate(pool.map(encoded, range(0, tasks, step))):
                manifest.commit(writer.path, {f"runs/{workload}-{number:05d}.parquet": content})
    return Path(path)


def _task(i: int, workload: str) -> Task:
    rng = np.random.default_rng(i)
    metric, n = METRICS[i % len(METRICS)], int(np.exp(rng.uniform(np.log(200), np.log(10_000))))
    regression = metric == "r2"
    return Task(
        task_id=f"{workload}-set{i:05d}",
        dataset=f"set{i:05d}",
        family=f"family{i // 2:05d}",
        source="synthetic",
        modality="tabular",
        workload=workload,
        kind="regression" if regression else "classification",
        metric=metric,
        direction="max",
        n_rows=n,
        n_train=n - 2 * (n // 5),
        n_valid=n // 5,
        n_test=n // 5,
        n_features=int(rng.integers(4, 200)),
        n_classes=0 if regression else int(rng.integers(2, 6)),
        n_splits=1,
        split_hashes=(f"{i:064x}",),
        chance=0.0 if regression else 0.4,
        licence="CC0-1.0",
        url="",
        features={"log_rows": float(np.log(n))},
        load=cast("Callable[[int], Arrays]", lambda split: None),
        checkpoints=CHECKPOINTS,
    )


def _curves(task: Task, config_ids: np.ndarray, seeds: np.ndarray, salt: int) -> Curves:
    rng = np.random.default_rng([salt, 1])
    n, shape = len(config_ids), (len(config_ids), len(CHECKPOINTS))
    epoch = np.asarray(CHECKPOINTS, float)
    per_config = rng.uniform([0.02, 0.2, 0.0], [0.9, 1.0, 0.4], (config_ids.max() + 1, 3))
    floor, rate, gap = (column[config_ids, None] for column in per_config.T)
    out = Curves.empty(n, CHECKPOINTS, "resident-1", "synthetic processor")
    out.train_loss[:] = (floor + 1.2 * epoch**-rate) * np.exp(0.03 * rng.normal(size=shape))
    for part, size in (("valid", task.n_valid), ("test", task.n_test)):
        loss = (out.train_loss + gap * (1 - epoch**-0.5)) * np.exp(0.02 * rng.normal(size=shape))
        getattr(out, f"{part}_loss")[:] = loss
        getattr(out, f"{part}_score")[:] = _scores(task, loss, size, rng)
    diverged = rng.random(n) < 0.02
    out.length[:] = np.where(diverged, rng.integers(0, len(CHECKPOINTS), n), len(CHECKPOINTS))
    out.status = ["diverged" if d else "ok" for d in diverged]
    width = 2 ** rng.integers(4, 9, config_ids.max() + 1)
    out.params[:] = (width * (task.n_features + width))[config_ids]
    out.flops[:] = out.params * 6 * task.n_train * CHECKPOINTS[-1]
    out.seconds[:] = out.flops / 4e10 * np.exp(0.1 * rng.normal(size=n))
    return out


def _scores(task: Task, loss: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Scores that loss gives: R², or shares of rows that are right, for all or on average over the classes."""
    if task.metric == "r2":
        return 1.0 - loss
    right = np.exp(-0.6 * loss)
    if task.metric == "accuracy":
        return rng.binomial(size, right) / size
    each = max(2, size // task.n_classes)
    return np.mean([rng.binomial(each, right) / each for _ in range(task.n_classes)], axis=0)
