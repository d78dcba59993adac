"""Traces, table and board → Scores. Traces hold configuration ids only, and every value is looked up here; but where trials
are made to order the traces hold configurations with what training them gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metabench import direction
from metabench.brief import brief
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.about import About
from metabench.evaluation.store import completed
from metabench.scores import fidelity, live
from metabench.scores.aggregate import Hierarchy
from metabench.scores.compare import against, compare, improvement, negative_transfer
from metabench.scores.regret import Reference, Regrets
from metabench.search.pools import Pools
from metabench.search.replay import CurveReplay
from metabench.search.starts import STARTS

if TYPE_CHECKING:
    from metabench.boards.board import Board


#: the method that all should beat
REFERENCE = "random"


@brief
@dataclass(frozen=True)
class Scores:
    """Everything that a leaderboard reports. Regrets are in [0, 1] (test: [−1, 1]), smaller is better.

    Aggregates are interquartile means over families with a 95 % interval ``*_low`` … ``*_high``.
    """

    #: method, start, mark, valid_regret (+ _low, _high), test_regret (+ _low, _high), minmax_regret, mean_rank,
    #: overhead_s: mean seconds that the method thought, summed over the trials up to the mark
    summary: pd.DataFrame
    #: method, start, trial, valid_regret (+ _low, _high), test_regret (+ _low, _high), mean_rank; where epochs are
    #: counted ``trainings`` stands for trial: epochs in units of full trainings
    curves: pd.DataFrame
    #: where epochs are counted: the same over ``seconds`` of training and thought, with ``ended``, the share of searches
    #: that had spent their epochs by then and kept their incumbent; else no rows
    seconds: pd.DataFrame
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
    #: where a surrogate answered: task_id, spearman, regret, its error on held-out configurations of each task
    #: (:mod:`metabench.search.surrogate`); else None
    surrogate: pd.DataFrame | None = None

    @property
    def caveat(self) -> str:
        """What has to stand beside every score that a surrogate had a part in; empty where none had."""
        if self.surrogate is None:
            return ""
        rank, wrong = self.surrogate["spearman"], self.surrogate["regret"]
        worst = self.surrogate["task_id"][int(rank.to_numpy().argmin())]
        return (
            f"a surrogate answered, nothing was trained: on held-out configurations its rank correlation is "
            f"{rank.mean():.2f} ({rank.min():.2f} on {worst}) and its mean error {wrong.mean():.2f} in valid regret"
        )

    def __str__(self) -> str:
        columns = ["method", "start", "mark", "valid_regret", "valid_low", "valid_high", "test_regret", "mean_rank"]
        text = self.summary[columns].to_string(index=False, float_format=lambda x: f"{x:.3f}")
        return f"{text}\n{self.caveat}" if self.caveat else text


@dataclass(frozen=True)
class Cells:
    """Traces in a grid: ``configs`` int [groups, tasks, seeds, trials], ``overhead`` seconds alike."""

    groups: list[tuple[str, str]]
    task_ids: list[str]
    seeds: np.ndarray
    configs: np.ndarray
    overhead: np.ndarray


@dataclass(frozen=True)
class Paths:
    """What became of searches as their budget was spent: arrays end in [groups, tasks, seeds, points]."""

    groups: list[tuple[str, str]]
    task_ids: list[str]
    seeds: np.ndarray
    #: what the curves are over, and where they are looked at: trials, full trainings or seconds
    axis: str
    points: np.ndarray
    regrets: Regrets
    #: seconds that the method had thought
    overhead: np.ndarray

    def at(self, marks: Sequence[int]) -> np.ndarray:
        """Positions of the marks among the points."""
        return np.searchsorted(self.points, marks)


def score(
    traces: pa.Table,
    table,
    board: Board,
    *,
    twins: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """Score traces (schema TRACES, or LIVE where trials are made to order) on the board, narrowed to the profile that they
    were made with.

    ``twins`` maps methods to the method that does the same without transfer; by default it is read from the metadata
    that :func:`metabench.evaluation.evaluate` writes. ``resamples`` and ``seed`` belong to the bootstrap.

    Raises MetabenchError when the table is not the board's, when a method lacks cells, or when a trace is no valid
    search: of another length than the budget, with a configuration that does not exist or one that is tried twice; where
    epochs are counted, with a step that cannot have been made, or more or less than the budget spent.
    """
    board = board.on(table)
    board.check(table)
    families = [table.task_info(t).family for part in board.parts(table) for t in part.tasks(table, "test")]
    hierarchy = Hierarchy.build(families, board.seeds, resamples, seed)
    if board.is_live:
        paths, floor, clock = _live_paths(traces, table, board)
    else:
        paths, floor, clock = (over_epochs if board.by_epochs else _by_trials)(completed(traces), table, board)
    task_ids = paths.task_ids
    if board.protocol == "hpob":
        own = paths.regrets
        own = replace(own, valid=own.minmax, incumbent=np.round(1.0 - own.minmax, 8))
        paths, hierarchy = replace(paths, regrets=own), replace(hierarchy, cut=0.0)
    regrets = paths.regrets
    ranks = _ranks(paths.groups, regrets.incumbent)
    curves = _curves(paths, ranks, hierarchy)
    if twins is None:
        twins = About.of(traces).twins
    summary = _summary(paths, hierarchy, curves, board.marks)
    frames = _comparisons(paths, hierarchy, summary)
    low, high = hierarchy.interval(floor)
    return Scores(
        summary=summary,
        curves=curves,
        seconds=curves.iloc[:0] if clock is None else _over_seconds(*clock, hierarchy),
        tasks=_tasks(paths, ranks, families, board.marks),
        noise_floor=pd.DataFrame({"task_id": task_ids, "family": families, "test_regret": floor.mean(axis=1)}),
        floor={"test_regret": float(hierarchy.estimate(floor)), "low": float(low), "high": float(high)},
        negative_transfer=_transfer(paths, dict(twins), board.marks),
        surrogate=_surrogate(traces, board),
        **frames,
    )


def _surrogate(traces: pa.Table, board: Board) -> pd.DataFrame | None:
    """The surrogate's error, which the traces carry. Raises MetabenchError when a surrogate answered and they do not."""
    if not board.is_live or not any(e.startswith("surrogate") for e in traces["engine"].to_pylist()):
        return None
    found = About.of(traces).surrogate
    if found is None or board.objective != "surrogate":
        raise MetabenchError(
            "traces: a surrogate answered; its scores are never on a board, nor given without its error"
        )
    return pd.DataFrame(found)


