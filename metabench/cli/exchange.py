"""Commands about other formats: import, export, results."""

from __future__ import annotations

from pathlib import Path

import click

from metabench.cli.group import Commands
from metabench.cli.output import as_json, board_names, completes, options, show, table_folder, table_names
from metabench.errors import MetabenchError, UsageError


def format_names() -> list[str]:
    from metabench import registry

    return registry.names("formats")


a_format = click.argument("format", metavar="FORMAT", shell_complete=completes(format_names))


@click.command("import")
@a_format
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--table", required=True, metavar="NAME|FOLDER", help="New table: a name, or a folder <name>/v<N>.")
@as_json
def import_(format: str, source: Path, table: str, as_json: bool) -> None:
    """Make a table from files of another benchmark.

    The new table works like any other with verify, evaluate and boards. If SOURCE has an error, nothing is written; one
    line says where the error is, and the status is 1.
    """
    from metabench import registry
    from metabench.interop.formats.base import store
    from metabench.table import load_table

    if not source.exists():
        raise MetabenchError(f"{source} is missing")
    folder = table_folder(table)
    store(list(registry.create("formats", format).read(source)), folder, f"{format}:{source.name}")
    made = load_table(folder)
    rows = [
        {
            "workload": w,
            "tasks": int((made.tasks["workload"] == w).sum()),
            "configs": len(made.configs(w)),
            "runs": made.runs(w, ["seed"]).num_rows,
        }
        for w in made.workloads
    ]
    show(rows, as_json, table=str(folder), digest=made.digest)


@click.command("export")
@a_format
@click.argument("table", shell_complete=completes(table_names))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@options(
    click.option("--workload", default="", metavar="NAME", help="Workload.  [default: the board's, or the only one]"),
    click.option(
        "--board",
        metavar="NAME|FOLDER",
        help="Board whose split is used, where a format has parts.",
        shell_complete=completes(board_names),
    ),
)
def export(format: str, table: str, folder: Path, workload: str, board: str | None) -> None:
    """Write a table into FOLDER in the format of another benchmark."""
    from metabench import registry
    from metabench.boards.board import load_board
    from metabench.table import load_table

    made = registry.create("formats", format).write(
        load_table(table), folder, workload=workload, board=load_board(board) if board else None
    )
    for path in made:
        click.echo(str(path))


@click.group(cls=Commands)
def results() -> None:
    """Write HPO-B's result files, and compare methods by them."""


@results.command("write")
@click.argument("board", shell_complete=completes(board_names))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@options(
    click.option(
        "--traces", type=click.Path(path_type=Path), help="Traces to use.  [default: the board's published ones]"
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        help="Folder that was imported. Its double-precision values reproduce ties with published files.",
    ),
)
def results_write(board: str, folder: Path, traces: Path | None, data: Path | None) -> None:
    """Write a file for each method of a board that follows HPO-B's protocol."""
    from metabench.boards.board import load_board
    from metabench.evaluation.store import read_traces
    from metabench.interop import hpob_results
    from metabench.table import load_table

    rules = load_board(board)
    table = load_table(rules.dataset, rules.dataset_version)
    found = read_traces(traces or rules.folder / "traces.parquet")
    for method, values in hpob_results.of_traces(found, table, rules.on(table), data).items():
        path = folder / f"{method}.json"
        hpob_results.write(values, path)
        click.echo(str(path))


@results.command("rank")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@as_json
def results_rank(files: tuple[Path, ...], as_json: bool) -> None:
    """Rank the methods in result FILES as HPO-B does, by average rank and regret.

    Only searches that all files hold count. A file is named after its method.
    """
    from metabench.interop import hpob_results

    if twice := [path.stem for path in files if sum(other.stem == path.stem for other in files) > 1]:
        raise UsageError(f"two files are called {twice[0]}; a file is named after its method")
    frame = hpob_results.rank({path.stem: hpob_results.read(path) for path in files})
    show(frame.round(4).to_dict("records"), as_json)


COMMANDS = (import_, export, results)
