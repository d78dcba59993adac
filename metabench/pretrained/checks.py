"""Checks of trials that a person hands to a meta-model."""

from __future__ import annotations

import pandas as pd

from metabench.errors import UsageError
from metabench.plain import plain
from metabench.space import Space


def check_configs(space: Space, configs: pd.DataFrame) -> None:
    """Check the values of a configuration table.

    Args:
        space: The search space.
        configs: A row for each configuration, native units. Missing values are inactive and not checked.

    Raises:
        UsageError: A value is no option of its hyperparameter or outside its range; one line names it.
    """
    for name, parameter in space.items():
        if name not in configs:
            continue
        for value in configs[name].dropna().unique():
            try:
                parameter.check(plain(value))
            except (ValueError, TypeError) as error:
                raise UsageError(f"trials: {name}={plain(value)!r} is outside the search space: {error}") from None


__all__ = ["check_configs"]
