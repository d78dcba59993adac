"""Submissions: a folder with ``submission.toml`` and ``traces.parquet`` becomes rows of a board.

A trace holds which configurations were tried, in order; every score is looked up in the board's table, or (on a live
board) every configuration is trained again, so a forged one cannot enter. Everything in the folder is untrusted:
sizes are bounded before a file is read, no name reaches a path before it is checked, nothing in it is executed. Its
status says how far it was checked:

``recomputed``
    its traces are searches that keep the board's rules, and its scores were computed here, from stored rows or by training;
``reproduced``
    its code, installed here, proposed the same configurations in every cell;
``confirmed``
    beyond that, searches with seeds that the author had no need to publish reach a regret within its interval (not on a
    live board: the table measures its own seeds alone).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metabench import registry, schema
from metabench.errors import MetabenchError, UsageError
from metabench.leaderboard.board import Board
from metabench.leaderboard.retrain import retrain
from metabench.registry import suggest
from metabench.table.splits import members

if TYPE_CHECKING:
    from metabench.scores import Scores
    from metabench.search.base import Searcher
    from metabench.table import Table

FILES = ("submission.toml", "traces.parquet")
#: what is added beside them when a submission is accepted
STATUS = "status.json"
STATUSES = ("recomputed", "reproduced", "confirmed")
#: bytes that a file of a submission may have, and its traces when they are unpacked
LARGEST = {"submission.toml": 64 * 1024, "traces.parquet": 32 * 2**20}
UNPACKED = 512 * 2**20
#: steps that a search may make for a full training's epochs, where these are counted
STEPS = 1000
#: seconds that a method may say it thought before a step
THOUGHT = 1e7

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SPEC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ELSEWHERE = re.compile(r"elsewhere:[A-Za-z0-9][\w ./-]{0,199}")
#: key → (type, longest text or list); the first five are required
_KEYS: dict[str, tuple[type, int]] = {
    "method": (str, 64), "board": (str, 64), "digest": (str, 64), "summary": (str, 300), "authors": (list, 50),
    "code": (str, 300), "paper": (str, 300), "spec": (str, 200), "twin": (str, 64),
    "trained_on": (list, 100_000), "tuned_on": (list, 100_000), "claims": (dict, 100),
}  # fmt: skip
_REQUIRED = ("method", "board", "digest", "summary", "authors", "trained_on")
#: claims are compared with what is recomputed to this many units
CLAIM_TOLERANCE = 5e-4


class Refused(MetabenchError):
    """A submission that cannot stand on the board; the message says why, in one line."""


@dataclass(frozen=True)
class Submission:
    """What the author says of a method. ``trained_on`` and ``tuned_on`` list tasks of the board's table by id, other
    data by ``sha256:<digest of a split>`` or ``elsewhere:<what it is>``."""

    method: str
    board: str
    #: digest of the table that the traces index
    digest: str
    summary: str
    authors: tuple[str, ...]
    trained_on: tuple[str, ...]
    tuned_on: tuple[str, ...] = ()
    code: str = ""
    paper: str = ""
    #: ``my_pkg.module:Class``, for those who reproduce it
    spec: str = ""
    #: the method that does the same without learning from source tasks
    twin: str = ""
    #: ``regret@<mark>`` → valid regret from the first start of the traces, as the author computed it
    claims: Mapping[str, float] | None = None
    status: str = "recomputed"


@dataclass(frozen=True)
class Checked:
    """A submission that keeps the rules: its traces (schema TRACES) and their scores."""

    submission: Submission
    traces: pa.Table
    scores: Scores


# ---------------------------------------------------------------- reading
def read(folder: str | os.PathLike) -> tuple[Submission, Path]:
    """The submission in a folder and the path of its traces, which are not opened yet.

    Raises Refused for anything but a folder of the two files, of bounded size, with well-formed contents.
    """
    folder = Path(folder)
    if folder.is_file():
        raise Refused(f"{folder} is a file; unpack it and give the folder with {' and '.join(FILES)}")
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder")
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_symlink():
            raise Refused(f"{folder}: {entry.name!r} is a symbolic link; only plain files are taken")
        if entry.name not in (*FILES, STATUS) or not entry.is_file(follow_symlinks=False):
            raise Refused(f"{folder}: {entry.name!r} does not belong here; a submission is {' and '.join(FILES)}")
    for name in FILES:
        if not (folder / name).is_file():
            raise Refused(f"{folder}: {name} is absent")
        if (size := (folder / name).stat().st_size) > LARGEST[name]:
            raise Refused(f"{folder}: {name} has {size:,} bytes; at most {LARGEST[name]:,} are taken")
    try:
        facts = tomllib.loads((folder / "submission.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{folder}: submission.toml: {' '.join(str(error).split())}") from None
    return parse(facts), folder / "traces.parquet"


def parse(facts: Mapping[str, Any]) -> Submission:
    """A Submission from the parsed submission.toml. Raises Refused naming the first key that is wrong."""
    for key in facts:
        if key not in _KEYS:
            raise Refused(f"submission.toml: {suggest(key, list(_KEYS), 'key')}")
    for key in _REQUIRED:
        if key not in facts:
            raise Refused(f"submission.toml: key {key!r} is absent")
    for key, value in facts.items():
        kind, most = _KEYS[key]
        if not isinstance(value, kind):
            raise Refused(f"submission.toml: {key} is no {kind.__name__}")
        if len(value) > most:
            raise Refused(f"submission.toml: {key} is longer than {most:,}")
        for text in [value] if kind is str else value if kind is list else ():
            _check_text(key, text)
    if not _NAME.fullmatch(facts["method"]):
        raise Refused(f"submission.toml: method {facts['method']!r} may hold only letters, digits, _ . and -")
    if not re.fullmatch(r"[0-9a-f]{64}", facts["digest"]):
        raise Refused("submission.toml: digest is not 64 hexadecimal digits")
    for key in ("code", "paper"):
        _check_url(key, facts.get(key, ""))
    if (spec := facts.get("spec", "")) and not _SPEC.fullmatch(spec):
        raise Refused(f"submission.toml: spec {spec!r} is not of the form my_pkg.module:Class")
    if (twin := facts.get("twin", "")) and not _NAME.fullmatch(twin):
        raise Refused(f"submission.toml: twin {twin!r} is no method's name")
    if not facts["authors"] or not all(facts["authors"]):
        raise Refused("submission.toml: authors is empty")
    for name, value in facts.get("claims", {}).items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
        if not re.fullmatch(r"regret@[1-9]\d{0,4}", name) or not number:
            raise Refused(f"submission.toml: claims.{name} is not of the form regret@10 = 0.05")
    lists = {key: tuple(facts.get(key, ())) for key in ("authors", "trained_on", "tuned_on")}
    return Submission(**{**facts, **lists})


def _check_text(key: str, text: Any) -> None:
    if not isinstance(text, str):
        raise Refused(f"submission.toml: {key} holds {text!r}, which is no text")
    if len(text) > 300:
        raise Refused(f"submission.toml: {key} holds a text longer than 300 characters")
    if not text.isprintable():
        raise Refused(f"submission.toml: {key} holds characters that cannot be printed")
    if "<" in text or ">" in text:
        raise Refused(f"submission.toml: {key} holds < or >; plain text is taken, no markup")


def _check_url(key: str, url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    plain = re.fullmatch(r"[A-Za-z0-9:/?#@!$&()*+,;=._~%\[\]-]+", url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not plain or not port_is_valid:
        raise Refused(f"submission.toml: {key} {url!r} is no plain http or https address")


def _read_traces(
    path: Path, submission: Submission, cells: int, trials: int, kind: pa.Schema
) -> tuple[pa.Table, list | None]:
    """Traces of schema ``kind`` and the claimed score of every trial, if the file has a column ``scores``."""
    known = [f.name for f in kind]
    compulsory = _COMPULSORY[kind is schema.LIVE]
    try:
        with pq.ParquetFile(path) as file:
            # a list of a billion equal numbers packs into a few bytes: what counts is how many there are
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            values = max((g.column(j).num_values for g in groups for j in range(g.num_columns)), default=0)
            if (
                file.metadata.num_rows > cells
                or values > cells * trials
                or sum(g.total_byte_size for g in groups) > UNPACKED
            ):
                raise Refused(
                    f"traces.parquet claims {file.metadata.num_rows:,} rows and {values:,} trials; "
                    f"this board has at most {cells:,} cells of {trials:,} trials"
                )
            for name in file.schema_arrow.names:
                if name not in (*known, "scores"):
                    raise Refused(f"traces.parquet: {suggest(name, [*known, 'scores'], 'column')}")
            table = file.read()
        claimed = table["scores"].cast(pa.list_(pa.float64())).to_pylist() if "scores" in table.column_names else None
        if "cell" not in table.column_names:
            table = table.append_column("cell", pa.array([""] * len(table), pa.string()))
        for field in kind:
            if field.name not in table.column_names:
                if not field.nullable or field.name in compulsory:
                    raise Refused(f"traces.parquet: column {field.name!r} is absent")
                table = table.append_column(field, pa.nulls(len(table), field.type))
            elif field.name in compulsory and table[field.name].null_count:
                raise Refused(f"traces.parquet: column {field.name!r} has cells without a value")
        traces = table.select(known).cast(kind)
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise Refused(f"traces.parquet cannot be read: {str(error).splitlines()[0]}") from None
    if others := set(traces["method"].to_pylist()) - {submission.method}:
        raise Refused(f"traces.parquet: holds method {min(others)!r}; submission.toml says {submission.method!r}")
    return traces, claimed


#: columns that must be there: of traces that index a table, and of live ones
_COMPULSORY = (
    ("method", "start", "task_id", "seed", "config_ids", "overhead"),
    tuple(name for name in schema.LIVE.names if name != "cell"),
)


# ---------------------------------------------------------------- checking
def check(folder: str | os.PathLike, board: Board, table: Table) -> Checked:
    """A submission's folder, checked against the board's rules and scored from the table.

    Raises Refused at the first rule that is broken, MetabenchError when the table is not the board's.
    """
    from metabench.scores import score

    board.check(table)
    submission, path = read(folder)
    if submission.board != board.name:
        raise Refused(f"submission.toml: board is {submission.board!r}, this is board {board.name!r}")
    if submission.digest != board.digest:
        raise Refused(
            f"submission.toml: digest {submission.digest[:12]}… is of another table; the board's is {board.digest[:12]}…"
        )
    _check_name(submission, board)
    check_sources(submission, board, table)
    task_ids = board.tasks(table, "test")
    cells = len(board.starts) * len(task_ids) * board.seeds
    traces, claimed = _read_traces(path, submission, cells, _longest(board), board.traces_schema)
    if traces.num_rows == 0:
        raise Refused("traces.parquet holds no cell")
    if strange := sorted(set(traces["start"].to_pylist()) - set(board.starts)):
        raise Refused(f"traces.parquet: {suggest(strange[0], list(board.starts), 'start')}")
    overhead = traces["overhead"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    if not (np.isfinite(overhead) & (overhead >= 0) & (overhead <= THOUGHT)).all():
        raise Refused("traces.parquet: overhead holds something that is no time in seconds")
    try:
        scores = score(traces, table, board)
        if board.made_to_order:
            traces = retrain(traces, board, table)
            scores = score(traces, table, board)
    except MetabenchError as error:
        raise Refused(f"traces.parquet: {error}") from None
    if claimed is not None:
        _check_claimed(traces, claimed, board, table, task_ids)
    if not board.made_to_order:  # there methods choose alone
        _check_starts(traces, board, table)
    _check_claims(submission, scores)
    return Checked(submission, _with_cells(traces, board), scores)


def _longest(board: Board) -> int:
    """Steps that a search on the board can have at most."""
    return board.budget * STEPS if board.by_epochs else board.budget


def _check_name(submission: Submission, board: Board) -> None:
    taken = [*registry.builtin("baselines"), *registry.builtin("metamodels")]
    if submission.method.lower() in (name.lower() for name in taken):
        raise Refused(f"method {submission.method!r} is a built-in's name; choose another")
    if board.path and (board.path / "submissions").is_dir():
        for other in (board.path / "submissions").iterdir():
            if other.name != submission.method and other.name.lower() == submission.method.lower():
                raise Refused(f"method {submission.method!r} differs from {other.name!r} by case alone")


def check_sources(submission: Submission, board: Board, table: Table) -> None:
    """What a method learned from or was tuned on has no part in meta-test, by task, by family or by split digest.

    Raises Refused naming the first entry that has, or that is neither a task, a digest nor ``elsewhere:…``.
    """
    tasks = table.tasks.set_index("task_id")
    held_out = frozenset().union(*map(members, board.split["test"]))
    digests = {
        f"sha256:{d}": task
        for task, listed in (tasks["split_hashes"].items() if "split_hashes" in tasks else ())
        for d in listed
    }
    for key in ("trained_on", "tuned_on"):
        for entry in getattr(submission, key):
            task = digests.get(entry, entry)
            if task in tasks.index:
                if members(family := tasks.loc[task, "family"]) & held_out:
                    raise Refused(f"submission.toml: {key} has {entry}, of family {family!r}, which is held out")
                if board.shift and (value := tasks.loc[task, board.shift.column]) in board.shift.test:
                    raise Refused(
                        f"submission.toml: {key} has {entry}, of {board.shift.column} {value!r}, which is held out"
                    )
            elif not (_DIGEST.fullmatch(entry) or _ELSEWHERE.fullmatch(entry)):
                raise Refused(
                    f"submission.toml: {key} has {entry!r}; expected a task of table {board.dataset}, "
                    "sha256:<digest of a split> or elsewhere:<what it is>"
                )


def _check_claimed(traces: pa.Table, claimed: list, board: Board, table: Table, task_ids: list[str]) -> None:
    stored = _stored(board, table, task_ids)
    for row, told in zip(traces.to_pylist(), claimed, strict=True):
        if told is None or len(told) != len(row["config_ids"]):
            raise Refused(f"traces.parquet: scores of {_cell(row)} are not one a trial")
        for trial, (value, true) in enumerate(zip(told, stored(row), strict=True), 1):
            if not np.isclose(np.nan if value is None else value, true, rtol=1e-6, atol=1e-6, equal_nan=True):
                raise Refused(f"traces.parquet: {_cell(row)}, trial {trial}: claims {value}, the table says {true:.6g}")


def _stored(board: Board, table: Table, task_ids: list[str]) -> Callable[[Mapping[str, Any]], list[float]]:
    """The function that looks up the score of every step of a trace."""
    from metabench.search.replay import CurveReplay, Replay

    if board.by_epochs:
        curves = CurveReplay.from_table(table, board.workload, task_ids)
        return lambda row: [
            curves.train(row["task_id"], config, epochs - 1, epochs, row["seed"])[-1]
            for config, epochs in zip(row["config_ids"], row["epochs"], strict=True)
        ]
    replay = Replay.from_table(table, board.workload, task_ids)
    return lambda row: [replay.score(row["task_id"], config, row["seed"]) for config in row["config_ids"]]


def _check_starts(traces: pa.Table, board: Board, table: Table) -> None:
    """The first trials of a start that gives some are those that it gives."""
    given = given_trials(board, table)
    for row in traces.select(["start", "task_id", "seed", "config_ids"]).to_pylist():
        expected = given(row["start"], row["task_id"], row["seed"])
        found = row["config_ids"][: len(expected)]
        if found != expected:
            raise Refused(f"traces.parquet: {_cell(row)} begins with {found}; this start gives {expected}")


def given_trials(board: Board, table: Table) -> Callable[[str, str, int], list[int]]:
    """The function (start, task_id, seed) → the trials that the start gives."""
    from metabench.evaluate.run import _bench
    from metabench.evaluate.worker import Group

    bench = _bench([], board, table)
    return lambda start, task_id, seed: bench._start(Group("", start, task_id, {}), seed)


def _check_claims(submission: Submission, scores: Scores) -> None:
    start = scores.summary["start"].iloc[0]
    found = scores.summary[scores.summary["start"] == start].set_index("mark")["valid_regret"]
    for name, told in (submission.claims or {}).items():
        mark = int(name.removeprefix("regret@"))
        if mark not in found.index:
            raise Refused(f"submission.toml: claims.{name}: the board has no mark {mark}")
        if abs(found[mark] - told) > CLAIM_TOLERANCE:
            raise Refused(
                f"submission.toml: claims {name} = {told:.4f} from start {start}; recomputed: {found[mark]:.4f}"
            )


def _cell(row: Mapping[str, Any]) -> str:
    return f"start {row['start']}, task {row['task_id']}, seed {row['seed']}"


def _with_cells(traces: pa.Table, board: Board) -> pa.Table:
    """The traces in canonical order, each with the hash of what it says as its key."""
    rows = sorted(traces.to_pylist(), key=lambda r: (board.starts.index(r["start"]), r["task_id"], r["seed"]))
    for row in rows:
        tried = row["configs" if board.made_to_order else "config_ids"]
        said = [board.digest, *(row[k] for k in ("method", "start", "task_id", "seed")), tried]
        if board.by_epochs:
            said += [row["epochs"]]
        row["cell"] = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    return pa.Table.from_pylist(rows, board.traces_schema)


# ---------------------------------------------------------------- reproducing
def reproduce(checked: Checked, board: Board, table: Table, workers: int = 1) -> str:
    """Run the submission's code and return the status that it earns: reproduced, or confirmed.

    The class that ``spec`` names must be installed. Raises Refused when there is none, when it is called otherwise, or
    naming the first cell where it proposes something else.
    """
    from metabench.evaluate import evaluate, resolve

    submission = checked.submission
    if not submission.spec:
        raise Refused("submission.toml: there is no spec to reproduce; name the class as my_pkg.module:Class")
    (method,) = resolve(submission.spec)
    if method.name != submission.method:
        raise Refused(f"{submission.spec} is called {method.name!r}, the submission {submission.method!r}")
    starts = tuple(s for s in board.starts if s in set(checked.traces["start"].to_pylist()))
    longer = replace(board, starts=starts, seeds=board.seeds if board.made_to_order else 2 * board.seeds)
    again = evaluate(submission.spec, longer, table, workers=workers)
    ours = {(r["start"], r["task_id"], r["seed"]): _steps(r) for r in again.to_pylist()}
    for row in checked.traces.to_pylist():
        mine = ours[row["start"], row["task_id"], row["seed"]]
        for trial, (a, b) in enumerate(zip_longest(mine, _steps(row)), 1):
            if a != b:
                raise Refused(f"{_cell(row)}, trial {trial}: the code proposes {a}, the submission says {b}")
    if board.made_to_order:
        return "reproduced"
    return "confirmed" if _agrees(checked, again, longer, board, table) else "reproduced"


def _steps(row: Mapping[str, Any]) -> list[Any]:
    """What a trace says was done: configurations, or (configuration, epochs) where these are counted."""
    if "configs" in row:
        return row["configs"]
    if row["epochs"] is None:
        return row["config_ids"]
    return list(zip(row["config_ids"], row["epochs"], strict=True))


def _agrees(checked: Checked, again: pa.Table, longer: Board, board: Board, table: Table) -> bool:
    """Does the regret with fresh search seeds lie within the submission's interval, at every mark and start?"""
    from metabench.scores import score

    rows = [r | {"seed": r["seed"] - board.seeds} for r in again.to_pylist() if r["seed"] >= board.seeds]
    fresh = score(pa.Table.from_pylist(rows, schema.TRACES), table, replace(longer, seeds=board.seeds)).summary
    both = checked.scores.summary.merge(fresh, on=["method", "start", "mark"], suffixes=("", "_fresh"))
    inside = (both["valid_regret_fresh"] >= both["valid_low"]) & (both["valid_regret_fresh"] <= both["valid_high"])
    return bool(inside.all())


