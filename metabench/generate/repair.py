"""Repairing a table: a lost manifest is written again, and what damaged or lost files held is trained again.

Nothing is believed that cannot be checked: a file stays if it is the one that the manifest lists, or, where the manifest is
gone, if all its rows pass the checks of `metabench verify`. Imported rows cannot be trained again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from metabench import registry, untrusted
from metabench.errors import MetabenchError
from metabench.generate.plan import grid_ids
from metabench.table import Table, TableWriter, files, manifest, rows, verify
from metabench.table.checks import check_configs, check_rows
from metabench.table.lock import locked

_KEYS = ["run_id", "task_id", "config_id", "seed"]


@dataclass(frozen=True)
class Repair:
    """What :func:`repair` did to a table."""

    #: whether the manifest was lost or damaged, and has been written again
    manifest_restored: bool
    #: files that were damaged or lost, as paths inside the table
    damaged: tuple[str, ...]
    retrained: int
    #: runs that should have been trained and were not, and those that failed
    missing: int
    failed: int
    #: what is still wrong, as :func:`metabench.table.verify` says it
    problems: tuple[str, ...]


@dataclass
class _Lost:
    """What the damaged files of one workload held."""

    workload: str
    #: run_ids, where the keys of every damaged file can be read; else None: all that the table lacks
    run_ids: np.ndarray | None
    #: tasks that rows of the workload name, and one more than the largest seed
    tasks: tuple[str, ...]
    n_seeds: int


def repair(path: str | Path, *, seeds: int = 2, workers: int | None = None, progress: bool = True) -> Repair:
    """Restore the manifest of a table in a folder and train again what its damaged or lost files held.

    Args:
        path: The table's folder.
        seeds: Seeds of each task and configuration, where no row that is left tells how many there were.
        workers: Processes that train (default: one a core).
        progress: Whether to show on stderr how far training is.

    Returns:
        What was damaged and what was trained. Where the keys of a damaged file can still be read, its runs are trained
        and no others; else every run of tasks × configurations × seeds that the table lacks.

    Raises:
        MetabenchError: The folder holds no table file, is written by another process, or held imported rows.
    """
    path = Path(path)
    with locked(path):
        restored = _settle(path)
        sums = {} if restored else manifest.read(path)
        if not sums:
            restored, sums = True, {name: manifest.sha256(path / name) for name in manifest.orphans(path)}
            damaged = _unreadable(path, sums)
            if not sums:
                raise MetabenchError(f"{path} is no table: it holds no table file")
        else:
            damaged = [name for name, value in sums.items() if not _is(path / name, value)]
        _refuse_imports(path, sums, damaged)
        lost = [_lost(path, workload, sums, damaged) for workload in _workloads(sums)]
        configs = {w: _drawn(path, w, sums, damaged) for w in _workloads(sums) if f"configs/{w}.parquet" in damaged}
        kept = {name: value for name, value in sums.items() if name not in damaged}
        for name in damaged:
            _remove(path / name)
        manifest.publish(path, kept)
    return _trained(path, restored, tuple(damaged), lost, configs, seeds, workers, progress)


def _settle(path: Path) -> bool:
    """Finish or drop an interrupted change; whether the manifest has to be made from the files alone."""
    try:
        manifest.recover(path)
        return not manifest.read(path)
    except MetabenchError:
        pass
    try:  # a published change whose files are lost in part: what it promises counts
        manifest.abandon(path)
        return not manifest.read(path)
    except MetabenchError:
        return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        raise MetabenchError(f"{path} is a folder where a file should be; move it away")
    path.unlink(missing_ok=True)


def _is(path: Path, value: str) -> bool:
    try:
        return path.is_file() and manifest.sha256(path) == value
    except OSError:
        return False


def _unreadable(path: Path, sums: dict[str, str]) -> list[str]:
    """Files of a table without a manifest that are not sound by themselves."""
    bad = []
    for name in sums:
        try:
            if name == "tasks.parquet":
                files.read_tasks(path / name)
            elif name.startswith("configs/"):
                if check_configs(*files.read_configs(path / name)):
                    bad.append(name)
            elif check_rows(path / name, None, None).tally.found:
                bad.append(name)
        except MetabenchError:
            bad.append(name)
    needed = {"tasks.parquet", *(f"configs/{workload}.parquet" for workload in _workloads(sums))}
    return bad + sorted(needed - sums.keys())


def _workloads(sums: Iterable[str]) -> list[str]:
    return sorted({Path(name).stem.split("-")[0] for name in sums if "/" in name})


def _refuse_imports(path: Path, sums: dict[str, str], damaged: Sequence[str]) -> None:
    if not damaged:
        return
    if extra := [name for name in damaged if name.endswith(".csv")]:
        raise MetabenchError(
            f"{path / extra[0]} is damaged, and nothing here can make it again; import the table again"
        )
    if "tasks.parquet" not in damaged:
        source = files.read_tasks(path / "tasks.parquet")["source"].to_pylist()
        if imported := [name for name in source if name.startswith("import:")]:
            raise MetabenchError(
                f"{path / damaged[0]} is damaged, and rows of {imported[0]} cannot be trained again; import them again"
            )


def _lost(path: Path, workload: str, sums: dict[str, str], damaged: Sequence[str]) -> _Lost:
    mine = [name for name in damaged if name.startswith("runs/") and Path(name).stem.split("-")[0] == workload]
    parts = [_keys(path / name) for name in mine]
    ids: np.ndarray | None = None
    read = [part for part in parts if part is not None]
    if len(read) == len(parts):
        ids = np.concatenate([np.empty(0, np.int64), *(part["run_id"].to_numpy() for part in read)])
    known = [part for part in (*parts, *_sound_keys(path, workload, sums, damaged)) if part is not None]
    tasks = {task for part in known for task in part["task_id"].cast(pa.string()).unique().to_pylist()}
    n_seeds = 1 + max((int(part["seed"].to_numpy().max()) for part in known if len(part)), default=-1)
    return _Lost(workload, ids, tuple(sorted(t for t in tasks if t.partition("-")[0] == workload)), n_seeds)


def _sound_keys(path: Path, workload: str, sums: dict[str, str], damaged: Sequence[str]) -> list[pa.Table]:
    """The keys of those runs files of a workload that are not damaged."""
    names = [name for name in sums if name.startswith("runs/") and Path(name).stem.split("-")[0] == workload]
    return [files.read_rows(path / name, files.open_runs(path / name), _KEYS) for name in names if name not in damaged]


def _keys(path: Path) -> pa.Table | None:
    """The keys of a damaged runs file, if every one of them is what its run_id says."""
    try:
        part = untrusted.parquet(path, columns=_KEYS)
        names = part["task_id"].cast(pa.string()).to_pylist()
        made = rows.run_ids(names, part["config_id"].to_numpy(), part["seed"].to_numpy())
        return part if np.array_equal(made, part["run_id"].to_numpy()) else None
    except (MetabenchError, OSError, pa.ArrowException, ValueError, TypeError):
        return None


def _drawn(path: Path, workload: str, sums: dict[str, str], damaged: Sequence[str]) -> int:
    """How many configurations of the Sobol sequence a lost file held: a power of two, drawn again and compared by hash.

    Raises MetabenchError where no number gives the file that the manifest lists: rows must not be said to belong to other
    configurations than those that were trained.
    """
    name = f"configs/{workload}.parquet"
    space = registry.create("workloads", workload).space
    parts = _sound_keys(path, workload, sums, damaged)
    top = max((int(part["config_id"].to_numpy().max()) for part in parts if len(part)), default=0)
    for bits in range(top.bit_length(), top.bit_length() + 5):
        with tempfile.TemporaryDirectory() as folder, TableWriter(folder) as writer:
            writer.put_configs(workload, space, 1 << bits)
            if manifest.read(folder)[name] == sums.get(name):
                return 1 << bits
    raise MetabenchError(
        f"{path / name} is damaged or lost and cannot be drawn again to the bit; restore it from a copy"
    )


def _trained(
    path: Path,
    restored: bool,
    damaged: tuple[str, ...],
    lost: Sequence[_Lost],
    configs: dict[str, int],
    seeds: int,
    workers: int | None,
    progress: bool,
) -> Repair:
    from metabench import tasks
    from metabench.generate.execute import generate

    with TableWriter(path) as writer:
        for workload, n in configs.items():
            writer.put_configs(workload, registry.create("workloads", workload).space, n)
        if "tasks.parquet" in damaged:
            writer.put_tasks([tasks.get(task) for part in lost for task in part.tasks])
    done, missing, failed, left = 0, 0, 0, []
    for part in lost:
        if not any(name.startswith(f"runs/{part.workload}") for name in damaged):
            continue
        table = Table(path)
        known = table.tasks.loc[table.tasks["workload"] == part.workload, "task_id"].tolist()
        n_seeds, only = part.n_seeds or seeds, part.run_ids
        if only is None:  # of configurations that a search found nobody knows on which tasks they were trained
            origins = table.origins(part.workload)
            common = origins.index[~origins.str.startswith("elite")]
            only = grid_ids(known, common, n_seeds)
            if len(common) < len(origins):
                left.append(f"{path}: runs of {part.workload} with configurations that searches found may be lost")
        report = generate(
            path, part.workload, known, n_configs=None, n_seeds=n_seeds, only=only, workers=workers, progress=progress
        )
        done, missing, failed = done + report.trained, missing + report.missing, failed + report.failed
    return Repair(restored, damaged, done, missing, failed, (*left, *verify(path)))
