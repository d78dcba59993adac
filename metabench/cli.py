"""The command line: thin commands over the library.

Data goes to stdout, progress to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 finished with missing or failed
runs, 130 interrupted. A user's mistake is one line; METABENCH_DEBUG=1 shows where it was raised.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import click

from metabench.errors import IncompleteError, MetabenchError, UsageError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Commands(click.Group):
    """A group whose mistakes are one line, with the nearest command for an unknown one."""

    def resolve_command(self, ctx, args):
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from metabench.registry import suggest

            raise suggest(args[0], self.list_commands(ctx), "command")
        return super().resolve_command(ctx, args)

    def main(self, *args, standalone_mode: bool = True, **kwargs):
        try:
            status = super().main(*args, standalone_mode=False, **kwargs)
        except click.exceptions.Abort:
            return _end("interrupted; the same command resumes", 130)
        except KeyboardInterrupt:
            return _end("interrupted; the same command resumes", 130)
        except click.ClickException as error:
            return _end(error.format_message(), error.exit_code)
        except MetabenchError as error:
            return _end(str(error), error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(1)
        except OSError as error:
            return _end(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        sys.exit(status if isinstance(status, int) else 0)


def _end(message: str, status: int) -> None:
    if os.environ.get("METABENCH_DEBUG") == "1" and sys.exc_info()[0]:
        raise
    click.echo(f"metabench: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _duration(ctx, param, value: str | None) -> float | None:
    if value is None:
        return None
    match = _DURATION.fullmatch(value)
    if not match:
        raise UsageError(f"{param.opts[0]} {value!r} is no duration; write 90s, 9m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _show(rows: list[dict[str, Any]], as_json: bool, **more: Any) -> None:
    """Rows as one JSON object, or as aligned columns."""
    if as_json:
        click.echo(json.dumps({"schema": 1, **more, "rows": rows}, default=str))
        return
    if not rows:
        return
    columns = list(rows[0])
    cells = [[_cell(row[c]) for c in columns] for row in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) for i, c in enumerate(columns)]
    for line in [columns, *cells]:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="metabench")
def main() -> None:
    """Tables, meta-models and a benchmark for meta-learned hyperparameter optimisation of deep networks.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 finished with missing or failed runs.
    """


@main.command("list")
@click.argument("what")
@as_json
def list_(what: str, as_json: bool) -> None:
    """List sources, tasks, workloads, spaces, metamodels, baselines, tables or boards."""
    from metabench import registry

    listings = {
        "sources": lambda: [_source(n) for n in registry.names("sources")],
        "tasks": _tasks,
        "workloads": lambda: _plugins("workloads"),
        "spaces": _spaces,
        "metamodels": lambda: _plugins("metamodels"),
        "baselines": lambda: _plugins("baselines"),
        "tables": _tables,
        "boards": _boards,
    }
    if what not in listings:
        raise registry.suggest(what, list(listings), "listing")
    _show(listings[what](), as_json, what=what)


def _plugins(kind: str) -> list[dict[str, Any]]:
    from metabench import registry

    found = ((name, registry.load(kind, name)) for name in registry.names(kind))
    return [{"name": name, "what": (cls.__doc__ or "").strip().splitlines()[0]} for name, cls in found]


def _source(name: str) -> dict[str, Any]:
    from metabench import registry

    source = registry.create("sources", name)
    return {"name": name, "data_sets": len(source.names()), "what": (source.__doc__ or "").strip().splitlines()[0]}


def _tasks() -> list[dict[str, Any]]:
    from metabench import registry, tasks

    return [{"task": task, "workload": w} for w in registry.names("workloads") for task in tasks.names(w)]


def _spaces() -> list[dict[str, Any]]:
    from metabench import registry

    rows = []
    for workload in registry.names("workloads"):
        for name, p in registry.load("workloads", workload).space.items():
            kind = type(p).__name__.lower()
            scale = "log" if getattr(p, "log", False) else ("reverse log" if getattr(p, "reverse", False) else "")
            values = " ".join(map(str, p.options)) if hasattr(p, "options") else f"{p.low} … {p.high}"
            active = f"{p.when.parent} in {' '.join(map(str, p.when.values))}" if p.when else ""
            rows.append({
                "workload": workload, "hyperparameter": name, "type": kind, "scale": scale, "values": values,
                "default": p.default, "active_when": active,
            })  # fmt: skip
    return rows


def _tables() -> list[dict[str, Any]]:
    from metabench.table import load_table, table_names

    tables = [load_table(name) for name in table_names()]
    return [
        {"name": t.name, "version": t.version, "tasks": len(t.tasks), "workloads": " ".join(t.workloads),
         "path": str(t.path)} for t in tables
    ]  # fmt: skip


def _boards() -> list[dict[str, Any]]:
    from metabench.leaderboard.board import board_names, load_board

    boards = [load_board(name) for name in board_names()]
    return [
        {"name": b.name, "version": b.version, "dataset": b.dataset, "workload": b.workload, "budget": b.budget,
         "seeds": b.seeds, "title": b.title} for b in boards
    ]  # fmt: skip


_table_options = [
    click.option("--table", "table", required=True, help="Folder <name>/v<N>, or a name: datasets/<name>/v1."),
    click.option("--workload", default="mlp", show_default=True, help="What to train."),
    click.option("--tasks", "pattern", default="*", show_default=True, help="Glob or comma-separated list of tasks."),
    click.option("--configs", default=256, show_default=True, help="Shared configurations, a power of two."),
    click.option("--seeds", default=2, show_default=True, help="Seeds of each configuration and task."),
]


def table_options(command):
    for option in reversed(_table_options):
        command = option(command)
    return command


def _folder(table: str) -> Path:
    """``starter`` → datasets/starter/v1; anything with a slash is a folder as it stands."""
    if "/" in table or os.sep in table:
        return Path(table)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", table):
        raise UsageError(f"table {table!r}: a name is made of a-z, 0-9, _ and -")
    return Path("datasets") / table / "v1"


@main.command()
@table_options
@as_json
def plan(table: str, workload: str, pattern: str, configs: int, seeds: int, as_json: bool) -> None:
    """Say what `generate` would train: runs that are missing, their operations."""
    from metabench.generate import preview

    _show([preview(_folder(table), workload, pattern, n_configs=configs, n_seeds=seeds)], as_json)


@main.command()
@table_options
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--backend", default="auto", show_default=True, help="auto, sequential, batched or resident.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes [default: the cores].")
@click.option("--budget", callback=_duration, help="Stop cleanly after this long, e.g. 9m.")
@click.option("--retry-failed", is_flag=True, help="Train failed runs again.")
@as_json
def generate(
    table: str, workload: str, pattern: str, configs: int, seeds: int, device: str, backend: str, workers: int | None,
    budget: float | None, retry_failed: bool, as_json: bool,
) -> None:  # fmt: skip
    """Train the runs that a table lacks; the same command resumes."""
    from dataclasses import asdict

    from metabench import tasks
    from metabench.generate import generate as run

    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    report = run(
        _folder(table), workload, tasks.select(workload, pattern), n_configs=configs, n_seeds=seeds, device=device,
        backend=backend, workers=workers, budget=budget, retry_failed=retry_failed,
    )  # fmt: skip
    _show([asdict(report) | {"runs_per_second": report.runs_per_second}], as_json)
    if report.missing or report.failed:
        raise IncompleteError(f"{report.missing} runs are missing and {report.failed} failed; the same command resumes")


@main.command()
@click.argument("table")
@as_json
def verify(table: str, as_json: bool) -> None:
    """Check a table: hashes, schema, keys, ranges. Status 1 when something is wrong."""
    from metabench.table import find_table
    from metabench.table import verify as check

    path = find_table(table)
    problems = check(path)
    _show([{"problem": p} for p in problems], as_json, table=str(path), sound=not problems)
    if problems:
        raise MetabenchError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}")
    if not as_json:
        click.echo(f"{path}: sound")


@main.command()
@click.argument("table")
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="Rows to train again.")
@click.option("--run-id", type=int, help="Train just this row again.")
@as_json
def rerun(table: str, sample: int, run_id: int | None, as_json: bool) -> None:
    """Train stored rows again and compare their curves. Status 1 when they do not agree."""
    from metabench.table.rerun import rerun as again

    report = again(table, sample=sample, run_id=run_id)
    _show([report.to_dict()], as_json)
    if not report.agrees:
        raise MetabenchError(f"{report.different} of {report.rows} rows do not give the stored curve again")


@main.command()
@click.argument("table")
@click.option("--check", is_flag=True, help="Only say whether the card is current (status 1 when it is not).")
def card(table: str, check: bool) -> None:
    """Write a table's card (README.md and its pictures) from the table itself."""
    from metabench.table import card as cards
    from metabench.table import find_table

    path = find_table(table)
    if check:
        if stale := cards.check(path):
            raise MetabenchError(f"stale: {', '.join(map(str, stale))}; run `metabench card {table}`")
        click.echo(f"{path}: the card is current")
        return
    for written in cards.write(path):
        click.echo(str(written))


