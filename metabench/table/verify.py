"""Is a stored table what it says it is? Every file is read in full; each finding is one line that names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from metabench.errors import MetabenchError
from metabench.table import files, manifest, seal, splits, starts
from metabench.table.checks import Rows, Tasks, check_configs, check_rows
from metabench.table.place import Place, place
from metabench.untrusted import printable

#: hashing and arithmetic run outside of the interpreter's lock
THREADS = 2

T = TypeVar("T")


def verify(path: str | Place) -> list[str]:
    """Problems of the table in a folder or remote place, one line each; an empty list means that it is sound.

    Checks the hashes of all files, those of the card too, and that nothing else lies there; schemas and versions; that
    keys are unique and run_ids follow from them; that every row's task and configuration exist; that configurations lie
    in their space; that curves have sane values and end where those of the task do, accuracies being counts of the task's
    rows; that no family of data sets stands on two sides of the split; that prescribed first trials were run.
    """
    path = place(path)
    try:
        if (path / manifest.NEXT).exists():
            return [f"{path / manifest.NEXT}: a write was interrupted; load or generate the table once to finish it"]
        sums = manifest.read(path)
    except MetabenchError as error:
        return [str(error)]
    if not sums:
        return [f"{path} is no table: it has no {manifest.SUMS}"]
    with ThreadPoolExecutor(THREADS) as pool:
        problems, bad = _hashes(path, sums, pool)
        problems += seal.check(path, sound=not problems)
        tasks = None
        if "tasks.parquet" not in sums:
            problems.append(f"{path / 'tasks.parquet'} is missing")
        elif "tasks.parquet" not in bad:
            frame = _guard(problems, lambda: _tasks(path / "tasks.parquet", problems))
            if frame is not None:
                tasks = Tasks.of(frame)
                problems += splits.check(path, frame)
        sizes: dict[str, int | None] = {}
        for name in (n for n in sums if n.startswith("configs/") and n not in bad):
            sizes[Path(name).stem] = _guard(problems, lambda n=name: _configs(path / n, problems))
        found = {
            name: pool.submit(check_rows, path / name, tasks, sizes.get(_workload_of(name)))
            for name in sums
            if name.startswith("runs/") and name not in bad
        }
        read = {name: _guard(problems, job.result) for name, job in found.items()}
    for workload in sorted({_workload_of(name) for name in read}):
        mine = {name: rows for name, rows in read.items() if rows is not None and _workload_of(name) == workload}
        problems += _together(path, workload, mine)
    if starts.FILE in sums and starts.FILE not in bad:
        given = _guard(problems, lambda: starts.read(path / starts.FILE))
        problems += starts.problems(path / starts.FILE, given or {}, _ran(rows for rows in read.values() if rows))
    return problems


def _ran(read: Iterable[Rows]) -> dict[str, np.ndarray]:
    """Task → configurations that were run on it, ascending."""
    out: dict[str, np.ndarray] = {}
    for rows in read:
        for code, name in enumerate(rows.names):
            out[name] = np.union1d(out.get(name, ()), rows.config_id[rows.task == code]).astype(int)
    return out


def _workload_of(name: str) -> str:
    return Path(name).stem.split("-")[0]


def _guard(problems: list[str], check: Callable[[], T]) -> T | None:
    try:
        return check()
    except MetabenchError as error:
        problems.append(str(error))
        return None


def _hashes(path: Place, sums: dict[str, str], pool: ThreadPoolExecutor) -> tuple[list[str], set[str]]:
    problems, bad = [], set()
    found = pool.map(lambda name: manifest.sha256(path / name) if (path / name).is_file() else None, sums)
    for (name, value), now in zip(sums.items(), found, strict=True):
        if now != value:
            what = "is missing" if now is None else f": its sha256 is not the one in {manifest.SUMS}"
            problems.append(f"{path / name}{'' if now else ' '}{what}")
            bad.add(name)
    extra = [f"{path}/{printable(name)} is not listed in {manifest.SUMS}" for name in _extra(path, sums)]
    return problems + extra, bad


#: files beside a table's own that may lie in its folder; once a card is sealed, those that its seal lists alone
_BESIDE = {splits.FILE, "README.md", "NOTES.md", "DATASHEET.md", "croissant.json"}
_PICTURE = re.compile(r"(difficulty|similarity)-[a-z0-9_]+\.svg")
_ALWAYS = {manifest.SUMS, seal.SEAL, "LICENSE", "configs", "runs"}
#: what this program, version control, file systems and downloaders keep under hidden names
_HIDDEN = re.compile(r"\.(lock(-.*)?|git.*|DS_Store|nfs.*|cache|.*\.new|.*\.part)", re.DOTALL)


def _extra(path: Place, sums: dict[str, str]) -> list[str]:
    """What lies in a table's folders and belongs to nothing: nobody reads it, but it travels with what was checked."""
    sealed = seal.listed(path)
    found = []
    for sub in ("", "configs/", "runs/"):
        try:
            names = [entry.name for entry in (path / sub).iterdir()]
        except OSError:  # absent, or a file where a folder should be: its files are missing already
            continue
        for name in names:
            of_card = not sub and not sealed and (name in _BESIDE or _PICTURE.fullmatch(name))
            known = sub + name in sums or (not sub and (name in sealed or name in _ALWAYS))
            if not (known or of_card or _HIDDEN.fullmatch(name)):
                found.append(sub + name)
    return sorted(found)


def _tasks(path: Place, problems: list[str]) -> pd.DataFrame:
    table = files.read_tasks(path).to_pandas()
    for task_id in table["task_id"][table["task_id"].duplicated()]:
        problems.append(f"{path}: task {task_id} is listed twice")
    for row in table.to_dict("records"):
        if row["task_id"] != f"{row['workload']}-{row['dataset']}":
            problems.append(f"{path}: task {row['task_id']} is not <workload>-<dataset>")
        known = 0 if row["source"].startswith("import:") else 1  # peers do not say how they split
        if len(row["split_hashes"]) != row["n_splits"] or row["n_splits"] < known:
            problems.append(
                f"{path}: task {row['task_id']} has {len(row['split_hashes'])} split hashes, not {row['n_splits']}"
            )
        if row["direction"] not in ("max", "min"):
            problems.append(f"{path}: task {row['task_id']} has direction {row['direction']!r}, not max or min")
    return table.drop_duplicates("task_id")


def _configs(path: Place, problems: list[str]) -> int:
    space, table = files.read_configs(path)
    problems += [f"{path}: {line}" for line in check_configs(space, table)]
    return len(table)


def _together(path: Place, workload: str, read: dict[str, Rows]) -> list[str]:
    """What the files of a workload say of each other: no run twice, and finished runs of a task end together."""
    problems = []
    longest: dict[str, int] = {}
    for rows in read.values():
        for task, length in rows.longest().items():
            longest[task] = max(longest.get(task, 0), length)
    for name, rows in read.items():
        rows.tally.add(rows.cut_short(longest), "are ok but stop before the last checkpoint", rows.where)
        problems += [f"{path / name}: {line}" for line in rows.tally.lines()]
    if not read:
        return problems
    ids = np.concatenate([rows.run_ids for rows in read.values()])
    if len(np.unique(ids)) < len(ids):
        _, first, counts = np.unique(ids, return_index=True, return_counts=True)
        ends = np.cumsum([len(rows.run_ids) for rows in read.values()])
        at = int(np.searchsorted(ends, first[counts > 1].min(), side="right"))
        problems.append(f"{path / list(read)[at]}: {int((counts > 1).sum())} runs of {workload} are stored twice")
    return problems
