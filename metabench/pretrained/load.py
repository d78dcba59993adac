"""Where fitted meta-models lie, and how one is opened: every file is checked by its sha256."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.pretrained.known import tasks_from_json
from metabench.pretrained.model import Pretrained
from metabench.pretrained.record import RECORD, SHIPPED, TASKS, Record
from metabench.pretrained.scale import Scale
from metabench.registry import suggest


def names() -> list[str]:
    """Fitted meta-models that ship with the package, sorted."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{RECORD}"))


def load_metamodel(name: str | Path) -> Pretrained:
    """A fitted meta-model: one that ships with the package, or one that was saved.

    Args:
        name: its name such as ``mlp-v1``, or a folder (what has a slash).

    Returns:
        The meta-model with its record and tasks.

    Raises:
        UsageError: The name is unknown.
        MetabenchError: The folder is unfinished, damaged or of another format.
    """
    folder = folder_of(name).resolve()
    try:
        written = (folder / RECORD).stat().st_mtime_ns
    except OSError:
        written = 0
    return _opened(folder, written)


def folder_of(name: str | Path) -> Path:
    """Where the meta-model of that name, or in that folder, lies. Raises UsageError for an unknown name."""
    if isinstance(name, Path) or "/" in name or "\\" in name:
        return Path(name)
    if name not in names():
        raise suggest(name, names(), "fitted meta-model")
    return SHIPPED / name


def for_workload(workload: str) -> Pretrained:
    """The newest meta-model that ships for a workload. Raises UsageError, saying for which there is one, when none does."""
    found = [name for name in names() if re.fullmatch(rf"{re.escape(workload)}-v\d+", name)]
    if not found:
        known = ", ".join(sorted({name.rpartition("-v")[0] for name in names()}))
        raise UsageError(
            f"no fitted meta-model ships for workload {workload!r} (there is one for: {known}); "
            "make one with `metabench pretrain` and name its folder"
        )
    return load_metamodel(max(found, key=lambda name: int(name.rpartition("-v")[2])))


@cache
def _opened(folder: Path, written: int) -> Pretrained:
    """``written``: when its record was; a folder that was made again is read again."""
    record = Record.read(folder)
    record.check(folder)
    try:
        model = registry.load("metamodels", record.method).load(folder)
        known = tasks_from_json(folder / TASKS)
        for metric, found in record.scales.items():
            Scale.from_json(metric, found)
    except UsageError as error:
        raise MetabenchError(f"{folder / RECORD}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MetabenchError(f"{folder / RECORD}: scales are malformed ({error})") from None
    n = len(model.source_.configs)
    if any(position >= n for position in (*record.opening, *(p for task in known for p in task.best))):
        raise MetabenchError(f"{folder} names configurations beyond the {n} that it holds")
    return Pretrained(record, model, known)