@main.command()
@click.option("--board", "board_name", default="search", show_default=True, help="Board to search on.")
@click.option("--method", "methods", multiple=True, help="Name or my_pkg:MyClass; repeat it. [default: all built-in]")
@click.option("--profile", default="full", show_default=True, help="full, or a profile of the board such as lite.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for traces.parquet [default: the board's].")
@as_json
def evaluate(
    board_name: str, methods: tuple[str, ...], profile: str, workers: int, out: Path | None, as_json: bool
) -> None:
    """Let methods search the held-out tasks of a board; computes only what is missing."""
    from metabench import benchmark

    scores = benchmark.evaluate_board(board_name, list(methods), profile=profile, workers=workers, out=out)
    _show(benchmark.ranking(scores), as_json, board=board_name, profile=profile)


@main.group(cls=Commands)
def leaderboard() -> None:
    """Build or check a published leaderboard."""


_board_options = [
    click.option("--board", "board_name", default="search", show_default=True),
    click.option("--profile", default="full", show_default=True, help="Profile that the traces were made with."),
    click.option("--out", type=click.Path(path_type=Path), help="Folder [default: the board's own]."),
]


def board_options(command):
    for option in reversed(_board_options):
        command = option(command)
    return command


@leaderboard.command("build")
@board_options
def leaderboard_build(board_name: str, profile: str, out: Path | None) -> None:
    """Score the stored traces and write the Markdown, JSON, CSV and the static site."""
    from metabench import benchmark

    for path in benchmark.publish(board_name, profile=profile, out=out):
        click.echo(str(path))


