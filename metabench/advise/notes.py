"""What was done to a person's data, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from metabench.advise.cells import Reading
from metabench.advise.delimited import Layout
from metabench.untrusted import one_line


@dataclass
class Notes:
    """What was done to a data set, said by calling it with a line; and how its text is to be read."""

    reading: Reading = field(default_factory=Reading)
    said: list[str] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        line = one_line(line)
        if line not in self.said:
            self.said.append(line)

    def laid_out(self, layout: Layout | None) -> None:
        """Say how a file is laid out; a semicolon between cells says that a comma is in numbers."""
        if layout is None:
            return
        for line in layout.said:
            self(line)
        self.reading = replace(self.reading, comma=layout.delimiter == ";", text=True)


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a line; of many the first."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = ["Notes", "listed", "short"]
