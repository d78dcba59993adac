"""Traces on a board of protocol 3 → a verdict: utilities are looked up in the table, random search is known exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from metabench.boards import folds
from metabench.boards.design import Design
from metabench.direction import sign
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.about import About
from metabench.evaluation.store import completed
from metabench.scores import area, gain, orders, references
from metabench.scores.bootstrap import RESAMPLES, FamilyBootstrap
from metabench.scores.frames import REFERENCE
from metabench.scores.paths import Cells, gather
from metabench.scores.references import TaskReference
from metabench.scores.replicates import Replicates
from metabench.scores.verdict import Searches, Verdict, verdict

if TYPE_CHECKING:
    from metabench.boards.board import Board


@dataclass(frozen=True)
class Judged:
    """The verdict on a board's methods, and what is shown beside it."""

    verdict: Verdict
    #: method, trial, unit, gain, low, high, tasks: test score over the default configuration's, in the metric's own units
    gains: pd.DataFrame
    #: method, trial, seen_regret: regret on the scores that the search chose on, which holds their luck
    seen: pd.DataFrame
    #: method, trial, regret on the tasks that are too noisy to count; no rows where none was searched
    noisy: pd.DataFrame
    #: method, task_id, family, area: the headline area on every task that counts, mean over its searches
    tasks: pd.DataFrame
    #: trials of a search
    budget: int = 1

    @property
    def methods(self) -> pd.DataFrame:
        """Methods with tiers, areas, rank intervals and P(first), best first."""
        return self.verdict.methods

    @property
    def controls(self) -> pd.DataFrame:
        """Paired differences of every method to the controls."""
        return self.verdict.controls

    @property
    def contrasts(self) -> pd.DataFrame:
        """The contrasts that the board named in advance."""
        return self.verdict.contrasts

    #: nothing has to stand beside these scores, since no surrogate answered
    caveat = ""

    @property
    def differences(self) -> pd.DataFrame:
        """Paired differences of all methods, with intervals that hold for all pairs at once."""
        return self.verdict.pairs

    def ranking(self) -> list[dict[str, Any]]:
        """A row for each method, best first: tier, area with its interval, rank interval, P(first), the difference to the
        first control, and seconds of its own for a trial."""
        name = f"area_{self.verdict.headline}"
        control = self.controls["control"].iloc[0] if len(self.controls) else None
        apart = self.controls[self.controls["control"] == control].set_index("method")
        rows = []
        for row in self.methods.to_dict("records"):
            told = {"method": row["method"], "tier": int(row["tier"]), name: round(row[name], 4)}
            told["interval"] = f"{row[f'{name}_low']:.3f}–{row[f'{name}_high']:.3f}"
            told["ranks"] = f"{row['rank_low']:.0f}–{row['rank_high']:.0f}"
            told["p_first"] = round(row["p_first"], 3)
            if control is not None:
                d = apart.loc[row["method"]] if row["method"] in apart.index else None
                told[f"less_{control}"] = (
                    "" if d is None else f"{d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
                )
            rows.append(told | {"overhead_ms": round(1000 * row["overhead_s"] / self.budget, 1)})
        return rows

    def __str__(self) -> str:
        return str(self.verdict)

    def _repr_html_(self) -> str:
        return self.methods.to_html(index=False, float_format=lambda x: f"{x:.3f}")


def dealt(board: Board, table, known: Mapping[str, TaskReference] | None = None) -> list[tuple[folds.Fold, Board]]:
    """The folds of a board, each with the board narrowed to it: its split, and the tasks that it holds out.

    Args:
        board: a board of protocol 3.
        table: its table.
        known: references of the tasks; by default those beside the board's rules.

    Raises:
        UsageError: when the board is of another protocol, or its folds cannot be dealt.
        MetabenchError: when there are no references.
    """
    design = _design(board)
    known = references.read(board.path) if known is None else known
    frame = table.tasks[table.tasks["workload"].isin(board.workloads(table))]
    found = folds.deal(
        frame,
        set(known),
        seed=design.seed,
        folds=design.number,
        partitions=design.partitions,
        confirmatory=design.confirmatory,
    )
    return [
        (fold, replace(board, split={"train": fold.train, "valid": (), "test": fold.test}, admitted=frozenset(known)))
        for fold in found
    ]


