"""Traces → what each search had reached at every point of its budget. Every value is looked up in the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metabench import direction
from metabench.errors import MetabenchError, UsageError
from metabench.scores import fidelity, live
from metabench.scores.regret import Reference, Regrets
from metabench.search.pools import Pools
from metabench.search.replay import CurveReplay
from metabench.search.starts import STARTS

if TYPE_CHECKING:
    from metabench.boards.board import Board


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


def _reference(table, board: Board, task_ids: list[str]) -> Reference:
    sign = np.array([direction.sign(table.task_info(t).direction) for t in task_ids])[:, None, None]
    valid, test = (sign * table.final(board.workload, task_ids, s) for s in ("valid_score", "test_score"))
    pools = Pools.of(table, board.workload, task_ids)
    return (
        Reference(valid, test) if pools is None else Reference(pools.answers(valid), pools.answers(test), pools.tried)
    )


def live_paths(traces: pa.Table, table, board: Board) -> tuple[Paths, np.ndarray, None]:
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


def trial_paths(traces: pa.Table, table, board: Board) -> tuple[Paths, np.ndarray, None]:
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
    g, t, s = (np.asarray(c, dtype=np.int64) for c in codes)
    at = g, t, s
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
