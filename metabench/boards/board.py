"""A board: the frozen rules of one leaderboard, read from ``leaderboards/<name>/v<N>/board.toml``.

Any change of table, split, seeds, budget or marks makes a new version; old versions stay.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metabench import checkout, downloads
from metabench.boards.design import KEYS, Design, check_profile, parse_design
from metabench.boards.shift import Shift, parse_shift
from metabench.brief import brief
from metabench.errors import MetabenchError, UsageError
from metabench.registry import suggest
from metabench.search.starts import STARTS, USUAL
from metabench.table.splits import members
from metabench.tasks.variants import is_variant
from metabench.untrusted import one_line, read_toml

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from metabench.boards.kinds import Replayed
    from metabench.metatrain import MetaTrain

PARTS = ("train", "valid", "test")
#: where scores come from: stored rows, or training what is asked for. Headlines come from nothing else; a board that is
#: `live` can be rehearsed with the objective `surrogate`
OBJECTIVES = ("replay", "live")
#: what methods do: search for good configurations, by full trainings or (counted in epochs) also by partial ones, or
#: predict all of them after some observed trials
TRACKS = ("search", "multi-fidelity", "predict")
#: how searches are scored: as :mod:`metabench.scores.regret` says (protocol 2), as Pineda Arango et al. (2021) did for HPO-B,
#: or by protocol 3: folds, replicates and tiers (:mod:`metabench.boards.design`)
PROTOCOLS = ("metabench", "hpob", "3")
MARKS = (1, 2, 3, 5, 10, 25, 50, 100)
#: shares of families in meta-train, meta-valid, meta-test
SHARES = (0.60, 0.15, 0.25)

#: characters of an error line
LINE = 500
_TYPES: dict[str, type] = {
    "name": str,
    "version": int,
    "title": str,
    "dataset": str,
    "dataset_version": int,
    "digest": str,
    "workload": str,
    "objective": str,
    "budget": int,
    "seeds": int,
    "partitions": int,
    "marks": list,
    "starts": list,
    "profiles": dict,
    "split": dict,
    "track": str,
    "observed": list,
    "shift": dict,
    "protocol": str,
    "source_configs": int,
    "folds": dict,
    "replicates": dict,
    "controls": list,
    "contrasts": list,
}
_OPTIONAL = {
    "title",
    "objective",
    "marks",
    "starts",
    "profiles",
    "track",
    "observed",
    "shift",
    "protocol",
    "source_configs",
}
#: what protocol 3 puts in the place of the split
_DEALT = {"split"}
#: what a board on data that everyone imports for themselves may leave to the table
_IMPORTED = {"digest", "split"}
_OVERRIDES = {"budget", "seeds", "starts"}
#: where epochs are counted
_FIDELITY_OVERRIDES = {"seeds"}
#: under protocol 3: fewer searches, of fewer partitions
_FOLDED_OVERRIDES = {"seeds", "partitions"}


@brief
@dataclass(frozen=True)
class Board:
    """Rules of a leaderboard. ``seeds`` counts the searches of each method, start and task; ``budget`` their trials.

    On the track multi-fidelity ``budget`` and ``marks`` count epochs, in units of full trainings.
    """

    name: str
    version: int
    dataset: str
    dataset_version: int
    #: digest of what the table says of the board's workloads; another table is refused. Empty: whatever was imported under
    #: the name (:meth:`on`)
    digest: str
    #: what is searched; a pattern such as ``hpob_*`` names several workloads, each an own source of its own searches
    workload: str
    budget: int
    seeds: int
    #: part ("train", "valid", "test") → families of data sets
    split: Mapping[str, tuple[str, ...]]
    title: str = ""
    objective: str = "replay"
    #: trials at which regret is reported
    marks: tuple[int, ...] = MARKS
    starts: tuple[str, ...] = USUAL
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    track: str = "search"
    #: numbers of trials after which methods predict, where that is the track
    observed: tuple[int, ...] = (0, 1, 5, 25)
    #: the domains that are kept apart besides the families, if any
    shift: Shift | None = None
    protocol: str = "metabench"
    #: at most so many configurations of a workload are learned from, drawn at random; 0: all
    source_configs: int = 0
    #: name of the profile that these rules are narrowed to
    narrowed: str = "full"
    #: folds, replicates, controls and contrasts, where the protocol is "3"
    design: Design | None = None
    #: ids of the tasks that may be held out; None: all of the families in split.test
    admitted: frozenset[str] | None = None
    #: the folder that holds board.toml
    path: Path | None = field(default=None, compare=False)
    #: the table that the rules were completed and checked with (:meth:`settled`)
    settled_on: Any = field(default=None, compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """The folder that holds board.toml. Raises UsageError for a board that was made in memory."""
        if self.path is None:
            raise UsageError(f"board {self.name!r} was made in memory and has no folder")
        return self.path

    @property
    def is_live(self) -> bool:
        """Are trials made to order, so that any configuration of the space may be tried?"""
        return self.objective != "replay"

    @property
    def kind(self) -> Replayed:
        """What boards of its kind do in their own way."""
        from metabench.boards.kinds import kind_of

        return kind_of(self)

    @property
    def traces_schema(self) -> pa.Schema:
        """The columns of its traces."""
        return self.kind.traces_schema

    def rehearsed(self) -> Board:
        """A live board whose trials a surrogate answers. Raises UsageError for a board that looks rows up."""
        if not self.is_live:
            raise UsageError(f"board {self.name} looks stored rows up; only a live board is rehearsed with a surrogate")
        return replace(self, objective="surrogate")

    @property
    def by_epochs(self) -> bool:
        """Are epochs counted, and may configurations be trained in parts?"""
        return self.track == "multi-fidelity"

    def profile(self, name: str) -> Board:
        """The board with the overrides of one of its profiles; ``full`` is the board as it stands.

        Marks beyond the profile's budget fall away. Raises UsageError for an unknown profile.
        """
        if name == self.narrowed:
            return self
        if self.narrowed != "full":
            raise UsageError(f"board {self.name} is already narrowed to profile {self.narrowed!r}")
        if name not in self.profiles:
            raise suggest(name, ["full", *self.profiles], f"profile of board {self.name}")
        overrides: dict[str, Any] = {k: tuple(v) if k == "starts" else v for k, v in self.profiles[name].items()}
        if self.design is not None and "partitions" in overrides:
            overrides["design"] = replace(self.design, partitions=overrides.pop("partitions"))
        budget = overrides.get("budget", self.budget)
        return replace(self, **overrides, marks=tuple(m for m in self.marks if m <= budget), narrowed=name)

    def on(self, table) -> Board:
        """The board with what its rules leave to the table: the digest, and the split that is stored beside it.

        Raises MetabenchError when the table stores no split.
        """
        if self.digest and (self.split or self.design is not None):
            return self
        return replace(self, digest=self.digest or self.digest_on(table), split=self.split or table.split)

    def settled(self, table) -> Board:
        """The board with what its rules leave to the table, once it is clear that it was made for it. A board that was
        settled on the very table stays as it is, and so do its profiles.

        Raises MetabenchError and UsageError as :meth:`on` and :meth:`check` do.
        """
        if self.settled_on is table:
            return self
        board = self.on(table)
        board.check(table)
        return replace(board, settled_on=table)

    def require_split(self, what: str) -> None:
        """Raise UsageError where folds are dealt, so that there is no split, which ``what`` needs."""
        if self.design is not None and not self.split:
            raise UsageError(f"board {self.name} v{self.version} is of protocol 3 and deals folds; {what} need a split")

    def digest_on(self, table) -> str:
        """The digest of what a table says of the board's workloads; a shift of workloads is about all of them."""
        across = self.shift is not None and self.shift.column == "workload"
        return table.digest_of(table.workloads if across else self.workloads(table))

    def workloads(self, table) -> list[str]:
        """The table's workloads that the board is about."""
        return [name for name in table.workloads if fnmatchcase(name, self.workload)]

    def parts(self, table) -> list[Board]:
        """A board for each workload that has held-out tasks: its split narrowed to the families there, its digest the part's.

        The whole board is to be checked against the table first.
        """
        if self.workload in table.workloads:
            return [self]
        boards = []
        for name in self.workloads(table):
            there = set(table.tasks.loc[table.tasks["workload"] == name, "family"])
            split = {part: tuple(f for f in families if f in there) for part, families in self.split.items()}
            if split["test"]:
                part = replace(self, workload=name, split=split)
                boards.append(replace(part, digest=part.digest_on(table)))
        return boards

    def tasks(self, table, part: str) -> list[str]:
        """Ids of the table's tasks in one part of the split, in the table's order; variants of data sets are in none.

        They are of the board's workload, but where the shift is one of workloads.
        """
        if part not in PARTS:
            raise suggest(part, list(PARTS), "part of a split")
        if self.design is not None and not self.split:
            raise UsageError(f"board {self.name} deals folds; its tasks are held out fold by fold")
        frame = table.tasks
        mine = frame["family"].isin(self.split[part]) & ~frame["task_id"].map(is_variant).astype(bool)
        if self.shift is not None:
            mine &= frame[self.shift.column].isin(getattr(self.shift, part))
        if self.shift is None or self.shift.column != "workload":
            mine &= frame["workload"].isin(self.workloads(table))
        if part == "test" and self.admitted is not None:
            mine &= frame["task_id"].isin(self.admitted)
        return frame.loc[mine, "task_id"].tolist()

    def source(self, table, calibrated: bool = True) -> MetaTrain:
        """What methods learn from: meta-train, of several workloads united, with meta-valid if ``calibrated``; with the
        curves of meta-train where epochs are counted."""
        from metabench.search.curve_source import with_curves
        from metabench.search.pools import thinned

        workload = table.tasks.set_index("task_id")["workload"]
        parts = {part: self.tasks(table, part) for part in (("train", "valid") if calibrated else ("train",))}
        sources = [
            table.meta_train(name, *([t for t in ids if workload[t] == name] for ids in parts.values()))
            for name in dict.fromkeys(workload[t] for t in parts["train"])
        ]
        if self.by_epochs:
            sources = [with_curves(s, table, s.tasks[0].workload) for s in sources]
        if self.source_configs:
            sources = [thinned(source, self.source_configs) for source in sources]
        return sources[0] if len(sources) == 1 else type(sources[0]).union(sources)

    def check(self, table) -> None:
        """Refuse a table that this board was not made for.

        Raises MetabenchError when the digest differs, UsageError when the split names a family that the table lacks or
        leaves meta-train or meta-test without tasks.
        """
        if (found := self.digest_on(table)) != self.digest:
            raise MetabenchError(
                f"board {self.name} v{self.version} is frozen on {self.dataset} v{self.dataset_version} with digest "
                f"{self.digest[:12]}…, the table's is {found[:12]}…"
            )
        frame = table.tasks
        across = self.shift is not None and self.shift.column == "workload"
        mine = frame["workload"].isin(self.workloads(table))
        if self.design is not None and not self.split:
            return  # folds are dealt from the table's own families
        known = sorted(set(frame["family"] if across else frame.loc[mine, "family"]))
        for part in PARTS:
            for family in self.split[part]:
                if family not in known:
                    what = f"family in split.{part} of board {self.name}"
                    raise suggest(family, known, what) if known else UsageError(f"unknown {what}: {family!r}")
        for part in ("train", "test"):
            if not self.tasks(table, part):
                raise UsageError(f"board {self.name}: split.{part} has no tasks of workload {self.workload}")


