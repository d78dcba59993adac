"""What training gave on one task of a table: its configurations' scores, learning curves of some, what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from metabench import direction
from metabench.space import Choice, Ordinal
from metabench.table.describe import worst_filled

if TYPE_CHECKING:
    from metabench.space import Parameter, Space
    from metabench.table import Table

#: whose learning curves are shown: label → share of configurations that are better
PICKS = {"best": 0.0, "upper quartile": 0.25, "median": 0.5, "lower quartile": 0.75}
#: groups of equally many configurations that a number's range is cut into
BINS = 8
#: the share of configurations that count as the best ones
TOP = 0.1


@dataclass(frozen=True)
class Pick:
    """One configuration: its place from the top in words, its number, its mean final score, and its curves
    [seeds, checkpoints] of the validation score, NaN from divergence on."""

    label: str
    config_id: int
    score: float
    curves: np.ndarray


@dataclass(frozen=True)
class Setting:
    """One hyperparameter on a task: the best configuration's value, what the best tenth has, and what it explains."""

    name: str
    parameter: Parameter
    best: Any
    #: of numbers the quartiles of the best tenth; of options the most frequent one and its share; None: inactive in all
    low: Any
    high: Any
    share: float
    explains: float


class Trained:
    """What is stored of one task. Missing and diverged runs count as the task's worst; scores are means over seeds."""

    def __init__(self, table: Table, task_id: str):
        row = table.tasks.loc[table.tasks["task_id"] == task_id].iloc[0]
        self.table, self.task_id, self.workload = table, task_id, str(row["workload"])
        self.kind, self.metric, self.direction = str(row["kind"]), str(row["metric"]), str(row["direction"])
        self.chance = float(row["chance"]) if "chance" in row and pd.notna(row["chance"]) else math.nan

    @property
    def sign(self) -> float:
        return direction.sign(self.direction)

    @cached_property
    def space(self) -> Space:
        """The hyperparameters that mean something on this task."""
        return self.table.space(self.workload).for_task(self.kind)

    @cached_property
    def configs(self) -> pd.DataFrame:
        return self.table.configs(self.workload)[list(self.space)]

    @cached_property
    def scores(self) -> np.ndarray:
        """Final validation scores [configs, seeds], larger is better, no gaps; empty where nothing finished."""
        found = worst_filled(self.sign * self.table.final(self.workload, [self.task_id]))[0]
        return found if np.isfinite(found).all() else found[:0]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean over the seeds, [configs], larger is better."""
        return self.scores.mean(axis=1)

    @cached_property
    def order(self) -> np.ndarray:
        """Positions of the configurations, best first; ties in the table's order."""
        return np.argsort(-self.mean, kind="stable")

    @cached_property
    def quantile(self) -> np.ndarray:
        """Share of the configurations that each is no worse than, [configs] in (0, 1); ties share it."""
        return (rankdata(self.mean) - 0.5) / len(self.mean)

    @property
    def seeds(self) -> int:
        return self.scores.shape[1]

    def native(self, score: float) -> float:
        """A score as the metric has it."""
        return self.sign * score

    # ---------------------------------------------------------------- learning curves
    @cached_property
    def epochs(self) -> list[int]:
        """The checkpoints of a run that was not cut short."""
        rows = self.table.runs(self.workload, ["epochs"], [self.task_id])["epochs"].to_pylist()
        return max(rows, key=len, default=[])

    @cached_property
    def picks(self) -> list[Pick]:
        curves = self.table.curves(self.workload, [self.task_id])[0]
        out = []
        for label, better in PICKS.items():
            at = int(self.order[int(better * (len(self.order) - 1))])
            out.append(Pick(label, int(self.configs.index[at]), self.native(float(self.mean[at])), curves[at]))
        return out

    # ---------------------------------------------------------------- hyperparameters
    @cached_property
    def unit(self) -> np.ndarray:
        """The configurations on [0, 1] per hyperparameter, [configs, hyperparameters]; NaN where inactive."""
        return np.where(self.space.active(self.configs), self.space.to_unit(self.configs), np.nan)

    @cached_property
    def explained(self) -> dict[str, float]:
        """Hyperparameter → share of the variance of the configurations' normal scores that it explains alone.

        ε² of a one-way analysis of variance (Kelley, 1935) over its options, or over BINS groups of equally many
        configurations; where it is active in a part only, that part's, times the part's share.
        """
        y = ndtri(self.quantile)
        return {name: _epsilon(self.unit[:, i], y, _groups(p)) for i, (name, p) in enumerate(self.space.items())}

    @cached_property
    def axes(self) -> tuple[str, str]:
        """The two hyperparameters of the landscape: the learning rate, and the other that explains most."""
        ordered = sorted(self.explained, key=lambda name: -self.explained[name])
        first = "learning_rate" if "learning_rate" in ordered else ordered[0]
        return first, next(name for name in ordered if name != first)

    @cached_property
    def settings(self) -> list[Setting]:
        """Every hyperparameter, that which explains most first."""
        top = self.order[: max(1, round(TOP * len(self.order)))]
        ordered = sorted(self.space, key=lambda name: -self.explained[name])
        return [self._setting(name, top) for name in ordered]

    def _setting(self, name: str, top: np.ndarray) -> Setting:
        parameter, column = self.space[name], self.configs[name]
        values, best = column.iloc[top].dropna(), column.iloc[int(self.order[0])]
        low = high = None
        share = math.nan
        if isinstance(parameter, Choice | Ordinal) and len(values):
            counts = values.value_counts()
            low = high = min(counts.index[counts == counts.iloc[0]], key=parameter.options.index)
            share = float(counts.iloc[0] / len(values))
        elif len(values):
            # by order statistics: a quartile that is a configuration's own value
            ordered = np.sort(values.to_numpy(dtype=float))
            low, high = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
        return Setting(name, parameter, None if pd.isna(best) else best, low, high, share, self.explained[name])

    @cached_property
    def best(self) -> Mapping[str, Any]:
        """The best configuration: its active hyperparameters."""
        row: dict[str, Any] = dict(self.configs.iloc[int(self.order[0])])
        return {k: v for k, v in row.items() if not pd.isna(v)}

    @cached_property
    def best_runs(self) -> list[int]:
        """``run_id`` of the best configuration's runs, by seed."""
        rows = self.table.runs(self.workload, ["config_id", "seed", "run_id"], [self.task_id]).to_pylist()
        wanted = int(self.configs.index[int(self.order[0])])
        return [r["run_id"] for r in sorted(rows, key=lambda r: r["seed"]) if r["config_id"] == wanted]

    @cached_property
    def test(self) -> float:
        """Mean test score of the best configuration, as the metric has it; NaN where it has none."""
        found = self.table.final(self.workload, [self.task_id], "test_score")[0][int(self.order[0])]
        return float(np.nanmean(found)) if np.isfinite(found).any() else math.nan


