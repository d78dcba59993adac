"""Findings → files: what is stored beside the pages, the pages made of it, and whether those that lie there are current.

``data/<report>.json`` holds everything that a report found, and the key of what determines it; pages, tables of numbers and
the index follow from these files alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from metabench import registry, untrusted
from metabench.boards.board import find_board, load_board
from metabench.errors import MetabenchError, UsageError
from metabench.publishing.pages.formats import to_csv, to_json
from metabench.publishing.pages.render import ASSETS, render, static
from metabench.publishing.pages.tree import check_tree, write_file, write_files
from metabench.publishing.reports.base import Findings, Report, ReportContext, paragraphs
from metabench.table import load_table

PACKAGE, DATA = "metabench.publishing.reports", "data"
#: the folder beside the reports that holds the site over all boards
SITE = "site"


def report_names() -> list[str]:
    """Names of all reports in the order of their pages."""
    return registry.names("reports")


def context_of(report: Report, board: str | None, table: str | None, say: Callable[[str], None]) -> ReportContext:
    """What a report is asked about: a board on its own table or on another, or a table. None: what its page is about.

    Raises UsageError for an unknown name, and for a table that lacks the board's workload or families.
    """
    if report.needs == "table":
        if board is not None and table is None:
            table = load_board(board).dataset
        held = load_table(table) if table else load_table(report.published, report.published_version)
        return ReportContext(held, None, say)
    rules = load_board(board) if board else load_board(report.published, report.published_version)
    held = load_table(table) if table else load_table(rules.dataset, rules.dataset_version)
    if table and held.name != rules.dataset:
        rules = replace(
            rules, dataset=held.name, dataset_version=held.version or 1, digest=rules.digest_on(held), path=None
        )
    rules = rules.on(held)
    rules.check(held)
    return ReportContext(held, rules, say)


def command(report: Report, asked: ReportContext) -> str:
    """The shell command that makes a report."""
    if asked.board is None:
        return f"metabench report {report.name} --table {asked.table.name}"
    other = f" --table {asked.table.name}" if asked.board.path is None else ""
    newest = asked.board.path is None or asked.board.version == load_board(asked.board.name).version
    board = asked.board.name if newest else f"leaderboards/{asked.board.name}/v{asked.board.version}"
    return f"metabench report {report.name} --board {board}{other}"


def find(report: Report, asked: ReportContext, out: Path, again: bool = False) -> tuple[Findings, bool]:
    """What the folder ``out`` stores of a report about this, or what it finds now; and whether it was computed now."""
    key, path = report.key(asked), out / DATA / f"{report.name}.json"
    if path.exists() and not again:
        stored = read(path)
        if stored.made.get("key") == key:
            return stored, False
    facts, frames = report.compute(asked)
    made = {
        "version": report.version,
        "command": command(report, asked),
        "table": asked.table.name,
        "table_version": asked.table.version,
    }
    if asked.board is not None:
        made |= {"board": asked.board.name, "board_version": asked.board.version}
    found = to_json(Findings.of(report.name, made | {"key": key}, facts, frames).to_json())
    write_file(path, found)  # kept at once: minutes went into it
    return Findings.from_json(found.decode(), str(path)), True


def read(path: Path) -> Findings:
    """Stored findings. Raises MetabenchError naming a file that cannot be read or holds something else."""
    try:
        return Findings.from_json(untrusted.read_bytes(path).decode("utf-8"), str(path))
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise MetabenchError(f"{path} cannot be read: {error}") from None


def stored(out: Path) -> dict[str, Findings]:
    """Report → what the folder stores of it, but for findings of another version of the report (:func:`outdated`)."""
    return {name: f for name, f in _all(out).items() if f.made.get("version") == registry.load("reports", name).version}


def outdated(out: Path) -> list[str]:
    """Reports whose stored findings are of another version, which cannot be told any more."""
    return sorted(_all(out).keys() - stored(out).keys())


def _all(out: Path) -> dict[str, Findings]:
    found = {name: out / DATA / f"{name}.json" for name in report_names()}
    return {name: read(path) for name, path in found.items() if path.exists()}


def contents(found: dict[str, Findings], home: str | None = None) -> dict[str, bytes]:
    """Path below the folder → contents, of everything that follows from findings; ``home`` is the way to the site's front page
    where they are a part of it: its style sheet and script are theirs then."""
    reports = {name: registry.create("reports", name) for name in found}
    pages = {name: reports[name].page(findings) for name, findings in found.items()}
    listed = [(name, report.label) for name, report in reports.items()]
    frame = {"root": home or "", "home": home, "listed": listed, "paragraphs": paragraphs}
    files: dict[str, str | bytes] = {name: static(name) for name in ASSETS if home is None}
    files["report.css"] = resources.files(PACKAGE).joinpath("static/report.css").read_text(encoding="utf-8")
    rows = [(reports[name], page, told(found[name])) for name, page in pages.items()]
    files["index.html"] = render("reports.html.j2", package=PACKAGE, reports=rows, **frame)
    for name, findings in found.items():
        where = {"report": reports[name], "page": pages[name], "findings": findings}
        files[f"{name}.html"] = render("report.html.j2", package=PACKAGE, told=told(findings), **where, **frame)
        files[f"{DATA}/{name}.json"] = to_json(findings.to_json())
        for part, numbers in findings.frames.items():
            files[f"{DATA}/{name}-{part}.csv"] = to_csv(numbers)
    return {k: v.encode() if isinstance(v, str) else v for k, v in sorted(files.items())}


def told(findings: Findings) -> str:
    """What findings are about, in words."""
    made = findings.made
    table = made["table"] if made["table_version"] is None else f"{made['table']} v{made['table_version']}"
    return f"board {made['board']} v{made['board_version']} on table {table}" if "board" in made else f"table {table}"


# ---------------------------------------------------------------- on disk
def _home(out: Path) -> str | None:
    return f"../{SITE}/" if (out.resolve().parent / SITE).is_dir() else None


def write(found: dict[str, Findings], out: Path) -> list[Path]:
    """Write findings and pages; those of other reports that are stored in the folder are made anew with them, but for those
    that are :func:`outdated`.

    Raises MetabenchError when ``out`` cannot be written.
    """
    files = contents(dict(sorted((stored(out) | found).items())), _home(out))
    return write_files(out, files.items())


def stale(out: Path, names: Sequence[str] = ()) -> list[str]:
    """What lies in the folder but is not what its stored findings give, and findings whose table, board or code has changed
    since; one line each."""
    found = stored(out)
    if unknown := [n for n in names if n not in found]:
        raise UsageError(f"{out} holds no report {unknown[0]!r}; run `metabench report {unknown[0]}` first")
    lines = stale_pages(out)
    for name in outdated(out):
        lines.append(
            f"{out / DATA / f'{name}.json'} is of another version of the report; run `metabench report {name}`"
        )
    for name, findings in found.items():
        if names and name not in names:
            continue
        report, made = registry.create("reports", name), findings.made
        board = made.get("board")
        if board is not None and board == report.published:
            board = str(find_board(board, report.published_version))
        # a page about a table is about the version that was published
        table = None if report.needs == "table" and made["table"] == report.published else made["table"]
        asked = context_of(report, board, table, lambda text: None)
        if report.key(asked) != made["key"]:
            lines.append(f"{out / DATA / f'{name}.json'} is of other inputs; run `{made['command']} --out {out}`")
    return sorted(lines)


def stale_pages(out: Path) -> list[str]:
    """What lies in the folder but is not what its stored findings give, one line each."""
    found = stored(out)
    files = contents(found, _home(out)) if found else {}
    return check_tree(out, files)


def check_name(name: str) -> Report:
    """The report of a name. Raises UsageError, with the nearest known one."""
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise registry.suggest(name, report_names(), "report")
    return registry.create("reports", name)
