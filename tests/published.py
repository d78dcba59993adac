"""A board with known scores to publish: twelve methods of graded skill search planted tasks."""

import numpy as np
import pyarrow as pa
from fakes import FakeTable, board_for

from metabench import schema
from metabench.scores import score

#: method → how much it knows of a task's order of configurations (0: nothing, 1: everything), seconds it thinks a trial
METHODS = {
    "empirical_gp": (0.46, 0.0021),
    "portfolio": (0.42, 0.00001),
    "xgb_quantile": (0.40, 0.031),
    "metric_knn": (0.39, 0.0043),
    "rgpe": (0.37, 0.064),
    "deep_kernel": (0.33, 0.12),
    "gp": (0.28, 0.9),
    "tpe": (0.22, 0.0032),
    "cmaes": (0.15, 0.0004),
    "sobol": (0.04, 0.00002),
    "grid": (0.02, 0.00001),
    "random": (0.0, 0.00001),
}
TWINS = {"empirical_gp": "gp", "portfolio": "random", "xgb_quantile": "random", "metric_knn": "gp", "rgpe": "gp"}


def planted_table(tasks=20, configs=256, seeds=2):
    """A planted table with the columns of tasks.parquet that pages show."""
    table = FakeTable.planted(tasks=tasks, configs=configs, seeds=seeds, noise=0.05)
    n = np.arange(tasks)
    table.tasks = table.tasks.assign(
        n_rows=1000 + 317 * n, n_train=600 + 190 * n, n_features=8 + n, n_classes=0, chance=0.0, licence="CC0"
    )
    return table


def traces_of(table, board, methods=METHODS):
    """Searches that rank configurations by a mixture of their true and of random normal scores."""
    n = len(table.configs(board.workload))
    rows = []
    for method, (skill, seconds) in methods.items():
        for start in board.starts:
            for task_id in board.tasks(table, "test"):
                truth = np.nan_to_num(table.final(board.workload, [task_id])[0].mean(axis=1))  # diverged: worst
                standard = (truth - truth.mean()) / truth.std()
                for seed in range(board.seeds):
                    rng = np.random.default_rng([seed, len(method), *method.encode(), *task_id.encode()])
                    order = np.argsort(-(skill * standard + (1 - skill) * rng.normal(size=n)), kind="stable")
                    given = {"own": 0, "random5": 5, "portfolio3": 3}[start]
                    shared = np.random.default_rng([seed, *task_id.encode()]).permutation(n)[:given]
                    order = np.concatenate([shared, order[~np.isin(order, shared)]])[: board.budget]
                    cell = f"{method}/{start}/{task_id}/{seed}"
                    overhead = np.full(board.budget, seconds)
                    rows.append((method, start, task_id, seed, order.tolist(), overhead.tolist(), cell))
    columns = [name for name in schema.TRACES.names if name != "epochs"]
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema.TRACES)


def scene(methods=METHODS, *, budget=100, resamples=100, tasks=16, **rules):
    """(board, traces, scores, table) as :func:`metabench.publishing.boards.build.build` takes them."""
    table = planted_table(tasks)
    rules = {"title": "Few-shot search on unseen data sets", "starts": ("own", "random5", "portfolio3")} | rules
    board = board_for(table, budget=budget, seeds=2, **rules)
    traces = traces_of(table, board, methods)
    return board, traces, score(traces, table, board, twins=TWINS, resamples=resamples), table