def judge(
    traces: pa.Table,
    table,
    board: Board,
    *,
    known: Mapping[str, TaskReference] | None = None,
    twins: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Judged:
    """Judge the methods of some traces.

    Args:
        traces: searches of every method on every admitted task (schema TRACES); those on noisy tasks may be absent. A
            column ``fold``, where there is one, must name the fold that held the task out.
        table: the board's table, with all seeds that the references name.
        board: a board of protocol 3.
        known: references of the tasks; by default those beside the board's rules.
        twins: method → its twin; by default those that the traces name.
        resamples: resamples of families.
        seed: seed of everything random.

    Returns:
        The verdict. The method ``random`` is always there, by its exact expectation.

    Raises:
        UsageError: for a board of another protocol or a live one.
        MetabenchError: when references are absent, a cell is absent, twice there or not valid, or was made in another fold.
    """
    design, board = _design(board), board.settled(table)
    if board.is_live or board.by_epochs or len(board.workloads(table)) != 1:
        raise UsageError(f"board {board.name}: protocol 3 judges searches that replay one workload by full trainings")
    known = references.read(board.path) if known is None else known
    present = set(traces["task_id"].to_pylist())
    if strange := sorted(present - known.keys()):
        raise MetabenchError(f"traces: task {strange[0]!r} has no reference on board {board.name}")
    if "fold" in traces.schema.names:
        _check_folds(traces, dealt(board, table, known), board, table)
    ids = table.tasks["task_id"].tolist()
    counted = [t for t in ids if t in known and known[t].admitted]
    noisy = [t for t in ids if t in present and not known[t].admitted]
    marks = [m for m in board.marks if m <= board.budget]
    parts = {}
    for name, tasks in (("counted", counted), ("noisy", noisy)):
        if tasks:
            mine = traces.filter(pc.is_in(traces["task_id"], pa.array(tasks)))
            parts[name] = _part(mine, table, board, tasks, known)
    if "counted" not in parts:
        raise MetabenchError(f"board {board.name}: no task of its references is admitted")
    cells, sides, regret = parts["counted"]
    families = [table.task_info(t).family for t in counted]
    if twins is None:
        twins = About.of(traces).twins
    if cells.configs.shape[2] < 2 * sides.seen.shape[2]:
        twins = {}  # a method is compared with itself by two searches of each replicate
    found = verdict(
        Searches(regret, families, sides.seen.shape[2]),
        controls=design.controls,
        named=design.contrasts,
        twins=twins,
        marks=marks,
        resamples=resamples,
        seed=seed,
    )
    overhead = {m: cells.overhead[g].sum(axis=-1).mean() for g, (m, _) in enumerate(cells.groups)}
    found.methods["overhead_s"] = [overhead.get(m, 0.0) for m in found.methods["method"]]
    seen = [
        (m, mark, sides.seen_regret(cells.configs[g])[..., mark - 1].mean())
        for g, (m, _) in enumerate(cells.groups)
        for mark in marks
    ]
    rows = (
        [(m, mark, values[..., mark - 1].mean()) for m, values in parts["noisy"][2].items() for mark in marks]
        if "noisy" in parts
        else []
    )
    return Judged(
        found,
        _gains(cells, sides, table, board, marks, resamples, seed),
        pd.DataFrame(seen, columns=["method", "trial", "seen_regret"]),
        pd.DataFrame(rows, columns=["method", "trial", "regret"]),
        _by_task(found, regret, counted, families),
        board.budget,
    )


def _by_task(found: Verdict, regret: Mapping[str, np.ndarray], tasks: list[str], families: list[str]) -> pd.DataFrame:
    """The headline area of every method on every task, methods in the order of the ranking."""
    parts = [
        pd.DataFrame(
            {
                "method": method,
                "task_id": tasks,
                "family": families,
                "area": area.log_area(regret[method], found.headline).mean(axis=1),
            }
        )
        for method in found.methods["method"]
    ]
    return pd.concat(parts, ignore_index=True)


def objective_of(
    table, workload: str, task_ids: list[str], known: Mapping[str, TaskReference], sees: str = "mean"
) -> tuple[Replicates, np.ndarray]:
    """The replicates of some tasks and their y*.

    Args:
        table: the table; its scores are raw.
        workload: what is searched.
        task_ids: the tasks.
        known: their references.
        sees: ``mean`` of a replicate, or one ``run``.

    Returns:
        The replicates (larger is better), and y* likewise, float64 [tasks].

    Raises:
        MetabenchError: when a task has fewer seeds than its reference says.
    """
    signs = np.array([sign(table.task_info(t).direction) for t in task_ids])
    valid, test = (signs[:, None, None] * table.final(workload, task_ids, s) for s in ("valid_score", "test_score"))
    seeds = np.array([known[t].seeds for t in task_ids])
    if (seeds > valid.shape[2]).any():
        t = task_ids[int(np.argmax(seeds > valid.shape[2]))]
        raise MetabenchError(f"task {t} needs {known[t].seeds} seeds, table {table.name} has {valid.shape[2]}")
    made = Replicates.of(valid, test, seeds, sees == "run", pool_of(table, workload, task_ids, seeds))
    return made, signs * np.array([known[t].star for t in task_ids])


def pool_of(table, workload: str, task_ids: list[str], seeds: np.ndarray) -> np.ndarray | None:
    """The configurations that were run with all seeds that a task has, bool [tasks, configs]; None where all were.

    A search sees the mean over half of the seeds, so a configuration that lacks one of them is not in the task's pool.
    """
    ran = table.ran(workload, task_ids)
    pool = np.array([made[:, :n].all(axis=1) for made, n in zip(ran, seeds, strict=True)])
    return None if pool.all() else pool


def _design(board: Board) -> Design:
    if board.design is None:
        raise UsageError(f'board {board.name} v{board.version} is not of protocol "3"')
    return board.design


def _part(
    traces: pa.Table, table, board: Board, tasks: list[str], known: Mapping[str, TaskReference]
) -> tuple[Cells, Replicates, dict[str, np.ndarray]]:
    sides, star = objective_of(table, board.workload, tasks, known, _design(board).sees)
    cells = gather(completed(traces), tasks, board, sides.seen.shape[1], sides.pool)
    if any(start != "own" for _, start in cells.groups):
        raise MetabenchError(f"traces: board {board.name} has only searches that begin with their own first trials")
    utility = sides.utilities(cells.configs, star)
    regret = {method: 1.0 - utility[g] for g, (method, _) in enumerate(cells.groups)}
    exact = orders.random_regret(sides, star, board.budget)
    regret[REFERENCE] = exact[:, np.arange(board.seeds) % exact.shape[1]]
    return cells, sides, regret


def _check_folds(traces: pa.Table, found: list[tuple[folds.Fold, Board]], board: Board, table) -> None:
    design = _design(board)
    held = {(t, fold.partition): fold.name for fold, narrow in found for t in narrow.tasks(table, "test")}
    frame = traces.select(["method", "task_id", "seed", "fold"]).to_pandas()
    for method, task_id, seed, fold in frame.itertuples(index=False):
        expected = held.get((task_id, design.cell(int(seed), board.seeds).partition))
        if str(fold) != expected:
            raise MetabenchError(
                f"traces: method {method}, task {task_id}, seed {seed} was made in fold {fold}; fold {expected} holds it out"
            )


def _gains(
    cells: Cells, sides: Replicates, table, board: Board, marks: list[int], resamples: int, seed: int
) -> pd.DataFrame:
    """Mean gain over the default configuration by unit; none where the pool does not hold the default."""
    columns = ["method", "trial", "unit", "gain", "low", "high", "tasks"]
    space, configs = table.space(board.workload), table.configs(board.workload)
    apart = np.abs(space.encode(configs) - space.encode(space.table([space.default()]))).max(axis=1)
    if apart.min() > 1e-6:
        return pd.DataFrame(columns=columns)
    infos, default = [table.task_info(t) for t in cells.task_ids], int(apart.argmin())
    there = [sides.pool is None or bool(sides.pool[t, default]) for t in range(len(infos))]
    base = sides.gains(np.full((1, len(infos), len(cells.seeds), 1), default))[0]
    rows = []
    for unit in dict.fromkeys(gain.unit(info.metric) for info in infos):
        mine = [t for t, info in enumerate(infos) if gain.unit(info.metric) == unit and there[t]]
        if not mine:
            continue
        names = [infos[t].family for t in mine]
        bootstrap = FamilyBootstrap.build(names, resamples, seed) if len(set(names)) > 1 else None
        for g, (method, _) in enumerate(cells.groups):
            chosen = sides.gains(cells.configs[g])
            per_task = np.array(
                [
                    gain.gain(
                        infos[t].metric,
                        infos[t].direction,
                        *((sides.median[t] + part[t]) * sign(infos[t].direction) for part in (chosen, base)),
                    ).mean(axis=0)
                    for t in mine
                ]
            )
            for mark in marks:
                values = per_task[:, mark - 1]
                means = values[None] if bootstrap is None else bootstrap.means(values)[None]
                low, high = (np.array([np.nan]),) * 2 if bootstrap is None else bootstrap.interval(means)
                rows.append((method, mark, unit, float(means.mean()), float(low[0]), float(high[0]), len(mine)))
    return pd.DataFrame(rows, columns=columns)
