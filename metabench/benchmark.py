"""The whole way: train, join with what is stored, let every method search held-out tasks, publish the board."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metabench import registry, schema
from metabench.errors import IncompleteError, MetabenchError, UsageError
from metabench.leaderboard.board import Board, load_board

if TYPE_CHECKING:
    from metabench.evaluate import CellStore
    from metabench.leaderboard.plan import Planned
    from metabench.leaderboard.settings import Record
    from metabench.leaderboard.submissions import Checked
    from metabench.leaderboard.view import Home
    from metabench.scores import Scores
    from metabench.scores.prediction import PredictionScores
    from metabench.table import Table

#: the slice that `metabench benchmark` trains on the spot: bundled data sets that the table starter has not
FRESH = ("mlp-breast_cancer", "mlp-diabetes", "mlp-iris", "mlp-wine")
TRACES = "traces.parquet"
#: packages whose methods `metabench benchmark` runs; those of others may think for minutes over a search
QUICK = ("optuna", "cmaes")


def methods(partial: bool = False) -> tuple[list[str], dict[str, str]]:
    """Names of the built-in methods that can run here, and those that cannot with what they lack.

    Those that train configurations in parts are among them only if ``partial``.
    """
    from metabench.evaluate import resolve
    from metabench.search.fidelity import FidelitySearcher

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

    scores: Scores
    traces: pa.Table
    path: Path
    failed: dict[str, str]

    def complain(self) -> None:
        """Raise IncompleteError when a method failed."""
        if self.failed:
            raise IncompleteError("; ".join(self.failed.values()))


@dataclass(frozen=True)
class Predicted:
    """What predictions gave: their scores, and the file that keeps them."""

    scores: PredictionScores
    path: Path

    def rows(self) -> list[dict[str, Any]]:
        """Methods by number of observed trials, best first."""
        columns = ["method", "observed", "spearman", "rmse", "crps", "coverage"]
        rows = self.scores.summary[columns].round(4).to_dict("records")
        times = (1000 * self.scores.summary["overhead_s"]).round(1).tolist()
        return [row | {"overhead_ms": ms} for row, ms in zip(rows, times, strict=True)]


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
    out = out or (Path("build/evaluate") / f"{board.name}-{profile}" if chosen else board.path)
    return _evaluate(board, table, chosen, profile, workers, out, executor)


def plan_board(
    name: str, chosen: Sequence[str] = (), *, profile: str = "full", workers: int = 1, rehearse: bool = False
) -> Planned:
    """What :func:`evaluate_board` would compute, method by method; nothing is run. Raises UsageError for unknown names and
    for a board of the prediction track."""
    from metabench.leaderboard.plan import planned
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    board = board.rehearsed() if rehearse else board
    table = load_table(board.dataset, board.dataset_version)
    names = list(chosen) or methods(board.by_epochs)[0]
    return planned(board, profile, table, names, cache_dir() / "cells", workers)


def _evaluate(
    board: Board, table: Table, chosen: Sequence[str], profile: str, workers: int, out: Path, executor: str = "local"
) -> Evaluated:
    from metabench.evaluate import CellStore, MethodsFailed, evaluate, resolve
    from metabench.leaderboard.plan import planned, published_traces
    from metabench.scores import score
    from metabench.tasks import cache_dir

    board = board.on(table)
    narrowed = board.profile(profile)
    store = CellStore(cache_dir() / "cells", board.traces_schema)
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
            _say(f"{method} is left out: it {reason}")
    failed: dict[str, str] = {}
    if (before := planned(board, profile, table, asked, cache_dir() / "cells", workers)).missing:
        _say(str(before))
    try:
        traces = evaluate(
            asked, board, table, profile=profile, store=cache_dir() / "cells", executor=executor, workers=workers,
            progress=True,
        )  # fmt: skip
    except MethodsFailed as error:
        if not error.traces.num_rows:
            raise
        traces, failed = error.traces, error.failures
    traces = together(traces, published)
    path = out / TRACES
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{TRACES}.part")
        pq.write_table(traces, part, compression="zstd")
        part.replace(path)
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
    return Evaluated(score(traces, table, narrowed), traces, path, failed)


def predict_board(
    name: str, chosen: Sequence[str] = (), *, executor: str = "local", workers: int = 1, out: Path | None = None
) -> Predicted:
    """Let surrogates predict on a board of the prediction track, and keep their predictions in the folder ``out``.

    All built-in ones by default, into the board's own folder; chosen ones go into ``build/evaluate/<board>-full`` and are
    scored beside those that are published. Raises MetabenchError when ``out`` cannot be written.
    """
    from metabench.evaluate import resolve
    from metabench.evaluate.predict import predict, predicts, read_predictions
    from metabench.leaderboard.predictions import PREDICTIONS, kept
    from metabench.scores.prediction import score_predictions
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    able, _ = methods()
    asked = list(chosen) or [m.name for m in resolve(able) if predicts(m.searcher)]
    found = kept(predict(asked, board, table, store=cache_dir() / "predictions", executor=executor, workers=workers))
    stored = board.path / PREDICTIONS
    if chosen and stored.exists():
        others = read_predictions(stored)
        mine = pa.array(pc.unique(found["method"]).to_pylist())
        found = pa.concat_tables([found, others.filter(pc.invert(pc.is_in(others["method"], mine)))])
    path = (out or (Path("build/evaluate") / f"{board.name}-full" if chosen else board.path)) / PREDICTIONS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{PREDICTIONS}.part")
        # bytes of like weight side by side take three quarters of the room
        split = [f"{name}.list.element" for name in ("mean", "std")]
        names = ["method", "task_id", "cell"]
        pq.write_table(found, part, compression="zstd", use_dictionary=names, use_byte_stream_split=split)
        part.replace(path)
    except OSError as error:
        raise MetabenchError(f"{path} cannot be written: {error.strerror or error}") from None
    return Predicted(score_predictions(found, table, board), path)


def _predicted(name: str, out: Path | None):
    from metabench.evaluate.predict import read_predictions
    from metabench.leaderboard.predictions import PREDICTIONS
    from metabench.scores.prediction import score_predictions
    from metabench.table import load_table

    board = load_board(name)
    folder = out or board.path
    if not (folder / PREDICTIONS).exists():
        raise MetabenchError(f"{folder} holds no {PREDICTIONS}; run `metabench evaluate --board {name}` first")
    table = load_table(board.dataset, board.dataset_version)
    scores = score_predictions(read_predictions(folder / PREDICTIONS), table, board)
    return board, scores, table, folder, f"metabench evaluate --board {name}", _home(board, folder, table)


def _adopt(published: pa.Table, store: CellStore) -> None:
    """Published cells join the store; their keys say what they are worth."""
    known = set(store.read(published["cell"].to_pylist())["cell"].to_pylist())
    store.write([row for row in published.to_pylist() if row["cell"] not in known])


def published_beside(board: Board, narrowed: Board, names: Sequence[str]) -> pa.Table:
    """Published traces of methods other than ``names``, if they were made under the rules of the narrowed board."""
    from metabench.leaderboard.plan import published_traces

    published = published_traces(board)
    if not published.num_rows:
        return published
    frame = published.select(["start", "seed"]).to_pandas()
    tried = published["configs" if board.made_to_order else "config_ids"]
    lengths = set(pc.list_value_length(tried).to_pylist())
    # where epochs are counted, profiles have the board's budget; where tasks have pools of their own, searches may end early
    same = (narrowed.by_epochs or max(lengths) == narrowed.budget) and set(frame["start"]) == set(narrowed.starts)
    if not same or frame["seed"].max() + 1 != narrowed.seeds:
        return published.slice(0, 0)
    return published.filter(pc.invert(pc.is_in(published["method"], pa.array(list(names), pa.string()))))


def _stored(
    able: Sequence[str], chosen: Sequence[str], published: pa.Table, board: Board, table: Table, store: CellStore
) -> list[str]:
    """Names of built-in methods, neither chosen nor published, whose cells on the board are all in the store."""
    from metabench.evaluate import plan, resolve

    taken = {method.name for method in resolve(chosen)} | set(published["method"].to_pylist())
    groups = plan(resolve([name for name in able if name not in taken]), board, table)
    keys = {name: {k for g in groups if g.method == name for k in g.keys.values()} for name in able}
    known = set(store.read(set().union(*keys.values()))["cell"].to_pylist())
    return [name for name, wanted in keys.items() if wanted and wanted <= known]


def together(traces: pa.Table, published: pa.Table) -> pa.Table:
    """Both, with what their metadata says of the methods' twins."""
    from metabench.evaluate.store import SURROGATE, TWINS

    twins = [json.loads((part.schema.metadata or {}).get(TWINS, b"{}")) for part in (published, traces)]
    merged = json.dumps(twins[0] | twins[1], sort_keys=True).encode()
    kind = schema.LIVE if "configs" in traces.schema.names else schema.TRACES
    both = pa.concat_tables([traces.cast(kind), published.cast(kind)])
    about = {k: v for k, v in (traces.schema.metadata or {}).items() if k == SURROGATE}
    return both.replace_schema_metadata({**kind.metadata, **about, TWINS: merged})


