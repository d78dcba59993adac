"""Methods on boards: which can run here, what they would cost, their searches and who is best."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from metabench import registry
from metabench.boards.board import Board, load_board
from metabench.boards.plan import TRACES, Planned, planned, published_traces
from metabench.errors import IncompleteError, MetabenchError
from metabench.evaluation import CellStore, MethodsFailed, evaluate, plan, resolve
from metabench.evaluation.traces import Traces
from metabench.evaluation.worker import one_thread
from metabench.search.fidelity import FidelitySearcher

if TYPE_CHECKING:
    from metabench.boards.judge import Judged
    from metabench.boards.settings import Record
    from metabench.scores import Scores
    from metabench.table import Table


def methods(partial: bool = False) -> tuple[list[str], dict[str, str]]:
    """Names of the built-in methods that can run here, and those that cannot with what they lack.

    Those that train configurations in parts are among them only if ``partial``.
    """
    able, absent = [], {}
    for kind in ("baselines", "metamodels"):
        for name in registry.names(kind):
            (method,) = resolve(name)
            if isinstance(method.searcher, FidelitySearcher) and not partial:
                continue
            if method.lacks:
                absent[name] = method.lacks
            else:
                able.append(name)
    return able, absent


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave: scores, the traces and their file, and why methods failed (method → one line)."""

    scores: Scores | Judged
    traces: pa.Table
    path: Path
    failed: dict[str, str]

    def complain(self) -> None:
        """Raise IncompleteError when a method failed."""
        if self.failed:
            raise IncompleteError("; ".join(self.failed.values()))


def evaluate_board(
    name: str,
    chosen: Sequence[str] = (),
    *,
    profile: str = "full",
    executor: str = "local",
    workers: int = 1,
    out: Path | None = None,
    rehearse: bool = False,
) -> Evaluated:
    """Evaluate methods on a board and store their traces in the folder ``out``.

    All built-in methods that can run here are evaluated by default, into the board's own folder. Chosen ones (names,
    or ``my_pkg:MyModel``) go into ``build/evaluate/<board>-<profile>``, so that what is published stays, and are
    scored beside every method that is published under the profile or whose cells are all stored. Cells that the
    board's folder or the cache holds are not computed again. To ``rehearse`` a live board a surrogate answers in place of
    training; that goes into ``build/evaluate/<board>-<profile>-surrogate`` and is scored alone.

    Raises MetabenchError when ``out`` cannot be written; UsageError for unknown names; what failed is in the result.
    """
    from metabench.table import load_table

    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    if rehearse:
        board = replace(board.rehearsed(), path=None)
        out = out or Path("build/evaluate") / f"{board.name}-{profile}-surrogate"
    out = out or (Path("build/evaluate") / f"{board.name}-{profile}" if chosen else board.folder)
    return evaluate_on(board, table, chosen, profile, workers, out, executor)


def plan_board(
    name: str, chosen: Sequence[str] = (), *, profile: str = "full", workers: int = 1, rehearse: bool = False
) -> Planned:
    """What :func:`evaluate_board` would compute, method by method; nothing is run. Raises UsageError for unknown names and
    for a board of the prediction track."""
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    board = board.rehearsed() if rehearse else board
    table = load_table(board.dataset, board.dataset_version)
    names = list(chosen) or methods(board.by_epochs)[0]
    return planned(board, profile, table, names, cache_dir() / "cells", workers)


def evaluate_on(
    board: Board, table: Table, chosen: Sequence[str], profile: str, workers: int, out: Path, executor: str = "local"
) -> Evaluated:
    """What :func:`evaluate_board` does, on a board and a table that are at hand; ``out`` is the folder of the traces."""
    from metabench.tasks import cache_dir

    board = board.settled(table)
    narrowed = board.profile(profile)
    store_folder = cache_dir() / "cells"
    store = CellStore(store_folder, board.traces_schema)
    published = published_traces(board)
    _adopt(published, store)
    able, absent = methods(narrowed.by_epochs)
    asked: list[str] = list(chosen) or able
    if chosen:
        published = published_beside(board, narrowed, [method.name for method in resolve(asked)])
        asked += _stored(able, asked, published, narrowed, table, store)
    else:
        published = published.slice(0, 0)
        for method, reason in absent.items():
            say(f"{method} is left out: it {reason}")
    failed: dict[str, str] = {}
    before = planned(board, profile, table, asked, store_folder, workers)
    if before.missing and before.unknown and narrowed.design is not None:
        pilots = _pilots(before.unknown, asked, narrowed, table, store)
        before = planned(board, profile, table, asked, store_folder, workers, pilots)
    if before.missing:
        say(str(before))
    try:
        traces = evaluate(
            asked,
            board,
            table,
            profile=profile,
            store=store_folder,
            executor=executor,
            workers=workers,
            progress=True,
        )
    except MethodsFailed as error:
        if not error.traces.num_rows:
            raise
        traces, failed = error.traces, error.failures
    both = Traces.of(traces).beside(Traces.of(published))
    path, traces = out / TRACES, both.arrow()
    both.write(path)
    return Evaluated(scored(traces, table, narrowed), traces, path, failed)


