"""``SHA256SUMS.card``: the hashes of a table's card, as ``SHA256SUMS`` holds those of its data.

The table's digest is that of SHA256SUMS, and the card quotes it, so the card's own hashes stand in a second file. It
lists SHA256SUMS too, and its first line (a comment to ``sha256sum -c``) is the hash of the others: whichever byte is
flipped, one file alone is to blame.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from metabench.errors import MetabenchError
from metabench.table import manifest
from metabench.table.place import Place, read_small

SEAL = "SHA256SUMS.card"
_HEAD = "# sha256 of the lines below: "
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_-]+(?:\.(?:md|json|csv|svg))?)")


def write(files: Mapping[str, bytes]) -> bytes:
    """The seal over ``files``, name → content."""
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return f"{_HEAD}{_sha256(lines)}\n{lines}".encode()


def check(folder: Place, sound: bool = True) -> list[str]:
    """Files of the card that are not as they were written, one line each; none where the table has no card.

    ``sound`` tells whether the data are what SHA256SUMS says: then a card about another SHA256SUMS is an old one.
    """
    path = folder / SEAL
    try:
        text = read_small(path).decode(errors="replace")
    except FileNotFoundError:
        return []
    except MetabenchError as error:
        return [str(error)]
    head, _, lines = text.partition("\n")
    entries = [_LINE.fullmatch(line) for line in lines.splitlines()]
    listed = [entry.groups() for entry in entries if entry is not None]
    if head != f"{_HEAD}{_sha256(lines)}" or len(listed) < len(entries):
        return [f"{path} is damaged: its first line is not the hash of the others"]
    problems = []
    for sha256, name in listed:
        file = folder / name
        if not file.is_file():
            problems.append(f"{file} is missing, {SEAL} lists it")
        elif manifest.sha256(file) == sha256:
            continue
        elif name == manifest.SUMS and sound:
            problems.append(f"{folder / 'README.md'} describes another state of the table; write the card again")
        else:
            problems.append(f"{file}: its sha256 is not the one in {SEAL}")
    return problems


def listed(folder: Place) -> set[str]:
    """Names of the files that a card's seal lists; none where there is no seal, or a damaged one."""
    try:
        text = read_small(folder / SEAL).decode(errors="replace")
    except (OSError, MetabenchError):
        return set()
    head, _, lines = text.partition("\n")
    entries = [_LINE.fullmatch(line) for line in lines.splitlines()]
    return {entry[2] for entry in entries if entry} if head == f"{_HEAD}{_sha256(lines)}" else set()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
