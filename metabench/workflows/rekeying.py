"""Stored results carried over to the present keys, after a sample of them was computed again and was the same.

A key says what determines a cell: the versions of a method, its settings, the table, the rules. When the keys change
although no proposal does, nothing needs to be evaluated again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metabench.boards.board import Board, load_board
from metabench.boards.plan import TRACES
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation import plan, resolve
from metabench.evaluation.live import LiveBench
from metabench.evaluation.methods import Method
from metabench.evaluation.predict import PredictBench
from metabench.evaluation.run import bench_of
from metabench.evaluation.traces import Traces
from metabench.evaluation.worker import Group, one_thread
from metabench.registry import suggest
from metabench.search.continuous import Outcome, Trial, to_text
from metabench.workflows.evaluation import say
from metabench.workflows.prediction import write_predictions
from metabench.workflows.publishing import evaluated_boards

if TYPE_CHECKING:
    from metabench.table import Table

#: where another processor stored the cells: trials of a search (or parts of trials) that are compared, and the greatest
#: difference of predictions, whose mean is 0 and whose standard deviation is 1
FIRST, NEAR = 10, 0.01
#: what names a search on a board
Cell = tuple[str, str, str, int]


@dataclass(frozen=True)
class Rekeyed:
    """What was carried over: cells whose keys are the present ones now, those whose keys were others before, and those
    that were computed again, and how many of these were the same to the last bit."""

    path: Path
    cells: int
    changed: int
    verified: int
    exact: int


def rekey(
    name: str,
    verify: int,
    chosen: Sequence[str] = (),
    seed: int = 0,
    other_processor: bool = False,
    against: Path | None = None,
) -> Rekeyed:
    """Write the present keys into a board's stored traces or predictions.

    Args:
        name: board, by name or folder.
        verify: cells drawn at random that are computed again; their proposals (or predictions) must be the stored ones.
        chosen: methods whose cells are carried over; all by default.
        seed: of the draw.
        other_processor: allow for the rounding of the processor that stored the cells: the first trials of a search are
            compared, and predictions to two digits. Models that are fitted by an optimizer differ later.
        against: traces or predictions that the previous code made here, to compare with in place of the stored ones; cells
            are drawn among them.

    Returns:
        What was carried over; nothing is written when all keys are the present ones.

    Raises:
        UsageError: the board stores nothing of a chosen method.
        MetabenchError: a cell differs, a method is unknown or cannot run here; nothing is changed then.
    """
    from metabench.publishing.boards.predictions import PREDICTIONS
    from metabench.table import load_table

    board = load_board(name)
    predicts = board.track == "predict"
    path = board.folder / (PREDICTIONS if predicts else TRACES)
    if not path.exists():
        raise MetabenchError(f"{path.parent} holds no {path.name}; run `metabench evaluate --board {name}` first")
    stored = pq.read_table(path)
    made = stored if against is None else _made_before(against, stored)
    table = load_table(board.dataset, board.dataset_version)
    board = board.on(table)
    board.check(table)
    there = list(dict.fromkeys(stored["method"].to_pylist()))
    for method in chosen:
        if method not in there:
            raise suggest(method, there, f"method on board {board.name}")
    methods = _resolved(list(chosen) or there, board)
    kind = _Predictions if predicts else _Searches
    cells, compared = kind(board, table, methods, stored), kind(board, table, methods, made)
    keys = cells.keys()
    rows = [i for i, m in enumerate(stored["method"].to_pylist()) if not chosen or m in chosen]
    lost = next((cells.named[i] for i in rows if cells.named[i] not in keys), None)
    if lost is not None:
        raise MetabenchError(f"{path}: the board's rules have no cell {_words(lost)}; nothing was changed")
    drawn = [cell for cell in compared.named if cell[0] in {m.name for m in methods}]
    if absent := sorted({m.name for m in methods} - {cell[0] for cell in drawn}):
        raise MetabenchError(f"{against} holds no cell of {absent[0]}; nothing was changed")
    verified, exact = _verify(compared, drawn, verify, seed, other_processor)
    old = stored["cell"].to_pylist()
    new = list(old)
    for i in rows:
        new[i] = keys[cells.named[i]]
    changed = sum(a != b for a, b in zip(old, new, strict=True))
    if changed:
        at = stored.schema.get_field_index("cell")
        out = stored.set_column(at, stored.schema.field(at), pa.array(new, pa.string()))
        write_predictions(out, path) if predicts else Traces.of(out).write(path)
    return Rekeyed(path, len(rows), changed, verified, exact)


def rekey_all(
    verify: int, chosen: Sequence[str] = (), seed: int = 0, other_processor: bool = False
) -> Iterator[Rekeyed | MetabenchError]:
    """Carry over every published board that stores something, board by board: what was, or why a board was refused."""
    for name in evaluated_boards():
        try:
            yield rekey(name, verify, chosen, seed, other_processor)
        except MetabenchError as error:
            yield error


def _resolved(names: Sequence[str], board: Board) -> list[Method]:
    try:
        return resolve(names)
    except UsageError as error:
        raise UsageError(f"board {board.name}: {error}; choose methods that can be checked with --method") from None


def _made_before(path: Path, stored: pa.Table) -> pa.Table:
    try:
        return pq.read_table(path).select(stored.schema.names).cast(stored.schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise MetabenchError(f"{path} is no file of such results: {str(error).splitlines()[0]}") from None


def _words(cell: Cell) -> str:
    method, start, task_id, seed = cell
    return f"of {method} on task {task_id}, " + (f"start {start}, " if start else "") + f"seed {seed}"


def _verify(cells: _Searches | _Predictions, named: Sequence[Cell], n: int, seed: int, near: bool) -> tuple[int, int]:
    """Compute ``n`` cells again: how many, and how many of them are the same to the last bit.

    Raises MetabenchError naming the methods of those that differ.
    """
    known = sorted(set(named))
    sample = sorted(known[i] for i in np.random.default_rng(seed).permutation(len(known))[:n])
    wrong: dict[str, str] = {}
    exact = 0
    by_name = {m.name: m for m in cells.methods}
    with one_thread():
        for i, cell in enumerate(sample):
            say(f"{i + 1} of {len(sample)}: {_words(cell)}")
            if cell[0] in wrong:
                continue
            if lacking := by_name[cell[0]].lacks:
                wrong[cell[0]] = f"{cell[0]} {lacking}"
                continue
            then, now = cells.both(cell)
            exact += then == now
            if not (then == now or (near and cells.near(then, now))):
                wrong[cell[0]] = f"the cell {_words(cell)} is another now"
    if wrong:
        others = "; --method carries others over" if len(wrong) < len(cells.methods) else ""
        raise MetabenchError(f"board {cells.board.name}: {'; '.join(wrong.values())}; nothing was changed{others}")
    return len(sample), exact


class _Searches:
    """The stored searches of a board, and the same computed again."""

    def __init__(self, board: Board, table: Table, methods: list[Method], stored: pa.Table):
        self.board, self.table, self.methods, self.stored = board, table, methods, stored
        columns = [stored[name].to_pylist() for name in ("method", "start", "task_id", "seed")]
        self.named: list[Cell] = list(zip(*columns, strict=True))
        self._rows = {cell: i for i, cell in enumerate(self.named)}
        parts = board.parts(table) if board.design is None else []
        self._part = {t: part for part in parts for t in part.tasks(table, "test")}
        self._bench: tuple[str, Any] | None = None

    @cached_property
    def groups(self) -> dict[Cell, Group]:
        """Cell → the group that it is of."""
        groups = plan(self.methods, self.board, self.table)
        return {(g.method, g.start, g.task_id, seed): g for g in groups for seed in g.keys}

    def keys(self) -> dict[Cell, str]:
        """Cell → its present key."""
        return {cell: group.keys[cell[3]] for cell, group in self.groups.items()}

    def both(self, cell: Cell) -> tuple[list[list], list[list]]:
        """The trials of a search as they are stored and as the method makes them now. A live search is answered by what its
        trials gave then."""
        method, start, task_id, seed = cell
        known = self.groups.get(cell, Group(method, start, task_id, {}))
        group = replace(known, keys={seed: ""})
        row = {name: self.stored[name][self._rows[cell]].as_py() for name in self.stored.schema.names}
        bench = self._bench_for(task_id)
        if self.board.is_live:
            ((_, found, failure),) = bench.run([group])
            if failure is not None:
                raise MetabenchError(f"{failure}; nothing was changed")
            return [row["configs"]], [found[0]["configs"]]
        (found,) = bench.run(group)
        series = [name for name in ("config_ids", "epochs") if name in found]
        return [row[name] for name in series], [found[name] for name in series]

    @staticmethod
    def near(then: list[list], now: list[list]) -> bool:
        """Are the first trials the same, but for the last digits of a configuration's numbers?"""
        first = [[[_plain(v) for v in values[:FIRST]] for values in side] for side in (then, now)]
        return first[0] == first[1]

    def _bench_for(self, task_id: str) -> Any:
        board = self._part.get(task_id, self.board)
        if self._bench is None or self._bench[0] != board.workload:
            made: Any
            if board.is_live:
                answers = _Answers(self.table.space(board.workload), self.stored)
                made = LiveBench.of({m.name: m.searcher for m in self.methods}, board, self.table, answers)
            else:
                made = bench_of(self.methods, board, self.table)
            self._bench = board.workload, made
        return self._bench[1]


