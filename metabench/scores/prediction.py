"""How good predictions are: Spearman's correlation, RMSE, CRPS and coverage on the scale of normal scores.

The truth on a task is the normal score of each configuration's stored validation score (of the search's own table
seed). A prediction, standardised over the pool, becomes a normal distribution with mean a·z and standard deviation c·s;
a and c are two numbers for each method and number of observed trials, fitted on the meta-validation tasks, so that no
method gains or loses by the units in which it thinks. Only configurations that were not observed are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import optimize, stats

from metabench import direction
from metabench.errors import MetabenchError, UsageError
from metabench.scores.aggregate import Hierarchy

if TYPE_CHECKING:
    from metabench.boards.board import Board

#: coverage is that of the central interval of this probability
LEVEL = 0.9
MEASURES = ("spearman", "rmse", "crps", "coverage")
#: least standard deviation of a prediction, in units of the spread of the predicted means
SMALLEST = 1e-3
#: the row of a method that knows nothing: every configuration is standard normal
PRIOR = "(standard normal)"


@dataclass(frozen=True)
class PredictionScores:
    """``summary``: method, observed, and for each of MEASURES its interquartile mean over families with ``*_low`` and
    ``*_high`` (95 %), overhead_s; ``tasks``: method, observed, task_id, family and the measures (means over seeds)."""

    summary: pd.DataFrame
    tasks: pd.DataFrame

    def __str__(self) -> str:
        columns = ["method", "observed", *MEASURES]
        return self.summary[columns].to_string(index=False, float_format=lambda x: f"{x:.3f}")


def crps_normal(truth: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of normal predictions (Gneiting & Raftery, 2007, Eq. 21)."""
    z = (truth - mean) / std
    return std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Φ⁻¹((rank − .5)/n) along the last axis, larger is better; what is not finite shares the lowest rank."""
    ranks = stats.rankdata(np.where(np.isfinite(values), values, -np.inf), axis=-1)
    return stats.norm.ppf((ranks - 0.5) / values.shape[-1])


def score_predictions(
    predictions: pa.Table, table, board: Board, *, resamples: int = 1000, seed: int = 0
) -> PredictionScores:
    """Score predictions (schema PREDICTIONS) on the board.

    Raises UsageError when the board has no meta-validation tasks to calibrate on, MetabenchError when a method lacks a
    cell or predicts for another number of configurations than the table has.
    """
    board.check(table)
    parts = {part: board.tasks(table, part) for part in ("valid", "test")}
    if not parts["valid"]:
        raise UsageError(f"board {board.name}: predictions are calibrated on meta-valid, which is empty")
    task_ids = parts["valid"] + parts["test"]
    sign = np.array([direction.sign(table.task_info(t).direction) for t in task_ids])[:, None, None]
    final = sign * table.final(board.workload, task_ids)  # [tasks, configs, table seeds]
    truth = normal_scores(np.moveaxis(final, -1, 1))  # [tasks, table seeds, configs]
    families = [table.task_info(t).family for t in parts["test"]]
    hierarchy = Hierarchy.build(families, board.seeds, resamples, seed)
    n_valid = len(parts["valid"])
    summaries, tasks = [], []

    def add(method: str, observed: int, cells: np.ndarray, overhead: float) -> None:
        row = {"method": method, "observed": observed}
        for m, name in enumerate(MEASURES):
            low, high = hierarchy.interval(cells[m])
            row |= {name: float(hierarchy.estimate(cells[m])), f"{name}_low": float(low), f"{name}_high": float(high)}
        summaries.append(row | {"overhead_s": overhead})
        for t, task_id in enumerate(parts["test"]):
            values = dict(zip(MEASURES, cells[:, t].mean(axis=1).tolist(), strict=True))
            tasks.append({"method": method, "observed": observed, "task_id": task_id, "family": families[t]} | values)

    levels: dict[int, None] = {}
    for (method, observed), grid in _grids(predictions, task_ids, board.seeds, truth.shape[2]).items():
        target = np.stack([truth[:, s % truth.shape[1]] for s in range(board.seeds)], axis=1)
        slope, width = calibrate(grid.mean[:n_valid], grid.std[:n_valid], target[:n_valid], grid.judged[:n_valid])
        at = slice(n_valid, None)
        add(
            method,
            observed,
            measure(slope * grid.mean[at], width * grid.std[at], target[at], grid.judged[at]),
            float(grid.overhead.mean()),
        )
        if observed not in levels:  # the trials that are shown are the same for all methods
            levels[observed] = None
            zero = np.zeros_like(grid.mean[at])
            add(PRIOR, observed, measure(zero, zero + 1, target[at], grid.judged[at]), 0.0)
    summary = pd.DataFrame(summaries).sort_values(["observed", "crps", "method"], ignore_index=True)
    return PredictionScores(summary, pd.DataFrame(tasks))


@dataclass(frozen=True)
class Grid:
    """Predictions of one method after one number of trials, each [tasks, seeds, configs]; ``overhead`` [tasks, seeds]."""

    mean: np.ndarray
    std: np.ndarray
    #: bool: was not observed
    judged: np.ndarray
    overhead: np.ndarray


def _grids(predictions: pa.Table, task_ids: list[str], seeds: int, n: int) -> dict[tuple[str, int], Grid]:
    position = {task_id: i for i, task_id in enumerate(task_ids)}
    shape = (len(task_ids), seeds, n)
    out: dict[tuple[str, int], Grid] = {}
    for row in predictions.to_pylist():
        where = f"predictions: method {row['method']}, task {row['task_id']}, seed {row['seed']}"
        if row["task_id"] not in position or not 0 <= row["seed"] < seeds:
            raise MetabenchError(f"{where} is no cell of this board")
        if len(row["mean"]) != n or len(row["std"]) != n or any(not 0 <= c < n for c in row["config_ids"]):
            raise MetabenchError(f"{where} speaks of {len(row['mean'])} configurations, the table has {n}")
        key = row["method"], len(row["config_ids"])
        if key not in out:
            out[key] = Grid(
                np.full(shape, np.nan), np.full(shape, np.nan), np.ones(shape, bool), np.full(shape[:2], np.nan)
            )
        at = position[row["task_id"]], row["seed"]
        grid = out[key]
        grid.mean[at], grid.std[at], grid.overhead[at] = row["mean"], np.maximum(row["std"], SMALLEST), row["overhead"]
        grid.judged[at][row["config_ids"]] = False
    for (method, observed), grid in out.items():
        absent = np.isnan(grid.mean).any(axis=2) | np.isnan(grid.std).any(axis=2)
        if absent.any():
            t, s = np.argwhere(absent)[0]
            raise MetabenchError(
                f"predictions: method {method}, {observed} observed: task {task_ids[t]}, seed {s} is absent"
            )
    return out


def calibrate(mean: np.ndarray, std: np.ndarray, truth: np.ndarray, judged: np.ndarray) -> tuple[float, float]:
    """Slope a ≥ 0 of least squares, and the width c with the least CRPS, over the judged cells."""
    z, s, t = mean[judged], std[judged], truth[judged]
    slope = max(0.0, float((z * t).sum() / (z**2).sum())) if (z**2).sum() > 0 else 0.0
    found = optimize.minimize_scalar(
        lambda log: crps_normal(t, slope * z, np.exp(log) * s).mean(), bounds=(-7, 7), method="bounded"
    )
    return slope, float(np.exp(found.x))


def measure(mean: np.ndarray, std: np.ndarray, truth: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """MEASURES of every cell, [measures, tasks, seeds]; a constant prediction has correlation 0."""
    half = stats.norm.ppf(0.5 + LEVEL / 2)
    out = np.empty((len(MEASURES), *mean.shape[:2]))
    for at in np.ndindex(mean.shape[:2]):
        m, s, t = (a[at][judged[at]] for a in (mean, std, truth))
        flat = m.std() < 1e-12
        out[(0, *at)] = 0.0 if flat else cast(Any, stats.spearmanr(m, t)).statistic
        out[(1, *at)] = np.sqrt(((m - t) ** 2).mean())
        out[(2, *at)] = crps_normal(t, m, s).mean()
        out[(3, *at)] = (np.abs(t - m) <= half * s).mean()
    return out
