"""Reference results for docs/workloads.md: each workload's default configuration beside a standard method and chance.

    python benchmarks/reference.py WORKLOAD [TASK ...] [--seeds N]

Prints a table in Markdown. Scores are those on the test rows of the first split after the last epoch; ours are means
over seeds (which of a small data set's splits a seed picks does not matter here: all take the first).
"""

from __future__ import annotations

import argparse
import importlib

import numpy as np

from metabench import registry, tasks
from metabench.training import run_cohort


def ours(workload, task, seeds: int) -> float:
    """Mean test score of the default configuration."""
    configs = workload.space.table([workload.space.default()] * seeds)
    curves = run_cohort(workload, task.arrays(0), configs, np.arange(seeds), task.checkpoints, backend="batched")
    return float(curves.test_score[:, -1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload")
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    workload = registry.create("workloads", given.workload)
    reference = importlib.import_module(f"references.{given.workload}")
    chosen = given.tasks or [f"{given.workload}-{name}" for name in reference.TASKS]
    rows = []
    for name in chosen:
        task = tasks.get(name)
        found = reference.scores(task.arrays(0))
        rows.append(
            (
                task.dataset,
                f"{task.chance:.3f}",
                *(f"{v:.3f}" for v in found.values()),
                f"{ours(workload, task, given.seeds):.3f}",
            )
        )
    print("| data set | chance |", " | ".join(found), "| default configuration |")
    print("|---" * (3 + len(found)) + "|")
    for row in rows:
        print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main()
