"""Commands that answer and show: report, explore."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from metabench.cli.output import as_json, board_names, completes, show, table_names
from metabench.errors import MetabenchError

#: where the reports of the published boards and tables lie, and those about others
PUBLISHED, ELSEWHERE = Path("leaderboards/reports"), Path("build/reports")


def report_names() -> list[str]:
    from metabench import registry

    return registry.names("reports")


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…", shell_complete=completes(report_names))
@click.option(
    "--board",
    metavar="NAME|FOLDER",
    shell_complete=completes(board_names),
    help="Board whose split and searches are used.  [default: the one of the published page]",
)
@click.option(
    "--table",
    metavar="NAME|FOLDER",
    shell_complete=completes(table_names),
    help="Table to use instead of the board's.  [default: the one of the published page]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of pages and numbers.  [default: {PUBLISHED}, or {ELSEWHERE} where --board or --table is given]",
)
@click.option("--again", is_flag=True, help="Compute stored findings again.")
@click.option("--check", is_flag=True, help="Write nothing; status 1 when a page or a number is not current.")
@as_json
def report(
    names: tuple[str, ...],
    board: str | None,
    table: str | None,
    out: Path | None,
    again: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Answer questions about tables and boards. Each report has a page with plots, numbers and intervals.

    Without NAME, all reports are written; `metabench list reports` lists them. Findings are stored beside the pages, and
    unchanged ones are not computed again.
    """
    from metabench.publishing.reports.parts import files as publishing

    out = out or (ELSEWHERE if board or table else PUBLISHED)
    if check:
        lines = publishing.stale(out, names)
        show([{"problem": line} for line in lines], as_json, out=str(out), current=not lines)
        if lines:
            raise MetabenchError(f"{out}: {len(lines)} files are not current; run `metabench report`")
        if not as_json:
            click.echo(f"{out}: current")
        return
    rows = []
    for name in names or publishing.report_names():
        chosen = publishing.check_name(name)
        asked = publishing.context_of(chosen, board, table, lambda text: click.echo(text, err=True))
        began = time.process_time()
        found, computed = publishing.find(chosen, asked, out, again)
        spent = time.process_time() - began
        publishing.write({name: found}, out)
        rows.append(
            {"report": name, "computed": computed, "cpu_seconds": round(spent, 1), "page": str(out / f"{name}.html")}
        )
        if computed:
            print(f"{name}: {spent:.0f} CPU seconds", file=sys.stderr, flush=True)
    for name in publishing.outdated(out):
        click.echo(f"{name} is left out: stored by another version; run `metabench report {name}`", err=True)
    show(rows, as_json, out=str(out))


@click.command()
@click.argument("table", default="starter", shell_complete=completes(table_names))
@click.option(
    "--tasks",
    default="*",
    show_default=True,
    metavar="GLOB",
    help="Tasks: a glob such as 'mlp-*', or several separated by commas.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the page.  [default: build/explore/TABLE]",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def explore(table: str, tasks: str, out: Path | None, opens: bool) -> None:
    """Write a page that shows a table: the landscape over two hyperparameters, learning curves, single runs.

    Each run has a command that trains it again. The page opens from a file, without server or network.
    """
    from metabench.publishing.explorer import build
    from metabench.table import load_table

    loaded = load_table(table)
    out = out or Path("build/explore") / loaded.name
    files = build(loaded, out, tasks, table)
    page, size = out / "index.html", sum(path.stat().st_size for path in files)
    click.echo(f"{len(files)} files, {size / 1e6:.1f} MB", err=True)
    click.echo(str(page))
    if opens:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


COMMANDS = (report, explore)
