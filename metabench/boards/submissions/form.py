"""What the author says of a method: submission.toml, checked key by key. All of it is untrusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from metabench.errors import MetabenchError
from metabench.registry import suggest
from metabench.untrusted import one_line, printable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_BOARD = re.compile(r"[a-z0-9][a-z0-9_-]*")
SPEC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
#: key → (type, longest text or list)
_KEYS: dict[str, tuple[type, int]] = {
    "method": (str, 64),
    "board": (str, 64),
    "digest": (str, 64),
    "summary": (str, 300),
    "authors": (list, 50),
    "code": (str, 300),
    "paper": (str, 300),
    "spec": (str, 200),
    "twin": (str, 64),
    "trained_on": (list, 100_000),
    "tuned_on": (list, 100_000),
    "claims": (dict, 100),
}
_REQUIRED = ("method", "board", "digest", "summary", "authors", "trained_on")


#: what a draft says where only the author knows; refused until it is replaced
NO_AUTHOR, NO_SUMMARY = "your name", "TODO: what the method does"
_PLACEHOLDER = re.compile(
    r"(todo|fixme|tbd|tba|xxx+|lorem ipsum|fill (me )?in|to be (done|added|announced|written))\b.*"
    r"|(((your|my|the|an?|some|first|last|full)[\s_-]*)*(names?|authors?|summary|title|description)[\s,_-]*)+"
    r"|your\b.*\bnames?\b.*|names? of (your|the)\b.*|n/?a|none|unknown|\W*",
    re.IGNORECASE | re.DOTALL,
)
#: characters of an error line
LINE = 400


class Refused(MetabenchError):
    """A submission that cannot stand on the board; the message says why, in one line of bounded length."""

    def __init__(self, message: object):
        super().__init__(one_line(message, LINE))


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


def parse(facts: Mapping[str, Any]) -> Submission:
    """A Submission from the parsed submission.toml. Raises Refused naming the first key that is wrong."""
    for key in facts:
        if key not in _KEYS:
            raise Refused(f"submission.toml: {suggest(printable(key), list(_KEYS), 'key')}")
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
    if not _BOARD.fullmatch(facts["board"]):
        raise Refused(f"submission.toml: board {facts['board']!r} is no board's name")
    if not re.fullmatch(r"[0-9a-f]{64}", facts["digest"]):
        raise Refused("submission.toml: digest is not 64 hexadecimal digits")
    for key in ("code", "paper"):
        _check_url(key, facts.get(key, ""))
    if (spec := facts.get("spec", "")) and not SPEC.fullmatch(spec):
        raise Refused(f"submission.toml: spec {spec!r} is not of the form my_pkg.module:Class")
    if (twin := facts.get("twin", "")) and not _NAME.fullmatch(twin):
        raise Refused(f"submission.toml: twin {twin!r} is no method's name")
    if not facts["authors"] or not all(facts["authors"]):
        raise Refused("submission.toml: authors is empty")
    for key, text in (*(("authors", author) for author in facts["authors"]), ("summary", facts["summary"])):
        if _PLACEHOLDER.fullmatch(text.strip()):
            what = "say who made the method" if key == "authors" else "say what the method does"
            raise Refused(f"submission.toml: {key} still has the placeholder {text!r}; {what}")
    for name, value in facts.get("claims", {}).items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and -1e6 < value < 1e6
        if not re.fullmatch(r"regret@[1-9]\d{0,4}", name) or not number:
            raise Refused(f"submission.toml: claims.{printable(name)} is not of the form regret@10 = 0.05")
    lists = {key: tuple(facts.get(key, ())) for key in ("authors", "trained_on", "tuned_on")}
    return Submission(**{**facts, **lists})


def _check_text(key: str, text: Any) -> None:
    if not isinstance(text, str):
        raise Refused(f"submission.toml: {key} holds {printable(repr(text))}, which is no text")
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
    example = re.fullmatch(r"(.+\.)?example(\.(com|org|net))?", parts.hostname or "")
    plain = not example and re.fullmatch(r"[A-Za-z0-9:/?#@!$&()*+,;=._~%\[\]-]+", url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or not plain or not port_is_valid:
        raise Refused(f"submission.toml: {key} {url!r} is no plain http or https address")