@leaderboard.command("check")
@board_options
def leaderboard_check(board_name: str, profile: str, out: Path | None) -> None:
    """Status 1 when what is published is not what the traces give."""
    from metabench import benchmark

    if stale := benchmark.stale(board_name, profile=profile, out=out):
        raise MetabenchError(f"stale: {', '.join(map(str, stale[:5]))}; run `metabench leaderboard build`")
    click.echo(f"{board_name}: current")


@main.command()
@click.argument("method")
def check(method: str) -> None:
    """Run the public contract on a plug-in: `my_pkg:MyModel`, or a built-in name."""
    from metabench import testing
    from metabench.evaluate import resolve

    searcher = resolve(method)[0].searcher
    (testing.check_metamodel if hasattr(searcher, "save") else testing.check_searcher)(searcher)
    click.echo(f"{method}: keeps the contract")


@main.command()
@as_json
def doctor(as_json: bool) -> None:
    """What this machine offers: versions, backends, optional packages, settings."""
    from metabench.doctor import diagnosis

    _show(diagnosis(), as_json)


@main.command("benchmark")
@click.option("--workers", type=click.IntRange(1), help="Worker processes [default: the cores].")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/benchmark"), show_default=True)
def benchmark_(workers: int | None, out: Path) -> None:
    """The whole way in one command: train a slice, add the starter table, search held-out tasks, build the board."""
    from metabench import benchmark

    benchmark.run(out, workers or os.cpu_count() or 1)


if __name__ == "__main__":
    main()
