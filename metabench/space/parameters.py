"""The kinds of hyperparameter: numbers on a scale, choices, ordered choices, and when they count."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
