"""Commands about methods and boards: check, evaluate, leaderboard, benchmark."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from metabench.cli.group import Commands
from metabench.cli.output import an_executor, as_json, board_names, completes, method_names, options, show
from metabench.errors import MetabenchError, UsageError

a_board = options(
    click.option(
        "--board",
        default="search",
        show_default=True,
        metavar="NAME|FOLDER",
        help="Board, by name or folder.",
        shell_complete=completes(board_names),
    ),
    click.option(
        "--profile",
        default="full",
        show_default=True,
        metavar="NAME",
        help="full, or a shorter profile of the board such as lite.",
    ),
)
into = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.  [default: the board's own]"
)
every = click.option(
    "--all",
    "whole",
    is_flag=True,
    help="Every board that has traces, and the pages over all of them (site/ beside them).",
)
#: the console script does not look for modules in the working folder, where a plug-in in the making stands
_HERE = ""


def _find_here(specs: tuple[str, ...]) -> None:
    if any(":" in spec for spec in specs) and _HERE not in sys.path:
        sys.path.insert(0, _HERE)


@click.command()
@click.argument("plugin", metavar="NAME|my_pkg:MyModel", shell_complete=completes(method_names))
def check(plugin: str) -> None:
    """Run the public contract on a plug-in: a meta-model, a baseline or a workload.

    If it breaks the contract, one line names the rule, and the status is 1.
    """
    from metabench import testing

    _find_here((plugin,))
    testing.check(plugin)
    click.echo(f"{plugin}: keeps the contract")


@click.command()
@a_board
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME|my_pkg:MyModel",
    shell_complete=completes(method_names),
    help="Method to evaluate, as METHODS; may be repeated.",
)
@click.argument("named", nargs=-1, metavar="[METHODS]…", shell_complete=completes(method_names))
@an_executor
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Worker processes; Ray takes all slots of the cluster.",
)
@click.option(
    "--objective",
    type=click.Choice(["surrogate"]),
    help="Rehearse a live board: a surrogate fitted on its table predicts the scores, and nothing is trained.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Print the missing searches and their cost; compute nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for traces.parquet.  [default: the board's own; with --method build/evaluate/BOARD-PROFILE]",
)
@click.option(
    "--submission",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Draft a submission of the one --method into a new folder.",
)
@as_json
def evaluate(
    board: str,
    profile: str,
    methods: tuple[str, ...],
    named: tuple[str, ...],
    executor: str,
    workers: int,
    objective: str | None,
    only_plan: bool,
    out: Path | None,
    submission: Path | None,
    as_json: bool,
) -> None:
    """Let METHODS, all that are built in by default, search the held-out tasks of a board, and rank them.

    Runs only missing searches. Prints their number and a time estimate first. The methods are ranked together with all
    stored ones. Status 3 when a method failed.
    """
    from metabench import workflows
    from metabench.boards.board import load_board

    methods = (*methods, *named)
    if only_plan:
        _find_here(methods)
        planned = workflows.plan_board(board, methods, profile=profile, workers=workers, rehearse=objective is not None)
        minutes = round(planned.core_seconds / 60 / workers, 2)
        show(planned.rows(), as_json, board=board, profile=profile, workers=workers, minutes=minutes)
        click.echo(f"{planned}", err=True)
        return
    if load_board(board).track == "predict":
        if profile != "full" or submission or objective:
            raise UsageError(
                f"board {board} is of the prediction track: it has no profiles and no objective, and takes no submissions"
            )
        _find_here(methods)
        predicted = workflows.predict_board(board, methods, executor=executor, workers=workers, out=out)
        show(predicted.rows(), as_json, board=board, predictions=predicted.path)
        return
    if submission and (len(methods) != 1 or profile != "full" or objective):
        raise UsageError("--submission takes the full profile and one --method, the one to submit; no surrogate")
    _find_here(methods)
    done = workflows.evaluate_board(
        board, methods, profile=profile, executor=executor, workers=workers, out=out, rehearse=objective is not None
    )
    if submission and not done.failed:
        workflows.draft_submission(submission, methods[0], done.traces, board)
        click.echo(f"drafted {submission}: complete submission.toml, then `metabench submit {submission}`", err=True)
    told = {"caveat": done.scores.caveat} if done.scores.caveat else {}
    if told and not as_json:
        click.echo(f"a rehearsal: {done.scores.caveat}", err=True)
    show(
        _marked(workflows.ranking(done.scores), methods),
        as_json,
        board=board,
        profile=profile,
        traces=done.path,
        failed=done.failed,
        **told,
    )
    done.complain()


def _marked(rows: list[dict[str, Any]], methods: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of a ranking, those of the methods that were asked for by name marked as one's own."""
    from metabench.evaluation import resolve

    own = {method.name for method in resolve(methods)} if methods else set()
    return [row | {"own": row["method"] in own} for row in rows] if own else rows


