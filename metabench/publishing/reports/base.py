"""What a report is: a question, how its numbers are found, and how they are told.

A report is one file of this folder with one public class that carries the file's name as its ``name``. ``compute`` finds
numbers and may take minutes; ``page`` tells them, from what is stored alone, so that a page can be made again at once and
always of the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from metabench import untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.plain import plain, row_dicts
from metabench.publishing.pages import wording
from metabench.publishing.pages.formats import compact, published, records

if TYPE_CHECKING:
    from markupsafe import Markup

    from metabench.boards.board import Board
    from metabench.table import Table

#: changes when stored findings are written otherwise
FORMAT = "1"


@dataclass(frozen=True)
class ReportContext:
    """What a report looks at: a table, and the board whose split and rules it follows where searches are asked about."""

    table: Table
    board: Board | None = None
    #: is told what goes on
    say: Callable[[str], None] = lambda text: None

    @property
    def rules(self) -> Board:
        """The board. Raises UsageError where none is given."""
        if self.board is None:
            raise UsageError("this report follows a board's split; name one with --board")
        return self.board


@dataclass(frozen=True)
class Findings:
    """What a report found: single facts, and frames of numbers; both as JSON holds them."""

    report: str
    #: command, table, version, board, and ``key``: the sha256 of all that determines the findings
    made: Mapping[str, Any]
    facts: Mapping[str, Any]
    frames: Mapping[str, pd.DataFrame]

    @classmethod
    def of(
        cls, report: str, made: Mapping[str, Any], facts: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]
    ) -> Findings:
        """With every float rounded to six significant digits, as it is stored."""
        return cls(
            report, dict(made), {k: _rounded(v) for k, v in facts.items()}, {k: published(f) for k, f in frames.items()}
        )

    def to_json(self) -> dict[str, Any]:
        """The object that is stored: a list of records for each frame."""
        head = {"format": FORMAT, "report": self.report, "made": dict(self.made), "facts": dict(self.facts)}
        return (
            head
            | {"columns": {k: list(f) for k, f in self.frames.items()}}
            | {k: records(f) for k, f in self.frames.items()}
        )

    @classmethod
    def from_json(cls, text: str, where: str) -> Findings:
        """Read :meth:`to_json` again. Raises MetabenchError naming the file when it is something else."""
        try:
            held = untrusted.parse_json(text, where)
            if held["format"] != FORMAT:
                raise MetabenchError(f"{where} is of format {held['format']!r}, this version reads {FORMAT!r}")
            frames = {k: _frame(held[k], columns) for k, columns in held["columns"].items()}
            return cls(held["report"], held["made"], held["facts"], frames)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetabenchError(f"{where} holds no findings of a report ({error})") from None


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Rows as a frame; None among numbers, or alone, is NaN again."""
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in columns})
    for name in columns:
        kinds = {type(v) for v in frame[name]}
        if kinds == {int}:
            frame[name] = frame[name].astype(np.int64)
        elif kinds and kinds <= {int, float, type(None)}:
            frame[name] = frame[name].astype(float)
    return frame


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    value = plain(value)
    return compact(value) if isinstance(value, float) else value


# ---------------------------------------------------------------- the page
def paragraphs(text: str) -> list[str]:
    """Paragraphs of a text, however its lines are broken: empty lines part them."""
    return [" ".join(block.split()) for block in re.split(r"\n\s*\n", text) if block.strip()]


@dataclass(frozen=True)
class Figure:
    """A drawing with what it shows in words; ``legend`` names its classes of marks: name → CSS class."""

    heading: str
    text: str
    svg: Markup
    legend: Mapping[str, str] = field(default_factory=dict)
    #: is it as wide as the page?
    wide: bool = False


@dataclass(frozen=True)
class Column:
    """A column of a table on the page: a frame's column, written by ``form``, with its interval where it has one."""

    label: str
    name: str
    form: Callable[[Any], str] | None = None
    #: the columns of the interval's ends
    interval: tuple[str, str] | None = None

    @property
    def numeric(self) -> bool:
        return self.form is not None

    def cell(self, row: Mapping[str, Any]) -> tuple[str, str, str]:
        """What is shown, its interval, and the value to sort by."""
        value = row[self.name]
        if self.form is None:
            return ("–" if value is None else str(value)), "", ""
        if value is None or not math.isfinite(value):
            return "–", "", ""
        ends = [row[k] for k in self.interval or ()]
        shown = bool(ends) and all(e is not None and math.isfinite(e) for e in ends)
        return self.form(value), f"[{self.form(ends[0])}, {self.form(ends[1])}]" if shown else "", wording.plain(value)


@dataclass(frozen=True)
class Grid:
    """A table on the page; ``frame`` names the data file that holds it, and more."""

    caption: str
    columns: Sequence[Column]
    frame: pd.DataFrame
    #: is it folded away until asked for?
    folded: bool = False

    @property
    def rows(self) -> list[list[tuple[str, str, str]]]:
        return [[c.cell(row) for c in self.columns] for row in row_dicts(self.frame)]


@dataclass(frozen=True)
class Section:
    """A part of a page; empty lines part the paragraphs of ``text``."""

    heading: str
    text: str
    figures: Sequence[Figure] = ()
    grids: Sequence[Grid] = ()


@dataclass(frozen=True)
class Page:
    """What a report tells: the answer first. Empty lines part the paragraphs of ``method``, how the numbers were found."""

    answer: str
    sections: Sequence[Section]
    method: str


class Report:
    """Base of all reports. A subclass is given its name, its words, and :meth:`compute` and :meth:`page`."""

    name: ClassVar[str]
    #: the question, and the same in a word or two for the navigation
    title: ClassVar[str]
    label: ClassVar[str]
    #: "board" (its table and split) or "table"
    needs: ClassVar[str] = "board"
    #: the board or table that its published page is about
    published: ClassVar[str] = "search"
    #: its version (None: the newest); a report that searches thousands of times over stays with a small table
    published_version: ClassVar[int | None] = None
    #: raised when the same inputs give other numbers
    version: ClassVar[int] = 1

    def inputs(self, given: ReportContext) -> list[Any]:
        """What determines the findings besides the report's version, as JSON: what is read of the table and the board."""
        if given.board is None:
            return [given.table.digest]
        b = given.board
        split = {part: sorted(families) for part, families in b.split.items()}
        return [b.digest_on(given.table), b.workload, split, b.seeds, b.budget]

    def key(self, given: ReportContext) -> str:
        """sha256 of what determines the findings."""
        return hashlib.sha256(json.dumps([self.name, self.version, self.inputs(given)]).encode()).hexdigest()

    def compute(self, given: ReportContext) -> tuple[Mapping[str, Any], Mapping[str, pd.DataFrame]]:
        """Facts and frames. Raises UsageError where table or board cannot answer the question."""
        raise NotImplementedError

    def page(self, findings: Findings) -> Page:
        """What the page says of stored findings."""
        raise NotImplementedError
