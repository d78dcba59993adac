"""Traces, table and board → Scores. Traces hold configuration ids only; every value is looked up here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench.errors import MetabenchError, UsageError
from metabench.evaluate.store import TWINS
from metabench.scores.aggregate import Hierarchy
from metabench.scores.compare import against, compare, improvement, negative_transfer
from metabench.scores.regret import Reference, Regrets
from metabench.search.starts import STARTS

if TYPE_CHECKING:
    from metabench.leaderboard.board import Board


#: the method that all should beat
REFERENCE = "random"


@dataclass(frozen=True)
class Scores:
    """Everything that a leaderboard reports. Regrets are in [0, 1] (test: [−1, 1]), smaller is better.

    Aggregates are interquartile means over families with a 95 % interval ``*_low`` … ``*_high``.
    """

    #: method, start, mark, valid_regret (+ _low, _high), test_regret (+ _low, _high), minmax_regret, mean_rank,
    #: overhead_s: mean seconds that the method thought, summed over the trials up to the mark
    summary: pd.DataFrame
    #: method, start, trial, valid_regret (+ _low, _high), test_regret (+ _low, _high), mean_rank
    curves: pd.DataFrame
    #: method, start, task_id, family, mark, valid_regret, test_regret, mean_rank (means over seeds)
    tasks: pd.DataFrame
    #: task_id, family, test_regret of the valid oracle (mean over seeds)
    noise_floor: pd.DataFrame
    #: its aggregate: test_regret, low, high
    floor: dict[str, float]
    #: start, mark, method_a, method_b, difference (mean valid regret a − b over tasks), p, p_holm, improvement (the
    #: probability that a does better)
    pairs: pd.DataFrame
    #: start, mark, control, method, difference (mean valid regret method − control over tasks), p, p_holm (over the pairs
    #: with this control); the controls are the first of the ranking and, where it is another, REFERENCE
    controls: pd.DataFrame
    #: start, mark, methods, tasks, statistic, p, cd (Nemenyi critical difference of average ranks)
    friedman: pd.DataFrame
    #: start, mark, method, average_rank (over tasks), groups (numbers of the bars that join it with its equals)
    critical: pd.DataFrame
    #: method, twin, start, mark, tasks, share (of tasks that trail by > .01), worst_tenth (mean trail there)
    negative_transfer: pd.DataFrame

    def __str__(self) -> str:
        columns = ["method", "start", "mark", "valid_regret", "valid_low", "valid_high", "test_regret", "mean_rank"]
        return self.summary[columns].to_string(index=False, float_format=lambda x: f"{x:.3f}")


@dataclass(frozen=True)
class Cells:
    """Traces in a grid: ``configs`` int [groups, tasks, seeds, trials], ``overhead`` seconds alike."""

    groups: list[tuple[str, str]]
    task_ids: list[str]
    seeds: np.ndarray
    configs: np.ndarray
    overhead: np.ndarray


def score(
    traces: pa.Table,
    table,
    board: Board,
    *,
    twins: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score traces (schema TRACES) on the board, narrowed to the profile that they were made with.

    ``twins`` maps methods to the method that does the same without transfer; by default it is read from the metadata
    that :func:`metabench.evaluate.evaluate` writes. ``resamples`` and ``seed`` belong to the bootstrap.

    Raises MetabenchError when the table is not the board's, when a method lacks cells, or when a trace is no valid
    search: of another length than the budget, with a configuration that does not exist or one that is tried twice.
    """
    board.check(table)
    task_ids = board.tasks(table, "test")
    infos = [table.task_info(t) for t in task_ids]
    sign = np.array([1.0 if info.direction == "max" else -1.0 for info in infos])[:, None, None]
    final = {s: sign * table.final(board.workload, task_ids, s) for s in ("valid_score", "test_score")}
    reference = Reference(final["valid_score"], final["test_score"])
    cells = gather(traces, task_ids, board, n_configs=final["valid_score"].shape[1])
    regrets = reference.regrets(cells.configs, cells.seeds)
    families = [info.family for info in infos]
    hierarchy = Hierarchy.build(families, len(cells.seeds), resamples, seed)
    ranks = _ranks(cells.groups, regrets.incumbent)
    curves = _curves(cells, regrets, ranks, hierarchy)
    if twins is None:
        twins = json.loads((traces.schema.metadata or {}).get(TWINS, b"{}"))
    summary = _summary(cells, regrets, hierarchy, curves, board.marks)
    frames = _comparisons(cells, regrets, hierarchy, summary)
    floor = reference.floor[:, cells.seeds % reference.floor.shape[1]]
    low, high = hierarchy.interval(floor)
    return Scores(
        summary=summary,
        curves=curves,
        tasks=_tasks(cells, regrets, ranks, families, board.marks),
        noise_floor=pd.DataFrame({"task_id": task_ids, "family": families, "test_regret": floor.mean(axis=1)}),
        floor={"test_regret": float(hierarchy.estimate(floor)), "low": float(low), "high": float(high)},
        negative_transfer=_transfer(cells, regrets, dict(twins), board.marks),
        **frames,
    )