def ranking(scores: Scores, start: str = "own", marks: Sequence[int] = (1, 5, 10, 25, 50)) -> list[dict[str, Any]]:
    """Methods from one start (the board's first where it lacks that), best first by valid regret at ten trials (or the
    last mark before it), with regret at ``marks`` (all of the board's where it has few of these). Where a surrogate
    answered, its error stands in every row."""
    present = scores.summary["start"].unique()
    table = scores.summary[scores.summary["start"] == (start if start in present else present[0])]
    reported = table["mark"].unique().tolist()
    known = [m for m in marks if m in reported]
    known = known if len(known) > 2 else reported
    judged = max((m for m in known if m <= 10), default=known[0])
    rows = []
    for method, group in table.groupby("method"):
        at = group.set_index("mark")
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


def _published(name: str, profile: str, out: Path | None):
    from metabench.evaluate.store import TWINS
    from metabench.leaderboard import submissions
    from metabench.scores import score
    from metabench.table import load_table

    board = load_board(name)
    folder = out or board.path
    if not (folder / TRACES).exists():
        raise MetabenchError(f"{folder} holds no {TRACES}; run `metabench evaluate --board {name}` first")
    table = load_table(board.dataset, board.dataset_version)
    board = board.on(table)
    narrowed = board.profile(profile)
    traces = _read(folder / TRACES, board)
    submitted = list(submissions.accepted(board)) if profile == "full" else []
    for submission, rows in submitted:
        others = traces.filter(pc.not_equal(traces["method"], submission.method))
        twins = {TWINS: json.dumps({submission.method: submission.twin} if submission.twin else {}).encode()}
        traces = together(rows.replace_schema_metadata(twins), others)
    command = f"metabench evaluate --board {name}" + ("" if profile == "full" else f" --profile {profile}")
    scores, accepted = score(traces, table, narrowed), [s for s, _ in submitted]
    return narrowed, traces, scores, table, folder, command, accepted, _home(board, folder, table)


