"""Options and output that several commands share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metabench.errors import UsageError
from metabench.plain import plain

if TYPE_CHECKING:
    from metabench.table.place import Place

#: version of what ``--json`` prints; raised when a key changes its meaning or goes
SCHEMA = 1

an_executor = click.option(
    "--executor",
    default="local",
    show_default=True,
    type=click.Choice(["local", "ray"]),
    help="Use processes of this machine, or the Ray cluster that RAY_ADDRESS names.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """Seconds, from text such as 90s, 9m or 2h."""

    name = "duration"

    def convert(self, value, param, ctx) -> float:
        match = _DURATION.fullmatch(str(value))
        if not match:
            self.fail(f"{value!r} is no duration; write 90s, 9m or 2h", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def options(*decorators: Callable) -> Callable:
    """Several options as one decorator, shown in this order."""

    def decorate(command):
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def completes(names: Callable[[], Sequence[str]]) -> Callable:
    """Shell completion from a function that lists the names; it is called when the shell asks, not before."""
    return lambda ctx, param, incomplete: [name for name in names() if name.startswith(incomplete)]


def table_names() -> list[str]:
    from metabench.table import table_names as names

    return names()


def board_names() -> list[str]:
    from metabench.boards.board import board_names as names

    return names()


def method_names() -> list[str]:
    from metabench import registry

    return [*registry.names("baselines"), *registry.names("metamodels")]


def table_folder(table: str) -> Place:
    """``starter`` → the folder where table starter is, or would be made; what has a slash is a folder, or a URI, as it
    stands.

    Raises UsageError when it is neither.
    """
    from metabench.table import find_table
    from metabench.table.place import place

    if "/" in table or "\\" in table:
        return place(table)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", table):
        raise UsageError(f"table {table!r}: a name is made of a-z, 0-9, _ and -; a folder has a slash")
    return find_table(table) if table in table_names() else Path("datasets") / table / "v1"


def show(rows: Sequence[Mapping[Any, Any]], as_json: bool, **more: Any) -> None:
    """Rows on stdout: one JSON object {"schema", …, "rows"}, or aligned columns."""
    if as_json:
        answer = plain({"schema": SCHEMA, **more, "rows": list(rows)})
        click.echo(_UNSEEN.sub(_escaped, json.dumps(answer, ensure_ascii=False, allow_nan=False)))
    elif rows:
        columns = list(rows[0])
        cells = [columns, *([_cell(row[c]) for c in columns] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        for row in cells:
            say("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())


#: what a terminal acts on instead of showing it: control characters but line feed and tab, and marks of direction
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def say(text: str, err: bool = False) -> None:
    """Print text in which names of strangers may stand: control characters are shown as \\uXXXX and do nothing."""
    click.echo(_UNSEEN.sub(_escaped, text), err=err)


def _escaped(match: re.Match) -> str:
    return f"\\u{ord(match[0]):04x}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