# ---------------------------------------------------------------- traces → grid
def gather(traces: pa.Table, task_ids: list[str], board: Board, n_configs: int) -> Cells:
    """The grid of cells, each checked. Raises MetabenchError naming the first cell that is wrong or absent."""
    if traces.num_rows == 0:
        raise UsageError("there are no traces to score")
    frame = traces.select(["method", "start", "task_id", "seed"]).to_pandas()
    if unknown := sorted(set(frame["task_id"]) - set(task_ids)):
        raise MetabenchError(f"traces: task {unknown[0]!r} is not in meta-test of board {board.name}")
    if unknown := sorted(set(frame["start"]) - set(STARTS)):
        raise MetabenchError(f"traces: unknown start {unknown[0]!r}; known: {', '.join(STARTS)}")
    groups = list(dict.fromkeys(zip(frame["method"], frame["start"], strict=True)))
    shape = (len(groups), len(task_ids), board.seeds)
    codes = (
        pd.MultiIndex.from_frame(frame[["method", "start"]]).map({g: i for i, g in enumerate(groups)}),
        frame["task_id"].map({t: i for i, t in enumerate(task_ids)}),
        frame["seed"],
    )
    at = tuple(np.asarray(c, dtype=np.int64) for c in codes)
    if (at[2] < 0).any() or (at[2] >= board.seeds).any():
        raise MetabenchError(f"traces: a search seed lies outside 0 … {board.seeds - 1}")
    count = np.zeros(shape, dtype=int)
    np.add.at(count, at, 1)
    if (count != 1).any():
        g, t, s = np.argwhere(count != 1)[0]
        cell = f"method {groups[g][0]}, start {groups[g][1]}, task {task_ids[t]}, seed {s}"
        raise MetabenchError(f"traces: the cell of {cell} is {'absent' if count[g, t, s] == 0 else 'there twice'}")
    arrays = []
    for name in ("config_ids", "overhead"):
        column = traces[name].combine_chunks()
        length = column.value_lengths().fill_null(0).to_numpy()
        flat = column.flatten()
        if (length != board.budget).any() or flat.null_count:
            row = int(np.argmax(length != board.budget))
            what = f"method {frame['method'][row]}, task {frame['task_id'][row]}"
            raise MetabenchError(f"traces: {what}: {name} has {length[row]} values, the budget is {board.budget}")
        grid = np.empty((*shape, board.budget), dtype=np.int64 if name == "config_ids" else np.float64)
        grid[at] = flat.to_numpy().reshape(-1, board.budget)
        arrays.append(grid)
    ordered = np.sort(arrays[0], axis=-1)
    wrong = (ordered[..., 0] < 0) | (ordered[..., -1] >= n_configs) | (np.diff(ordered, axis=-1) == 0).any(axis=-1)
    if wrong.any():
        g, t, s = np.argwhere(wrong)[0]
        what = f"method {groups[g][0]}, start {groups[g][1]}, task {task_ids[t]}, seed {s}"
        raise MetabenchError(f"traces: {what}: config_ids must be distinct and in 0 … {n_configs - 1}")
    return Cells(groups, list(task_ids), np.arange(board.seeds), *arrays)


# ---------------------------------------------------------------- grid → frames
def _ranks(groups: list[tuple[str, str]], incumbent: np.ndarray) -> np.ndarray:
    """Rank among the methods with the same start by the incumbent's valid score, 1 is best, ties averaged."""
    from scipy.stats import rankdata

    ranks = np.empty_like(incumbent)
    for start in dict.fromkeys(start for _, start in groups):
        rows = [g for g, (_, s) in enumerate(groups) if s == start]
        ranks[rows] = rankdata(-incumbent[rows], axis=0)
    return ranks


