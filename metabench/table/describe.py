"""Figures about a table: what it holds, what it cost, how noisy and how alike its tasks are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from scipy import stats

from metabench import direction

#: a task is flagged as noisy over this share of seed variance, or under this correlation of valid with test
NOISE_BAR, AGREEMENT_BAR = 0.5, 0.5
#: regret that counts as near the best
NEAR = 0.2


@dataclass(frozen=True)
class Description:
    """Figures of one workload of a table."""

    workload: str
    runs: int
    configs: int
    seeds: int
    diverged: float
    failed: float
    #: processor seconds of all runs, and their training operations
    seconds: float
    flops: float
    #: rows of (device, engine, runs)
    provenance: pd.DataFrame
    #: a row per task: runs, noise (seed variance over configuration variance), seed_rho, valid_test_rho, quantiles of the
    #: final scores (q05, q25, median, q75, q95), best (mean over seeds), trials that random search needs, noisy
    tasks: pd.DataFrame
    #: Spearman correlation between tasks over configurations, [tasks, tasks]
    similarity: np.ndarray

    @property
    def mean_similarity(self) -> float:
        """Mean correlation between two different tasks."""
        return _mean(self.similarity[np.triu_indices(len(self.similarity), 1)])


def describe(table, workload: str) -> Description:
    """Read a workload's rows and compute its Description. Where rows are absent, figures that need them are NaN."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return _describe(table, workload)


def _describe(table, workload: str) -> Description:
    rows = table.runs(workload, ["status", "seconds", "flops", "device", "engine", "task_id"])
    frame = rows.select(["status", "device", "engine"]).to_pandas().astype(str)
    counts = rows["task_id"].cast("string").value_counts()
    present = dict(zip(counts.field(0).to_pylist(), counts.field(1).to_pylist()))
    ids = [t for t in table.tasks["task_id"] if t in present]
    valid, test = (table.final(workload, ids, s) for s in ("valid_score", "test_score"))
    sign = np.where(table.tasks.set_index("task_id").loc[ids, "direction"] == "max", 1.0, -1.0)[:, None, None]
    valid, test = sign * valid, sign * test
    return Description(
        workload=workload,
        runs=len(rows),
        configs=valid.shape[1],
        seeds=valid.shape[2],
        diverged=float((frame["status"] == "diverged").mean()),
        failed=float((frame["status"] == "failed").mean()),
        seconds=float(pc.sum(rows["seconds"]).as_py()),
        flops=float(pc.sum(rows["flops"]).as_py()),
        provenance=frame.groupby(["device", "engine"]).size().rename("runs").reset_index(),
        tasks=pd.DataFrame(
            [
                {"task_id": t, "runs": present[t]} | _noise(v, e) | _difficulty(v)
                for t, v, e in zip(ids, valid, test, strict=True)
            ]
        ),
        similarity=spearman(worst_filled(valid).mean(2)),
    )


def reached(table, task_id: str) -> dict[str, float]:
    """Test scores (means over seeds) that a table's configurations have on a task: their ``median``, and that of the one
    which is ``best`` in validation. A run that diverged counts as the worst. NaN where the table lacks the task.

    Raises MetabenchError for a damaged table.
    """
    workload = task_id.partition("-")[0]
    known = table.tasks.set_index("task_id")["direction"]
    if task_id not in known or workload not in table.workloads:
        return {"median": np.nan, "best": np.nan}
    sign = direction.sign(known[task_id])
    valid, test = (
        worst_filled(sign * table.final(workload, [task_id], series))[0].mean(1)
        for series in ("valid_score", "test_score")
    )
    return {"median": float(sign * np.median(test)), "best": float(sign * test[np.argmax(valid)])}


def spearman(rows: np.ndarray) -> np.ndarray:
    """Spearman correlations between the rows of [n, k], [n, n]; NaN for a constant row."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(stats.rankdata(rows, axis=1)))


def worst_filled(scores: np.ndarray) -> np.ndarray:
    """Scores [tasks, configs, seeds] with missing ones (diverged) at the task's worst; NaN where a task has none."""
    worst = np.where(np.isnan(scores), np.inf, scores).min(axis=(1, 2), keepdims=True)
    return np.where(np.isnan(scores), np.where(np.isfinite(worst), worst, np.nan), scores)


def _noise(valid: np.ndarray, test: np.ndarray) -> dict:
    """Noise figures of one task from scores [configs, seeds], larger is better.

    Scores are clipped at the 5th percentile: the tail of bad configurations would drown both variances.
    """
    if not np.isfinite(valid).any():
        return {**dict.fromkeys(("noise", "seed_rho", "valid_test_rho"), np.nan), "noisy": True}
    low = np.nanquantile(valid, 0.05)
    clipped = np.maximum(np.where(np.isnan(valid), low, valid), low)
    clipped_test = np.maximum(np.where(np.isnan(test), -np.inf, test), np.nanquantile(test, 0.05))
    between = clipped.mean(1).var(ddof=1)
    within = clipped.var(axis=1, ddof=1).mean() if clipped.shape[1] > 1 else np.nan
    spearman: Any = stats.spearmanr
    rho = spearman(clipped[:, 0], clipped[:, 1]).statistic if clipped.shape[1] > 1 else np.nan
    agreement = spearman(clipped.mean(1), clipped_test.mean(1)).statistic
    noise = within / between if between > 0 else np.inf
    return {
        "noise": noise,
        "seed_rho": rho,
        "valid_test_rho": agreement,
        "noisy": bool(noise > NOISE_BAR or not agreement > AGREEMENT_BAR),
    }


def _difficulty(valid: np.ndarray) -> dict:
    """Quantiles of one task's scores [configs, seeds] (larger is better), the best mean over seeds, and ``trials``: how
    many random configurations reach a regret of NEAR on average, (n + 1) / (k + 1) where k of n do.

    Regret is (best − score) / (best − median), both over configurations; a run that diverged counts as the worst.
    """
    names = ("q05", "q25", "median", "q75", "q95")
    if not np.isfinite(valid).any():
        return dict.fromkeys((*names, "best", "trials"), np.nan)
    quantiles = dict(zip(names, np.nanquantile(valid, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist(), strict=True))
    mean = worst_filled(valid[None])[0].mean(1)
    best, median = mean.max(), np.median(mean)
    near = int((best - mean <= NEAR * (best - median)).sum())
    return {**quantiles, "best": float(best), "trials": (len(mean) + 1) / (near + 1)}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def at_bounds(table, workload: str, margin: float = 0.025) -> pd.DataFrame:
    """For every Float hyperparameter: the share of tasks whose best configuration lies within ``margin`` of an end of
    its (scaled) range, columns hyperparameter, low, high. 0.025 is what chance gives on either side."""
    space, configs = table.space(workload), table.configs(workload)
    ids = table.tasks.loc[table.tasks["workload"] == workload, "task_id"].tolist()
    scores = worst_filled(table.final(workload, ids))
    best = scores[np.isfinite(scores).all(axis=(1, 2))].mean(2).argmax(1)
    unit = space.to_unit(configs)
    rows = []
    for i, (name, p) in enumerate(space.items()):
        if p.dtype == "float64":
            u = unit[best, i]
            u = u[np.isfinite(u)]
            rows.append({"hyperparameter": name, "low": _mean(u < margin), "high": _mean(u > 1 - margin)})
    return pd.DataFrame(rows)
