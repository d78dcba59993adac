"""Which meta-model ships: searches on the table `core`, a fifth of the families held out in turn, replayed from its rows.

    python benchmarks/choose.py portfolio empirical_gp xgb_rank metric_knn xgb_quantile
    python benchmarks/choose.py weights       # a portfolio whose source tasks weigh by how like the new one they are

Prints valid regret (0: the task's best configuration with that seed, 1: its median one), means and interquartile means over
tasks and two seeds, after MARKS trials.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from metabench import load_table, registry
from metabench.metamodels.portfolio import regrets as losses
from metabench.search.base import History, Problem

MARKS, FOLDS, TABLE, WORKLOAD = (1, 2, 3, 5, 10, 20), 5, "core", "mlp"


def curve(scores: np.ndarray, sign: float, order: list[int]) -> np.ndarray:
    """Regret after each trial of trying configurations in an order; ``scores`` [configs], NaN where a run diverged."""
    y = np.where(np.isnan(scores), -np.inf, sign * scores)
    finite = y[np.isfinite(y)]
    best, median = finite.max(), np.median(np.where(np.isfinite(y), y, finite.min()))
    return np.clip((best - np.maximum.accumulate(y[order])) / max(best - median, 1e-12), 0.0, 1.0)


def regrets(scores: np.ndarray, sign: float, order: list[int]) -> list[float]:
    """:func:`curve` at MARKS."""
    return curve(scores, sign, order)[np.array(MARKS) - 1].tolist()


def held_out():
    """The source, and for each fold the positions of its training and of its held-out tasks."""
    table = load_table(TABLE, 1)
    ids = table.tasks.loc[table.tasks["workload"] == WORKLOAD, "task_id"].tolist()
    whole = table.ran(WORKLOAD, ids).all(axis=(1, 2))
    source = table.meta_train(WORKLOAD, [i for i, made in zip(ids, whole) if made])
    families = sorted({t.family for t in source.tasks})
    fold = {families[p]: i % FOLDS for i, p in enumerate(np.random.default_rng(0).permutation(len(families)))}
    of = np.array([fold[t.family] for t in source.tasks])
    return source, [(np.flatnonzero(of != f), np.flatnonzero(of == f)) for f in range(FOLDS)]


def said(name: str, found: list[list[float]], more: str = "") -> None:
    values = np.sort(found, axis=0)
    middle = values[len(values) // 4 : len(values) - len(values) // 4].mean(axis=0)
    means = ", ".join(f"{m}: {a:.3f} ({b:.3f})" for m, a, b in zip(MARKS, np.mean(found, axis=0), middle))
    print(f"{name}: {means}{more}", flush=True)


def methods(names: list[str]) -> None:
    source, folds = held_out()
    for name in names:
        found, thought = [], 0.0
        for train, test in folds:
            model = registry.create("metamodels", name).fit(source.select(train))
            for t in test:
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
        said(name, found, f"; {1e3 * thought / len(found) / max(MARKS):.0f} ms a suggestion")


def weights() -> None:
    """Tasks weigh exp(−d² / (2 h² median d²)), d the distance of standardised task features; none: all weigh the same."""
    source, folds = held_out()
    loss = losses(source)
    for width in (None, 0.3, 0.5, 0.7, 1.0, 1.5):
        found = []
        for train, test in folds:
            known = source.features[train]
            centre, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
            x = np.clip(np.nan_to_num((source.features - centre) / np.where(spread > 0, spread, 1.0)), -3.0, 3.0)
            for t in test:
                d = ((x[train] - x[t]) ** 2).sum(axis=1)
                w = np.ones(len(train)) if width is None else np.exp(-d / (2 * width**2 * np.median(d))) + 1e-6
                order, reached = [], np.ones(len(train))
                for _ in range(max(MARKS)):
                    gain = w @ np.maximum(reached[:, None] - loss[train], 0.0)
                    gain[order] = -1.0
                    order.append(int(gain.argmax()))
                    reached = np.minimum(reached, loss[train][:, order[-1]])
                sign = 1.0 if source.tasks[t].direction == "max" else -1.0
                found += [regrets(source.scores[t, :, seed], sign, order) for seed in range(source.scores.shape[2])]
        said(f"width {width}", found)


if __name__ == "__main__":
    weights() if sys.argv[1:] == ["weights"] else methods(sys.argv[1:])
