"""Is a stored table what it says it is? Every file is read in full; each finding is one line that names it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metabench.errors import MetabenchError, UsageError
from metabench.table import files, manifest, rows
from metabench.training.curves import SERIES


def verify(path: str | Path) -> list[str]:
    """Problems of the table in a folder, one line each; an empty list means that it is sound.

    Checks file hashes, schemas and versions; that keys are unique and run_ids follow from them; that every row's task
    and configuration exist; that configurations lie in their space; that curves have one length and sane values.
    """
    path = Path(path)
    try:
        if (path / manifest.NEXT).exists():
            return [f"{path / manifest.NEXT}: a write was interrupted; load or generate the table once to finish it"]
        sums = manifest.read(path)
    except MetabenchError as error:
        return [str(error)]
    if not sums:
        return [f"{path} is no table: it has no {manifest.SUMS}"]
    problems, bad = _hashes(path, sums)
    task_metric: dict[str, str] = {}
    if "tasks.parquet" not in sums:
        problems.append(f"{path / 'tasks.parquet'} is missing")
    elif "tasks.parquet" not in bad:
        task_metric = _guard(problems, lambda: _tasks(path / "tasks.parquet", problems)) or {}
    configs = {}
    for name in (n for n in sums if n.startswith("configs/") and n not in bad):
        configs[Path(name).stem] = _guard(problems, lambda n=name: _configs(path / n, problems))
    for workload in sorted({Path(n).stem.split("-")[0] for n in sums if n.startswith("runs/")}):
        runs_problems = _workload(path, sums, bad, workload, task_metric, configs.get(workload))
        problems += runs_problems
    return problems


def _guard(problems: list[str], check):
    try:
        return check()
    except MetabenchError as error:
        problems.append(str(error))
        return None


def _hashes(path: Path, sums: dict[str, str]) -> tuple[list[str], set[str]]:
    problems, bad = [], set()
    for name, value in sums.items():
        if not (path / name).is_file():
            problems.append(f"{path / name} is missing")
            bad.add(name)
        elif manifest.sha256(path / name) != value:
            problems.append(f"{path / name}: its sha256 is not the one in {manifest.SUMS}")
            bad.add(name)
    present = [p for sub in ("", "configs", "runs") for p in sorted((path / sub).glob("*.parquet"))]
    problems += [f"{p} is not listed in {manifest.SUMS}" for p in present if p.relative_to(path).as_posix() not in sums]
    return problems, bad


def _tasks(path: Path, problems: list[str]) -> dict[str, str]:
    table = files.read_tasks(path).to_pandas()
    for task_id in table["task_id"][table["task_id"].duplicated()]:
        problems.append(f"{path}: task {task_id} stands there twice")
    for row in table.to_dict("records"):
        if row["task_id"] != f"{row['workload']}-{row['dataset']}":
            problems.append(f"{path}: task {row['task_id']} is not <workload>-<dataset>")
        known = 0 if row["source"].startswith("import:") else 1  # peers do not say how they split
        if len(row["split_hashes"]) != row["n_splits"] or row["n_splits"] < known:
            problems.append(f"{path}: task {row['task_id']} has {len(row['split_hashes'])} split hashes, "
                            f"not {row['n_splits']}")  # fmt: skip
        if row["direction"] not in ("max", "min"):
            problems.append(f"{path}: task {row['task_id']} has direction {row['direction']!r}, not max or min")
    return dict(zip(table["task_id"], table["metric"]))


def _configs(path: Path, problems: list[str]) -> int:
    space, table = files.read_configs(path)
    for config in table.to_pylist():
        config_id = config.pop("config_id")
        try:
            validated = space.validate(config)
        except UsageError as error:
            problems.append(f"{path}: configuration {config_id}: {error}")
            continue
        extra = [name for name, value in config.items() if value is not None and validated[name] is None]
        if extra:
            problems.append(f"{path}: configuration {config_id} sets {extra[0]}, which is inactive there")
    return len(table)


def _workload(path, sums, bad, workload: str, task_metric: dict[str, str], n_configs: int | None) -> list[str]:
    problems: list[str] = []
    seen, lengths = [], {}
    for name in (n for n in sums if n.startswith("runs/") and Path(n).stem.split("-")[0] == workload):
        if name in bad:
            continue
        try:
            file = files.open_runs(path / name)
            runs = files.read_rows(path / name, file).unify_dictionaries().combine_chunks()
        except MetabenchError as error:
            problems.append(str(error))
            continue
        numerics = file.schema_arrow.metadata.get(rows.NUMERICS_KEY, b"").decode(errors="replace")
        absent = file.schema_arrow.metadata.get(rows.ABSENT_KEY, b"").decode(errors="replace").split(",")
        seen.append((name, runs["run_id"].to_numpy()))
        for bad_rows, what in _row_checks(runs, numerics, absent, task_metric, n_configs, lengths):
            bad_rows = np.asarray(bad_rows)
            if bad_rows.any():
                row = runs.slice(int(bad_rows.argmax()), 1).select(["task_id", "config_id", "seed"]).to_pylist()[0]
                where = f"task {row['task_id']}, configuration {row['config_id']}, seed {row['seed']}"
                problems.append(f"{path / name}: {int(bad_rows.sum())} rows {what}; the first: {where}")
    if seen:
        ids = np.concatenate([i for _, i in seen])
        _, first, counts = np.unique(ids, return_index=True, return_counts=True)
        if (counts > 1).any():
            where = np.searchsorted(np.cumsum([len(i) for _, i in seen]), first[counts > 1][0], side="right")
            problems.append(f"{path / seen[where][0]}: {int((counts > 1).sum())} runs of {workload} are stored twice")
    return problems


def _row_checks(
    runs: pa.Table, numerics: str, absent: list[str], task_metric: dict[str, str], n_configs: int | None, lengths: dict
):
    """Pairs of (bool [rows]: is it bad?, what is wrong)."""
    n = len(runs)
    for name in ("run_id", "task_id", "config_id", "seed", "status", "epochs", *SERIES, "params", "flops", "seconds",
                 "device", "engine", "cohort"):  # fmt: skip
        if runs[name].null_count:
            yield runs[name].is_null().to_numpy(), f"have no {name}"
            return
    if not n:
        return
    tasks, config_ids, seeds = runs["task_id"].to_pylist(), runs["config_id"].to_numpy(), runs["seed"].to_numpy()
    metric = np.array([task_metric.get(t, "") for t in tasks])
    status = np.array(runs["status"].to_pylist())
    ok, failed = status == "ok", status == "failed"
    error = runs["error"].is_valid().to_numpy()
    yield rows.run_ids(tasks, config_ids, seeds, numerics) != runs["run_id"].to_numpy(), "have a run_id of another run"
    yield (metric == "") if task_metric else np.zeros(n, bool), "name a task that is not in tasks.parquet"
    yield (config_ids < 0) | (config_ids >= (n_configs or 2**31)), "name a configuration that does not exist"
    yield seeds < 0, "have a negative seed"
    yield ~np.isin(status, ["ok", "diverged", "failed"]), "have an unknown status"
    yield failed & ~error, "failed without a reason"
    yield ~failed & error, "carry an error though they did not fail"

    length = {name: pc.list_value_length(runs[name]).to_numpy() for name in ("epochs", *SERIES)}
    full = length["epochs"]
    uneven = np.any([length[name] != full for name in SERIES], axis=0)
    yield uneven, "have series of different lengths"
    task_codes, inverse = np.unique(np.array(tasks), return_inverse=True)
    for code, task in enumerate(task_codes):
        longest = full[(inverse == code) & ok].max(initial=0)
        lengths[task] = max(lengths.get(task, 0), longest)
    whole = np.array([lengths[t] for t in task_codes])[inverse]
    yield ok & ((full != whole) | (full == 0)), "are ok but stop before the last checkpoint"
    if uneven.any():
        return
    row = np.repeat(np.arange(n), full)
    flat = {name: runs[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in ("epochs", *SERIES)}

    def any_bad(values: np.ndarray) -> np.ndarray:
        return np.bincount(row, weights=values, minlength=n) > 0

    step = np.diff(flat["epochs"].astype(np.int64), prepend=0)
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    step[starts] = flat["epochs"][starts]
    yield any_bad(step <= 0), "have epochs that do not ascend from 1"
    for name in SERIES:
        if name in absent:
            yield any_bad(~np.isnan(flat[name])), f"have a {name}, which the file says it lacks"
        else:
            yield any_bad(~np.isfinite(flat[name])), f"have a {name} that is not finite"
    for name in ("train_loss", "valid_loss", "test_loss"):
        yield any_bad(flat[name] < 0), f"have a negative {name}"
    fraction, r2 = np.char.endswith(metric, "accuracy")[row], (metric == "r2")[row]
    for name in ("valid_score", "test_score"):
        value = flat[name]
        yield any_bad(fraction & ((value < 0) | (value > 1))), f"have a {name} outside [0, 1]"
        yield any_bad(r2 & (value > 1)), f"have a {name} above 1"
    seconds = runs["seconds"].to_numpy()
    yield ~(np.isfinite(seconds) & (seconds >= 0)), "have seconds that are no time"
    costs = [runs[name].to_numpy() for name in ("params", "flops") if name not in absent]
    cost = np.any([c <= 0 for c in costs], axis=0) if costs else np.zeros(n, bool)
    yield ok & cost, "are ok without parameters or FLOPs"
