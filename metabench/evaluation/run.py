"""The evaluation itself: what is missing, who computes it, what is kept."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from metabench.cluster import EXECUTORS
from metabench.errors import IncompleteError, MetabenchError, UsageError
from metabench.evaluation.about import About
from metabench.evaluation.methods import Method, resolve
from metabench.evaluation.progress import Progress
from metabench.evaluation.store import CellStore
from metabench.evaluation.traces import Traces
from metabench.evaluation.worker import Bench, Group, one_thread, serve
from metabench.processes import Worker
from metabench.registry import suggest
from metabench.search.base import Searcher

if TYPE_CHECKING:
    from metabench.boards.board import Board

#: changes whenever the way that a search is carried out changes; part of every cell's key
PROTOCOL_VERSION = "1"
#: the same of searches that are counted in epochs
EPOCHS_VERSION = "1"
#: finished cells are stored at least this often (seconds)
FLUSH = 30.0


class MethodsFailed(IncompleteError):
    """Some methods failed; ``failures`` maps them to the reason, ``traces`` holds the complete methods' cells."""

    def __init__(self, failures: dict[str, str], traces: pa.Table, n_methods: int):
        self.failures = failures
        self.traces = traces
        super().__init__(f"{len(failures)} of {n_methods} methods failed: {'; '.join(failures.values())}")


def evaluate(
    methods: Iterable[str | Searcher | type] | str | Searcher | type,
    board: Board,
    table=None,
    *,
    profile: str = "full",
    store: str | os.PathLike | None = None,
    executor: str = "local",
    workers: int = 1,
    progress: bool = False,
) -> pa.Table:
    """Let methods search the board's meta-test tasks; the traces (schema TRACES, a row per cell; LIVE where trials are
    made to order) in the order of methods, starts, tasks, seeds.

    A cell is keyed by everything that determines it: method (settings and code), table, meta-training tasks, start,
    task, seed, budget. Cells found in the folder ``store`` are not computed again; finished ones are stored as they
    come. Methods are fitted on meta-train once per process. With ``workers`` > 1 that many processes share the work
    (scripts then need the usual ``if __name__ == "__main__"`` guard); the executor ``ray`` shares it over the cluster
    that RAY_ADDRESS names. A method's proposals do not depend on it.

    Raises UsageError for an unknown method or profile, a budget beyond the pool, or a method that trains in parts on a
    board that counts full trainings alone; MetabenchError for a table that the
    board was not made for, and MethodsFailed (exit status 3) when all else is done but a method raised, proposed what
    it must not, or lacks a package.
    """
    if table is None:
        from metabench.table import load_table

        table = load_table(board.dataset, board.dataset_version)
    resolved = resolve(methods)
    board = board.settled(table).profile(profile)
    for method in resolved:
        board.kind.refuse(method)
    if board.workload not in table.workloads:
        how = {"store": store, "executor": executor, "workers": workers, "progress": progress}
        return _each(resolved, board.parts(table), table, **how)
    if executor not in EXECUTORS:
        raise suggest(executor, EXECUTORS, "executor")
    kind = board.kind
    groups = kind.groups(resolved, table)
    kept = CellStore(store, kind.traces_schema)
    kept.sweep()
    done = kept.read({key: (g.method, g.start, g.task_id, seed) for g in groups for seed, key in g.keys.items()})
    have = set(done["cell"].to_pylist())
    todo = [replace(g, keys={s: k for s, k in g.keys.items() if k not in have}) for g in groups]
    todo = [group for group in todo if group.keys]
    failures = {m.name: f"method {m.name!r} {m.lacks}" for m in resolved if m.lacks}
    work = kind.work(resolved, table)
    on_ray = executor == "ray"
    outcomes = work.on_ray(todo, failures, work.bench) if on_ray else work.here(todo, failures, work.bench, workers)
    rows: list[dict] = []
    unsaved: list[dict] = []
    with Progress(groups, have, enabled=progress) as shown:
        last = time.monotonic()
        try:
            for group, found, message in outcomes:
                if message is not None:
                    failures.setdefault(group.method, message)
                    continue
                assert found is not None  # without a message there are rows
                rows += found
                unsaved += found
                shown.finished(group)
                if time.monotonic() - last > FLUSH:
                    kept.write(unsaved)
                    unsaved, last = [], time.monotonic()
        finally:
            kept.write(unsaved)
    traces = _assemble(groups, pa.concat_tables([done, pa.Table.from_pylist(rows, kept.kind)]), failures)
    about = About({m.name: m.searcher.twin for m in resolved if m.searcher.twin}, surrogate=work.surrogate)
    if board.path is not None:
        about = replace(about, board=str(board.path), profile=board.narrowed)
    traces = Traces(traces, about).arrow()
    if failures:
        raise MethodsFailed(failures, traces, len(resolved))
    return traces