def _read(path: Path, board: Board) -> pa.Table:
    """Traces, checked, with what their file's metadata says of the methods."""
    from metabench.evaluate.store import read_traces

    return read_traces(path, board.traces_schema).replace_schema_metadata(pq.read_schema(path).metadata)


def publish(name: str, *, profile: str = "full", out: Path | None = None) -> list[Path]:
    """Score a board's stored traces (or predictions) and write its pages; the paths written."""
    if load_board(name).track == "predict":
        from metabench.leaderboard import predictions

        return predictions.build(*_predicted(name, out))
    from metabench.leaderboard.build import build

    return build(*_published(name, profile, out))


def stale(name: str, *, profile: str = "full", out: Path | None = None) -> list[str]:
    """What is published but not what the stored traces (or predictions) give, one line each."""
    if load_board(name).track == "predict":
        from metabench.leaderboard import predictions

        return predictions.check(*_predicted(name, out))
    from metabench.leaderboard.build import check

    return check(*_published(name, profile, out))


def _home(board: Board, folder: Path, table: Table) -> Home | None:
    """Where the pages over all boards are from a board's site; None where it does not lie among others that have them."""
    from metabench.leaderboard.view import Home
    from metabench.site import SITE, TABLES

    place = folder.resolve()
    whole = place.parent.parent
    if place != whole / board.name / f"v{board.version}" or not (whole / SITE).is_dir():
        return None
    beside = isinstance(table.path, Path) and table.path.resolve().parent.parent == whole.parent / TABLES
    return Home(f"../../../{SITE}/", beside)