def _plain(trial: int | str) -> int | str:
    """A trial without the digits in which processors differ."""
    if isinstance(trial, int):
        return trial
    config = {k: float(f"{v:.9g}") if isinstance(v, float) else v for k, v in json.loads(trial).items()}
    return json.dumps(config)


class _Answers:
    """An objective that answers what stored trials gave; a trial that is not stored diverges."""

    def __init__(self, space, stored: pa.Table):
        self.space, self._known = space, dict[tuple[str, int, str], Outcome]()
        for row in stored.to_pylist():
            series = (row[name] for name in ("configs", "valid_score", "test_score", "status", "seconds"))
            for text, *scored, status, seconds in zip(*series, strict=True):
                valid, test = (np.nan if v is None else v for v in scored)
                outcome = Outcome(valid, test, status, seconds, row["engine"], row["device"])
                self._known[row["task_id"], row["seed"], str(_plain(text))] = outcome

    def answer(self, trials: Sequence[Trial]) -> list[Outcome]:
        nothing = Outcome(float("nan"), float("nan"), "absent", 0.0, "", "")
        asked = [(t.task_id, t.seed, str(_plain(to_text(self.space, t.config)))) for t in trials]
        return [self._known.get(trial, nothing) for trial in asked]


class _Predictions:
    """The stored predictions of a board, and the same made again."""

    def __init__(self, board: Board, table: Table, methods: list[Method], stored: pa.Table):
        self.board, self.methods, self.stored = board, methods, stored
        self._bench = PredictBench.of(board, table, tuple(board.observed))
        columns = [stored[name].to_pylist() for name in ("method", "task_id", "seed")]
        self.named: list[Cell] = [(method, "", task_id, seed) for method, task_id, seed in zip(*columns, strict=True)]

    def keys(self) -> dict[Cell, str]:
        """Method, task and seed → the present key, which is one of the whole method."""
        tasks, seeds = self._bench.problems, range(self.board.seeds)
        keys = {m.name: self._bench.key(m) for m in self.methods}
        return {(name, "", task_id, seed): key for name, key in keys.items() for task_id in tasks for seed in seeds}

    def both(self, cell: Cell) -> tuple[list[list], list[list]]:
        """Predictions as they are stored and as the method makes them now, to the bits that are stored."""
        from metabench import schema
        from metabench.publishing.boards.predictions import kept

        (method,) = (m for m in self.methods if m.name == cell[0])
        rows = self._bench.run(method.name, method.searcher, "", [(cell[2], cell[3])])
        now = kept(pa.Table.from_pylist(rows, schema.PREDICTIONS)).to_pylist()
        then = [row for i, name in enumerate(self.named) if name == cell for row in self.stored.slice(i, 1).to_pylist()]
        return _series(then), _series(now)

    @staticmethod
    def near(then: list[list], now: list[list]) -> bool:
        """Do predictions differ by little?"""
        same = len(then) == len(now) and all(len(a) == len(b) for a, b in zip(then, now, strict=True))
        return same and all(np.allclose(a, b, rtol=NEAR, atol=NEAR) for a, b in zip(then, now, strict=True))


def _series(rows: Sequence[Mapping[str, Any]]) -> list[list]:
    return [row[name] for row in rows for name in ("config_ids", "mean", "std")]
