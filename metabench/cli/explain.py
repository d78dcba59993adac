"""metabench explain: which hyperparameters matter, how scores and optima move, why a configuration is recommended."""

from __future__ import annotations

import fnmatch
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click

from metabench.cli.group import Commands
from metabench.cli.output import as_json, completes, options, show, table_names
from metabench.errors import UsageError

a_page = click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.html",
    help="Also write a page: one file that works offline.",
)
of_a_table = options(
    click.option(
        "--table",
        required=True,
        metavar="NAME|FOLDER|URI",
        help="Table to explain.",
        shell_complete=completes(table_names),
    ),
    click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network."),
    click.option(
        "--task", "tasks", multiple=True, metavar="GLOB", help="Tasks to use; may be repeated.  [default: all]"
    ),
)
a_target = click.option(
    "--target",
    default="rank",
    show_default=True,
    type=click.Choice(["rank", "score"]),
    help="Explain ranks within a task (as normal scores), or the scores themselves.",
)


@click.group(cls=Commands)
def explain() -> None:
    """Explain which hyperparameters matter, how the optimum moves, and why a configuration is recommended."""


@explain.command()
@of_a_table
@a_target
@click.option(
    "--most", default=12, show_default=True, type=click.IntRange(1), help="Rows to print; JSON has all of them."
)
@a_page
@as_json
def importance(
    table: str, workload: str, tasks: tuple[str, ...], target: str, most: int, page: Path | None, as_json: bool
) -> None:
    """Print the share of the variance of scores that each hyperparameter or pair explains (functional ANOVA).

    `alone` is the share that it explains by itself; for a pair, beyond both alone. `total` includes all its interactions.
    Brackets are 95 % intervals over families of data sets.
    """
    from metabench.explain import summary
    from metabench.explain.stored import stored_survey
    from metabench.tasks import cache_dir

    held, chosen = _opened(table, workload, tasks)
    kept = cache_dir() / "surveys"
    found, effects = stored_survey(held, workload, chosen, target, folder=kept, progress=_progress())
    told = summary(found)
    r2 = float(found.groupby("task_id")["r2"].first().mean())
    if page:
        from metabench.publishing import explained

        made = explained.importance(held.space(workload), told, effects, r2, target)
        _write(
            page,
            f"Which hyperparameters of {workload} matter?",
            _about(held, workload, found["task_id"].nunique()),
            made,
        )
    if as_json:
        everything = found.to_dict("records")
        show(
            told.to_dict("records"), True, table=held.name, workload=workload, target=target, r2=r2, per_task=everything
        )
        return
    rows = [
        {
            "hyperparameter": f"{r.hyperparameter} × {r.interacts_with}" if r.interacts_with else r.hyperparameter,
            "alone": f"{r.share:.1%}",
            "95 %": _interval(r.low, r.high),
            "total": "" if r.total != r.total else f"{r.total:.1%}",
            "tasks": r.tasks,
        }
        for r in cast(Any, told.head(most)).itertuples()
    ]
    show(rows, False)
    n, families = found["task_id"].nunique(), found["family"].nunique()
    click.echo(
        f"{n} tasks of {families} families; the forests explain R² = {r2:.2f} of configurations they have not seen",
        err=True,
    )


@explain.command()
@click.argument("hyperparameter")
@click.argument("other", required=False)
@of_a_table
@a_target
@a_page
@as_json
def effect(
    hyperparameter: str,
    other: str | None,
    table: str,
    workload: str,
    tasks: tuple[str, ...],
    target: str,
    page: Path | None,
    as_json: bool,
) -> None:
    """Print the expected score over one hyperparameter or two, averaged over all others."""
    from metabench.explain import effect as effect_of

    held, chosen = _opened(table, workload, tasks)
    found = effect_of(held, workload, hyperparameter, other, chosen, target, progress=_progress())
    names = [hyperparameter] if other is None else [hyperparameter, other]
    if page:
        from metabench.publishing import explained

        made = explained.effect(held.space(workload), names, found, target)
        title = f"How does the score move with {' and '.join(names)}?"
        _write(page, title, _about(held, workload, int(found["tasks"].max())), made)
    named = found.rename(columns=dict(zip(("value", "other_value"), names, strict=False)))
    if as_json:
        show(named.to_dict("records"), True, table=held.name, workload=workload, target=target)
    else:
        cells = [
            {
                **{n: r[n] for n in names},
                "effect": round(r["effect"], 3),
                "95 %": _interval(r["low"], r["high"], "{:+.3f}"),
            }
            for r in named.to_dict("records")
        ]
        show(cells, False)