# ---------------------------------------------------------------- traces → paths
def _reference(table, board: Board, task_ids: list[str]) -> Reference:
    sign = np.array([direction.sign(table.task_info(t).direction) for t in task_ids])[:, None, None]
    valid, test = (sign * table.final(board.workload, task_ids, s) for s in ("valid_score", "test_score"))
    pools = Pools.of(table, board.workload, task_ids)
    return Reference(valid, test) if pools is None else Reference(*map(pools.answers, (valid, test)), pools.tried)


def _live_paths(traces: pa.Table, table, board: Board) -> tuple[Paths, np.ndarray, None]:
    """The paths over trials of searches with values of their own, and the noise floor of the table's rows."""
    task_ids = board.tasks(table, "test")
    reference = _reference(table, board, task_ids)
    groups, at = layout(traces, task_ids, board)
    grids = []
    for part in live.outcomes(traces, table.space(board.workload), board.budget):
        grids.append(np.empty((len(groups), len(task_ids), board.seeds, board.budget)))
        grids[-1][at] = part
    sign = np.array([direction.sign(table.task_info(t).direction) for t in task_ids])[:, None, None]
    valid, test, overhead = grids
    seeds, trials = np.arange(board.seeds), np.arange(1, board.budget + 1)
    regrets = live.regrets(reference, sign * valid, sign * test, seeds)
    paths = Paths(groups, task_ids, seeds, "trial", trials, regrets, overhead.cumsum(axis=-1))
    return paths, _floor(reference, seeds), None


def _floor(reference: Reference, seeds: np.ndarray) -> np.ndarray:
    """Test regret of the valid oracle, [tasks, seeds]."""
    return reference.floor[:, seeds % reference.floor.shape[1]]


