"""What stands beside a fitted meta-model: where it comes from, what it reached, and the sha256 of each of its files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metabench import untrusted
from metabench.brief import brief
from metabench.errors import MetabenchError

#: format of a folder; another one is refused
FORMAT = 1
#: families are left out one by one where there are at most this many of them: what was measured is of few tasks
ONE_BY_ONE = 10
RECORD, TASKS = "record.json", "tasks.json"
SHIPPED = Path(__file__).parent
#: the files of a folder, the record itself aside
FILES = ("metamodel.json", "state.safetensors", TASKS)


@brief
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
        whole = {"format": FORMAT, **asdict(self)}
        return json.dumps(whole | {"sha256": _own(whole)}, indent=1, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Record:
        """The record of a folder. Raises MetabenchError when there is none, or it is damaged or not one of this format.

        A record without a sha256 of its own, from before it had one, is believed where its values can be.
        """
        path = folder / RECORD
        try:
            found = untrusted.read_json(path)
            own = found.pop("sha256", None)
            if own is not None and own != _own(found):
                raise MetabenchError(f"{path} is damaged: its sha256 is not the one that it carries")
            if found.pop("format", None) != FORMAT:
                raise MetabenchError(f"{path} is not of format {FORMAT}; make it again with `metabench pretrain`")
            if wrong := [name for name, sound in _FIELDS.items() if not sound(found[name])]:
                raise MetabenchError(
                    f"{path}: {wrong[0]} is {untrusted.printable(repr(found[wrong[0]]))}, which cannot be"
                )
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
                found = hashlib.sha256(untrusted.read_bytes(folder / name)).hexdigest()
            except FileNotFoundError as error:
                raise MetabenchError(f"{folder / name}: {error.strerror}") from None
            if found != self.files.get(name):
                raise MetabenchError(f"{folder / name} is not the file that {RECORD} names: its sha256 differs")


def _own(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _factor(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _list_of(sound: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(sound, value))


#: field → what it must be
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "workload", "method", "table", "table_digest", "command"), _text),
    "table_version": lambda value: value is None or _count(value),
    "runs": _count,
    "tasks": _count,
    "without": _list_of(_text),
    "incomplete": _list_of(_text),
    "opening": lambda value: _list_of(_count)(value) and len(set(value)) == len(value),
    "spread": _factor,
    "scales": lambda value: isinstance(value, dict),
    "score_spread": lambda value: isinstance(value, dict) and all(map(_factor, value.values())),
    "measured": lambda value: (
        isinstance(value, dict) and all(isinstance(v, int | float | None) for v in value.values())
    ),
    "files": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
}