def parse_board(rules: Mapping[str, Any], where: str = "board.toml", path: Path | None = None) -> Board:
    """A Board from the parsed contents of a board.toml.

    Raises UsageError naming the file and the first key that is unknown, absent, of the wrong type or out of range, in one
    line of bounded length.
    """
    try:
        return _parsed(rules, where, path)
    except UsageError as error:
        raise UsageError(one_line(error, LINE)) from None


def _parsed(rules: Mapping[str, Any], where: str, path: Path | None) -> Board:
    known = [key for key in _TYPES if key != "partitions"]  # that is a key of folds, and of profiles
    for key in rules:
        if key not in known:
            raise UsageError(f"{where}: {suggest(key, known, 'key')}")
    for key in known:
        free = _OPTIONAL | set(KEYS) | {"hpob": _IMPORTED, "3": _DEALT}.get(str(rules.get("protocol")), set())
        if key not in rules and key not in free:
            raise UsageError(f"{where}: key {key!r} is absent")
    _check_types(rules, where)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", rules["name"]):
        raise UsageError(f"{where}: name {rules['name']!r} may hold only a-z, 0-9, _ and -")
    if "digest" in rules and not re.fullmatch(r"[0-9a-f]{64}", rules["digest"]):
        raise UsageError(f"{where}: digest {rules['digest']!r} is not 64 hexadecimal digits")
    if (objective := rules.get("objective", "replay")) not in OBJECTIVES:
        raise UsageError(f"{where}: {suggest(objective, list(OBJECTIVES), 'objective')}")
    if (track := rules.get("track", "search")) not in TRACKS:
        raise UsageError(f"{where}: {suggest(track, list(TRACKS), 'track')}")
    if (protocol := rules.get("protocol", "metabench")) not in PROTOCOLS:
        raise UsageError(f"{where}: {suggest(protocol, list(PROTOCOLS), 'protocol')}")
    design = parse_design(rules, where) if protocol == "3" else None
    if design is None and (strange := [key for key in KEYS if key in rules]):
        raise UsageError(f'{where}: key {strange[0]!r} needs protocol = "3"')
    observed = rules.get("observed", [0, 1, 5, 25])
    if (
        not observed
        or not all(type(n) is int for n in observed)
        or observed != sorted(set(observed))
        or observed[0] < 0
    ):
        raise UsageError(f"{where}: observed {observed} are not increasing numbers of trials")
    profiles = dict(rules.get("profiles", {}))
    for name, profile in profiles.items():
        if not isinstance(profile, dict):
            raise UsageError(f"{where}: profiles.{name} is not a table")
        allowed = _FIDELITY_OVERRIDES if track == "multi-fidelity" else _OVERRIDES
        allowed = _FOLDED_OVERRIDES if design is not None else allowed
        for key in profile:
            if key not in allowed:
                raise UsageError(f"{where}: {suggest(key, sorted(allowed), f'key in profiles.{name}')}")
        _check_types(profile, f"{where}: profiles.{name}")
        if design is not None:
            check_profile(profile, design, rules["seeds"], f"{where}: profiles.{name}")
    marks = tuple(rules.get("marks", [m for m in MARKS if m <= rules["budget"]]))
    if not all(isinstance(m, int) for m in marks) or list(marks) != sorted(set(marks)) or not marks:
        raise UsageError(f"{where}: marks {list(marks)} are not increasing whole numbers")
    if marks[0] < 1 or marks[-1] > rules["budget"]:
        raise UsageError(f"{where}: marks {list(marks)} leave the range 1 … budget ({rules['budget']})")
    alone = track == "multi-fidelity" or objective == "live"
    starts = tuple(rules.get("starts", ("own",) if alone or design else USUAL))
    if track == "multi-fidelity" and starts != ("own",):
        raise UsageError(f'{where}: starts {list(starts)}: where epochs are counted, methods choose alone: ["own"]')
    if objective == "live" and (starts, track) != (("own",), "search"):
        raise UsageError(f'{where}: a live board is of track "search" and has starts = ["own"]')
    elsewhere = ("split", "profiles", "marks", "starts", "observed", "shift", *KEYS)
    rest: dict[str, Any] = {"digest": ""} | {k: v for k, v in rules.items() if k not in elsewhere}
    shift = rules.get("shift")
    return Board(
        **rest,
        split=_parse_split(rules["split"], where) if "split" in rules else {},
        marks=marks,
        starts=starts,
        profiles=profiles,
        observed=tuple(observed),
        shift=None if shift is None else parse_shift(shift, rules["workload"], track, where),
        path=path,
        design=design,
    )


