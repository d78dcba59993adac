"""Ranges of a user's parameters: numbers between two ends, or a list of options of any type."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import numpy as np

from metabench.errors import UsageError


@dataclass(frozen=True)
class Numeric:
    """Numbers in [low, high], in steps from ``low`` where ``step`` says so; ``whole`` ones are int."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    step: float | None = None

    def nearest(self, value: float) -> float | int:
        value = min(max(float(value), self.low), self.high)
        if self.step:
            value = min(self.low + round((value - self.low) / self.step) * self.step, self.high)
        return round(value) if self.whole else float(value)


@dataclass(frozen=True)
class Listed:
    """One of several values, of any type."""

    options: tuple[Any, ...]

    @property
    def numbers(self) -> list[Any]:
        """The options that are numbers."""
        return [o for o in self.options if is_number(o)]

    def place(self, value: Any) -> int | None:
        """The position of a value among the options, None where it is none of them.

        An option of the same type comes first: ``True`` is not 1, and 1 is not 1.0, where both are options.
        """
        equal = [i for i, o in enumerate(self.options) if _equal(o, value)]
        return next((i for i in equal if type(self.options[i]) is type(value)), next(iter(equal), None))


Range = Numeric | Listed


class _Absent:
    """No value; None is a value."""

    def __repr__(self) -> str:
        return "ABSENT"


#: stands where there is no value
ABSENT = _Absent()


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(cast(Any, value)))


def _equal(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b) or bool(a != a and b != b)
    except (TypeError, ValueError):  # arrays have no truth value
        return repr(a) == repr(b)


def packed(given: Range, value: Any) -> Any:
    """A value as JSON has it: options by their position."""
    return given.place(value) if isinstance(given, Listed) else value


def unpacked(given: Range, value: Any) -> Any:
    """The value again; ABSENT where the range has changed so much that it is none of it."""
    if isinstance(given, Numeric):
        return given.nearest(value) if is_number(value) else ABSENT
    inside = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(given.options)
    return given.options[value] if inside else ABSENT


def range_of(name: str, spec: Any) -> Range:
    """A range written plainly: ``(low, high)``, ``(low, high, "log")`` (integers where both ends are), or a list of options."""
    if isinstance(spec, Numeric | Listed):
        return spec
    if isinstance(spec, list) and spec:
        return Listed(tuple(spec))
    if isinstance(spec, tuple) and spec[2:] in ((), ("log",)):
        ends: tuple[Any, ...] = spec[:2]
        if len(ends) == 2 and all(isinstance(v, Real) for v in ends) and ends[0] < ends[1]:
            return Numeric(*map(float, spec[:2]), log=len(spec) == 3, whole=all(isinstance(v, int) for v in spec[:2]))
    raise UsageError(
        f"parameter {name}: {spec!r} is no range; write (low, high), (low, high, 'log') or a list of options"
    )