def _by_trials(traces: pa.Table, table, board: Board) -> tuple[Paths, np.ndarray, None]:
    """The paths over trials of all the board's workloads, and the noise floor."""
    parts = board.parts(table)
    held_out = {part.workload: part.tasks(table, "test") for part in parts}
    _check_tasks(traces, [t for ids in held_out.values() for t in ids], board)
    cells, regrets, floors = [], [], []
    for part in parts:
        task_ids = held_out[part.workload]
        reference = _reference(table, part, task_ids)
        mine = traces if len(parts) == 1 else traces.filter(pc.is_in(traces["task_id"], pa.array(task_ids)))
        cells.append(gather(mine, task_ids, part, n_configs=reference.valid.shape[1], pool=reference.pool))
        if cells[-1].groups != cells[0].groups:
            raise MetabenchError(f"traces: {part.workload} was searched by other methods than {parts[0].workload}")
        regrets.append(reference.regrets(cells[-1].configs, cells[-1].seeds))
        floors.append(_floor(reference, cells[-1].seeds))
    joined = {f.name: np.concatenate([getattr(r, f.name) for r in regrets], axis=1) for f in fields(Regrets)}
    task_ids, points = [t for c in cells for t in c.task_ids], np.arange(1, board.budget + 1)
    overhead = np.concatenate([c.overhead for c in cells], axis=1).cumsum(axis=-1)
    paths = Paths(cells[0].groups, task_ids, cells[0].seeds, "trial", points, Regrets(**joined), overhead)
    return paths, np.concatenate(floors), None


def over_epochs(traces: pa.Table, table, board: Board) -> tuple[Paths, np.ndarray, tuple[Paths, np.ndarray]]:
    """The paths over epochs, the noise floor, and the paths over seconds with the share of searches that had ended,
    [groups, points]."""
    task_ids = board.tasks(table, "test")
    reference = _reference(table, board, task_ids)
    groups, at = layout(traces, task_ids, board)
    replay = CurveReplay.from_table(table, board.workload, task_ids)
    signs = {t: direction.sign(table.task_info(t).direction) for t in task_ids}
    found = fidelity.courses(traces, replay, signs, board.budget)
    full = [replay.checkpoints(task_ids[t])[-1] for t in at[1]]
    shape, seeds = (len(groups), len(task_ids), board.seeds), np.arange(board.seeds)

    def path(axis: str, points: np.ndarray, looked: Iterable[tuple[np.ndarray, np.ndarray]]) -> Paths:
        chosen = np.empty((*shape, len(points)), dtype=np.int64)
        overhead = np.empty(chosen.shape)
        chosen[at], overhead[at] = (np.array(part) for part in zip(*looked, strict=True))
        return Paths(groups, task_ids, seeds, axis, points, reference.regrets_of(chosen, seeds), overhead)

    points, instants = fidelity.points(board.budget, board.marks), fidelity.instants(found)
    over_epochs = (c.at(c.epochs, points * whole * (1 + 1e-12)) for c, whole in zip(found, full, strict=True))
    over_seconds = (c.at(c.seconds, instants) for c in found)
    ended = np.empty((*shape, len(instants)))
    ended[at] = [c.seconds[-1] <= instants for c in found]
    clock = path("seconds", instants, over_seconds), ended.mean(axis=(1, 2))
    return path("trainings", points, over_epochs), _floor(reference, seeds), clock


def _check_tasks(traces: pa.Table, task_ids: list[str], board: Board) -> None:
    if unknown := sorted(set(traces["task_id"].to_pylist()) - set(task_ids)):
        raise MetabenchError(f"traces: task {unknown[0]!r} is not in meta-test of board {board.name}")


