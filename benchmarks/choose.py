"""Which meta-model ships: searches on the table `core`, a fifth of the families held out in turn, replayed from its rows.

    python benchmarks/choose.py portfolio empirical_gp xgb_rank metric_knn xgb_quantile

Prints valid regret (0: the task's best configuration with that seed, 1: its median one), means and interquartile means over
tasks and two seeds, after MARKS trials.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from metabench import load_table, registry
from metabench.search.base import History, Problem

MARKS, FOLDS, TABLE, WORKLOAD = (1, 2, 3, 5, 10, 20), 5, "core", "mlp"


def regrets(scores: np.ndarray, sign: float, order: list[int]) -> list[float]:
    """Regret at MARKS of trying configurations in an order; ``scores`` [configs], NaN where a run diverged."""
    y = np.where(np.isnan(scores), -np.inf, sign * scores)
    finite = y[np.isfinite(y)]
    best, median = finite.max(), np.median(np.where(np.isfinite(y), y, finite.min()))
    found = np.clip((best - np.maximum.accumulate(y[order])) / max(best - median, 1e-12), 0.0, 1.0)
    return [float(found[m - 1]) for m in MARKS]


def main(names: list[str]) -> None:
    table = load_table(TABLE)
    ids = table.tasks.loc[table.tasks["workload"] == WORKLOAD, "task_id"].tolist()
    whole = table.ran(WORKLOAD, ids).all(axis=(1, 2))
    source = table.meta_train(WORKLOAD, [i for i, made in zip(ids, whole) if made])
    families = sorted({t.family for t in source.tasks})
    fold = {families[p]: i % FOLDS for i, p in enumerate(np.random.default_rng(0).permutation(len(families)))}
    for name in names:
        found, thought = [], 0.0
        for f in range(FOLDS):
            train = [i for i, t in enumerate(source.tasks) if fold[t.family] != f]
            model = registry.create("metamodels", name).fit(source.select(train))
            for t in sorted(set(range(len(source.tasks))) - set(train)):
                info = source.tasks[t]
                for seed in range(source.scores.shape[2]):
                    began = time.perf_counter()
                    history = History()
                    search = model.start(Problem(source.space, info, source.configs, max(MARKS)), seed)
                    for _ in range(max(MARKS)):
                        c = search.ask(history)
                        history.add(c, source.scores[t, c, seed])
                    thought += time.perf_counter() - began
                    sign = 1.0 if info.direction == "max" else -1.0
                    found.append(regrets(source.scores[t, :, seed], sign, history.candidates))
        values = np.sort(found, axis=0)
        middle = values[len(values) // 4 : len(values) - len(values) // 4].mean(axis=0)
        means = ", ".join(f"{m}: {a:.3f} ({b:.3f})" for m, a, b in zip(MARKS, np.mean(found, axis=0), middle))
        print(f"{name}: {means}; {1e3 * thought / len(found) / max(MARKS):.0f} ms a suggestion", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
