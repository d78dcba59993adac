"""Where fitted meta-models lie, what stands beside each, and how one is opened: every file is checked by its sha256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest

if TYPE_CHECKING:
    from metabench.pretrained.model import Pretrained

#: format of a folder; another one is refused
FORMAT = 1
#: families are left out one by one where there are at most this many of them: what was measured is of few tasks
ONE_BY_ONE = 10
RECORD, TASKS = "record.json", "tasks.json"
SHIPPED = Path(__file__).parent
#: the files of a folder, the record itself aside
FILES = ("metamodel.json", "state.safetensors", TASKS)


@dataclass(frozen=True)
class Record:
    """Where a fitted meta-model comes from, and what it reached on tasks that were held out of it."""

    name: str
    workload: str
    #: meta-model that predicts, by its registered name
    method: str
    table: str
    table_version: int | None
    #: :meth:`metabench.table.Table.digest_of` the workload: tasks, configurations and rows that it learned from
    table_digest: str
    #: runs and tasks that it learned from
    runs: int
    tasks: int
    #: families of data sets that the table has and that were left out; tasks whose runs were not all made
    without: tuple[str, ...]
    incomplete: tuple[str, ...]
    #: positions of the source's configurations, to be tried in this order on a task of which nothing was observed
    opening: tuple[int, ...]
    #: factor on predicted standard deviations that makes 90 % intervals hold on held-out families
    spread: float
    #: metric → how scores follow from ranks (:class:`metabench.pretrained.scale.Scale`)
    scales: Mapping[str, Any]
    #: metric → factor on the intervals of predicted scores that makes 90 % of them hold there
    score_spread: Mapping[str, float]
    #: figures of the cross-validation over families
    measured: Mapping[str, float]
    #: the command that makes the folder again
    command: str
    #: file → sha256
    files: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Record:
        """The record of a folder. Raises MetabenchError when there is none, or it is not one of this format."""
        path = folder / RECORD
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("format", None) != FORMAT:
                raise MetabenchError(f"{path} is not of format {FORMAT}; make it again with `metabench pretrain`")
            lists = {name: tuple(found[name]) for name in ("without", "incomplete", "opening")}
            return cls(**found | lists)
        except FileNotFoundError:
            raise MetabenchError(f"{folder} holds no fitted meta-model: {RECORD} is absent") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise MetabenchError(f"{path} cannot be read as a record ({type(error).__name__}: {error})") from None

    def check(self, folder: Path) -> None:
        """Raises MetabenchError naming the first file that is not what the record says."""
        for name in FILES:
            try:
                found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            except OSError as error:
                raise MetabenchError(f"{folder / name}: {error.strerror}") from None
            if found != self.files.get(name):
                raise MetabenchError(f"{folder / name} is not the file that {RECORD} names: its sha256 differs")


def names() -> list[str]:
    """Fitted meta-models that ship with the package, sorted."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{RECORD}"))


def load_metamodel(name: str | Path) -> Pretrained:
    """A fitted meta-model: one that ships with the package by its name, or that of a folder (what has a slash).

    Raises UsageError for an unknown name, MetabenchError when the folder is unfinished, damaged or of another format.
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
    from metabench import registry
    from metabench.pretrained.known import tasks_from_json
    from metabench.pretrained.model import Pretrained

    record = Record.read(folder)
    record.check(folder)
    model = registry.load("metamodels", record.method).load(folder)
    return Pretrained(record, model, tasks_from_json(folder / TASKS))
