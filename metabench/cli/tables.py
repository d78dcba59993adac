"""Commands about tables: plan, generate, verify, repair, rerun, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metabench.cli.output import (
    Duration,
    an_executor,
    as_json,
    board_names,
    completes,
    options,
    show,
    table_folder,
    table_names,
)
from metabench.errors import IncompleteError, MetabenchError, UsageError

if TYPE_CHECKING:
    from metabench.table.place import Place

a_table = click.argument("table", shell_complete=completes(table_names))
a_job = options(
    click.option(
        "--table",
        required=True,
        metavar="NAME|FOLDER|URI",
        help="Table to fill: a name, a folder <name>/v<N>, or s3://…",
        shell_complete=completes(table_names),
    ),
    click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network to train."),
    click.option(
        "--tasks",
        "pattern",
        default="*",
        show_default=True,
        metavar="GLOB",
        help="Tasks: a glob such as 'mlp-*', or several separated by commas.",
    ),
    click.option(
        "--configs",
        default=256,
        show_default=True,
        type=click.IntRange(1),
        help="Configurations that all tasks share; powers of two nest.",
    ),
    click.option(
        "--also",
        multiple=True,
        metavar="ORIGIN",
        help="Configurations beside the Sobol part: default, elite, or elite:TASK; may be repeated.",
    ),
    click.option(
        "--seeds", default=2, show_default=True, type=click.IntRange(1), help="Seeds of each task and configuration."
    ),
)


@click.command()
@a_job
@click.option("--workers", type=click.IntRange(1), help="Workers that train at once.  [default: one a core]")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="GFLOP/S",
    help="GFLOP/s of one worker; `generate` prints it while it trains.  [default: measured here]",
)
@as_json
def plan(
    table: str,
    workload: str,
    pattern: str,
    configs: int,
    also: tuple[str, ...],
    seeds: int,
    workers: int | None,
    rate: float | None,
    as_json: bool,
) -> None:
    """Print what `generate` would train and its cost: missing runs, operations, hours of work, minutes."""
    from metabench import tasks
    from metabench.generate import preview

    planned = preview(
        table_folder(table),
        workload,
        tasks.select(workload, pattern),
        n_configs=configs,
        n_seeds=seeds,
        also=also,
        workers=workers,
        rate=rate,
    )
    show([planned], as_json)


@click.command()
@a_job
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where to train; auto takes a GPU when there is one.",
)
@click.option(
    "--backend", default="auto", show_default=True, metavar="NAME", help="auto, sequential, batched or resident."
)
@an_executor
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Worker processes, or slots of the Ray cluster.  [default: one a core, or all of the cluster]",
)
@click.option("--budget", type=Duration(), help="Stop cleanly after this long: 90s, 9m, 2h.")
@click.option("--retry-failed", is_flag=True, help="Train failed runs again.")
@as_json
def generate(
    table: str,
    workload: str,
    pattern: str,
    configs: int,
    also: tuple[str, ...],
    seeds: int,
    device: str,
    backend: str,
    executor: str,
    workers: int | None,
    budget: float | None,
    retry_failed: bool,
    as_json: bool,
) -> None:
    """Train the runs that a table lacks. The same command resumes.

    Status 3 when runs are still missing or failed.
    """
    from metabench import tasks
    from metabench.generate import generate as train

    report = train(
        table_folder(table),
        workload,
        tasks.select(workload, pattern),
        n_configs=configs,
        n_seeds=seeds,
        also=also,
        device=device,
        backend=backend,
        executor=executor,
        workers=workers,
        budget=budget,
        retry_failed=retry_failed,
    )
    show([asdict(report) | {"runs_per_second": report.runs_per_second}], as_json)
    if report.missing or report.failed:
        again = "the same command resumes" if report.missing else "--retry-failed tries them again"
        raise IncompleteError(f"{report.missing} runs are missing and {report.failed} failed; {again}")


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...", shell_complete=completes(table_names))
@click.option("--out", required=True, metavar="FOLDER", help="Folder <name>/v<N> of the new table.")
@click.option(
    "--tasks", "pattern", default="*", show_default=True, metavar="GLOB", help="Take only rows of these tasks."
)
@as_json
def merge(tables: tuple[str, ...], out: str, pattern: str, as_json: bool) -> None:
    """Merge several tables that share configurations into one.

    Of a run that several tables hold, the row of the first one is kept. All config_ids stay what they were.
    """
    from fnmatch import fnmatchcase

    from metabench.table.merge import merge as join

    parts = [part.strip() for part in pattern.split(",")]
    report = join(table_folder(out), tables, lambda task_id: any(fnmatchcase(task_id, part) for part in parts))
    show([asdict(row) for row in report], as_json)


@click.command()
@a_table
@click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network to train.")
@click.option(
    "--donors",
    required=True,
    type=click.Path(dir_okay=False),
    help="File of the tasks to search on, such as donors.txt.",
)
@click.option("--method", "methods", multiple=True, metavar="NAME", help="Method that searches; may be repeated.")
@click.option("--trials", default=50, show_default=True, type=click.IntRange(2), help="Trainings of each search.")
@click.option("--keep", default=2, show_default=True, type=click.IntRange(1), help="Configurations kept of each task.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the searches; one a round.")
@as_json
def elites(
    table: str, workload: str, donors: str, methods: tuple[str, ...], trials: int, keep: int, seed: int, as_json: bool
) -> None:
    """Search on single tasks and add the best configurations to the table.

    `generate --also elite` trains the stored elites on all tasks.
    """
    from metabench.table import load_table
    from metabench.workflows import elites as work

    found = work.find(
        load_table(table),
        workload,
        work.read_donors(donors),
        methods=methods or work.METHODS,
        trials=trials,
        keep=keep,
        seed=seed,
        say=lambda text: click.echo(text, err=True),
    )
    ids = work.store(load_table(table).path, workload, found)
    rows = [{"config_id": i, "origin": e.origin, "score": e.score} for i, e in zip(ids, found, strict=True)]
    show(rows, as_json)


@click.command()
@a_table
@as_json
def verify(table: str, as_json: bool) -> None:
    """Check a table: hashes, schema, keys, ranges, configurations, split, card. Status 1 when something is wrong."""
    from metabench.table import find_table
    from metabench.table import verify as problems_of

    path = find_table(table)
    problems = problems_of(path)
    show([{"problem": p} for p in problems], as_json, table=str(path), sound=not problems)
    if problems:
        raise MetabenchError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}")
    if not as_json:
        click.echo(f"{path}: sound")


@click.command()
@a_table
@click.option(
    "--seeds",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Seeds of each task and configuration, if no remaining row shows their number.",
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one a core]")
@as_json
def repair(table: str, seeds: int, workers: int | None, as_json: bool) -> None:
    """Restore a lost SHA256SUMS, and train the runs of damaged or lost files again.

    Status 3 when runs are still missing or failed, 1 when something else is still wrong.
    """
    from metabench.generate import repair as mend
    from metabench.table import find_table

    folder = table_folder(table)
    if not isinstance(folder, Path):
        raise UsageError(f"{folder}: only a table in a folder can be repaired")
    if not folder.exists():
        find_table(table)  # says which tables there are
    report = mend(folder, seeds=seeds, workers=workers)
    show([{"damaged": name} for name in report.damaged], as_json, table=str(folder), **asdict(report))
    if not as_json:
        manifest = "restored" if report.manifest_restored else "sound"
        click.echo(
            f"{folder}: manifest {manifest}, {len(report.damaged)} files damaged or lost, {report.retrained} runs trained"
        )
        for problem in report.problems:
            click.echo(problem)
    if report.problems:
        raise MetabenchError(f"{folder}: {len(report.problems)} problems are left; the first: {report.problems[0]}")
    if report.missing or report.failed:
        raise IncompleteError(f"{report.missing} runs are missing and {report.failed} failed")


@click.command()
@a_table
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="Rows to train again.")
@click.option("--tasks", "pattern", default="*", show_default=True, metavar="GLOB", help="Only rows of these tasks.")
@click.option("--run-id", type=int, help="Train only this row again.")
@as_json
def rerun(table: str, sample: int, pattern: str, run_id: int | None, as_json: bool) -> None:
    """Train stored rows again and compare their curves. Status 1 when they do not agree.

    With the same kind of processor and the same engine, every bit must be reproduced. Elsewhere runs that are not chaotic
    must stay within a tolerance, and the scores of all runs must have the same distribution.
    """
    from metabench.table.rerun import rerun as again

    report = again(table, sample=sample, run_id=run_id, tasks=pattern)
    summary = report.to_dict()
    show(
        [{k: v for k, v in row.items() if as_json or k != "run_id"} for row in report.to_rows()],
        as_json,
        report=summary,
    )
    if not as_json:
        click.echo(
            "{equal} of {rows} rows equal to the last bit, {close} close, {chaotic} chaotic, {different} different; "
            "scores moved by {score_shift:.4f} on average (p = {score_shift_p:.2g})".format(**summary)
        )
    if not report.agrees:
        raise MetabenchError(
            f"retraining did not reproduce the stored curves: {summary['different']} of {summary['rows']} rows differ "
            "beyond chance, or not all are equal on the machine that made them"
        )


@click.command()
@a_table
@click.option(
    "--board",
    "boards",
    multiple=True,
    metavar="NAME",
    shell_complete=completes(board_names),
    help="Board whose split is stored as splits.csv first; several must be about different workloads. Without it the "
    "stored split stays.",
)
@click.option("--check", is_flag=True, help="Write nothing; status 1 when the card is stale.")
def card(table: str, boards: tuple[str, ...], check: bool) -> None:
    """Write a table's card from the table itself.

    README.md for people and Hugging Face, DATASHEET.md, croissant.json, pictures, and SHA256SUMS.card over them.
    """
    from metabench.table import card as cards
    from metabench.table import find_table

    path = find_table(table)
    if check and boards:
        raise UsageError("--check writes nothing, --board stores a split: give one of them")
    if not check:
        for written in cards.write(path, _families(path, boards) if boards else None):
            click.echo(str(written))
    elif stale := cards.check(path):
        raise MetabenchError(f"stale: {', '.join(map(str, stale))}; run `metabench card {table}`")
    else:
        click.echo(f"{path}: the card is current")


def _families(path: Place, names: tuple[str, ...]) -> Mapping[str, Sequence[str]]:
    """The splits of boards, united. Raises UsageError where they disagree."""
    from metabench.boards.board import load_board
    from metabench.table import load_table

    part_of: dict[str, tuple[str, str]] = {}
    for name in names:
        board = load_board(name)
        board.check(load_table(path))
        for part, families in board.split.items():
            for family in families:
                other, where = part_of.setdefault(family, (name, part))
                if where != part:
                    raise UsageError(f"family {family} is in {where} of board {other} and in {part} of board {name}")
    return {part: [f for f, (_, where) in part_of.items() if where == part] for part in ("train", "valid", "test")}


COMMANDS = (plan, generate, elites, merge, verify, repair, rerun, card)
