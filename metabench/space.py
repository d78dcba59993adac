"""Search spaces: typed, mixed and conditional; whole tables of configurations are sampled and encoded at once.

A *configuration table* is a ``pandas.DataFrame`` with one typed column per hyperparameter in its native unit; a
value is missing where the hyperparameter is inactive. A *configuration* is one row of it as a ``dict``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from metabench.errors import UsageError


@dataclass(frozen=True)
class When:
    """A condition: active where ``parent`` (a hyperparameter, or the task's ``kind``) takes one of ``values``.

    Conditions on the task (``on_task``) do not change the shared configuration table; they say that a workload ignores
    the value on other tasks, and :meth:`Space.for_task` drops the hyperparameter there.
    """

    parent: str
    values: tuple[Any, ...]
    on_task: bool = False


def when(parent: str, *values: Any) -> When:
    """Active where the hyperparameter ``parent`` takes one of ``values``."""
    return When(parent, values)


is_classification = When("kind", ("classification",), on_task=True)


@dataclass(frozen=True)
class Float:
    """A real number in ``[low, high]``; ``log`` spaces it evenly in log x, ``reverse`` in log(1 - x) (for momenta)."""

    low: float
    high: float
    log: bool = False
    reverse: bool = False
    default: float | None = None
    when: When | None = None
    dtype: ClassVar[Any] = "float64"

    def __post_init__(self):
        if not all(isinstance(b, Real) and math.isfinite(b) for b in (self.low, self.high)):
            raise UsageError(f"{type(self).__name__}: bounds {self.low!r} and {self.high!r} are not finite numbers")
        if not self.low < self.high:
            raise UsageError(f"{type(self).__name__}: low {self.low} is not under high {self.high}")
        if (self.log and self.low <= 0) or (self.reverse and self.high >= 1):
            raise UsageError(f"{type(self).__name__}: a log scale needs low > 0, a reverse scale needs high < 1")

    def _warp(self, x):
        if self.log:
            return np.log(x)
        return -np.log1p(-x) if self.reverse else x

    def to_unit(self, values) -> np.ndarray:
        """Native values → [0, 1]."""
        x = np.asarray(values, dtype=np.float64)
        low, high = self._warp(np.float64(self.low)), self._warp(np.float64(self.high))
        return np.clip((self._warp(x) - low) / (high - low), 0.0, 1.0)

    def from_unit(self, u) -> np.ndarray:
        """[0, 1] → native values."""
        low, high = self._warp(np.float64(self.low)), self._warp(np.float64(self.high))
        w = low + np.asarray(u, dtype=np.float64) * (high - low)
        x = np.exp(w) if self.log else (-np.expm1(-w) if self.reverse else w)
        return np.clip(x, self.low, self.high)

    def check(self, value: Any) -> Any:
        if isinstance(value, bool | str) or not np.isreal(value) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number")
        # a bound that went through another unit or text may come back off by its last digit
        if not self.low - 1e-9 * abs(self.low) <= value <= self.high + 1e-9 * abs(self.high):
            raise ValueError(f"{value!r} lies outside [{self.low}, {self.high}]")
        return float(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Int(Float):
    """An integer in ``[low, high]``; every integer gets an equal share of the (log) scale, ends included."""

    dtype: ClassVar[Any] = "Int64"

    def _edges(self) -> tuple[float, float]:
        """The ends of the warped scale: half a step outside the bounds, so that these get their full share too."""
        return self._warp(np.float64(self.low - 0.5)), self._warp(np.float64(self.high + 0.5))

    def to_unit(self, values) -> np.ndarray:
        low, high = self._edges()
        return np.clip((self._warp(np.asarray(values, dtype=np.float64)) - low) / (high - low), 0.0, 1.0)

    def from_unit(self, u) -> np.ndarray:
        low, high = self._edges()
        w = low + np.asarray(u, dtype=np.float64) * (high - low)
        return np.clip(np.rint(np.exp(w) if self.log else w), self.low, self.high).astype(np.int64)

    def check(self, value: Any) -> Any:
        value = super().check(value)
        if value != round(value):
            raise ValueError(f"{value!r} is not an integer")
        return int(value)


class _Listed:
    """What Choice and Ordinal share: a tuple of options."""

    options: tuple

    def to_unit(self, values) -> np.ndarray:
        index = {option: i for i, option in enumerate(self.options)}
        try:
            codes = np.array([index[v] for v in values], dtype=np.float64)
        except KeyError as error:
            raise UsageError(f"{error.args[0]!r} is none of {', '.join(map(str, self.options))}") from None
        return (codes + 0.5) / len(self.options)

    def from_unit(self, u) -> np.ndarray:
        codes = np.minimum((np.asarray(u, dtype=np.float64) * len(self.options)).astype(int), len(self.options) - 1)
        return np.array(self.options, dtype=object)[codes]

    def check(self, value: Any) -> Any:
        if value not in self.options:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, self.options))}")
        return self.options[self.options.index(value)]


@dataclass(frozen=True, init=False)
class Choice(_Listed):
    """One of several unordered options (strings)."""

    options: tuple[str, ...]
    default: str | None
    when: When | None
    dtype: ClassVar[Any] = "object"

    def __init__(self, *options: str, default: str | None = None, when: When | None = None):
        if len(options) < 2:
            raise UsageError("Choice needs at least two options")
        object.__setattr__(self, "options", tuple(options))
        object.__setattr__(self, "default", default)
        object.__setattr__(self, "when", when)


@dataclass(frozen=True, init=False)
class Ordinal(_Listed):
    """One of several increasing numbers, such as batch sizes; encoded as one ordered column."""

    options: tuple[int, ...]
    default: int | None
    when: When | None
    dtype: ClassVar[Any] = "Int64"

    def __init__(self, *options: int, default: int | None = None, when: When | None = None):
        if len(options) < 2 or list(options) != sorted(set(options)):
            raise UsageError("Ordinal needs at least two increasing options")
        object.__setattr__(self, "options", tuple(options))
        object.__setattr__(self, "default", default)
        object.__setattr__(self, "when", when)


Parameter = Float | Int | Choice | Ordinal


@dataclass(frozen=True, init=False)
class Space(Mapping[str, Parameter]):
    """An ordered set of named hyperparameters. ``a | b`` joins two; a parent must stand before its children."""

    parameters: Mapping[str, Parameter] = field()

    def __init__(self, parameters: Mapping[str, Parameter] | None = None, /, **named: Parameter):
        object.__setattr__(self, "parameters", {**(parameters or {}), **named})
        seen: set[str] = set()
        for name, p in self.parameters.items():
            if p.when is not None and not p.when.on_task and p.when.parent not in seen:
                raise UsageError(f"hyperparameter {name}: its parent {p.when.parent!r} must stand before it")
            seen.add(name)

    def __getitem__(self, name: str) -> Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __hash__(self):
        return hash(tuple(self.parameters.items()))

    def __repr__(self) -> str:
        names = list(self)
        return f"Space({', '.join(names[:6])}{f', … {len(names)} in all' if len(names) > 6 else ''})"

    def __or__(self, other: Space) -> Space:
        return Space({**self.parameters, **other.parameters})

    def for_task(self, kind: str) -> Space:
        """The space without hyperparameters that are inactive on tasks of this ``kind``."""
        return Space({n: p for n, p in self.items() if p.when is None or not p.when.on_task or kind in p.when.values})

    # ---------------------------------------------------------------- tables
    def from_unit(self, u: np.ndarray) -> pd.DataFrame:
        """Points of the unit cube, [n, len(self)], → configuration table (inactive values missing)."""
        u = np.asarray(u, dtype=np.float64)
        if u.ndim != 2 or u.shape[1] != len(self):
            raise UsageError(f"expected points of shape [n, {len(self)}], got {list(u.shape)}")
        columns = {n: pd.Series(p.from_unit(u[:, i])).astype(p.dtype) for i, (n, p) in enumerate(self.items())}
        return self._deactivate(pd.DataFrame(columns))

    def _deactivate(self, configs: pd.DataFrame) -> pd.DataFrame:
        active = self.active(configs)
        for i, (name, p) in enumerate(self.items()):
            if p.when is not None and not p.when.on_task:
                missing = None if p.dtype == "object" else (pd.NA if p.dtype == "Int64" else np.nan)
                configs[name] = configs[name].where(active[:, i], missing)
        return configs

    def active(self, configs: pd.DataFrame) -> np.ndarray:
        """[n, len(self)] bool: is the hyperparameter active in this row (its parents allow it)?"""
        out = np.ones((len(configs), len(self)), dtype=bool)
        names = list(self)
        for i, p in enumerate(self.values()):
            if p.when is not None and not p.when.on_task:
                parent = names.index(p.when.parent)
                out[:, i] = configs[p.when.parent].isin(p.when.values).to_numpy() & out[:, parent]
        return out

    def to_unit(self, configs: pd.DataFrame) -> np.ndarray:
        """Configuration table → float64 [n, len(self)] in the unit cube, a column per hyperparameter, NaN if inactive.

        Raises UsageError when a column is absent or an option is unknown.
        """
        out = np.full((len(configs), len(self)), np.nan)
        for i, (name, p) in enumerate(self.items()):
            if name not in configs:
                raise UsageError(f"configuration table has no column {name!r}")
            present = configs[name].notna().to_numpy()
            if present.any():
                values = configs[name].to_numpy()[present]
                if isinstance(p, Float):
                    try:
                        values = values.astype(np.float64)
                    except (TypeError, ValueError):
                        raise UsageError(f"hyperparameter {name} is not numeric") from None
                out[present, i] = p.to_unit(values)
        return out

    @property
    def encoded_names(self) -> list[str]:
        """Names of the columns of :meth:`encode`."""
        names = []
        for name, p in self.items():
            names += [f"{name}={option}" for option in p.options] if isinstance(p, Choice) else [name]
            if p.when is not None and not p.when.on_task:
                names.append(f"{name}?")
        return names

    def encode(self, configs: pd.DataFrame) -> np.ndarray:
        """Configuration table → [n, len(encoded_names)] float32 for models.

        Numbers lie in [0, 1] (0.5 where inactive), choices are one-hot (zeros where inactive), and every conditional
        hyperparameter is followed by an "active" column.
        """
        unit = self.to_unit(configs)
        blocks = []
        for i, p in enumerate(self.values()):
            u, present = unit[:, i], ~np.isnan(unit[:, i])
            if isinstance(p, Choice):
                codes = np.where(present, np.nan_to_num(u) * len(p.options), -1).astype(int)
                blocks.append((codes[:, None] == np.arange(len(p.options))).astype(np.float32))
            else:
                blocks.append(np.where(present, u, 0.5)[:, None].astype(np.float32))
            if p.when is not None and not p.when.on_task:
                blocks.append(present[:, None].astype(np.float32))
        return np.concatenate(blocks, axis=1)

    def sample(self, n: int, seed: int, method: str = "sobol") -> pd.DataFrame:
        """``n`` configurations: ``sobol`` (scrambled; prefixes of one seed nest) or ``random``."""
        if method == "sobol":
            from scipy.stats import qmc

            m = max(0, math.ceil(math.log2(max(n, 1))))
            u = qmc.Sobol(len(self), scramble=True, seed=np.random.default_rng(seed)).random_base2(m)[:n]
        elif method == "random":
            u = np.random.default_rng(seed).random((n, len(self)))
        else:
            raise UsageError(f"unknown sampling method {method!r}; known: sobol, random")
        return self.from_unit(u)

    # ---------------------------------------------------------------- single configurations
    def default(self) -> dict[str, Any]:
        """The workload's sensible default; the middle of the range where none is declared."""
        u = np.full((1, len(self)), 0.5)
        row = self.from_unit(u).iloc[0].to_dict()
        row.update({n: p.default for n, p in self.items() if p.default is not None})
        return self.validate({n: v for n, v in row.items() if not _is_missing(v)} | self._filled(row))

    def _filled(self, row: dict[str, Any]) -> dict[str, Any]:
        """Values for children whose parent's default activates them."""
        frame = pd.DataFrame([row]).astype({n: p.dtype for n, p in self.items()})
        active = self.active(frame)[0]
        middle = {n: p.from_unit(np.array([0.5]))[0] for n, p in self.items()}
        return {
            n: (p.default if p.default is not None else middle[n]) if active[i] else None
            for i, (n, p) in enumerate(self.items())
        }

    def validate(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration checked and completed (inactive values become None).

        Raises UsageError naming the first hyperparameter that is unknown, absent, of the wrong type or out of range.
        """
        for name in config:
            if name not in self.parameters:
                raise UsageError(f"unknown hyperparameter {name!r}; known: {', '.join(self)}")
        out: dict[str, Any] = {}
        for name, p in self.items():
            value = config.get(name)
            on = p.when is None or p.when.on_task or out.get(p.when.parent) in p.when.values
            if not on:
                out[name] = None
                continue
            if _is_missing(value):
                raise UsageError(f"hyperparameter {name} is missing")
            try:
                out[name] = p.check(value)
            except (ValueError, TypeError) as error:
                raise UsageError(f"hyperparameter {name}: {error}") from None
        return out

    def table(self, configs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """A configuration table from a list of configurations, each validated."""
        rows = [self.validate(c) for c in configs]
        return pd.DataFrame({n: pd.Series([row[n] for row in rows], dtype=p.dtype) for n, p in self.items()})

    # ---------------------------------------------------------------- exchange
    def to_json(self) -> dict[str, Any]:
        """A plain description, read back by :meth:`from_json`."""
        out = {}
        for name, p in self.items():
            d: dict[str, Any] = {"type": type(p).__name__.lower()}
            if isinstance(p, Float):
                d |= {"low": p.low, "high": p.high, "log": p.log, "reverse": p.reverse}
            else:
                d |= {"options": list(p.options)}
            if p.default is not None:
                d["default"] = p.default
            if p.when is not None:
                d["when"] = {"parent": p.when.parent, "values": list(p.when.values), "on_task": p.when.on_task}
            out[name] = d
        return out

    @classmethod
    def from_json(cls, description: Mapping[str, Any]) -> Space:
        """The space described by :meth:`to_json`. Raises UsageError on a malformed description."""
        types = {"float": Float, "int": Int, "choice": Choice, "ordinal": Ordinal}
        parameters = {}
        if not isinstance(description, Mapping):
            found = type(description).__name__
            raise UsageError(f"space description: expected an object of hyperparameters, got {found}")
        for name, d in description.items():
            try:
                w = d.get("when")
                extra = {
                    "default": d.get("default"),
                    "when": When(w["parent"], tuple(w["values"]), bool(w["on_task"])) if w else None,
                }
                kind = types[d["type"]]
                if issubclass(kind, Float):
                    parameters[name] = kind(d["low"], d["high"], bool(d["log"]), bool(d["reverse"]), **extra)
                else:
                    parameters[name] = kind(*d["options"], **extra)
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError, UsageError) as error:
                raise UsageError(f"space description: hyperparameter {name!r} is malformed ({error})") from None
        return cls(parameters)


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
