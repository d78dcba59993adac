"""Traces, table and board → Scores. Traces hold configuration ids only, and every value is looked up here; but where trials
are made to order the traces hold configurations with what training them gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from metabench.brief import brief
from metabench.errors import MetabenchError
from metabench.evaluation.about import About
from metabench.evaluation.store import completed
from metabench.scores.aggregate import Hierarchy
from metabench.scores.frames import REFERENCE as REFERENCE
from metabench.scores.frames import (
    comparison_frames,
    curve_frame,
    method_ranks,
    seconds_frame,
    summary_frame,
    task_frame,
    transfer_frame,
)
from metabench.scores.frames import ordered as ordered
from metabench.scores.paths import Cells as Cells
from metabench.scores.paths import gather as gather
from metabench.scores.paths import live_paths, over_epochs, trial_paths

if TYPE_CHECKING:
    from metabench.boards.board import Board


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
        paths, floor, clock = live_paths(traces, table, board)
    else:
        paths, floor, clock = (over_epochs if board.by_epochs else trial_paths)(completed(traces), table, board)
    task_ids = paths.task_ids
    if board.protocol == "hpob":
        own = paths.regrets
        own = replace(own, valid=own.minmax, incumbent=np.round(1.0 - own.minmax, 8))
        paths, hierarchy = replace(paths, regrets=own), replace(hierarchy, cut=0.0)
    regrets = paths.regrets
    ranks = method_ranks(paths.groups, regrets.incumbent)
    curves = curve_frame(paths, ranks, hierarchy)
    if twins is None:
        twins = About.of(traces).twins
    summary = summary_frame(paths, hierarchy, curves, board.marks)
    frames = comparison_frames(paths, hierarchy, summary)
    low, high = hierarchy.interval(floor)
    return Scores(
        summary=summary,
        curves=curves,
        seconds=curves.iloc[:0] if clock is None else seconds_frame(*clock, hierarchy),
        tasks=task_frame(paths, ranks, families, board.marks),
        noise_floor=pd.DataFrame({"task_id": task_ids, "family": families, "test_regret": floor.mean(axis=1)}),
        floor={"test_regret": float(hierarchy.estimate(floor)), "low": float(low), "high": float(high)},
        negative_transfer=transfer_frame(paths, dict(twins), board.marks),
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
