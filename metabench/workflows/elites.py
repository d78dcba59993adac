"""Elites: configurations that real searches on single tasks found, to be trained on all tasks.

A pool that is drawn evenly from the space lacks what people reach by searching. A round searches on *donor* tasks, keeps the
best configurations of each, and stores them in the table after the Sobol part; ``generate --also elite`` trains them on
all tasks. Rounds go on until one improves the best of fewer than STOP of the tasks (:func:`improved`).

An elite tells of the task that it was found on. So donors come from families that are in meta-train of every fold and are
never scored (``datasets/donors.txt``), and methods that learn from other tasks learn from donors alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metabench import direction, untrusted
from metabench.errors import MetabenchError, UsageError
from metabench.evaluation.live import LiveBench
from metabench.evaluation.worker import Group
from metabench.registry import create, names
from metabench.search.continuous import Trial, from_text
from metabench.search.live import Live
from metabench.table import TableWriter, load_table
from metabench.table.place import Place

#: methods that search by default, trials of each, and configurations kept of each donor
METHODS, TRIALS, KEEP = ("tpe", "gp", "cmaes", "auto"), 50, 2
#: of each search so many candidates are trained again, with so many seeds that no search used
CANDIDATES, SEEDS = 2, 2
#: rounds end when one improves the best of a smaller share of the tasks
STOP = 0.1


@dataclass(frozen=True)
class Elite:
    """A configuration that a search found, and its mean validation score with seeds that no search used."""

    task_id: str
    method: str
    config: dict[str, Any]
    score: float

    @property
    def origin(self) -> str:
        """The entry in the table's column ``origin``."""
        return f"elite:{self.task_id}:{self.method}"


def read_donors(path: str | Path) -> list[str]:
    """Read a list of donor tasks: task ids, one a line; lines that start with # are comments.

    Raises UsageError when there is none, or one is listed twice.
    """
    try:
        lines = [line.strip() for line in untrusted.read_lines(path, error=UsageError)]
    except FileNotFoundError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    donors = [line for line in lines if line and not line.startswith("#")]
    if not donors or len(set(donors)) < len(donors):
        raise UsageError(f"{path} lists {'a donor twice' if donors else 'no donors'}")
    return donors


def find(
    table,
    workload: str,
    donors: Sequence[str],
    *,
    methods: Sequence[str] = METHODS,
    trials: int = TRIALS,
    keep: int = KEEP,
    seed: int = 0,
    objective=None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Elite]:
    """Search on each donor and keep its best configurations.

    Args:
        table: where the candidates of a search begin, and where methods that transfer find the scores of donors.
        workload: what is trained.
        donors: task ids; the table need not hold them, but all that it holds are learned from.
        methods: names of searchers.
        trials: trainings of each search.
        keep: configurations that are kept of each donor.
        seed: seed of the searches and of their trainings.
        objective: what answers trials; by default they are really trained.
        say: is told of each donor that is done.

    Returns:
        elites, the best of each donor first.

    Raises:
        MetabenchError: a method failed, or all trainings of a donor diverged.
    """
    from metabench import tasks

    objective = objective or Live(workload)
    held = [t for t in donors if t in set(table.tasks["task_id"])]
    source = table.meta_train(workload, held)
    infos = {t: table.task_info(t) if t in held else _info(tasks.get(t)) for t in donors}
    searchers = {name: create("metamodels" if name in names("metamodels") else "baselines", name) for name in methods}
    bench = LiveBench(searchers, source, table.space(workload), table.configs(workload), infos, trials, objective)
    found = []
    for task_id in donors:
        outcomes = list(bench.run([Group(name, "own", task_id, {seed: ""}) for name in methods]))
        if failed := [reason for _, _, reason in outcomes if reason]:
            raise MetabenchError(failed[0])
        rows = [row for _, some, _ in outcomes for row in some or ()]
        best = _best(bench.space, rows, infos[task_id], keep, seed, objective)
        say(f"{task_id}: {', '.join(f'{e.method} {e.score:.4g}' for e in best)}")
        found += best
    return found


def _info(task):
    from metabench.metatrain import TaskInfo

    keep = ("task_id", "family", "modality", "workload", "kind", "metric", "direction", "features")
    return TaskInfo(**{name: getattr(task, name) for name in keep})


