"""Commands for one's own data: pretrain, recommend, tune."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from metabench.advise.words import explained, recommended, time_spent, tuned
from metabench.cli.output import SCHEMA, as_json, completes, options, say, show, table_names
from metabench.errors import UsageError
from metabench.plain import plain

someone_data = options(
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Table as CSV, TSV, JSON lines (also .gz, .zst), Parquet or Feather. Or a folder with a folder of images per "
        "class, .npz with x and y, or lines label<TAB>text. docs/tutorials describes more formats.",
    ),
    click.option(
        "--task", "task_id", metavar="NAME", help="Built-in task to use instead of --data, such as policy-cartpole."
    ),
    click.option("--target", metavar="COLUMN", help="Column of the table to predict."),
    click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network to train."),
    click.option("--model", metavar="NAME|FOLDER", help="Fitted meta-model.  [default: the newest that ships]"),
    click.option(
        "--kind",
        type=click.Choice(["classification", "regression"]),
        help="Kind of target.  [default: regression if the target has over 20 different numbers]",
    ),
    click.option("--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of a text file."),
    click.option(
        "--decimal", type=click.Choice([".", ","]), help="Decimal mark of numbers in text.  [default: found out]"
    ),
    click.option(
        "--missing",
        multiple=True,
        metavar="WORD",
        help="Word that means a missing value, also in a column of names; may be repeated.",
    ),
)


@click.command()
@click.argument("name")
@click.option(
    "--table", required=True, metavar="NAME", help="Table to learn from.", shell_complete=completes(table_names)
)
@click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network.")
@click.option("--method", default="empirical_gp", show_default=True, metavar="NAME", help="Meta-model that predicts.")
@click.option("--without", multiple=True, metavar="FAMILY", help="Family of data sets to leave out; may be repeated.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write.  [default: the package's own, which ships]",
)
@as_json
def pretrain(
    name: str, table: str, workload: str, method: str, without: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Fit a meta-model on a table and store it. The shipped meta-models were made this way.

    Cross-validation over families of data sets measures its quality; record.json holds the figures.
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


@click.command()
@someone_data
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 64), help="How many configurations.")
@click.option("--snippet", type=click.Choice(["torch"]), help="Print a training script of one configuration instead.")
@click.option(
    "--rank",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Rank of the configuration to print with --snippet.",
)
@as_json
def recommend(
    data: Path | None,
    task_id: str | None,
    target: str | None,
    workload: str,
    model: str | None,
    kind: str | None,
    encoding: str,
    decimal: str | None,
    missing: tuple[str, ...],
    k: int,
    snippet: str | None,
    rank: int,
    as_json: bool,
) -> None:
    """Recommend hyperparameters for your data, without training.

    Try the configurations in the order printed: this list worked best on the known tasks. The list is the same for all
    data. The expected scores depend on your data.
    """
    if as_json and snippet:
        raise UsageError("--json and --snippet print different things: give one of them")
    given = _given(data, task_id)
    from metabench.advise.recommend import recommend as advise

    found = advise(
        given,
        target,
        workload=workload,
        k=max(k, rank) if snippet else k,
        model=model,
        kind=kind,
        encoding=encoding,
        decimal=decimal,
        missing=missing,
    )
    for note in found.notes:
        _tell(note)
    if snippet:
        click.echo(found.snippet(rank), nl=False)
    elif as_json:
        click.echo(json.dumps(plain({"schema": SCHEMA, **found.to_dict()}), ensure_ascii=False, allow_nan=False))
    else:
        for line in recommended(found):
            say(line)
        for line in explained(found):
            _tell(line)


@click.command()
@someone_data
@click.option("--trials", default=10, show_default=True, type=click.IntRange(1), help="Networks to train.")
@click.option("--compare", is_flag=True, help="Also train as many random configurations, and the default.")
@click.option(
    "--refit", is_flag=True, help="Also train the best configuration on all rows. No row is left to measure its score."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tuned"),
    show_default=True,
    help="Folder for the best network, the report and all trials. The same command resumes there.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed for initialisation, data order and, on small data, the split.",
)
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Where to train.")
@as_json
def tune(
    data: Path | None,
    task_id: str | None,
    target: str | None,
    workload: str,
    model: str | None,
    kind: str | None,
    encoding: str,
    decimal: str | None,
    missing: tuple[str, ...],
    trials: int,
    compare: bool,
    refit: bool,
    out: Path,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Train networks on your data with hyperparameters that a meta-model chooses, and keep the best one."""
    given = _given(data, task_id)
    from metabench.advise.progress import Progress
    from metabench.advise.tune import tune as search

    with Progress(trials + (trials + 1) * compare) as progress:
        found = search(
            given,
            target,
            trials=trials,
            workload=workload,
            model=model,
            compare=compare,
            refit=refit,
            out=out,
            kind=kind,
            encoding=encoding,
            decimal=decimal,
            missing=missing,
            seed=seed,
            device=device,
            progress=progress.told,
            say=_tell,
        )
    if as_json:
        click.echo(json.dumps(plain({"schema": SCHEMA, **found.to_dict()}), ensure_ascii=False, allow_nan=False))
    else:
        for line in tuned(found):
            say(line)
        _tell(time_spent(found))


def _given(data: Path | None, task_id: str | None):
    """A path, or the task of that name. Raises UsageError unless one of the two is given."""
    if (data is None) == (task_id is None):
        raise UsageError("give one of --data and --task")
    if task_id is None:
        with contextlib.suppress(OSError):  # the reader says what else is wrong, after a second of imports
            if data is not None and not data.exists():
                raise UsageError(f"{data}: no such file")
        return data
    from metabench import tasks

    return tasks.get(task_id)


def _tell(note: str) -> None:
    say(f"note: {note}", err=True)


COMMANDS = (pretrain, recommend, tune)