class Across(Trained):
    """Several tasks of one workload as one: a configuration's score is the mean of its quantiles on them."""

    def __init__(self, parts: Sequence[Trained]):
        first = parts[0]
        self.table, self.task_id, self.workload = first.table, first.workload, first.workload
        self.kind, self.metric, self.direction, self.chance = "", "mean quantile", "max", math.nan
        self._parts = parts

    @cached_property
    def space(self) -> Space:
        """All hyperparameters of the workload."""
        return self.table.space(self.workload)

    @cached_property
    def scores(self) -> np.ndarray:
        """Mean quantiles, [configs, 1]."""
        return np.mean([t.quantile for t in self._parts], axis=0)[:, None]

    @cached_property
    def explained(self) -> dict[str, float]:
        """Hyperparameter → mean over the tasks of what it explains alone, 0 where it means nothing."""
        return {name: float(np.mean([t.explained.get(name, 0.0) for t in self._parts])) for name in self.space}


def _groups(parameter: Parameter) -> int:
    return len(parameter.options) if isinstance(parameter, Choice | Ordinal) else BINS


def _epsilon(u: np.ndarray, y: np.ndarray, groups: int) -> float:
    """ε² = (SS_between − (k − 1) MS_within) / SS_total of ``y`` over groups of ``u``, times the share where u is a number."""
    there = np.isfinite(u)
    n = int(there.sum())
    values, found = np.unique(u[there], return_inverse=True)
    if n < 2 * groups or len(values) < 2:
        return 0.0
    if len(values) > groups:
        found = (rankdata(u[there], method="ordinal") - 1).astype(int) * groups // n
    _, found = np.unique(found, return_inverse=True)
    k, part = found.max() + 1, y[there]
    sums, counts = np.bincount(found, part), np.bincount(found)
    total = float(((part - part.mean()) ** 2).sum())
    between = float((counts * (sums / counts - part.mean()) ** 2).sum())
    if total <= 0 or n <= k:
        return 0.0
    within = (total - between) / (n - k)
    return max(0.0, (between - (k - 1) * within) / total) * n / len(u)
