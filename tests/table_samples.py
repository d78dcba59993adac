"""Small made-up tables for the tests: real schema, invented learning curves that behave like real ones."""

from dataclasses import replace

import numpy as np

from metabench.space import Choice, Float, Int, Space, when
from metabench.table import TableWriter, rows
from metabench.tasks.task import CHECKPOINTS, Task
from metabench.training.curves import SERIES, Curves

SPACE = Space(
    optimizer=Choice("sgd", "adam"),
    beta=Float(0.5, 0.99, reverse=True, when=when("optimizer", "adam")),
    learning_rate=Float(1e-4, 1.0, log=True),
    depth=Int(1, 4),
)


def task(dataset="iris", n_splits=1, family=None, metric="accuracy", **changes):
    """A task that nothing can be trained on."""
    regression = metric == "r2"
    standard = Task(
        task_id=f"mlp-{dataset}",
        dataset=dataset,
        family=family or dataset,
        source="bundled",
        modality="tabular",
        workload="mlp",
        kind="regression" if regression else "classification",
        metric=metric,
        direction="max",
        n_rows=1987,
        n_train=1192,
        n_valid=397,
        n_test=398,
        n_features=4,
        n_classes=0 if regression else 3,
        n_splits=n_splits,
        split_hashes=tuple(f"{i:064x}" for i in range(n_splits)),
        chance=0.25,
        licence="BSD-3-Clause",
        url="",
        features={"log_rows": 5.01, "entropy": 1.1},
        load=lambda split: None,
    )
    return replace(standard, **changes)


def curves(config_ids, seeds, salt=0, checkpoints=CHECKPOINTS, n_valid=397):
    """Power-law curves whose asymptote and rate depend on the configuration, with seed noise; some diverge."""
    n, e = len(config_ids), len(checkpoints)
    out = Curves.empty(n, checkpoints, "fake-1", "test processor")
    epoch = np.asarray(checkpoints, float)
    for i, (config, seed) in enumerate(zip(config_ids, seeds)):
        own = np.random.default_rng([salt, config])
        noise = np.random.default_rng([salt, config, seed, 1])
        floor, rate, gap = own.uniform(0.05, 0.9), own.uniform(0.2, 1), own.uniform(0, 0.4)
        train = (floor + 1.2 * epoch**-rate) * (1 + 0.03 * noise.normal(size=e))
        out.train_loss[i] = train
        for part, size in (("valid", n_valid), ("test", n_valid + 1)):
            loss = train + gap * (1 - epoch**-0.5) + 0.02 * abs(noise.normal(size=e))
            getattr(out, f"{part}_loss")[i] = loss
            counts = np.round(np.exp(-0.6 * loss) * size)
            getattr(out, f"{part}_score")[i] = (counts / size).astype(np.float32)
        diverged = own.random() < 0.1
        out.length[i] = own.integers(0, e) if diverged else e
        out.status[i] = "diverged" if diverged else "ok"
        for name in SERIES:
            getattr(out, name)[i, out.length[i] :] = np.nan
        out.params[i] = 1000 + 10 * config
        out.flops[i] = out.params[i] * 6 * 90 * checkpoints[-1]
        out.seconds[i] = out.flops[i] / 3e9
    return out


def runs_of(task_id, config_ids, seeds, salt=0, **settings):
    cohort = rows.cohort_id(rows.run_ids([task_id] * len(seeds), config_ids, seeds))
    return rows.from_curves(task_id, config_ids, seeds, curves(config_ids, seeds, salt, **settings), cohort)


def write_table(path, datasets=("iris", "wine", "digits"), n_configs=8, n_seeds=2, compact=True, metrics=None):
    """A finished table of a few tasks."""
    metrics = metrics or {}
    with TableWriter(path) as writer:
        writer.put_tasks([task(d, metric=metrics.get(d, "accuracy")) for d in datasets])
        writer.put_configs("mlp", SPACE, n_configs)
        for salt, dataset in enumerate(datasets):
            grid = [(c, s) for c in range(n_configs) for s in range(n_seeds)]
            ids, seeds = (np.array(column) for column in zip(*grid))
            writer.append("mlp", runs_of(f"mlp-{dataset}", ids, seeds, salt))
        if compact:
            writer.compact("mlp")
    return path