def _check_types(rules: Mapping[str, Any], where: str) -> None:
    for key, value in rules.items():
        kind = _TYPES[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}
            raise UsageError(f"{where}: {key} is {value!r}, expected {words[kind]}")
        if kind is int and value < 1:
            raise UsageError(f"{where}: {key} is {value}, expected at least 1")
    starts = rules.get("starts", list(USUAL))
    if not starts:
        raise UsageError(f"{where}: starts is empty; known: {', '.join(STARTS)}")
    for start in starts:
        if not isinstance(start, str) or start not in STARTS:
            raise UsageError(f"{where}: {suggest(str(start), list(STARTS), 'start')}")
    if len(set(starts)) < len(starts):
        raise UsageError(f"{where}: starts {starts} repeat a name")


def _parse_split(split: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    for part in split:
        if part not in PARTS:
            raise UsageError(f"{where}: {suggest(part, list(PARTS), 'part in split')}")
    side: dict[str, str] = {}
    first: dict[str, str] = {}
    for part in PARTS:
        families = split.get(part)
        if not isinstance(families, list) or not all(isinstance(f, str) for f in families):
            raise UsageError(f"{where}: split.{part} is not a list of families")
        if not families and part != "valid":
            raise UsageError(f"{where}: split.{part} is empty")
        for family in families:
            if family in side:
                both = part if side[family] == part else f"{side[family]} and in split.{part}"
                raise UsageError(f"{where}: family {family!r} is listed in split.{both}; it may be listed once")
            side[family] = part
            for member in sorted(members(family)):
                if side[other := first.setdefault(member, family)] != part:
                    both = f"split.{side[other]} and in split.{part}"
                    raise UsageError(f"{where}: families {other!r} and {family!r} share rows, but are listed in {both}")
    return {part: tuple(split[part]) for part in PARTS}


# ---------------------------------------------------------------- finding boards
def board_folders() -> list[Path]:
    """Where boards are looked for: METABENCH_LEADERBOARDS (a path list), ./leaderboards, the repository's."""
    listed = [Path(part) for part in os.environ.get("METABENCH_LEADERBOARDS", "").split(os.pathsep) if part]
    return list(dict.fromkeys([*listed, Path("leaderboards"), *checkout.beside("leaderboards")]))


def _versions(folder: Path) -> dict[int, Path]:
    found = [(re.fullmatch(r"v(\d+)", p.parent.name), p) for p in folder.glob("v*/board.toml")]
    return {int(match[1]): path for match, path in found if match}


def board_names() -> list[str]:
    """Names of all boards that :func:`load_board` finds without a network."""
    roots = [*board_folders(), downloads.cached("leaderboards")]
    return sorted({p.name for root in roots if root.is_dir() for p in root.iterdir() if _versions(p)})


def find_board(name_or_path: str | Path, version: int | None = None) -> Path:
    """The board.toml of a board: by path (file or folder), or by name (the newest version unless one is asked for).

    Text without a slash is a name, and never means a folder of the working directory.

    Raises UsageError naming the nearest board, or the versions that exist.
    """
    named = isinstance(name_or_path, str) and re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name_or_path)
    direct = Path(name_or_path)
    if not named and direct.is_file():
        return direct
    if not named and version is None and (direct / "board.toml").is_file():
        return direct / "board.toml"
    for folder in [root / direct for root in board_folders()] if named else [direct]:
        if found := _versions(folder):
            wanted = max(found) if version is None else version
            if wanted not in found:
                known = ", ".join(map(str, sorted(found)))
                raise UsageError(f"board {name_or_path} has no version {version}; it has {known}")
            return found[wanted]
    if not named:
        raise UsageError(f"{name_or_path} is no board: it has no board.toml")
    if (kept := _installed(str(name_or_path), version)) is not None:
        return kept
    if direct.exists():
        raise UsageError(f"unknown board {name_or_path!r}; the folder of that name is ./{name_or_path}")
    raise suggest(str(name_or_path), {*board_names(), *downloads.names("leaderboards")}, "board")


