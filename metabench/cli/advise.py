"""Commands for one's own data: pretrain, recommend, tune."""

from __future__ import annotations

from pathlib import Path

import click

from metabench.cli.output import as_json, completes, show, table_names


@click.command()
@click.argument("name")
@click.option(
    "--table", required=True, metavar="NAME", help="Table to learn from.", shell_complete=completes(table_names)
)
@click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Whose hyperparameters.")
@click.option("--method", default="empirical_gp", show_default=True, metavar="NAME", help="Meta-model that predicts.")
@click.option("--without", multiple=True, metavar="FAMILY", help="Family of data sets to leave out; may be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.  [default: the package's own, which ships]",
)  # fmt: skip
@as_json
def pretrain(
    name: str, table: str, workload: str, method: str, without: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Fit a meta-model on a table and keep it, as those that ship were made.

    It is judged by cross-validation over families of data sets; the figures stand in its record.json.
    """
    from metabench.pretrained.learn import pretrain as learn
    from metabench.pretrained.record import Record

    folder = learn(name, table, workload, method, without=without, out=out)
    record = Record.read(folder)
    show(
        [
            {
                "folder": str(folder),
                "tasks": record.tasks,
                "runs": record.runs,
                "spread": record.spread,
                **record.measured,
            }
        ],
        as_json,
    )


COMMANDS = (pretrain,)