@explain.command()
@click.argument("hyperparameter", default="learning_rate")
@click.option(
    "--against",
    multiple=True,
    metavar="NAME",
    help="Another hyperparameter, a size (n_train …) or a feature; may be repeated.  [default: batch_size, n_train]",
)
@click.option(
    "--given", multiple=True, metavar="NAME=A,B", help="Only configurations with these values; may be repeated."
)
@of_a_table
@a_page
@as_json
def optimum(
    hyperparameter: str,
    against: tuple[str, ...],
    given: tuple[str, ...],
    table: str,
    workload: str,
    tasks: tuple[str, ...],
    page: Path | None,
    as_json: bool,
) -> None:
    """Test whether the best value of HYPERPARAMETER moves with another hyperparameter or a property of the task."""
    from metabench.explain import optimum as optimum_of

    held, chosen = _opened(table, workload, tasks)
    space = held.space(workload)
    kept = _given(space, given)
    asked = against or tuple(
        n for n in ("batch_size", "n_train") if n != hyperparameter and (n in space or n == "n_train")
    )
    found = [optimum_of(held, workload, hyperparameter, name, chosen, kept) for name in asked]
    if page:
        from metabench.publishing import explained

        made = explained.optima(space, found, "; ".join(given))
        title = f"How does the best {hyperparameter} move?"
        _write(page, title, _about(held, workload, max(o.points["task_id"].nunique() for o in found)), made)
    if as_json:
        rows = [
            {
                "hyperparameter": o.hyperparameter,
                "against": o.against,
                "slope": o.slope,
                "low": o.slope_low,
                "high": o.slope_high,
                "p": o.p,
                "unit": o.unit,
                "trend": o.trend,
                "sentence": o.sentence,
                "line": o.line.to_dict("records"),
                "points": o.points.to_dict("records"),
            }
            for o in found
        ]
        show(rows, True, table=held.name, workload=workload, given=kept)
        return
    for o in found:
        click.echo(o.sentence)
        line = o.line.iloc[:: max(1, len(o.line) // 6)]
        show(
            [
                {
                    o.against: float(r.x),
                    f"best {hyperparameter}": float(r.value),
                    "95 %": _interval(r.low, r.high, "{:.3g}"),
                }
                for r in cast(Any, line).itertuples()
            ],
            False,
        )


@explain.command()
@click.option("--data", type=click.Path(path_type=Path), metavar="PATH", help="Your data, as for `recommend`.")
@click.option("--target", metavar="COLUMN", help="Column of the table to predict.")
@click.option(
    "--table",
    metavar="NAME|FOLDER|URI",
    help="Table that has the task, instead of --data.",
    shell_complete=completes(table_names),
)
@click.option("--task", metavar="TASK", help="Task of --table.")
@click.option("--workload", default="mlp", show_default=True, metavar="NAME", help="Kind of network.")
@click.option("--model", metavar="NAME|FOLDER", help="Fitted meta-model.  [default: the newest that ships]")
@click.option(
    "--rank",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Rank of the recommended configuration to explain.",
)
@click.option(
    "--config", metavar="JSON", help="Another configuration, as a JSON object; missing values are the defaults."
)
@a_page
@as_json
def why(
    data: Path | None,
    target: str | None,
    table: str | None,
    task: str | None,
    workload: str,
    model: str | None,
    rank: int,
    config: str | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Explain why a configuration is recommended: the contribution of each value, and the nearest known tasks.

    The task is your --data, a --task of a --table, or, without both, a task without known features.
    """
    from dataclasses import asdict

    from metabench.explain import why as why_of

    fitted, about = _about_what(data, target, table, task, workload, model)
    chosen = _config(fitted.space, config) if config is not None else None
    if chosen is None:
        best = fitted.ask(about, None, rank).astype(object)
        chosen = dict(best.where(best.notna(), None).iloc[-1].items())
    found = why_of(fitted, about, chosen)
    name = "a task of which nothing is known" if about is None else about.task_id
    if page:
        from metabench.publishing import explained

        told = f"configuration for {name}, by {fitted.name}"
        _write(page, "Why this configuration?", told, explained.why(found, fitted.name))
    if as_json:
        nearest = [asdict(n) for n in found.nearest]
        show(
            found.contributions.to_dict("records"),
            True,
            task=name,
            model=fitted.name,
            config=found.config,
            base=found.base,
            expected=found.expected,
            surrogate=found.surrogate,
            fidelity=found.fidelity,
            nearest=nearest,
        )
        return
    click.echo(
        f"{name}: expected to beat {found.expected:.0%} of all configurations (an average one: {found.base:.0%})"
    )
    show(
        [
            {"hyperparameter": r.hyperparameter, "value": r.value, "points": f"{100 * r.points:+.1f}"}
            for r in cast(Any, found.contributions).itertuples()
            if r.value is not None
        ],
        False,
    )
    for n in found.nearest:
        alike = ", ".join(f"{feature} {here:.3g} / {there:.3g}" for feature, here, there in n.why)
        click.echo(f"like {n.task_id} (distance {n.distance:.2f}): {alike}")
    click.echo(
        f"points are Shapley values of trees that learned what {fitted.name} expects (R² = {found.fidelity:.2f})",
        err=True,
    )


# ---------------------------------------------------------------- parts
def _opened(table: str, workload: str, patterns: tuple[str, ...]) -> tuple[Any, list[str] | None]:
    """The table, and the tasks that the patterns choose (None: all)."""
    from metabench.registry import suggest
    from metabench.table import load_table

    held = load_table(table)
    held.space(workload)
    if not patterns:
        return held, None
    known = held.tasks.loc[held.tasks["workload"] == workload, "task_id"].tolist()
    chosen: list[str] = []
    for pattern in (part.strip() for given in patterns for part in given.split(",")):
        full = pattern if pattern.startswith((f"{workload}-", "*")) else f"{workload}-{pattern}"
        hits = fnmatch.filter(known, full)
        if not hits:
            raise suggest(full, known, f"task of {workload} in table {held.name}")
        chosen += hits
    return held, list(dict.fromkeys(chosen))


def _about_what(data, target, table, task, workload, model) -> tuple[Any, Any]:
    from metabench.advise.data import read
    from metabench.advise.recommend import opened, task_of

    if data is not None and (table or task):
        raise UsageError("give --data, or --table with --task, not both")
    if (table is None) != (task is None):
        raise UsageError("--table and --task go together: the task is looked up in the table")
    fitted = opened(model, workload)
    if data is not None:
        return fitted, task_of(read(data, target, workload), workload)
    if table is None:
        return fitted, None
    held, chosen = _opened(table, workload, (task,))
    assert chosen  # a pattern that matches nothing is an error
    task_id, *more = chosen
    if more:
        raise UsageError(f"--task {task} names {1 + len(more)} tasks; name one")
    return fitted, held.task_info(task_id)


def _given(space, given: tuple[str, ...]) -> dict[str, list]:
    from metabench.registry import suggest
    from metabench.space import Choice

    out: dict[str, list] = {}
    for text in given:
        name, found, values = text.partition("=")
        if not found or not values:
            raise UsageError(f"--given {text!r}: write NAME=VALUE, or NAME=VALUE,VALUE")
        if name not in space:
            raise suggest(name, list(space), "hyperparameter")
        try:
            out[name] = [
                v if isinstance(space[name], Choice) else space[name].check(float(v)) for v in values.split(",")
            ]
        except ValueError as error:
            raise UsageError(f"--given {text!r}: {error}") from None
    return out


def _config(space, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--config {text[:60]!r} is no JSON object of hyperparameters")
    defaults = {n: v for n, v in space.default().items() if v is not None}
    merged = defaults | found
    # what the given values make inactive has no value, what they make active has its default
    out: dict[str, Any] = {}
    for name, p in space.items():
        on = p.when is None or p.when.on_task or out.get(p.when.parent) in p.when.values
        out[name] = merged.get(name, p.default) if on else found.get(name)
    return space.validate(out | {n: v for n, v in found.items() if n not in space})


def _interval(low: float, high: float, form: str = "{:.1%}") -> str:
    return "" if low != low else f"[{form.format(low)}, {form.format(high)}]"


def _about(table, workload: str, tasks: int) -> str:
    version = f" v{table.version}" if table.version else ""
    return f"{tasks} task{'s' * (tasks > 1)} of {workload} in table {table.name}{version}"


def _write(path: Path, title: str, told: str, page) -> None:
    from metabench.publishing import explained
    from metabench.publishing.pages.tree import write_file

    write_file(path, explained.page_of(title, told, _command(), page).encode())
    click.echo(f"wrote {path}", err=True)


def _command() -> str:
    """The command that is being run, as one would write it."""
    context = click.get_current_context()
    words = ["metabench", *context.command_path.split()[1:]]
    for p in context.command.params:
        if context.get_parameter_source(p.name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = context.params[p.name]
        for one in value if isinstance(value, tuple) else (value,):
            words += [*([p.opts[-1]] if isinstance(p, click.Option) else []), *([] if one is True else [str(one)])]
    return shlex.join(words)


#: seconds between lines of progress where standard error is no terminal
EVERY = 10.0


def _progress() -> Callable[[int, int], None]:
    """Says how far it is and how long the rest takes: in place on a terminal, else at the start and every few seconds."""
    terminal, began = sys.stderr.isatty(), time.monotonic()
    last = -EVERY

    def told(done: int, of: int) -> None:
        nonlocal last
        passed = time.monotonic() - began
        if not terminal and passed - last < EVERY:
            return
        last = passed
        rest = f", about {passed / done * (of - done):.0f} s left" if done else ""
        text = f"explaining task {done + 1} of {of}{rest}"
        click.echo(f"\r\x1b[K{text}" + "\r\x1b[K" * (done + 1 == of) if terminal else text, err=True, nl=not terminal)

    return told


COMMANDS = (explain,)