def _installed(name: str, version: int | None) -> Path | None:
    """The rules of a published board, fetched with its traces where the cache has none; None for an unknown name."""
    entry = downloads.find("leaderboards", name, version)
    if entry is None:
        known = sorted(e.version for e in downloads.entries() if (e.kind, e.name) == ("leaderboards", name))
        if known:
            raise UsageError(f"board {name} has no version {version}; it has {', '.join(map(str, known))}")
        return None
    return (downloads.complete(entry.kind, name).get(entry.version) or downloads.fetch(entry)) / "board.toml"


def load_board(name_or_path: str | Path, version: int | None = None) -> Board:
    """A board: the frozen rules of a leaderboard.

    Args:
        name_or_path: a name such as ``search``, or a path to board.toml or its folder.
        version: which version; None: the newest.

    Returns:
        The board.

    Raises:
        UsageError: There is no such board, or its rules are malformed.
    """
    path = find_board(name_or_path, version)
    try:
        rules = read_toml(path, error=UsageError)
    except FileNotFoundError:
        raise UsageError(f"{path} is absent") from None
    return parse_board(rules, str(path), path.parent)


# ---------------------------------------------------------------- making boards
def _joined(families: Sequence[str]) -> dict[str, str]:
    """Family → the name of all that it shares rows with, directly or by others; its own where there are none."""
    sets: list[frozenset[str]] = []
    for family in families:
        met = [s for s in sets if s & members(family)]
        sets = [s for s in sets if s not in met] + [members(family).union(*met)]
    return {family: next("+".join(sorted(s)) for s in sets if members(family) <= s) for family in families}


def draw_split(tasks: pd.DataFrame, seed: int, shares: Sequence[float] = SHARES) -> dict[str, list[str]]:
    """Families of tasks.parquet dealt into meta-train, meta-valid and meta-test.

    Families of each kind (that of most of their tasks) are ordered by a hash of seed and name, and the first
    ``shares[0]`` of them go to train, the next to valid, the rest to test; so the kinds are spread evenly, and adding a
    data set moves few others. Families that share rows (:func:`metabench.table.splits.members`) go together. Used once,
    when a board is made.
    """
    together = _joined(sorted(set(tasks["family"])))
    kinds = tasks.groupby(tasks["family"].map(together))["kind"].agg(lambda kind: kind.mode().iloc[0])
    split: dict[str, list[str]] = {part: [] for part in PARTS}
    for _, joined in kinds.groupby(kinds):
        ordered = sorted(joined.index, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        for i, name in enumerate(ordered):
            at = (i + 0.5) / len(ordered)
            part = "train" if at < shares[0] else "valid" if at < shares[0] + shares[1] else "test"
            split[part] += [family for family, whole in together.items() if whole == name]
    return {part: sorted(families) for part, families in split.items()}
