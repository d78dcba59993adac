"""Choosing a method's settings on meta-validation tasks alone, with a record of what was tried and what it cost.

The method is fitted on meta-train with every combination of its declared ``grid`` and searches the meta-validation tasks;
meta-test is not read. A combination is judged by its mean valid regret over all trials of the budget (the area under the
regret curve), averaged over seeds, tasks and families. Combinations that are alike differ by chance, so the defaults stay
unless another is better by more than a standard error of the paired difference over families (the one-standard-error rule
of Breiman et al., 1984).
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metabench import direction, registry
from metabench.boards.fits import shared_fits
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.run import evaluate
from metabench.search.base import Searcher

if TYPE_CHECKING:
    from metabench.boards.board import Board
    from metabench.metatrain import TaskInfo

#: trials of a search; marks at which regret is recorded
TRIALS, MARKS = 50, (1, 5, 10, 25, 50)


@dataclass(frozen=True)
class Tried:
    """One combination: regrets are means over families of valid regret; ``regret`` over all trials."""

    settings: dict[str, Any]
    regret: float
    at: dict[str, float]
    #: difference to the defaults and its standard error over families; 0 for the defaults themselves
    difference: float
    error: float


@dataclass(frozen=True)
class Record:
    """What is kept of a choice. ``seconds`` are those that the methods thought, summed over all searches."""

    method: str
    board: str
    digest: str
    tasks: list[str]
    trials: int
    seeds: int
    defaults: dict[str, Any]
    chosen: dict[str, Any]
    searches: int
    seconds: float
    tried: list[Tried]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def choose_settings(
    method: str,
    board: Board,
    table,
    *,
    trials: int = TRIALS,
    store: str | os.PathLike | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Try a method's grid on the board's meta-validation tasks; combinations that differ in the search alone share a fit.

    Raises UsageError for an unknown method, one without a grid, or a board without meta-validation tasks.
    """
    kind = next((k for k in ("metamodels", "baselines") if method in registry.names(k)), "metamodels")
    cls = registry.load(kind, method)
    grid: dict[str, Sequence[Any]] = getattr(cls, "grid", {})
    if not grid:
        raise UsageError(f"method {method!r} declares no grid of settings")
    board.require_split("settings")
    if not board.split["valid"]:
        raise UsageError(f"board {board.name}: split.valid is empty; settings are chosen there")
    inner = validation_board(board, trials)
    defaults = {name: getattr(cls(), name) for name in grid}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    combinations = [defaults, *(c for c in combinations if c != defaults)]
    curves, searches, seconds = [], 0, 0.0
    with shared_fits(cls):
        for i, settings in enumerate(combinations):
            say(f"{method} {i + 1} of {len(combinations)}: {', '.join(f'{k}={v}' for k, v in settings.items())}")
            traces = evaluate(_named(cls(**settings), f"{method}-{i}"), inner, table, store=store, workers=workers)
            curves.append(_by_family(traces, table, inner))
            searches += traces.num_rows
            seconds += float(np.sum(traces["overhead"].combine_chunks().flatten().to_numpy(zero_copy_only=False)))
    tried = [_judged(s, c, curves[0]) for s, c in zip(combinations, curves, strict=True)]
    best = min(tried, key=lambda t: t.regret)
    chosen = best.settings if best.difference < -best.error else defaults
    tasks = inner.tasks(table, "test")
    return Record(
        method,
        f"{board.name} v{board.version}",
        board.digest,
        tasks,
        inner.budget,
        inner.seeds,
        defaults,
        chosen,
        searches,
        round(seconds, 1),
        tried,
    )


def validation_board(board: Board, trials: int) -> Board:
    """The board with meta-valid held out in place of meta-test, which is not part of it; full trials are counted, or epochs
    in units of full trainings where the board does so.

    Where a domain is left out, settings are chosen in those that are not. Raises UsageError when these are several
    workloads: a search has one.
    """
    split = {"train": board.split["train"], "valid": (), "test": board.split["valid"]}
    trials = min(trials, board.budget) if board.by_epochs else trials
    marks = tuple(range(1, trials + 1)) if board.by_epochs else tuple(m for m in MARKS if m <= trials)
    track = board.track if board.by_epochs else "search"
    workload, shift = board.workload, board.shift
    if shift is not None:
        shift = replace(shift, valid=(), test=shift.valid)
        if shift.column == "workload":
            if len(shift.test) > 1:
                raise UsageError(f"board {board.name}: meta-valid is of several workloads; settings are chosen on one")
            workload = next(iter(shift.test))
    return replace(
        board,
        split=split,
        budget=trials,
        marks=marks,
        starts=("own",),
        profiles={},
        path=None,
        workload=workload,
        shift=shift,
        track=track,
    )


def _named(searcher: Searcher, name: str) -> Searcher:
    searcher.__dict__["name"] = name  # of this object alone, over the class's
    return searcher


def _by_family(traces, table, board: Board) -> np.ndarray:
    """Valid regret [families, trials or full trainings], mean over tasks and seeds."""
    from metabench.evaluation.store import completed
    from metabench.scores.paths import gather, over_epochs
    from metabench.scores.regret import Reference

    task_ids = board.tasks(table, "test")
    infos = [table.task_info(t) for t in task_ids]
    if board.by_epochs:
        paths = over_epochs(completed(traces), table, board)[0]
        return _families(paths.regrets.valid[0].mean(axis=1)[:, np.isin(paths.points, board.marks)], infos)
    sign = np.array([direction.sign(info.direction) for info in infos])[:, None, None]
    final = [sign * table.final(board.workload, task_ids, s) for s in ("valid_score", "test_score")]
    cells = gather(traces, task_ids, board, n_configs=final[0].shape[1])
    return _families(Reference(*final).regrets(cells.configs, cells.seeds).valid[0].mean(axis=1), infos)


def _families(regret: np.ndarray, infos: Sequence[TaskInfo]) -> np.ndarray:
    """Means over the tasks of a family, [families, ...], of regret [tasks, ...]."""
    families = [info.family for info in infos]
    return np.stack([regret[[f == name for f in families]].mean(axis=0) for name in dict.fromkeys(families)])


def _judged(settings: dict[str, Any], curve: np.ndarray, reference: np.ndarray) -> Tried:
    area, paired = curve.mean(axis=1), (curve - reference).mean(axis=1)
    error = float(paired.std(ddof=1) / np.sqrt(len(paired))) if len(paired) > 1 else float("inf")
    at = {f"regret@{m}": round(float(curve[:, m - 1].mean()), 4) for m in MARKS if m <= curve.shape[1]}
    return Tried(settings, round(float(area.mean()), 4), at, round(float(paired.mean()), 4), round(error, 4))


def keep(record: Record, folder: str | os.PathLike) -> Path:
    """Write a record as ``<method>.json`` into a folder; its path. Raises MetabenchError when it cannot be written."""
    path = Path(folder) / f"{record.method}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.to_json(), encoding="utf-8")
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
    return path