@click.command()
@click.argument("methods", nargs=-1, required=True, metavar="METHOD…", shell_complete=completes(method_names))
@click.option(
    "--board",
    default="search",
    show_default=True,
    metavar="NAME|FOLDER",
    help="Board, by name or folder.",
    shell_complete=completes(board_names),
)
@click.option("--trials", default=50, show_default=True, type=click.IntRange(1), help="Trials of a search.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the records.  [default: settings/ in the board's own]",
)
@as_json
def settings(methods: tuple[str, ...], board: str, trials: int, workers: int, out: Path | None, as_json: bool) -> None:
    """Choose the settings of methods from their declared grids, on a board's meta-validation tasks.

    Meta-test tasks are not read. Defaults stay unless another combination is better by more than its standard error.
    Finished searches are reused, and a record lists everything that was tried.
    """

    from metabench import workflows

    rows = []
    for record, path in workflows.choose_settings(methods, board, trials, workers, out):
        best = min(record.tried, key=lambda t: t.regret)
        rows.append(
            {
                "method": record.method,
                "tried": len(record.tried),
                "default_regret": record.tried[0].regret,
                "best_regret": best.regret,
                "difference": best.difference,
                "error": best.error,
                "chosen": ", ".join(f"{k}={v}" for k, v in record.chosen.items()),
                "record": str(path),
            }
        )
    show(rows, as_json, board=board, trials=trials)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--board",
    metavar="NAME|FOLDER",
    help="Board, by name or folder.  [default: the one it names]",
    shell_complete=completes(board_names),
)
@click.option("--check", "only_check", is_flag=True, help="Check and score it, without keeping it.")
@click.option("--replace", "replaces", is_flag=True, help="Replace a submission of that name by other authors.")
@click.option("--reproduce", is_flag=True, help="Run its code, which must be installed, and compare every proposal.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1), help="Worker processes of --reproduce."
)
@as_json
def submit(
    folder: Path, board: str | None, only_check: bool, replaces: bool, reproduce: bool, workers: int, as_json: bool
) -> None:
    """Check a submission, recompute its scores from its traces, and keep it on its board.

    Nothing in FOLDER is executed unless --reproduce is given. If the submission breaks a rule, one line names the rule, and
    the status is 1.
    """

    from metabench import workflows

    if reproduce:
        _find_here(("here:",))
    done = workflows.submit(folder, board, keep=not only_check, reproduce=reproduce, workers=workers, replaces=replaces)
    checked, place = done.checked, done.place
    start = checked.scores.summary["start"].iloc[0]
    told = {"method": checked.submission.method, "status": done.status, "start": start, "kept": place}
    where = {"board": done.board, "table": done.table}
    show(workflows.ranking(checked.scores, start), as_json, **told, **where)
    if not as_json:
        kept = f"kept in {place}; `metabench leaderboard build` shows it" if place else "nothing was kept"
        click.echo(f"checked against board {done.board} and table {done.table}", err=True)
        click.echo(f"{checked.submission.method}: {done.status}; {kept}", err=True)
        click.echo(f"to put it on the public board: {workflows.last_step(done)}", err=True)


@click.group(cls=Commands)
def leaderboard() -> None:
    """Build or check a published leaderboard."""


@leaderboard.command("new")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--table", required=True, metavar="NAME", help="Table that the board is made on.")
@click.option("--table-version", type=click.IntRange(1), help="Its version.  [default: the newest]")
@click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Workload that is searched.")
@click.option("--title", default="", metavar="TEXT", help="Title of the board.")
@click.option("--budget", default=50, show_default=True, type=click.IntRange(5), help="Trials of a search.")
@click.option(
    "--donors",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Tasks that are never held out, one a line. Those that elites of the table were found on never are.",
)
@click.option(
    "--contrast",
    "contrasts",
    nargs=2,
    multiple=True,
    metavar="METHOD CONTROL",
    help="Pair of methods that is tested; up to ten.",
)
@as_json
def leaderboard_new(
    folder: Path,
    table: str,
    table_version: int | None,
    workload: str,
    title: str,
    budget: int,
    donors: Path | None,
    contrasts: tuple[tuple[str, str], ...],
    as_json: bool,
) -> None:
    """Make a board of protocol 3 in FOLDER, such as leaderboards/search/v3.

    Writes board.toml, and reference.csv with the seeds, the reference and the admission of every task. The same table gives
    the same files; a folder that holds traces is left alone.
    """
    from metabench import workflows

    made = workflows.make_board(
        folder, table, table_version, workload, title=title, budget=budget, donors=donors, contrasts=contrasts
    )
    row = {"board": str(made.folder), "held_out": made.tasks, "admitted": made.admitted, "families": made.families}
    show([row | {"donors": made.donors, "left_out": len(made.left)}], as_json, left_out=made.left)