def _boards_folder() -> Path:
    """The folder of all boards that is published. Raises UsageError where there is none."""
    from metabench.leaderboard.board import board_folders

    found = next((folder for folder in board_folders() if any(folder.glob("*/v*/board.toml"))), None)
    if found is None:
        raise UsageError(f"there is no board in {', '.join(map(str, board_folders()))}")
    return found


def _evaluated(whole: Path) -> list[str]:
    """The boards that have traces or predictions: by name, earlier versions by folder."""
    from metabench.leaderboard.board import find_board
    from metabench.leaderboard.predictions import PREDICTIONS

    folders = sorted(path.parent for path in whole.glob("*/v*/board.toml"))
    made = [folder for folder in folders if any((folder / name).exists() for name in (TRACES, PREDICTIONS))]
    newest = {folder: find_board(folder.parent.name).parent.resolve() for folder in made}
    return [folder.parent.name if newest[folder] == folder.resolve() else str(folder) for folder in made]


def publish_all() -> list[Path]:
    """Publish every board that has traces, the pages of stored reports, and the pages over all of them; the paths written."""
    from metabench import site
    from metabench.reports import _publish as reports

    whole = _boards_folder()
    (whole / site.SITE).mkdir(exist_ok=True)
    written = [path for folder in _evaluated(whole) for path in publish(folder)]
    told = reports.write({}, whole / site.REPORTS) if reports.stored(whole / site.REPORTS) else []
    return written + told + site.build(whole)


def all_stale() -> list[str]:
    """What of all boards, and of the pages of reports and over all of them, is not what traces, stored findings and tables
    give, one line each."""
    from metabench import site
    from metabench.reports import _publish as reports

    whole = _boards_folder()
    lines = [line for folder in _evaluated(whole) for line in stale(folder)]
    return lines + reports.stale_pages(whole / site.REPORTS) + site.check(whole)


def choose_settings(
    methods: Sequence[str], name: str, trials: int, workers: int, out: Path | None
) -> Iterator[tuple[Record, Path]]:
    """Try the grids of methods on a board's meta-validation tasks, one after the other: records and their files."""
    from metabench.leaderboard import settings
    from metabench.table import load_table
    from metabench.tasks import cache_dir

    board = load_board(name)
    table = load_table(board.dataset, board.dataset_version)
    for method in methods:
        record = settings.choose_settings(
            method, board, table, trials=trials, store=cache_dir() / "settings", workers=workers, say=_say
        )
        yield record, settings.keep(record, out or board.path / "settings")


def draft_submission(folder: Path, spec: str, traces: pa.Table, name: str) -> Path:
    """Write a submission of one evaluated method into a new folder, for its author to complete."""
    from metabench.evaluate import resolve
    from metabench.leaderboard.submissions import draft
    from metabench.table import load_table

    (method,) = resolve(spec)
    board = _takes_submissions(load_board(name))
    mine = traces.filter(pc.equal(traces["method"], method.name))
    return draft(folder, mine, method.searcher, board, load_table(board.dataset, board.dataset_version))


