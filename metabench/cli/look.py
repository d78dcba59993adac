"""Commands that look: what there is to work with, what this machine offers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import click

from metabench.cli.output import as_json, board_names, completes, show, table_names
from metabench.errors import MetabenchError, UsageError

Rows = list[dict[str, Any]]


class Damaged(MetabenchError):
    """Some of what is to be listed cannot be read; ``rows`` are the others."""

    def __init__(self, message: str, rows: Rows):
        self.rows = rows
        super().__init__(message)


def _first_line(thing: Any) -> str:
    return ((thing.__doc__ or "").strip() or " ").splitlines()[0]


def _each(kind: str, of: Callable[[str], Rows]) -> Rows:
    """Rows of every plug-in of a kind. A broken one is told of in a line, and does not hide the others."""
    from metabench import registry

    rows, broken = [], []
    for name in registry.names(kind):
        try:
            rows += of(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plug-in may raise anything
            if name in registry.builtin(kind):
                raise
            what = f"{kind.removesuffix('s')} {name!r}: {type(error).__name__}: {error}"
            broken.append(str(error) if isinstance(error, MetabenchError) else what)
    if broken:
        raise Damaged("; ".join(broken), rows)
    return rows


def _plugins(kind: str) -> Rows:
    from metabench import registry

    return _each(kind, lambda name: [{"name": name, "what": _first_line(registry.load(kind, name))}])


def _methods(kind: str) -> Rows:
    """What each is by its module's docstring, and what it lacks to run here."""
    from metabench import registry

    def row(name: str) -> Rows:
        cls = registry.load(kind, name)
        what = _first_paragraph(sys.modules[cls.__module__])
        return [{"name": name, "absent": registry.lacks(cls), "what": what}]

    return _each(kind, row)


def _first_paragraph(module: Any) -> str:
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())


def _sources() -> Rows:
    from metabench import registry

    def row(name: str) -> Rows:
        source = registry.create("sources", name)
        return [{"name": source.name, "data_sets": len(source.names()), "what": _first_line(source)}]

    return _each("sources", row)


def _tasks() -> Rows:
    from metabench import tasks

    return _each("workloads", lambda w: [{"task": task, "workload": w} for task in tasks.names(w)])


def _spaces() -> Rows:
    from metabench import registry

    def of(workload: str) -> Rows:
        rows = []
        for name, p in registry.load("workloads", workload).space.items():
            scale = "log" if getattr(p, "log", False) else "reverse log" if getattr(p, "reverse", False) else ""
            values = " ".join(map(str, p.options)) if hasattr(p, "options") else f"{p.low} … {p.high}"
            active = f"{p.when.parent} is {' or '.join(map(str, p.when.values))}" if p.when else ""
            rows.append(
                {
                    "workload": workload,
                    "hyperparameter": name,
                    "type": type(p).__name__.lower(),
                    "scale": scale,
                    "values": values,
                    "default": p.default,
                    "active_when": active,
                }
            )
        return rows

    return _each("workloads", of)


def _tables() -> Rows:
    """The tables that can be opened. A damaged one is told of in a line, and does not hide the others."""
    from metabench.table import load_table

    rows, damaged = [], []
    for name in table_names():
        try:
            t = load_table(name)
            rows.append(
                {
                    "name": t.name,
                    "version": t.version,
                    "tasks": len(t.tasks),
                    "workloads": " ".join(t.workloads),
                    "path": str(t.path),
                }
            )
        except MetabenchError as error:
            damaged.append(str(error))
    if damaged:
        raise Damaged(f"table {'; '.join(damaged)}", rows)
    return rows


def _boards() -> Rows:
    from metabench.boards.board import load_board

    boards = [load_board(name) for name in board_names()]
    return [
        {
            "name": b.name,
            "version": b.version,
            "table": f"{b.dataset} v{b.dataset_version}",
            "workload": b.workload,
            "budget": b.budget,
            "seeds": b.seeds,
            "profiles": " ".join(["full", *b.profiles]),
            "title": b.title,
        }
        for b in boards
    ]


def _pretrained() -> Rows:
    """Fitted meta-models that ship, and what they were measured to be worth."""
    from metabench.pretrained.load import names
    from metabench.pretrained.record import SHIPPED, Record

    records = [Record.read(SHIPPED / name) for name in names()]
    figures = ("spearman", "regret_1", "regret_5", "random_5")
    return [
        {
            "name": r.name,
            "method": r.method,
            "table": r.table,
            "tasks": r.tasks,
            "runs": r.runs,
            **{f: r.measured.get(f) for f in figures},
        }
        for r in records
    ]


def _reports() -> Rows:
    from metabench import registry

    def row(name: str) -> Rows:
        r = registry.load("reports", name)
        return [{"name": r.name, "about": f"{r.needs} {r.published}", "question": r.title}]

    return _each("reports", row)