@leaderboard.command("build")
@a_board
@into
@every
@click.option("--check", "only_check", is_flag=True, help="Write nothing; the same as `metabench leaderboard check`.")
@click.pass_context
def leaderboard_build(
    context: click.Context, board: str, profile: str, out: Path | None, whole: bool, only_check: bool
) -> None:
    """Score the stored traces and write Markdown, JSON, CSV, Parquet and the static site."""

    from metabench import workflows

    if only_check:
        context.invoke(leaderboard_check, board=board, profile=profile, out=out, whole=whole, as_json=False)
        return
    _alone(whole, profile, out)
    for path in workflows.publish_all() if whole else workflows.publish(board, profile=profile, out=out):
        click.echo(str(path))


@leaderboard.command("check")
@a_board
@into
@every
@as_json
def leaderboard_check(board: str, profile: str, out: Path | None, whole: bool, as_json: bool) -> None:
    """Compare the published files with the stored traces. Status 1 when a file is stale."""

    from metabench import workflows

    _alone(whole, profile, out)
    stale = workflows.all_stale() if whole else workflows.stale(board, profile=profile, out=out)
    what, again = ("all boards", " --all") if whole else (f"board {board}", "")
    show(
        [{"problem": line} for line in stale],
        as_json,
        board=None if whole else board,
        profile=profile,
        current=not stale,
    )
    if stale:
        raise MetabenchError(
            f"{what}: {len(stale)} published files are stale; run `metabench leaderboard build{again}`"
        )
    if not as_json:
        click.echo(f"{what}: current")


@leaderboard.command("rekey")
@click.option(
    "--board",
    default="search",
    show_default=True,
    metavar="NAME|FOLDER",
    help="Board, by name or folder.",
    shell_complete=completes(board_names),
)
@click.option("--all", "whole", is_flag=True, help="Every board that has traces or predictions.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    shell_complete=completes(method_names),
    help="Method whose cells are carried over; may be repeated.  [default: all]",
)
@click.option(
    "--verify", required=True, type=click.IntRange(1), metavar="N", help="Cells of each board to compute again."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draw of these cells.")
@click.option(
    "--other-processor",
    is_flag=True,
    help="Another kind of processor stored the cells: compare the first ten trials, and predictions to two digits.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="traces.parquet or predictions.parquet that the previous code made on this machine, to compare with instead of "
    "the stored file.",
)
@as_json
def leaderboard_rekey(
    board: str,
    whole: bool,
    methods: tuple[str, ...],
    verify: int,
    seed: int,
    other_processor: bool,
    against: Path | None,
    as_json: bool,
) -> None:
    """Give stored results the keys of the present code, so that nothing is evaluated again.

    Computes N randomly drawn cells again. If one proposes something else than stored, the board is left unchanged, and the
    status is 1.
    """

    from metabench import workflows

    if whole and against:
        raise UsageError("--against holds the results of one board; it does not go with --all")
    how = (verify, methods, seed, other_processor)
    found = workflows.rekey_all(*how) if whole else [workflows.rekey(board, *how, against)]
    rows, refused = [], []
    for result in found:
        if isinstance(result, MetabenchError):
            refused.append(str(result))
            continue
        rows.append(
            {
                "file": str(result.path),
                "cells": result.cells,
                "new_keys": result.changed,
                "computed_again": result.verified,
                "same_to_the_bit": result.exact,
            }
        )
    show(rows, as_json, refused=refused)
    if refused:
        raise MetabenchError("; ".join(refused))


def _alone(whole: bool, profile: str, out: Path | None) -> None:
    if whole and (profile != "full" or out is not None):
        raise UsageError("--all is about what is published: it takes neither --profile nor --out")


@leaderboard.command("ceiling")
@click.option(
    "--board",
    default="search",
    show_default=True,
    metavar="NAME|FOLDER",
    help="Board, by name or folder.",
    shell_complete=completes(board_names),
)
@as_json
def leaderboard_ceiling(board: str, as_json: bool) -> None:
    """Estimate how well any method could search a board's tasks, given the noise of their scores.

    Prints the validation regret of three ideal searches. The first tries one list for all tasks, chosen on these very
    scores. The second follows the order of another run of the same task. The third knows every expected score, on
    simulated tasks.
    """
    from metabench.boards.board import load_board
    from metabench.scores.ceiling import board_ceilings
    from metabench.table import load_table

    rules = load_board(board)
    found = board_ceilings(rules, load_table(rules.dataset, rules.dataset_version))
    if as_json:
        show(found.to_dict("records"), as_json, board=board)
        return
    wide = found.pivot(index="bound", columns="mark", values="valid_regret").loc[list(dict.fromkeys(found["bound"]))]
    show([{"bound": name, **{f"at {m}": float(v) for m, v in row.items()}} for name, row in wide.iterrows()], as_json)


@click.command("benchmark")
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one a core]")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/benchmark"),
    show_default=True,
    help="Folder for all results.",
)
def benchmark_(workers: int | None, out: Path) -> None:
    """Run every step: train a slice, add the starter table, search held-out tasks, build the leaderboard."""

    from metabench import workflows

    workflows.run(out, workers or os.cpu_count() or 1)


COMMANDS = (check, evaluate, settings, submit, leaderboard, benchmark_)