def layout(
    traces: pa.Table, task_ids: list[str], board: Board
) -> tuple[list[tuple[str, str]], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The groups (method, start), and the place [groups, tasks, seeds] of every cell.

    Raises MetabenchError naming the first cell that is strange, absent or there twice.
    """
    if traces.num_rows == 0:
        raise UsageError("there are no traces to score")
    frame = traces.select(["method", "start", "task_id", "seed"]).to_pandas()
    _check_tasks(traces, task_ids, board)
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
    return groups, at


def gather(
    traces: pa.Table, task_ids: list[str], board: Board, n_configs: int, pool: np.ndarray | None = None
) -> Cells:
    """The grid of cells, each checked. Raises MetabenchError naming the first cell that is wrong or absent.

    ``pool`` is bool [tasks, configs] where tasks have pools of their own. A search that has tried its whole pool ends
    there; in the grid it stays with its first trial.
    """
    groups, at = layout(traces, task_ids, board)
    shape = (len(groups), len(task_ids), board.seeds)
    frame = traces.select(["method", "task_id"]).to_pandas()
    if traces["epochs"].null_count < len(traces):
        raise MetabenchError("traces: column 'epochs' belongs to boards that count epochs; this one counts trials")
    budget = np.full(len(task_ids), board.budget) if pool is None else np.minimum(board.budget, pool.sum(axis=1))
    expected, trial = budget[at[1]], np.arange(board.budget)
    arrays = []
    for name in ("config_ids", "overhead"):
        column = traces[name].combine_chunks()
        length = column.value_lengths().fill_null(0).to_numpy()
        flat = column.flatten()
        if (length != expected).any() or flat.null_count:
            row = int(np.argmax(length != expected))
            what = f"method {frame['method'][row]}, task {frame['task_id'][row]}"
            raise MetabenchError(f"traces: {what}: {name} has {length[row]} values, the budget is {expected[row]}")
        begin, within = np.cumsum(length) - length, trial < length[:, None]
        values = flat.to_numpy()[begin[:, None] + np.where(within, trial, 0)]
        grid = np.empty((*shape, board.budget), dtype=np.int64 if name == "config_ids" else np.float64)
        grid[at] = values if name == "config_ids" else np.where(within, values, 0.0)
        arrays.append(grid)
    within = trial < budget[:, None, None]
    # what fills up a short search must not count as a repetition
    ordered = np.sort(np.where(within, arrays[0], n_configs + trial), axis=-1)
    wrong = (
        (ordered[..., 0] < 0) | (arrays[0] >= n_configs).any(axis=-1) | (np.diff(ordered, axis=-1) == 0).any(axis=-1)
    )
    if wrong.any():
        g, t, s = np.argwhere(wrong)[0]
        what = f"method {groups[g][0]}, start {groups[g][1]}, task {task_ids[t]}, seed {s}"
        raise MetabenchError(f"traces: {what}: config_ids must be distinct and in 0 … {n_configs - 1}")
    outside = False if pool is None else ~pool[np.arange(len(task_ids))[:, None, None], arrays[0]]
    if np.any(outside):
        g, t, s, i = np.argwhere(outside)[0]
        what = f"method {groups[g][0]}, start {groups[g][1]}, task {task_ids[t]}, seed {s}"
        raise MetabenchError(f"traces: {what}: configuration {arrays[0][g, t, s, i]} was never run on the task")
    return Cells(groups, list(task_ids), np.arange(board.seeds), *arrays)


# ---------------------------------------------------------------- paths → frames
def _ranks(groups: list[tuple[str, str]], incumbent: np.ndarray) -> np.ndarray:
    """Rank among the methods with the same start by the incumbent's valid score, 1 is best, ties averaged."""
    from scipy.stats import rankdata

    ranks = np.empty_like(incumbent)
    for start in dict.fromkeys(start for _, start in groups):
        rows = [g for g, (_, s) in enumerate(groups) if s == start]
        ranks[rows] = rankdata(-incumbent[rows], axis=0)
    return ranks


def _curves(paths: Paths, ranks: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
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


def _over_seconds(paths: Paths, ended: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
    curves = _curves(paths, _ranks(paths.groups, paths.regrets.incumbent), hierarchy)
    return curves.assign(ended=ended.ravel())


def _summary(paths: Paths, hierarchy: Hierarchy, curves: pd.DataFrame, marks: tuple[int, ...]) -> pd.DataFrame:
    out = curves[curves[paths.axis].isin(marks)].rename(columns={paths.axis: "mark"}).reset_index(drop=True)
    out["mark"] = out["mark"].astype(np.int64)
    at = paths.at(marks)
    minmax = hierarchy.estimate(np.moveaxis(paths.regrets.minmax[..., at], -1, 1))
    out.insert(out.columns.get_loc("mean_rank"), "minmax_regret", minmax.ravel())
    out["overhead_s"] = paths.overhead[..., at].mean(axis=(1, 2)).ravel()
    return out


def _tasks(paths: Paths, ranks: np.ndarray, families: list[str], marks: tuple[int, ...]) -> pd.DataFrame:
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


def _comparisons(paths: Paths, hierarchy: Hierarchy, summary: pd.DataFrame) -> dict[str, pd.DataFrame]:
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


def _transfer(paths: Paths, twins: dict[str, str], marks: tuple[int, ...]) -> pd.DataFrame:
    where = {group: g for g, group in enumerate(paths.groups)}
    means = paths.regrets.valid.mean(axis=2)
    rows = []
    for g, (method, start) in enumerate(paths.groups):
        twin = where.get((twins.get(method), start))
        for mark, at in zip(marks, paths.at(marks), strict=True) if twin is not None else ():
            share, worst = negative_transfer(means[g, :, at], means[twin, :, at])
            head = {"method": method, "twin": twins[method], "start": start, "mark": mark}
            rows.append(head | {"tasks": means.shape[1], "share": share, "worst_tenth": worst})
    return pd.DataFrame(rows, columns=["method", "twin", "start", "mark", "tasks", "share", "worst_tenth"])
