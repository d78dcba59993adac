"""Submissions that a board keeps: ``submissions/<method>`` below its folder, each with a status.json that binds it whole.

status.json names the board, the table, the authors and the sources, and holds the digests of both files and of itself.
A folder that is changed, moved to another board, or put there by hand without these is refused at the next build; and
since every build checks the rules again from the folder's own bytes, one that was written by hand with fitting digests has
to keep them too. Digests tell of damage and mistakes. They do not tell who wrote a folder: whoever may write to a board
may add to it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.boards.board import Board
from metabench.boards.submissions.folder import FILES, STATUS, Packet, packed, read
from metabench.boards.submissions.form import Refused, Submission
from metabench.boards.submissions.rules import Checked, check_packet
from metabench.errors import MetabenchError, UsageError
from metabench.files import abandoned, replacing_folder, sweep
from metabench.registry import suggest
from metabench.untrusted import parse_json, printable

if TYPE_CHECKING:
    from metabench.table import Table

STATUSES = ("recomputed", "reproduced", "confirmed")
FOLDER = "submissions"
#: version of the form of status.json
FORM = 2


def accept(checked: Checked, board: Board, table: Table, status: str = "recomputed", *, replaces: bool = False) -> Path:
    """Keep a checked submission below the board's folder.

    What is written are the bytes that were checked. An earlier submission of the same name and the same authors is
    replaced in one step; one of others only if ``replaces``.

    Args:
        checked: What :func:`check` returned.
        board: The board that it was checked against.
        table: The board's table.
        status: How far it was checked, of STATUSES.
        replaces: Whether it may take the place of a submission of other authors, or of a damaged one.

    Returns:
        The folder that holds it.

    Raises:
        Refused: The name is taken by other authors.
        UsageError: An unknown status.
        MetabenchError: It cannot be written.
    """
    if status not in STATUSES:
        raise suggest(status, list(STATUSES), "status")
    if board.path is None:
        raise UsageError(f"board {board.name} has no folder to keep submissions in")
    home = board.path / FOLDER
    place = home / checked.submission.method
    try:
        home.mkdir(parents=True, exist_ok=True)
        recover(home, board)
        sweep(home)
        if os.path.lexists(place) and not replaces:
            _check_authors(place, checked.submission)
        traces = packed(checked.traces)
        with replacing_folder(place) as new:
            (new / FILES[0]).write_bytes(checked.toml)
            (new / FILES[1]).write_bytes(traces)
            (new / STATUS).write_text(
                _sealed(_facts(checked.submission, checked.toml, traces, board, status)), encoding="utf-8"
            )
    except OSError as error:
        raise MetabenchError(f"the submission cannot be kept in {home}: {error.strerror or error}") from None
    return place


def accepted(board: Board, table: Table) -> Iterator[tuple[Submission, Any]]:
    """The board's submissions with their traces, by name, each checked against the board's rules again.

    Raises:
        MetabenchError: Naming the folder of one that breaks a rule, was changed, belongs elsewhere, or was never accepted.
    """
    home = board.path / FOLDER if board.path else None
    if home is None or not home.is_dir():
        return
    recover(home, board)
    names: dict[str, str] = {}
    for folder in sorted(home.iterdir()):
        if folder.name.startswith("."):
            continue
        try:
            packet = read(folder, follow=False)
            method = packet.submission.method
            status = _status(packet, board)
            if folder.name != method:
                raise Refused(f"it holds method {method!r}; a submission lies in the folder of its method's name")
            if method.lower() in names:
                raise Refused(f"method {method!r} stands in the folder {names[method.lower()]!r} too")
            names[method.lower()] = folder.name
            checked = check_packet(packet, board, table, is_kept=True)
        except Refused as error:
            raise MetabenchError(f"{printable(folder, 200)}: {error}; submit it again, or remove the folder") from None
        yield replace(checked.submission, status=status), checked.traces


def recover(home: Path, board: Board) -> None:
    """Bring back what a killed acceptance left without a place, where the system cannot exchange two folders in one step."""
    for path in abandoned(home):
        try:
            packet = read(path, follow=False)
            _status(packet, board)
        except Refused:
            continue
        if not os.path.lexists(place := home / packet.submission.method):
            os.rename(path, place)


# ---------------------------------------------------------------- status.json
def _facts(submission: Submission, toml: bytes, traces: bytes, board: Board, status: str) -> dict[str, Any]:
    """What status.json says of a submission on a board."""
    try:
        made_by = version("metabench")
    except PackageNotFoundError:
        made_by = "unknown"
    return {
        "form": FORM,
        "status": status,
        "method": submission.method,
        "authors": list(submission.authors),
        "trained_on": list(submission.trained_on),
        "tuned_on": list(submission.tuned_on),
        "board": {"name": board.name, "version": board.version},
        "table": {"name": board.dataset, "version": board.dataset_version, "digest": board.digest},
        "files": {FILES[0]: hashlib.sha256(toml).hexdigest(), FILES[1]: hashlib.sha256(traces).hexdigest()},
        "metabench": made_by,
    }


def _sealed(facts: Mapping[str, Any]) -> str:
    return json.dumps({**facts, "sha256": _digest(facts)}, indent=1, ensure_ascii=False) + "\n"


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _status(packet: Packet, board: Board) -> str:
    """The status of an accepted submission. Raises Refused when status.json does not bind it to this board."""
    if packet.status is None:
        raise Refused(f"it was not accepted by `metabench submit`: there is no {STATUS}")
    found = parse_json(packet.status, STATUS, error=Refused)
    if (
        not isinstance(found, dict)
        or found.get("status") not in STATUSES
        or not isinstance(found.get("metabench"), str)
    ):
        raise Refused(f"{STATUS} is none that this metabench writes")
    digest = found.pop("sha256", None)
    expected = _facts(packet.submission, packet.toml, packet.traces, board, found["status"])
    for key, value in (expected | {"metabench": found["metabench"]}).items():
        if found.get(key) != value:
            raise Refused(f"it changed since it was accepted, or on another board: {STATUS} says otherwise of {key!r}")
    if digest != _digest(found):
        raise Refused(f"{STATUS} changed since it was written")
    return found["status"]


def _check_authors(place: Path, new: Submission) -> None:
    """A newer version comes from the same authors."""
    try:
        authors = read(place, follow=False).submission.authors
    except Refused as error:
        raise Refused(f"{place} is taken by what is no submission ({error}); --replace takes its place") from None
    if {name.casefold() for name in authors} != {name.casefold() for name in new.authors}:
        others = ", ".join(authors)
        raise Refused(f"method {new.method!r} was submitted by {others}; choose another name, or --replace it")
