"""ConfigSpace's JSON (Lindauer et al., 2019): the search spaces of tables for SMAC, DEHB, Auto-PyTorch and their kin."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from metabench.errors import MetabenchError, UsageError
from metabench.interop.formats.base import Format, read_json
from metabench.registry import suggest
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space, When

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


class ConfigSpaceJson(Format):
    """A file ``<workload>.json`` for each search space, as ``ConfigurationSpace.from_json`` reads it; needs ConfigSpace.

    Ranges, integers, logarithms, choices, ordered values, defaults and conditions are ConfigSpace's own. What it cannot
    say stands in the ``meta`` of a hyperparameter, where :func:`read_space` finds it: ``reverse`` (evenly spaced in
    log(1 − x); ConfigSpace then draws it evenly), ``task`` (ignored on tasks of another kind) and ``default`` null
    (none is declared; ConfigSpace needs one and is given the middle).
    """

    name = "configspace"
    reads = "nothing: a space alone makes no table"

    def read(self, path: Path):
        raise UsageError("format configspace can be exported, not imported: a search space holds no runs")

    def write(self, table, folder: Path, *, workload: str = "", board=None, **options: Any) -> list[Path]:
        """The spaces of all workloads, or of one. Raises UsageError for an unknown workload."""
        if workload and workload not in table.workloads:
            raise suggest(workload, table.workloads, "workload")
        made = []
        for name in [workload] if workload else table.workloads:
            folder.mkdir(parents=True, exist_ok=True)
            made.append(folder / f"{name}.json")
            to_configspace(table.space(name), name).to_json(made[-1])
        return made


def to_configspace(space: Space, name: str | None = None) -> ConfigurationSpace:
    """A space as ConfigSpace's own object. Raises MetabenchError when the package is not installed."""
    package: Any = _package()
    made = package.ConfigurationSpace(name=name)
    made.add([_hyperparameter(package.hyperparameters, n, p) for n, p in space.items()])
    for n, p in space.items():
        if p.when is not None and not p.when.on_task:
            made.add(package.InCondition(made[n], made[p.when.parent], list(p.when.values)))
    return made


def read_space(path: Path) -> Space:
    """The space that a JSON file of ConfigSpace describes: what :class:`ConfigSpaceJson` writes comes back as it was.

    Raises MetabenchError naming the file and the hyperparameter that has no counterpart here: one that is not uniform,
    has weights, or hangs on several conditions; and for forbidden clauses, which spaces do not have.
    """
    read_json(path)  # refuses what is no JSON, or too large
    try:
        found = _package().ConfigurationSpace.from_json(path)
    except Exception as error:  # whatever ConfigSpace says of a file that is not its own
        raise MetabenchError(f"{path} is no space of ConfigSpace: {' '.join(str(error).split())[:200]}") from None
    if not len(found):
        raise MetabenchError(f"{path} describes no hyperparameter")
    if found.forbidden_clauses:
        raise MetabenchError(f"{path} forbids combinations of values; spaces here cannot")
    conditions: dict[str, When] = {}
    for condition in found.conditions:
        values = _values(condition)
        if values is None or condition.child.name in conditions:
            raise MetabenchError(f"{path}: hyperparameter {condition.child.name!r} hangs on more than one value list")
        conditions[condition.child.name] = When(cast(Any, condition).parent.name, values)
    parameters: dict[str, Parameter] = {}
    left = list(found.values())
    while left:  # parents before their children
        ready = [h for h in left if h.name not in conditions or conditions[h.name].parent in parameters]
        if not ready:
            raise MetabenchError(f"{path}: hyperparameter {left[0].name!r} hangs on itself")
        for h in ready:
            try:
                parameters[h.name] = _parameter(h, conditions.get(h.name))
            except (UsageError, TypeError, ValueError) as error:
                raise MetabenchError(f"{path}: hyperparameter {h.name!r}: {error}") from None
        left = [h for h in left if h not in ready]
    return Space(parameters)


def _package():
    try:
        import ConfigSpace
    except ImportError:
        raise MetabenchError("format configspace needs the package ConfigSpace: pip install ConfigSpace") from None
    return ConfigSpace


def _hyperparameter(kinds, name: str, p: Parameter):
    default = p.default if p.default is not None else p.from_unit([0.5])[0]
    meta: dict[str, Any] = {} if p.default is not None else {"default": None}
    if p.when is not None and p.when.on_task:
        meta["task"] = {p.when.parent: list(p.when.values)}
    if isinstance(p, Choice):
        return kinds.CategoricalHyperparameter(name, list(p.options), default_value=default, meta=meta or None)
    if isinstance(p, Ordinal):
        return kinds.OrdinalHyperparameter(name, list(p.options), default_value=int(default), meta=meta or None)
    if p.reverse:
        meta["reverse"] = True
    whole = isinstance(p, Int)
    kind, number = (kinds.UniformIntegerHyperparameter, int) if whole else (kinds.UniformFloatHyperparameter, float)
    return kind(name, number(p.low), number(p.high), log=p.log, default_value=number(default), meta=meta or None)


def _parameter(h, when: When | None) -> Parameter:
    kind, meta = type(h).__name__, h.meta or {}
    if task := meta.get("task"):
        ((parent, values),) = task.items()
        when = When(parent, tuple(values), on_task=True)
    default = None if "default" in meta else h.default_value
    if kind in ("UniformFloatHyperparameter", "UniformIntegerHyperparameter"):
        number, cls = (float, Float) if kind == "UniformFloatHyperparameter" else (int, Int)
        default = default if default is None else number(default)
        reverse = bool(meta.get("reverse", False))
        return cls(number(h.lower), number(h.upper), log=bool(h.log), reverse=reverse, default=default, when=when)
    if kind == "CategoricalHyperparameter":
        weights = h.probabilities
        if not math.isclose(min(weights), max(weights)):
            raise UsageError("its choices have weights")
        return Choice(*map(str, h.choices), default=default if default is None else str(default), when=when)
    if kind == "OrdinalHyperparameter":
        return Ordinal(*map(int, h.sequence), default=default if default is None else int(default), when=when)
    raise UsageError(f"{kind} has no counterpart")


def _values(condition) -> tuple | None:
    """The parent's values under which a condition holds; None for what is not a list of them."""
    kind = type(condition).__name__
    if kind == "EqualsCondition":
        return (condition.value,)
    return tuple(condition.values) if kind == "InCondition" else None
