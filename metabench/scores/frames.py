"""Searches' courses → the data frames of Scores: summary, curves, tasks, comparisons, negative transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metabench.scores.aggregate import Hierarchy
from metabench.scores.compare import against, compare, improvement, negative_transfer
from metabench.scores.paths import Paths

if TYPE_CHECKING:
    pass


#: the method that all should beat
REFERENCE = "random"


def method_ranks(groups: list[tuple[str, str]], incumbent: np.ndarray) -> np.ndarray:
    """Rank among the methods with the same start by the incumbent's valid score, 1 is best, ties averaged."""
    from scipy.stats import rankdata

    ranks = np.empty_like(incumbent)
    for start in dict.fromkeys(start for _, start in groups):
        rows = [g for g, (_, s) in enumerate(groups) if s == start]
        ranks[rows] = rankdata(-incumbent[rows], axis=0)
    return ranks


def curve_frame(paths: Paths, ranks: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
    n_points = len(paths.points)
    columns: dict[str, np.ndarray] = {
        "method": np.repeat([m for m, _ in paths.groups], n_points),
        "start": np.repeat([s for _, s in paths.groups], n_points),
        paths.axis: np.tile(paths.points, len(paths.groups)),
    }
    for name, values in (("valid", paths.regrets.valid), ("test", paths.regrets.test)):
        by_point = np.moveaxis(values, -1, 1)
        low, high = hierarchy.interval(by_point)
        columns[f"{name}_regret"] = hierarchy.estimate(by_point).ravel()
        columns[f"{name}_low"], columns[f"{name}_high"] = low.ravel(), high.ravel()
    columns["mean_rank"] = hierarchy.families(np.moveaxis(ranks, -1, 1)).mean(axis=-1).ravel()
    return pd.DataFrame(columns)


def seconds_frame(paths: Paths, ended: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
    curves = curve_frame(paths, method_ranks(paths.groups, paths.regrets.incumbent), hierarchy)
    return curves.assign(ended=ended.ravel())


def summary_frame(paths: Paths, hierarchy: Hierarchy, curves: pd.DataFrame, marks: tuple[int, ...]) -> pd.DataFrame:
    out = curves[curves[paths.axis].isin(marks)].rename(columns={paths.axis: "mark"}).reset_index(drop=True)
    out["mark"] = out["mark"].astype(np.int64)
    at = paths.at(marks)
    minmax = hierarchy.estimate(np.moveaxis(paths.regrets.minmax[..., at], -1, 1))
    out.insert(list(out.columns).index("mean_rank"), "minmax_regret", minmax.ravel())
    out["overhead_s"] = paths.overhead[..., at].mean(axis=(1, 2)).ravel()
    return out


def task_frame(paths: Paths, ranks: np.ndarray, families: list[str], marks: tuple[int, ...]) -> pd.DataFrame:
    at, regrets = paths.at(marks), paths.regrets
    index = pd.MultiIndex.from_product(
        [range(len(paths.groups)), range(len(paths.task_ids)), marks], names=["group", "task", "mark"]
    ).to_frame(index=False)
    return pd.DataFrame(
        {
            "method": [paths.groups[g][0] for g in index["group"]],
            "start": [paths.groups[g][1] for g in index["group"]],
            "task_id": [paths.task_ids[t] for t in index["task"]],
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


def comparison_frames(paths: Paths, hierarchy: Hierarchy, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
    pairs, controls, friedman, critical = [], [], [], []
    marks = list(dict.fromkeys(summary["mark"].tolist()))
    weights = hierarchy.weights.reshape(*hierarchy.weights.shape[:1], -1, len(paths.seeds)).sum(axis=2).mean(axis=0)
    for start in dict.fromkeys(start for _, start in paths.groups):
        rows = [g for g, (_, s) in enumerate(paths.groups) if s == start]
        names = [paths.groups[g][0] for g in rows]
        for mark, at in zip(marks, paths.at(marks), strict=True):
            here = paths.regrets.valid[rows, :, :, at]
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


def transfer_frame(paths: Paths, twins: dict[str, str], marks: tuple[int, ...]) -> pd.DataFrame:
    where = {group: g for g, group in enumerate(paths.groups)}
    means = paths.regrets.valid.mean(axis=2)
    rows = []
    for g, (method, start) in enumerate(paths.groups):
        twin = where.get((twins[method], start)) if method in twins else None
        for mark, at in zip(marks, paths.at(marks), strict=True) if twin is not None else ():
            share, worst = negative_transfer(means[g, :, at], means[twin, :, at])
            head = {"method": method, "twin": twins[method], "start": start, "mark": mark}
            rows.append(head | {"tasks": means.shape[1], "share": share, "worst_tenth": worst})
    return pd.DataFrame(rows, columns=["method", "twin", "start", "mark", "tasks", "share", "worst_tenth"])