def _curves(cells: Cells, regrets: Regrets, ranks: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
    n_trials = cells.configs.shape[-1]
    columns: dict[str, np.ndarray] = {
        "method": np.repeat([m for m, _ in cells.groups], n_trials),
        "start": np.repeat([s for _, s in cells.groups], n_trials),
        "trial": np.tile(np.arange(1, n_trials + 1), len(cells.groups)),
    }
    for name, values in (("valid", regrets.valid), ("test", regrets.test)):
        by_trial = np.moveaxis(values, -1, 1)
        low, high = hierarchy.interval(by_trial)
        columns[f"{name}_regret"] = hierarchy.estimate(by_trial).ravel()
        columns[f"{name}_low"], columns[f"{name}_high"] = low.ravel(), high.ravel()
    columns["mean_rank"] = hierarchy.families(np.moveaxis(ranks, -1, 1)).mean(axis=-1).ravel()
    return pd.DataFrame(columns)


def _summary(
    cells: Cells, regrets: Regrets, hierarchy: Hierarchy, curves: pd.DataFrame, marks: tuple[int, ...]
) -> pd.DataFrame:
    out = curves[curves["trial"].isin(marks)].rename(columns={"trial": "mark"}).reset_index(drop=True)
    at = np.array(marks) - 1
    minmax = hierarchy.estimate(np.moveaxis(regrets.minmax[..., at], -1, 1))
    out.insert(out.columns.get_loc("mean_rank"), "minmax_regret", minmax.ravel())
    out["overhead_s"] = cells.overhead.cumsum(axis=-1)[..., at].mean(axis=(1, 2)).ravel()
    return out


def _tasks(
    cells: Cells, regrets: Regrets, ranks: np.ndarray, families: list[str], marks: tuple[int, ...]
) -> pd.DataFrame:
    at = np.array(marks) - 1
    index = pd.MultiIndex.from_product(
        [range(len(cells.groups)), range(len(cells.task_ids)), marks], names=["group", "task", "mark"]
    ).to_frame(index=False)
    return pd.DataFrame(
        {
            "method": [cells.groups[g][0] for g in index["group"]],
            "start": [cells.groups[g][1] for g in index["group"]],
            "task_id": [cells.task_ids[t] for t in index["task"]],
            "family": [families[t] for t in index["task"]],
            "mark": index["mark"],
            "valid_regret": regrets.valid[..., at].mean(axis=2).ravel(),
            "test_regret": regrets.test[..., at].mean(axis=2).ravel(),
            "mean_rank": ranks[..., at].mean(axis=2).ravel(),
        }
    )


def ordered(summary: pd.DataFrame, start: str, mark: int) -> list[str]:
    """The methods from a start in the order of the ranking: by valid regret at a mark, then mean rank, then name."""
    at = summary[(summary["start"] == start) & (summary["mark"] == mark)]
    return at.sort_values(["valid_regret", "mean_rank", "method"])["method"].tolist()


def _comparisons(
    cells: Cells, regrets: Regrets, hierarchy: Hierarchy, summary: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    pairs, controls, friedman, critical = [], [], [], []
    marks = list(dict.fromkeys(summary["mark"].tolist()))
    weights = hierarchy.weights.reshape(*hierarchy.weights.shape[:1], -1, len(cells.seeds)).sum(axis=2).mean(axis=0)
    for start in dict.fromkeys(start for _, start in cells.groups):
        rows = [g for g, (_, s) in enumerate(cells.groups) if s == start]
        names = [cells.groups[g][0] for g in rows]
        for mark in marks:
            here = regrets.valid[rows, :, :, mark - 1]
            means = here.mean(axis=2)
            result, better = compare(means), improvement(here, weights)
            head = {"start": start, "mark": mark}
            for (i, j), p, q in zip(result.pairs, result.p_pairs, result.p_holm, strict=True):
                gap = float((means[i] - means[j]).mean())
                row = {"method_a": names[i], "method_b": names[j], "difference": gap, "p": p, "p_holm": q}
                pairs.append(head | row | {"improvement": float(better[i, j])})
            for control in dict.fromkeys([ordered(summary, start, mark)[0], REFERENCE]):
                if control not in names or len(names) < 2:
                    continue
                test = against(means, names.index(control))
                for name, gap, p, q in zip(names, test.difference, test.p, test.p_holm, strict=True):
                    if name != control:
                        row = {"control": control, "method": name, "difference": gap, "p": p, "p_holm": q}
                        controls.append(head | row)
            size = {"methods": len(names), "tasks": means.shape[1]}
            friedman.append(head | size | {"statistic": result.statistic, "p": result.p, "cd": result.cd})
            for i, name in enumerate(names):
                bars = [k for k, group in enumerate(result.groups) if i in group]
                critical.append(head | {"method": name, "average_rank": float(result.ranks[i]), "groups": bars})
    columns = ["start", "mark", "method_a", "method_b", "difference", "p", "p_holm", "improvement"]
    against_columns = ["start", "mark", "control", "method", "difference", "p", "p_holm"]
    return {
        "pairs": pd.DataFrame(pairs, columns=columns),
        "controls": pd.DataFrame(controls, columns=against_columns),
        "friedman": pd.DataFrame(friedman),
        "critical": pd.DataFrame(critical),
    }


def _transfer(cells: Cells, regrets: Regrets, twins: dict[str, str], marks: tuple[int, ...]) -> pd.DataFrame:
    where = {group: g for g, group in enumerate(cells.groups)}
    means = regrets.valid.mean(axis=2)
    rows = []
    for g, (method, start) in enumerate(cells.groups):
        twin = where.get((twins.get(method), start))
        for mark in marks if twin is not None else ():
            share, worst = negative_transfer(means[g, :, mark - 1], means[twin, :, mark - 1])
            head = {"method": method, "twin": twins[method], "start": start, "mark": mark}
            rows.append(head | {"tasks": means.shape[1], "share": share, "worst_tenth": worst})
    return pd.DataFrame(rows, columns=["method", "twin", "start", "mark", "tasks", "share", "worst_tenth"])
