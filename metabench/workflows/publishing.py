"""Boards published from what is stored of them: scored, written, judged stale; one, or all with the pages over them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from metabench import registry
from metabench.boards.board import Board, board_folders, find_board, load_board
from metabench.boards.plan import TRACES
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.about import About
from metabench.evaluation.traces import Traces
from metabench.publishing.boards import archive
from metabench.untrusted import printable

if TYPE_CHECKING:
    import pandas as pd

    from metabench.publishing.boards.view import Home
    from metabench.table import Table


def publish(name: str, *, profile: str = "full", out: Path | None = None) -> list[Path]:
    """Score a board's stored traces (or predictions) and write its pages; the paths written.

    An earlier version of a board gets its scores alone.
    """
    if _superseded(name, profile, out):
        return archive.build(*_archived(name))
    if load_board(name).track == "predict":
        from metabench.publishing.boards import predictions

        return predictions.build(*_predicted(name, out))
    if load_board(name).design is not None:
        from metabench.publishing.boards import verdicts

        return verdicts.build(*_judged(name, profile, out))
    from metabench.publishing.boards.build import build

    return build(*_published(name, profile, out))


def stale(name: str, *, profile: str = "full", out: Path | None = None) -> list[str]:
    """What is published but not what the stored traces (or predictions) give, one line each."""
    if _superseded(name, profile, out):
        return archive.check(*_archived(name))
    if load_board(name).track == "predict":
        from metabench.publishing.boards import predictions

        return predictions.check(*_predicted(name, out))
    if load_board(name).design is not None:
        from metabench.publishing.boards import verdicts

        return verdicts.check(*_judged(name, profile, out))
    from metabench.publishing.boards.build import check

    return check(*_published(name, profile, out))


def publish_all() -> list[Path]:
    """Publish every board that has traces, the pages of stored reports, and the pages over all of them; the paths written."""
    from metabench.publishing import site
    from metabench.publishing.reports.parts import files as reports

    whole = _boards_folder()
    (whole / site.SITE).mkdir(exist_ok=True)
    written = [path for folder in _evaluated(whole) for path in publish(folder)]
    told = reports.write({}, whole / site.REPORTS) if reports.stored(whole / site.REPORTS) else []
    return written + told + site.build(whole)


def all_stale() -> list[str]:
    """What of all boards, and of the pages of reports and over all of them, is not what traces, stored findings and tables
    give, one line each."""
    from metabench.publishing import site
    from metabench.publishing.reports.parts import files as reports

    whole = _boards_folder()
    lines = [line for folder in _evaluated(whole) for line in stale(folder)]
    return lines + reports.stale_pages(whole / site.REPORTS) + site.check(whole)


# ---------------------------------------------------------------- what is stored
def _superseded(name: str, profile: str, out: Path | None) -> bool:
    return out is None and profile == "full" and archive.is_superseded(load_board(name).folder.resolve())


def _archived(name: str) -> tuple[pd.DataFrame, Path]:
    """Scores of an earlier version, and its folder."""
    if load_board(name).track == "predict":
        board, scores, *_ = _predicted(name, None)
        return scores.summary, board.folder
    if load_board(name).design is not None:
        from metabench.publishing.boards import verdicts

        _, judged, _, folder, *_ = _judged(name, "full", None)
        return verdicts.summary(judged), folder
    _, _, scores, _, folder, *_ = _published(name, "full", None)
    return scores.summary, folder


def _published(name: str, profile: str, out: Path | None):
    from metabench.boards import submissions
    from metabench.scores import score
    from metabench.table import load_table

    board = load_board(name)
    folder = _place(board, out)
    table = load_table(board.dataset, board.dataset_version)
    board = board.on(table)
    narrowed = board.profile(profile)
    submitted = list(submissions.accepted(board, table)) if profile == "full" else []
    if not (folder / TRACES).exists() and not submitted:
        raise MetabenchError(f"{folder} holds no {TRACES}; run `metabench evaluate --board {name}` first")
    traces = _own(folder, board, {s.method for s, _ in submitted}, name)
    for submission, rows in submitted:
        about = About({submission.method: submission.twin} if submission.twin else {})
        traces = Traces(rows, about).beside(Traces.of(traces)).arrow()
    command = f"metabench evaluate --board {name}" + ("" if profile == "full" else f" --profile {profile}")
    scores, accepted = score(traces, table, narrowed), [s for s, _ in submitted]
    return narrowed, traces, scores, table, folder, command, accepted, _home(board, folder, table)


def _judged(name: str, profile: str, out: Path | None):
    """The same of a board of protocol 3, which takes no submissions."""
    from metabench.boards.judge import judge
    from metabench.table import load_table

    board = load_board(name)
    folder = _place(board, out)
    if not (folder / TRACES).exists():
        raise MetabenchError(f"{folder} holds no {TRACES}; run `metabench evaluate --board {name}` first")
    table = load_table(board.dataset, board.dataset_version)
    board = board.settled(table)
    narrowed = board.profile(profile)
    traces = _own(folder, board, set(), name)
    command = f"metabench evaluate --board {name}" + ("" if profile == "full" else f" --profile {profile}")
    return narrowed, judge(traces, table, narrowed), table, folder, command, _home(board, folder, table)


def _own(folder: Path, board: Board, submitted: set[str], name: str) -> pa.Table:
    """The suite's own traces in a folder. Raises MetabenchError when the board's own hold any other method's."""
    if not (folder / TRACES).exists():
        return board.traces_schema.empty_table()
    traces = Traces.read(folder / TRACES, board.traces_schema).arrow()
    if not board.path or folder.resolve() != board.path.resolve():  # somebody's trial: what was submitted since counts
        return traces.filter(pc.invert(pc.is_in(traces["method"], pa.array(sorted(submitted), pa.string()))))
    found = set(pc.unique(traces["method"]).to_pylist())
    if twice := sorted(found & submitted):
        raise MetabenchError(f"{folder / TRACES} holds method {twice[0]!r}, which is a submission; {_anew(name)}")
    known = {*registry.names("baselines"), *registry.names("metamodels")}
    if not archive.is_superseded(board.path) and (strange := sorted(found - known)):
        what = f"{folder / TRACES} holds method {printable(strange[0])!r}, which is neither installed nor submitted"
        raise MetabenchError(f"{what}; submit it, or {_anew(name)}")
    return traces