# ---------------------------------------------------------------- keeping
def accept(checked: Checked, folder: str | os.PathLike, board: Board, status: str = "recomputed") -> Path:
    """Keep a checked submission below the board's folder, in place of an earlier one of its name; the folder of it.

    Raises UsageError for an unknown status, MetabenchError when it cannot be written.
    """
    if status not in STATUSES:
        raise suggest(status, list(STATUSES), "status")
    if board.path is None:
        raise UsageError(f"board {board.name} has no folder to keep submissions in")
    home = board.path / "submissions"
    place = home / checked.submission.method
    facts = {"status": status, "traces": hashlib.sha256(_packed(checked.traces)).hexdigest()}
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=home) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            shutil.copyfile(Path(folder) / FILES[0], new / FILES[0])
            (new / FILES[1]).write_bytes(_packed(checked.traces))
            (new / STATUS).write_text(json.dumps(facts, indent=1) + "\n")
            if place.exists():
                os.replace(place, Path(temporary) / "old")
            os.replace(new, place)
    except OSError as error:
        raise MetabenchError(f"the submission cannot be kept in {home}: {error.strerror or error}") from None
    return place


def _packed(traces: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(traces, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def accepted(board: Board) -> Iterator[tuple[Submission, pa.Table]]:
    """The board's submissions with their traces, by name.

    Raises MetabenchError for one whose traces are no longer those that were accepted.
    """
    home = board.path / "submissions" if board.path else None
    for folder in sorted(home.iterdir()) if home and home.is_dir() else ():
        if folder.name.startswith("."):
            continue
        submission, path = read(folder)
        try:
            facts = json.loads((folder / STATUS).read_text())
            status, digest = str(facts["status"]), facts["traces"]
        except (OSError, ValueError, KeyError, TypeError):
            raise MetabenchError(f"{folder} was not accepted by `metabench submit`: no readable {STATUS}") from None
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest or status not in STATUSES:
            raise MetabenchError(f"{folder} changed since it was accepted; submit it again")
        traces, _ = _read_traces(path, submission, 10**6, _longest(board), board.traces_schema)
        yield replace(submission, status=status), traces


# ---------------------------------------------------------------- drafting
def draft(folder: str | os.PathLike, traces: pa.Table, searcher: Searcher, board: Board, table: Table) -> Path:
    """Write a submission of a method's traces into a new folder, for its author to complete; returns the folder.

    Everything that is known is filled in. Raises UsageError when the folder holds something, MetabenchError when it
    cannot be written.
    """
    folder = Path(folder)
    learned = [t for part in ("train", "valid") for t in board.tasks(table, part)]
    spec = f"{type(searcher).__module__}:{type(searcher).__qualname__}"
    doc = " ".join((searcher.__doc__ or "").split("\n\n")[0].split()) or f"{searcher.name}, a searcher."
    lines = [
        "# Say what the method is and who made it; `metabench submit` checks the rest.",
        f"method = {json.dumps(searcher.name)}",
        f"board = {json.dumps(board.name)}",
        f"digest = {json.dumps(board.digest)}",
        f"summary = {json.dumps(doc[:300].replace('<', '').replace('>', ''), ensure_ascii=False)}",
        'authors = ["your name"]',
        *([f"spec = {json.dumps(spec)}"] if _SPEC.fullmatch(spec) else []),
        *([f"twin = {json.dumps(searcher.twin)}"] if searcher.twin else []),
        "# code = \"https://…\"",
        "# paper = \"https://…\"",
        "# tasks that it learned from; other data as \"sha256:<digest of a split>\" or \"elsewhere:<what it is>\"",
        f"trained_on = {json.dumps(learned)}",
        "# tasks on which its settings were chosen",
        "tuned_on = []",
    ]  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; a submission is drafted into a new folder")
        (folder / FILES[0]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / FILES[1]).write_bytes(_packed(traces))
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