LISTINGS: dict[str, Callable[[], Rows]] = {
    "sources": _sources,
    "tasks": _tasks,
    "workloads": lambda: _plugins("workloads"),
    "spaces": _spaces,
    "metamodels": lambda: _methods("metamodels"),
    "baselines": lambda: _methods("baselines"),
    "tables": _tables,
    "boards": _boards,
    "reports": _reports,
    "pretrained": _pretrained,
}


def _none(what: str) -> str:
    """Why a listing is empty, and what fills it."""
    from metabench.boards.board import board_folders
    from metabench.table.find import dataset_folders

    found = {"tables": (dataset_folders, "METABENCH_DATASETS"), "boards": (board_folders, "METABENCH_LEADERBOARDS")}
    if what not in found:
        return f"there are no {what}"
    folders, variable = found[what]
    places = ", ".join(map(str, folders()))
    how = f"set {variable} to the folder that holds them, such as that of a clone of the repository"
    # where a table is made, and that the meta-models that ship need none
    makes = "; `metabench generate --table NAME` trains one, and recommend and tune need none"
    return f"no {what} in {places}; {how}{makes if what == 'tables' else ''}"


@click.command("list")
@click.argument("what", metavar="|".join(LISTINGS), shell_complete=completes(lambda: list(LISTINGS)))
@as_json
def list_(what: str, as_json: bool) -> None:
    """List everything of one kind: sources, tasks, methods, tables, boards and more."""
    if what not in LISTINGS:
        from metabench.registry import suggest

        raise suggest(what, list(LISTINGS), "listing")
    try:
        rows = LISTINGS[what]()
        show(rows, as_json, what=what)
        if not rows:
            click.echo(_none(what), err=True)
    except Damaged as error:
        show(error.rows, as_json, what=what)
        raise


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Show what is installed: versions, backends, optional packages, settings."""
    from metabench.doctor import diagnosis

    show(diagnosis(), as_json)


@click.command()
@click.option(
    "--job", "jobs", multiple=True, metavar="NAME", help="digits, wide, adam or plan; may be repeated.  [default: all]"
)
@click.option(
    "--workload", "workloads", multiple=True, metavar="NAME", help="Workload to train at its defaults; may be repeated."
)
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="Where to train.")
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1), help="Repetitions; the best one counts."
)
@click.option(
    "--methods",
    metavar="all|NAME,NAME…",
    help="Train nothing. Time a suggestion of these methods, of tune or of MetaSampler after 50 trials of the board "
    "`search`, and after 50 and 1,000 trials of a continuous search.",
)
@click.option(
    "--tables", is_flag=True, help="Train nothing. Time reading, look-ups, size and checks of a made-up table."
)
@click.option("--runs", default=1 << 20, show_default=True, type=click.IntRange(1), help="Runs of that table.")
@as_json
def speed(
    jobs: tuple[str, ...],
    workloads: tuple[str, ...],
    device: str,
    repeats: int,
    methods: str | None,
    tables: bool,
    runs: int,
    as_json: bool,
) -> None:
    """Compare training speed: the best ordinary loop, every backend, and JAX if installed.

    Trains four jobs of multilayer perceptrons, or those that --job and --workload name, in one process and in one process
    a core. This takes a few minutes. Shares refer to two measured peaks: torch's matrix products, and multiply-adds in
    registers. JAX trains plain networks only, because compiling each shape of the mixed space takes longer than training.

    With --tables, compares a table of a million runs with JSON in HPO-B's layout: time to open, look up, verify, store.
    """
    for name in ["--methods"] * (methods is not None) + ["--tables"] * tables:
        if jobs or workloads or device != "cpu":
            raise UsageError(f"{name} trains nothing: leave --job, --workload and --device out")
    if tables:
        _tables_speed(runs, repeats, as_json)
        return
    if methods is not None:
        _methods_speed(methods, repeats, as_json)
        return
    from dataclasses import asdict

    from metabench import registry
    from metabench.speed import find, measure

    for name in workloads:
        registry.load("workloads", name)
    rows, peaks = measure(
        (*jobs, *workloads), device=device, repeats=repeats, say=lambda text: click.echo(text, err=True)
    )
    table = [
        {
            "job": r.job,
            "contender": r.contender,
            "runs": r.runs,
            "runs/s": round(r.runs_per_second, 1),
            "runs/core-s": round(r.runs_per_core_second, 1),
            "GFLOP/s": round(r.gflops, 1),
            "× sequential": round(r.ratio, 2),
            "× a core-s": round(r.core_ratio, 2),
            "of products": f"{r.of_product_peak:.0%}",
            "of FMA": f"{r.of_fma_peak:.0%}",
        }
        for r in rows
    ]
    if not as_json:
        for name in dict.fromkeys(r.job for r in rows):
            loop = next(r for r in rows if r.job == name)
            # the best sequential loop's operations in a core-second
            reached = loop.gflops * loop.seconds * loop.runs_per_core_second / loop.runs / loop.core_ratio
            bound = peaks["fma"] / max(r.processes for r in rows) / reached
            limit = f"; the FMA peak is {bound:.1f}× the best sequential loop" if bound == bound else ""
            click.echo(f"{name}: {find(name).title}, {find(name).epochs} epochs{limit}", err=True)
        busy = sum(r.runs / r.runs_per_core_second for r in rows)
        share = busy / sum(r.seconds * r.processes * r.threads for r in rows)
        if share < 0.8:
            click.echo(
                f"others were at work here ({share:.0%} of the time was ours): trust what is per core-second", err=True
            )
        click.echo(f"peaks of all cores: products {peaks['product']:.0f}, FMA {peaks['fma']:.0f} GFLOP/s", err=True)
    show([asdict(r) for r in rows] if as_json else table, as_json, peaks=peaks)


def _methods_speed(names: str, repeats: int, as_json: bool) -> None:
    from dataclasses import asdict

    from metabench import workflows
    from metabench.boards.board import load_board
    from metabench.evaluation.overhead import overhead
    from metabench.table import load_table
    from metabench.workflows.suggestions import ADVISERS, suggestions

    board = load_board("search")
    named = [name.strip() for name in names.split(",")]
    advisers = [a for a in ADVISERS if names == "all" or a in named]
    chosen = workflows.methods()[0] if names == "all" else [n for n in named if n not in ADVISERS]
    if find_spec("optuna") is None:
        advisers = [a for a in advisers if a != "MetaSampler"]
    table = load_table(board.dataset, board.dataset_version)
    if board.design is not None:  # the sources and tasks of one fold
        from metabench.boards.judge import dealt

        board = dealt(board, table)[0][1]

    def say(text: str) -> None:
        click.echo(text, err=True)

    rows = overhead(chosen, board, table, repeats=repeats, say=say) if chosen else []
    told = [
        {
            "method": r.method,
            "fit s": round(r.fit, 2),
            "first ms": round(1e3 * r.start, 2),
            "after 50 ms": round(1e3 * r.last, 2),
            "mean ms": round(1e3 * r.mean, 2),
            "worst ms": round(1e3 * r.worst, 2),
        }
        for r in sorted(rows, key=lambda r: r.mean)
    ]
    later = [
        {
            "method": r.method,
            "trials": r.trials,
            "resume ms": round(1e3 * r.resume, 1),
            "next ms": round(1e3 * r.next, 2),
            "worst ms": round(1e3 * r.worst, 2),
        }
        for r in suggestions([*chosen, *advisers], board, table, repeats=repeats, say=say)
    ]
    if not as_json:
        if told:
            show(told, False)
            click.echo()
        show(later, False)
        return
    show([asdict(r) for r in rows], True, board=board.name, trials=50, continuous=later)


def _tables_speed(runs: int, repeats: int, as_json: bool) -> None:
    from dataclasses import asdict

    from metabench.speed.tables import measure

    rows = list(measure(runs, repeats, say=lambda text: click.echo(text, err=True)))
    met = {None: "", True: "met", False: "missed"}
    table = [
        {
            "what": r.what,
            "of": r.contender,
            "runs": f"{r.runs:,}",
            "measured": f"{r.value:,.{0 if r.value >= 100 else 2}f}",
            "unit": r.unit,
            "target": "" if r.target is None else f"{r.target:,.0f}",
            "": met[r.met],
        }
        for r in rows
    ]
    show([asdict(r) | {"met": r.met} for r in rows] if as_json else table, as_json)


def _workloads() -> list[str]:
    from metabench import registry

    return registry.names("workloads")


@click.command()
@click.argument("workload", shell_complete=completes(_workloads))
@click.option("--tasks", "pattern", default="*", show_default=True, metavar="GLOB", help="Tasks, as for `generate`.")
@click.option(
    "--table",
    metavar="NAME|FOLDER",
    shell_complete=completes(table_names),
    help="Add scores from this table: the median configuration, and the one with the best validation score.",
)
@as_json
def reference(workload: str, pattern: str, table: str | None, as_json: bool) -> None:
    """Train a workload's default configuration on its tasks, and compare it with chance and standard methods."""
    from metabench import tasks
    from metabench.generate.reference import reference as compare
    from metabench.table import load_table
    from metabench.table.describe import reached

    held = load_table(table) if table else None
    rows = [
        {
            "task": row.task_id,
            "metric": row.metric,
            "better": row.direction,
            "chance": row.chance,
            "default": row.default,
            **(reached(held, row.task_id) if held else {}),
            **row.others,
        }
        for row in compare(workload, tasks.select(workload, pattern), lambda text: click.echo(text, err=True))
    ]
    show(rows, as_json)


COMMANDS = (list_, doctor, speed, reference)
