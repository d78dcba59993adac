"""The rules of protocol 3 in board.toml: folds, replicates, controls and contrasts.

protocol = "3"
seeds = 10                                   # searches of each method and task
controls = ["random", "portfolio"]
contrasts = [["auto", "gp"], ["task_gp", "portfolio"]]

[folds]
number = 5
partitions = 2
seed = 3
confirmatory = ["some_family"]

[replicates]
sees = "mean"                                # or "run": one noisy run
fit_seeds = 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from metabench.errors import UsageError
from metabench.registry import suggest
from metabench.scores.contrasts import MOST_CONTRASTS
from metabench.scores.verdict import CONTROLS

#: keys of board.toml that belong to protocol 3 alone
KEYS = ("folds", "replicates", "controls", "contrasts")
#: what a search sees of a configuration: the mean of a replicate, or a single run
SEES = ("mean", "run")
_FOLDS = {"number": 5, "partitions": 2, "seed": None, "confirmatory": []}
_REPLICATES = {"sees": "mean", "fit_seeds": 3}


@dataclass(frozen=True)
class Cell:
    """What one search of a task stands for."""

    #: partition whose fold holds the task out
    partition: int
    #: replicate that the search sees, 0 for A and 1 for B; it is scored on the other
    replicate: int
    #: seed that the method is fitted with
    fit_seed: int


@dataclass(frozen=True)
class Design:
    """Folds, replicates, controls and contrasts of a board."""

    #: seed that the folds follow from
    seed: int
    number: int = 5
    partitions: int = 2
    confirmatory: tuple[str, ...] = ()
    sees: str = "mean"
    fit_seeds: int = 3
    controls: tuple[str, ...] = CONTROLS
    contrasts: tuple[tuple[str, str], ...] = ()

    def cell(self, search: int, searches: int) -> Cell:
        """What search number ``search`` of ``searches`` stands for.

        Partitions take consecutive searches, replicates alternate, fit seeds take turns; so every partition and every
        replicate has equally many searches, if their number is a multiple of both.

        Raises:
            UsageError: when there is no such search.
        """
        if not 0 <= search < searches:
            raise UsageError(f"search {search} lies outside 0 … {searches - 1}")
        return Cell(search * self.partitions // searches, search % 2, search % self.fit_seeds)


def parse_design(rules: Mapping[str, Any], where: str) -> Design:
    """The design from the keys of a board.toml of protocol 3.

    Args:
        rules: the whole contents of the file.
        where: name of the file, for messages.

    Raises:
        UsageError: naming the first key that is unknown, absent, of the wrong type, out of range, or does not go together
            with protocol 3.
    """
    for key in ("split", "shift"):
        if key in rules:
            raise UsageError(f'{where}: protocol "3" deals folds; key {key!r} belongs to earlier protocols')
    if rules.get("starts", ["own"]) != ["own"]:
        raise UsageError(f'{where}: protocol "3" has starts = ["own"], not {rules["starts"]}')
    folds = _section(rules, "folds", _FOLDS, where)
    replicates = _section(rules, "replicates", _REPLICATES, where)
    for name, least in (("number", 2), ("partitions", 1), ("seed", 0)):
        _whole(folds[name], least, f"{where}: folds.{name}")
    _whole(replicates["fit_seeds"], 1, f"{where}: replicates.fit_seeds")
    confirmatory = _names(folds["confirmatory"], f"{where}: folds.confirmatory")
    if replicates["sees"] not in SEES:
        raise UsageError(f"{where}: {suggest(str(replicates['sees']), list(SEES), 'value of replicates.sees')}")
    controls = _names(rules.get("controls", list(CONTROLS)), f"{where}: controls")
    contrasts = rules.get("contrasts", [])
    for pair in contrasts:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(m, str) and m for m in pair):
            raise UsageError(f"{where}: contrast {pair!r} is not a pair of methods")
        if pair[0] == pair[1]:
            raise UsageError(f"{where}: contrast {pair!r} compares a method with itself")
    unordered = [frozenset(pair) for pair in contrasts]
    if len(set(unordered)) < len(unordered):
        twice = next(pair for i, pair in enumerate(contrasts) if unordered[i] in unordered[:i])
        raise UsageError(f"{where}: contrast {twice!r} is named twice")
    if len(contrasts) > MOST_CONTRASTS:
        raise UsageError(f"{where}: {len(contrasts)} contrasts are named; at most {MOST_CONTRASTS} may be")
    seeds = rules["seeds"]
    if seeds % 2 or seeds % folds["partitions"]:
        raise UsageError(
            f"{where}: seeds is {seeds}; protocol 3 needs a multiple of two replicates and of {folds['partitions']} partitions"
        )
    pairs = tuple((a, b) for a, b in contrasts)
    return Design(
        folds["seed"],
        folds["number"],
        folds["partitions"],
        confirmatory,
        replicates["sees"],
        replicates["fit_seeds"],
        controls,
        pairs,
    )


def check_profile(profile: Mapping[str, Any], design: Design, seeds: int, where: str) -> None:
    """Check the overrides of a profile, whose searches are the first ones of the whole board.

    Args:
        profile: its ``seeds`` and ``partitions``.
        design: the board's design.
        seeds: searches of the whole board.
        where: name of the profile, for messages.

    Raises:
        UsageError: when they are more than the board has, or are no multiple of the replicates and partitions.
    """
    fewer, partitions = profile.get("seeds", seeds), profile.get("partitions", design.partitions)
    if fewer > seeds or partitions > design.partitions:
        raise UsageError(f"{where}: {fewer} searches in {partitions} partitions are more than the board has")
    whole = [design.cell(s, seeds) for s in range(fewer)]
    if fewer % 2 or [replace(design, partitions=partitions).cell(s, fewer) for s in range(fewer)] != whole:
        raise UsageError(
            f"{where}: {fewer} searches in {partitions} partitions are not the first {fewer} of the whole board's"
        )


def _section(rules: Mapping[str, Any], name: str, defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    section = rules.get(name, {})
    for key in section:
        if key not in defaults:
            raise UsageError(f"{where}: {suggest(key, list(defaults), f'key in {name}')}")
    found = {**defaults, **section}
    if absent := [key for key, value in found.items() if value is None]:
        raise UsageError(f"{where}: key '{name}.{absent[0]}' is absent")
    return found


def _whole(value: Any, least: int, what: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"{what} is {value!r}, expected a whole number")
    if value < least:
        raise UsageError(f"{what} is {value}, expected at least {least}")


def _names(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
        raise UsageError(f"{what} is {values!r}, expected a list of names")
    if len(set(values)) < len(values):
        raise UsageError(f"{what} {values} repeat a name")
    return tuple(values)