def _takes_submissions(board: Board) -> Board:
    if not board.digest:
        raise UsageError(
            f"board {board.name} takes no submissions: everyone imports its data; `metabench results` writes HPO-B's files"
        )
    return board


def submit(
    folder: Path, name: str | None = None, *, keep: bool = True, reproduce: bool = False, workers: int = 1
) -> tuple[Checked, str, Path | None]:
    """Check a submission and keep it on its board: what was checked, its status, and where it is kept.

    Raises Refused at the first rule that it breaks; UsageError for an unknown board.
    """
    from metabench.leaderboard import submissions
    from metabench.table import load_table

    board = _takes_submissions(load_board(name or submissions.read(folder)[0].board))
    table = load_table(board.dataset, board.dataset_version)
    checked = submissions.check(folder, board, table)
    status = submissions.reproduce(checked, board, table, workers) if reproduce else submissions.STATUSES[0]
    return checked, status, submissions.accept(checked, folder, board, status) if keep else None


def run(out: Path, workers: int) -> None:
    """`metabench benchmark`: everything from training to the page, reusing what is done."""
    from metabench.evaluate import resolve
    from metabench.generate import generate
    from metabench.leaderboard.build import build
    from metabench.table import join, load_table

    began = time.monotonic()
    starter = load_table("starter")
    n = len(starter.configs("mlp"))
    _say(f"1/4 training {len(FRESH)} tasks × {n} configurations × 2 seeds with the harness")
    report = generate(out / "table/v1", "mlp", list(FRESH), n_configs=n, n_seeds=2, workers=workers)
    if report.trained:
        _say(
            f"    {report.trained:,} networks in {report.seconds:.0f} s: {report.runs_per_second:.0f} runs/s, "
            f"{report.flops / report.seconds / 1e9:.0f} GFLOP/s, {report.diverged} diverged"
        )
    else:
        _say(f"    all {report.stored_before:,} networks were trained already")
    fresh = load_table(out / "table/v1")
    table = join([starter, fresh])
    runs = table.runs("mlp", ["task_id"])
    _say(f"2/4 joined with table starter: {runs.num_rows:,} runs on {len(runs['task_id'].unique())} tasks")
    board = with_tasks(load_board("search", 1), table, fresh.tasks["family"])
    _say(f"3/4 fitting and searching {len(board.tasks(table, 'test'))} held-out tasks")
    able = [name for name in methods()[0] if set(resolve(name)[0].searcher.requires) <= set(QUICK)]
    done = _evaluate(board, table, able, "lite", workers, out / "leaderboard")
    _say("4/4 writing the leaderboard")
    build(board.profile("lite"), done.traces, done.scores, table, out / "leaderboard", "metabench benchmark")
    _print(ranking(done.scores))
    print(f"\nleaderboard: {(out / 'leaderboard/site/index.html').resolve()}")
    _say(f"done in {(time.monotonic() - began) / 60:.1f} min; a second call reuses everything")
    done.complain()


def with_tasks(board: Board, table: Table, families: Sequence[str]) -> Board:
    """The board frozen on another table, with more families held out: those that no part of its split knows yet."""
    known = {family for part in board.split.values() for family in part}
    test = sorted({*board.split["test"], *(set(families) - known)})
    return replace(board, digest=board.digest_on(table), split={**board.split, "test": tuple(test)})


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(title="valid regret on held-out tasks (smaller is better)", title_justify="left")
    for i, name in enumerate(rows[0]):
        grid.add_column(name, justify="left" if i == 0 else "right")
    digits = {"regret": 3, "rank": 2, "overhead_ms": 1}
    for row in rows:
        grid.add_row(*[f"{v:.{digits[k.split('@')[0]]}f}" if isinstance(v, float) else str(v) for k, v in row.items()])
    Console(width=None if sys.stdout.isatty() else 120).print(grid)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