def _best(space, rows: Sequence[dict], info, keep: int, seed: int, objective) -> list[Elite]:
    """The candidates of some searches on one task, trained again with other seeds: the best of them."""
    sign = direction.sign(info.direction)
    method_of: dict[str, str] = {}
    for row in rows:
        scores = np.where(np.isfinite(row["valid_score"]), sign * np.array(row["valid_score"], float), -np.inf)
        for position in np.argsort(-scores, kind="stable")[:CANDIDATES]:
            if np.isfinite(scores[position]):
                method_of.setdefault(row["configs"][position], row["method"])
    if not method_of:
        raise MetabenchError(f"{info.task_id}: all trainings of all searches diverged")
    configs = [from_text(space, text) for text in method_of]
    fresh = [seed + 1 + k for k in range(SEEDS)]
    told = objective.answer([Trial(info.task_id, s, config) for config in configs for s in fresh])
    valid = np.array([outcome.valid for outcome in told], float).reshape(len(configs), SEEDS)
    mean = np.where(np.isfinite(valid).all(axis=1), sign * valid.mean(axis=1), -np.inf)
    order = [i for i in np.argsort(-mean, kind="stable")[:keep] if np.isfinite(mean[i])]
    made = list(method_of.values())
    return [Elite(info.task_id, made[i], configs[i], float(sign * mean[i])) for i in order]


def store(path: str | Place, workload: str, elites: Sequence[Elite]) -> list[int]:
    """Store elites in a table's configurations: their config_ids. Those that are there already are not stored again.

    Raises UsageError when an elite's family is in the validation or test part of the table's own split.
    """
    table = load_table(path)
    space = table.space(workload)
    families = table.tasks.set_index("task_id")["family"]
    scored = _scored(table)
    for elite in elites:
        if families.get(elite.task_id) in scored:
            raise UsageError(f"{elite.task_id} is scored by the table's split, so no elite may come from it")
    with TableWriter(path) as writer:
        return writer.add_configs(workload, space, space.table([e.config for e in elites]), [e.origin for e in elites])


def _scored(table) -> set[str]:
    try:
        split = table.split
    except MetabenchError:  # it has none
        return set()
    return {*split["valid"], *split["test"]}


def improved(table, workload: str, config_ids: Sequence[int], tasks: Sequence[str] | None = None) -> dict[str, bool]:
    """Whether configurations improve the best of each task.

    The best configuration with and without them is chosen by the mean over even seeds and scored on the odd ones, and the
    other way round. They improve a task when that gain, averaged, is more than one standard error of such a difference,
    2 σ²/k for k scoring seeds, where σ² is the noise of a run among the better half of the configurations.

    Args:
        table: a table that holds runs of them.
        workload: the workload.
        config_ids: the configurations in question.
        tasks: task ids; by default all that have a run of each of them with two seeds.

    Returns:
        task → whether its best improves.
    """
    from metabench.table.reliability import components

    frame = table.tasks[table.tasks["workload"] == workload].set_index("task_id")
    ids = list(frame.index) if tasks is None else list(tasks)
    ran, scores = table.ran(workload, ids), table.final(workload, ids)
    out = {}
    for task_id, made, valid in zip(ids, ran, scores, strict=True):
        seeds = np.flatnonzero(made[list(config_ids)].all(axis=0))
        rows = np.flatnonzero(made[:, seeds].all(axis=1))
        if len(seeds) < 2 or len(rows) <= len(config_ids):
            continue
        y = valid[np.ix_(rows, seeds)] * direction.sign(frame.loc[task_id, "direction"])
        floor = np.nanmin(y) if np.isfinite(y).any() else 0.0
        y = np.where(np.isfinite(y), y, floor)
        old = ~np.isin(rows, config_ids)
        better = np.argsort(-y.mean(axis=1), kind="stable")[: max(len(y) // 2, 2)]
        halves = (slice(0, None, 2), slice(1, None, 2))
        gains = [_gain(y, old, a, b) for a, b in (halves, halves[::-1])]
        _, noise = components(y[better])
        out[task_id] = bool(np.mean(gains) > np.sqrt(2 * noise / max(len(seeds) // 2, 1)) + 1e-12)
    return out


def _gain(y: np.ndarray, old: np.ndarray, choosing: slice, scoring: slice) -> float:
    chosen, held = y[:, choosing].mean(axis=1), y[:, scoring].mean(axis=1)
    return float(held[np.argmax(chosen)] - held[np.argmax(np.where(old, chosen, -np.inf))])


__all__ = ["Elite", "find", "improved", "read_donors", "store"]
