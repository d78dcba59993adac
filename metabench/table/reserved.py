"""The list of tasks that no table may hold: ``datasets/reserved.txt``."""

from __future__ import annotations

from pathlib import Path

from metabench import untrusted
from metabench.errors import MetabenchError

#: tasks of the practitioner's proof, and those that confirm the final ranking of methods
SECTIONS = ("proof", "confirmatory")


def read(path: str | Path) -> dict[str, list[str]]:
    """Read a list of reserved tasks.

    Args:
        path: a text file of task ids, one a line, under the headings ``[proof]`` and ``[confirmatory]``; lines that
            start with # are comments.

    Returns:
        section → task ids.

    Raises:
        MetabenchError: a task is listed twice or under no heading, or a heading is unknown.
    """
    found: dict[str, list[str]] = {section: [] for section in SECTIONS}
    section, seen = None, set()
    for line in untrusted.read_lines(path):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            if section not in SECTIONS:
                raise MetabenchError(
                    f"{path}: section {untrusted.printable(line)} is unknown; it must be proof or confirmatory"
                )
            continue
        if section is None:
            raise MetabenchError(f"{path}: task {untrusted.printable(line)} is in no section")
        if line in seen:
            raise MetabenchError(f"{path}: task {untrusted.printable(line)} is listed twice")
        seen.add(line)
        found[section].append(line)
    return found


__all__ = ["SECTIONS", "read"]