def _each(resolved: list[Method], boards: list[Board], table, **how) -> pa.Table:
    """The traces of several workloads' searches, in the order of methods, workloads, starts, tasks, seeds."""
    parts, failures = [], {}
    for board in boards:
        try:
            parts.append(evaluate([m.searcher for m in resolved], board, table, profile=board.narrowed, **how))
        except MethodsFailed as error:
            failures |= error.failures
            parts.append(error.traces)
    together = pa.concat_tables(parts)
    names = together["method"].to_pylist()
    order = [i for m in resolved if m.name not in failures for i, name in enumerate(names) if name == m.name]
    rows = together.take(pa.array(order, pa.int64())).combine_chunks()
    traces = Traces(rows, Traces.of(parts[0]).about).arrow()
    if failures:
        raise MethodsFailed(failures, traces, len(resolved))
    return traces


def plan(methods: list[Method], board: Board, table) -> list[Group]:
    """All groups of cells of an evaluation, method by method, with the key of every cell."""
    return [group for part in board.parts(table) for group in part.kind.groups(methods, table)]


def bench_of(methods: list[Method], board: Board, table) -> Bench:
    """What searches of stored rows on a board of one workload need."""
    return board.kind.bench(methods, table)


def _assemble(groups: list[Group], table: pa.Table, failures: dict[str, str]) -> pa.Table:
    at = {key: row for row, key in enumerate(table["cell"].to_pylist())}
    order = [at[key] for g in groups if g.method not in failures for key in g.keys.values()]
    return table.take(pa.array(order, pa.int64())).combine_chunks()


# ---------------------------------------------------------------- computing
Outcome = tuple[Group, list[dict] | None, str | None]
#: what one fit serves: method, fold, fit seed
Fit = tuple[str, str, int]


def compute(todo: list[Group], failed: dict[str, str], bench: Callable[[], Bench], workers: int) -> Iterator[Outcome]:
    """Outcomes of groups as they finish; groups of methods in ``failed`` (which the caller adds to) are left out."""
    if workers < 1:
        raise UsageError(f"workers is {workers}; at least 1 is needed")
    todo = [group for group in todo if group.method not in failed]
    if not todo:
        return
    if workers == 1:
        with one_thread():
            mine = bench()
            for group in todo:
                if group.method not in failed:
                    yield _outcome(mine, group)
    else:
        yield from _share(todo, failed, bench(), min(workers, len(todo)))


def _outcome(bench: Bench, group: Group) -> Outcome:
    try:
        return group, bench.run(group), None
    except MetabenchError as error:
        return group, None, str(error)


class _Worker(Worker):
    """A process that searches, and the group that it works on."""

    def __init__(self, bench: Bench):
        self.group: Group | None = None
        self.fit: Fit | None = None
        try:
            super().__init__(serve, bench)
        except Exception as error:  # a class of a function or a notebook cannot be sent to another process
            raise MetabenchError(f"methods cannot be sent to worker processes: {error}; use 1 worker") from error

    def await_ready(self) -> None:
        """Wait until the process serves. Raises MetabenchError when it ends before."""
        try:
            self.pipe.recv()
        except (EOFError, OSError):
            raise MetabenchError(
                "worker processes cannot start: a script needs `if __name__ == '__main__':` around its work, "
                "and methods must come from modules; use 1 worker otherwise"
            ) from None

    def give(self, group: Group) -> None:
        self.group, self.fit = group, group.fit
        with contextlib.suppress(BrokenPipeError):  # a dead process is noticed when its answer is read
            self.pipe.send(group)

    def answer(self) -> Outcome:
        group, self.group = self.group, None
        assert group is not None  # only those with work are asked
        try:
            return (group, *self.pipe.recv())
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            return group, None, f"method {group.method!r} failed on task {group.task_id}: its process ended ({code})"

    def stop(self) -> None:
        if self.group is None and self.process.is_alive():
            with contextlib.suppress(BrokenPipeError):
                self.pipe.send(None)
        else:
            self.process.terminate()
        self.process.join()
        self.pipe.close()


def _share(todo: list[Group], failed: dict[str, str], bench: Bench, workers: int) -> Iterator[Outcome]:
    """A worker stays with a fit while it has groups left, so that few processes fit the same method."""
    queues: dict[Fit, deque[Group]] = {}
    for group in todo:
        queues.setdefault(group.fit, deque()).append(group)
    team: list[_Worker] = []

    def next_group(worker: _Worker) -> Group | None:
        for fit in [f for f in queues if f[0] in failed or not queues[f]]:
            del queues[fit]
        if not queues:
            return None
        taken = {w.fit for w in team if w is not worker and w.group is not None}
        free = [f for f in queues if f not in taken]
        mine = worker.fit if worker.fit in queues else None
        return queues[mine or (free[0] if free else max(queues, key=lambda f: len(queues[f])))].popleft()

    try:
        for _ in range(workers):
            team.append(_Worker(bench))
        for worker in team:
            worker.await_ready()
        while True:
            for i, worker in enumerate(team):
                if worker.group is None and (group := next_group(worker)) is not None:
                    if not worker.process.is_alive():
                        team[i] = worker = _Worker(bench)
                        worker.await_ready()
                    worker.give(group)
            busy: dict[Any, _Worker] = {worker.pipe: worker for worker in team if worker.group is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                yield busy[pipe].answer()
    finally:
        for worker in team:
            worker.stop()
