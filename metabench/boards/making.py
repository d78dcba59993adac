"""Making a board of protocol 3 on a table: its rules, and ``reference.csv`` with the seeds, y* and admission of every task.

The same table gives the same files. Admission and seeds come from configurations that are set apart, and y* from the table's
own seeds (:func:`metabench.scores.star.of_table`); no method has any part in it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metabench.direction import sign
from metabench.errors import MetabenchError, UsageError
from metabench.files import replace_file
from metabench.scores import references, star
from metabench.scores.references import TaskReference
from metabench.scores.replicates import Replicates
from metabench.scores.verdict import CONTROLS
from metabench.table.reliability import ADMITTED, FEWEST, SPAN, Reliability, of_table
from metabench.table.splits import members
from metabench.tasks.variants import is_variant

#: trials of a search, searches of a method on a task, folds of a partition, partitions
BUDGET, SEEDS, FOLDS, PARTITIONS = 50, 10, 5, 2
ELITE = "elite:"


def donors(table, workload: str, listed: Collection[str] = ()) -> set[str]:
    """Tasks that are never held out, because configurations of the pool were found on them or on data that share rows.

    Args:
        table: the table; the origins of its configurations name the tasks that elites were found on.
        workload: what is searched.
        listed: further tasks.

    Returns:
        All of the workload's tasks whose family shares rows with that of a donor.
    """
    found = {o.split(":")[1] for o in table.origins(workload) if o.startswith(ELITE)} | set(listed)
    frame = table.tasks[table.tasks["workload"] == workload]
    shared = {part for family in frame.loc[frame["task_id"].isin(found), "family"] for part in members(family)}
    return {t for t, f in zip(frame["task_id"], frame["family"], strict=True) if members(f) & shared}


def reference_rows(
    table, workload: str, budget: int = BUDGET, never: Collection[str] = ()
) -> tuple[list[TaskReference], dict[str, str]]:
    """References of the tasks that a board holds out.

    A task gets the seeds that its reliability asks for, or the largest even number for which the table has a pool of more
    configurations than a search has trials. It is admitted when a replicate has a reliability of at least ADMITTED and the
    span is at least SPAN standard errors, on validation and on test scores. Where y* does not exceed the median configuration
    there is nothing to find, and the task is not held out.

    Args:
        table: a table with all seeds.
        workload: what is searched.
        budget: trials of a search.
        never: tasks that are not held out.

    Returns:
        A row for each task that can be searched, in the table's order; and task → why it cannot.
    """
    frame = table.tasks[table.tasks["workload"] == workload]
    ids = [t for t in frame["task_id"] if not is_variant(t) and t not in never]
    figures, on_test = (of_table(table, workload, ids, series) for series in ("valid_score", "test_score"))
    ran = table.ran(workload, ids)
    valid, test = (table.final(workload, ids, s) for s in ("valid_score", "test_score"))
    rows, left = [], {}
    for i, t in enumerate(ids):
        if t not in figures:
            left[t] = "fewer than two seeds on the configurations set apart"
            continue
        most = min(figures[t].needed, figures[t].seeds)
        sizes = {n: ran[i][:, :n].all(axis=1) for n in range(FEWEST, most + 1, 2)}
        fit = [n for n, pool in sizes.items() if pool.sum() > budget]
        if not fit:
            left[t] = f"no pool of more than {budget} configurations with two seeds"
            continue
        direction = frame.loc[frame["task_id"] == t, "direction"].iloc[0]
        seen, scored = (replace(figure[t], seeds=max(fit)) for figure in (figures, on_test))
        found = _row(t, sizes[max(fit)], valid[i], test[i], seen, scored, direction)
        if found is None:
            left[t] = "no configuration is shown to be better than the median one"
        else:
            rows.append(found)
    return rows, left


def _row(
    task_id: str,
    pool: np.ndarray,
    valid: np.ndarray,
    test: np.ndarray,
    figure: Reliability,
    on_test: Reliability,
    direction: str,
) -> TaskReference | None:
    at, up = np.flatnonzero(pool), sign(direction)
    v, e = up * valid[at][:, : figure.seeds], up * test[at][:, : figure.seeds]
    found = star.of_table(v, e)
    if not found.score > Replicates.of(v[None], e[None], np.array([figure.seeds])).median[0]:
        return None  # utilities would be divided by nothing
    sound = figure.admitted and on_test.span >= SPAN * on_test.standard_error
    error = figure.standard_error
    return TaskReference(
        task_id,
        figure.seeds,
        int(at[found.config]),
        up * found.score,
        found.shortfall,
        found.naive_bias,
        figure.replicate,
        figure.span / error if error > 0 else float("inf"),
        bool(sound),
    )


def rules(
    name: str,
    version: int,
    title: str,
    table,
    workload: str,
    *,
    budget: int = BUDGET,
    seeds: int = SEEDS,
    folds: int = FOLDS,
    partitions: int = PARTITIONS,
    seed: int = 3,
    confirmatory: Sequence[str] = (),
    contrasts: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of a board.toml of protocol 3 on a table. Its profile lite has two searches of the first partition."""
    marks = [m for m in (1, 2, 3, 5, 10, 25, 50) if m <= budget]
    text = f"""# Rules of the board, frozen: any change makes a new version.
name = {json.dumps(name)}
version = {version}
title = {json.dumps(title, ensure_ascii=False)}
dataset = {json.dumps(table.name)}
dataset_version = {table.version}
digest = "{table.digest_of([workload])}"
workload = {json.dumps(workload)}
objective = "replay"
protocol = "3"
budget = {budget}
seeds = {seeds}
marks = {json.dumps(marks)}
controls = {json.dumps(list(CONTROLS))}
contrasts = {json.dumps([list(pair) for pair in contrasts])}

[folds]
number = {folds}
partitions = {partitions}
seed = {seed}
confirmatory = {json.dumps(list(confirmatory))}

[replicates]
sees = "mean"
fit_seeds = 3
"""
    return text + ("\n[profiles.lite]\nseeds = 2\npartitions = 1\n" if seeds > 2 else "")


def write(folder: Path, text: str, rows: Sequence[TaskReference]) -> None:
    """Write board.toml and reference.csv, in place of such as were there.

    Raises:
        UsageError: when the folder holds traces: they were made under the rules that stand there.
        MetabenchError: when it cannot be written.
    """
    if (folder / "traces.parquet").exists():
        raise UsageError(f"{folder} holds traces, which belong to its rules; make a new version, or remove them first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / references.FILE, references.encode(rows))
        replace_file(folder / "board.toml", text.encode())
    except OSError as error:
        raise MetabenchError(f"{folder} cannot be written: {error.strerror or error}") from None


__all__ = ["ADMITTED", "donors", "reference_rows", "rules", "write"]