def _anew(name: str) -> str:
    return f"run `metabench evaluate --board {name}` to write the suite's own traces anew"


def _place(board: Board, out: Path | None) -> Path:
    """The folder of a board's published files: ``out``, or its own."""
    place = out or board.path
    if place is None:
        raise UsageError(f"board {board.name} has no folder; give one")
    return place


def _predicted(name: str, out: Path | None):
    from metabench.evaluation.predict import read_predictions
    from metabench.publishing.boards.predictions import PREDICTIONS
    from metabench.scores.prediction import score_predictions
    from metabench.table import load_table

    board = load_board(name)
    folder = _place(board, out)
    if not (folder / PREDICTIONS).exists():
        raise MetabenchError(f"{folder} holds no {PREDICTIONS}; run `metabench evaluate --board {name}` first")
    table = load_table(board.dataset, board.dataset_version)
    scores = score_predictions(read_predictions(folder / PREDICTIONS), table, board)
    return board, scores, table, folder, f"metabench evaluate --board {name}", _home(board, folder, table)


def _home(board: Board, folder: Path, table: Table) -> Home | None:
    """Where the pages over all boards are from a board's site; None where it does not lie among others that have them."""
    from metabench.publishing.boards.view import Home
    from metabench.publishing.site import SITE, TABLES

    place = folder.resolve()
    whole = place.parent.parent
    if place != whole / board.name / f"v{board.version}" or not (whole / SITE).is_dir():
        return None
    beside = isinstance(table.path, Path) and table.path.resolve().parent.parent == whole.parent / TABLES
    earlier = (int(p.name[1:]) for p in place.parent.glob("v*") if (p / "scores.parquet").exists())
    docs = (whole.parent / "docs/glossary.md").exists()
    return Home(f"../../../{SITE}/", beside, docs, tuple(sorted(v for v in earlier if v < board.version)))


def _boards_folder() -> Path:
    """The folder of all boards that is published. Raises UsageError where there is none."""
    found = next((folder for folder in board_folders() if any(folder.glob("*/v*/board.toml"))), None)
    if found is None:
        raise UsageError(f"there is no board in {', '.join(map(str, board_folders()))}")
    return found


def evaluated_boards() -> list[str]:
    """The published boards that have traces or predictions: by name, earlier versions by folder. Raises UsageError where
    there is no folder of boards."""
    return _evaluated(_boards_folder())


def _evaluated(whole: Path) -> list[str]:
    """The boards that have traces or predictions: by name, earlier versions by folder."""
    from metabench.publishing.boards.predictions import PREDICTIONS

    folders = sorted(path.parent for path in whole.glob("*/v*/board.toml"))
    sources = (TRACES, PREDICTIONS, "submissions")
    made = [folder for folder in folders if any((folder / name).exists() for name in sources)]
    newest = {folder: find_board(folder.parent.name).parent.resolve() for folder in made}
    return [folder.parent.name if newest[folder] == folder.resolve() else str(folder) for folder in made]
