"""What Optuna's distributions are in the words of :mod:`metabench.interop.ranges`."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metabench.errors import UsageError
from metabench.interop.ranges import Listed, Numeric, Range, range_of


def own_range(name: str, d: Any) -> Range:
    """A distribution of Optuna, or a plain range, as ours. Raises UsageError for a distribution that is not known here."""
    if isinstance(d, CategoricalDistribution):
        return Listed(tuple(d.choices))
    if isinstance(d, IntDistribution):
        return Numeric(d.low, d.high, d.log, True, float(d.step) if d.step != 1 else None)
    if isinstance(d, FloatDistribution):
        return Numeric(d.low, d.high, d.log, False, d.step)
    if isinstance(d, BaseDistribution):
        raise UsageError(f"parameter {name}: {type(d).__name__} is not known here; use Float, Int or Categorical")
    return range_of(name, d)
