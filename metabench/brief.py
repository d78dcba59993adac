"""Short reprs: what a person wants to see of an object that holds tables and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sized
from typing import Any, TypeVar

#: characters of a repr, and of one value in it, at most
WHOLE, ONE = 300, 60

T = TypeVar("T", bound=type)


def brief(cls: T) -> T:
    """Give a dataclass a repr of one line: short values as they are, sizes of what is large.

    Args:
        cls: the dataclass.

    Returns:
        The same class.
    """
    setattr(cls, "__repr__", _repr)  # noqa: B010 - a type's own __repr__ takes no instance, say type checkers
    return cls


def _repr(self: Any) -> str:
    parts = [f"{f.name}={_value(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.repr]
    text = f"{type(self).__name__}({', '.join(parts)})"
    return text if len(text) <= WHOLE else f"{text[: WHOLE - 2]}…)"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= ONE else f"{value[:ONE]!r}…"
    if hasattr(value, "shape"):
        return f"<{' × '.join(map(str, value.shape))} {type(value).__name__}>"
    if isinstance(value, Sized):
        short = isinstance(value, tuple | list) and all(isinstance(v, str | int | float) for v in value)
        text = repr(value) if short and len(value) <= 8 else ""
        return text if text and len(text) <= ONE else f"<{len(value)} in {type(value).__name__}>"
    return f"<{type(value).__name__}>"