def scored(traces: pa.Table, table: Table, board: Board, **settings: Any) -> Scores | Judged:
    """What a board's protocol says of traces. ``settings`` are those of :func:`metabench.scores.score`, or under protocol 3
    of :func:`metabench.boards.judge.judge`."""
    if board.design is not None:
        from metabench.boards.judge import judge

        return judge(traces, table, board, **settings)
    from metabench.scores import score

    return score(traces, table, board, **settings)


def _pilots(names: Sequence[str], asked: Sequence[Any], board: Board, table: Table, store: CellStore) -> list[pa.Table]:
    """A fit and the searches of one task of each method of which no trace says how long it takes; the cells are kept. A method
    that fails has none, and is reported by the evaluation."""
    out = []
    chosen = [m for m in resolve(asked) if m.name in names and not m.lacks]
    groups = plan(chosen, board, table)
    with one_thread():
        for method in chosen:
            bench = board.kind.bench([method], table)
            try:
                rows = bench.run(next(g for g in groups if g.method == method.name))
            except MetabenchError:
                continue
            store.write(rows)
            out.append(pa.Table.from_pylist(rows, store.kind))
    return out


def _adopt(published: pa.Table, store: CellStore) -> None:
    """Published cells join the store; their keys say what they are worth."""
    known = set(store.read(published["cell"].to_pylist())["cell"].to_pylist())
    store.write([row for row in published.to_pylist() if row["cell"] not in known])


def published_beside(board: Board, narrowed: Board, names: Sequence[str]) -> pa.Table:
    """Published traces of methods other than ``names``, if they were made under the rules of the narrowed board."""
    published = published_traces(board)
    if not published.num_rows:
        return published
    others = pc.invert(pc.is_in(published["method"], pa.array(list(names), pa.string())))
    if narrowed.design is not None:  # the searches of a profile are the first ones of the whole board
        return published.filter(pc.and_(others, pc.less(published["seed"], narrowed.seeds)))
    frame = published.select(["start", "seed"]).to_pandas()
    tried = published["configs" if board.is_live else "config_ids"]
    lengths = set(pc.list_value_length(tried).to_pylist())
    # where epochs are counted, profiles have the board's budget; where tasks have pools of their own, searches may end early
    same = (narrowed.by_epochs or max(lengths) == narrowed.budget) and set(frame["start"]) == set(narrowed.starts)
    if not same or frame["seed"].max() + 1 != narrowed.seeds:
        return published.slice(0, 0)
    return published.filter(others)


def _stored(
    able: Sequence[str], chosen: Sequence[str], published: pa.Table, board: Board, table: Table, store: CellStore
) -> list[str]:
    """Names of built-in methods, neither chosen nor published, whose cells on the board are all in the store."""
    taken = {method.name for method in resolve(chosen)} | set(published["method"].to_pylist())
    groups = plan(resolve([name for name in able if name not in taken]), board, table)
    keys = {name: {k for g in groups if g.method == name for k in g.keys.values()} for name in able}
    known = set(store.read(set().union(*keys.values()))["cell"].to_pylist())
    return [name for name, wanted in keys.items() if wanted and wanted <= known]


def ranking(
    scores: Scores | Judged, start: str = "own", marks: Sequence[int] = (1, 5, 10, 25, 50)
) -> list[dict[str, Any]]:
    """Methods from one start (the board's first where it lacks that), best first by valid regret at ten trials (or the
    last mark before it), with regret at ``marks`` (all of the board's where it has few of these). Where a surrogate
    answered, its error stands in every row. Under protocol 3: :meth:`metabench.boards.judge.Judged.ranking`."""
    from metabench.boards.judge import Judged

    if isinstance(scores, Judged):
        return scores.ranking()
    present = scores.summary["start"].unique()
    table = scores.summary[scores.summary["start"] == (start if start in present else present[0])]
    reported = table["mark"].unique().tolist()
    known = [m for m in marks if m in reported]
    known = known if len(known) > 2 else reported
    judged = max((m for m in known if m <= 10), default=known[0])
    rows = []
    for method, group in table.groupby("method"):
        at: Any = group.set_index("mark")
        row: dict[str, Any] = {"method": method}
        row |= {f"regret@{m}": round(float(at.loc[m, "valid_regret"]), 4) for m in known}
        low, high = at.loc[judged, ["valid_low", "valid_high"]]
        row[f"interval@{judged}"] = f"{low:.3f}–{high:.3f}"
        row[f"rank@{judged}"] = round(float(at.loc[judged, "mean_rank"]), 2)
        row["overhead_ms"] = round(1000 * float(at.loc[known[-1], "overhead_s"]) / known[-1], 1)
        if scores.surrogate is not None:
            row["surrogate_spearman"] = round(float(scores.surrogate["spearman"].mean()), 3)
            row["surrogate_error"] = round(float(scores.surrogate["regret"].mean()), 3)
        rows.append(row)
    return sorted(rows, key=lambda row: row[f"regret@{judged}"])


def choose_settings(
    methods: Sequence[str], name: str, trials: int, workers: int, out: Path | None
) -> Iterator[tuple[Record, Path]]:
    """Try the grids of methods on a board's meta-validation tasks, one after the other: records and their files."""
    from metabench.boards import settings
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    for method in methods:
        record = settings.choose_settings(
            method, board, table, trials=trials, store=cache_dir() / "settings", workers=workers, say=say
        )
        yield record, settings.keep(record, out or board.folder / "settings")


def say(message: str) -> None:
    """Tell of progress on stderr."""
    print(message, file=sys.stderr, flush=True)
