"""Values of numpy and pandas as Python and JSON have them."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from metabench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def whole(value: Any, what: str, least: int | None = None) -> int:
    """A whole number that a person gives.

    Args:
        value: What was given.
        what: What it counts, for the error.
        least: The smallest that is allowed; None for any.

    Returns:
        It as an int.

    Raises:
        UsageError: It is no whole number, or smaller than ``least``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{what}: a whole number is needed, not {value!r}") from None
    if isinstance(value, bool) or (least is not None and number < least):
        raise UsageError(
            f"{what}: a whole number{'' if least is None else f' of {least} or more'} is needed, not {value!r}"
        )
    return number


def row_dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame whose columns are named by text, each as a dictionary.

    Args:
        frame: The frame.

    Returns:
        A dictionary for each row, in order; values are native where pandas has them so.
    """
    return cast("list[dict[str, Any]]", frame.to_dict("records"))


def plain(value: Any) -> Any:
    """A value in the words of JSON, whatever library it came from.

    Args:
        value: A number, a text, None, an array, or mappings and lists of such.

    Returns:
        Numbers of numpy as Python's, arrays and tuples as lists, keys and everything else as text; None for what is missing
        (None, NaN, NA, NaT) and for infinities.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        own = value.tolist()
        return plain(float(own) if type(own) is type(value) else own)  # a long double stays one
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)
