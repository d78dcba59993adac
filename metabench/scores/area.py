"""The headline of a board: the area under regret over the logarithm of trials, and curves at marks."""

from __future__ import annotations

import numpy as np

from metabench.errors import UsageError

#: the areas that are reported, the first of which ranks methods; marks of the curves
AREAS = (50, 10)
MARKS = (1, 2, 3, 5, 10, 25, 50)


def log_area(regret: np.ndarray, trials: int) -> np.ndarray:
    """Mean regret over trials 1 … ``trials`` when the logarithm of the trial is spread evenly.

    It is the area under regret over log(trial), by the trapezoidal rule, divided by log(``trials``). Each doubling of the
    budget weighs the same.

    Args:
        regret: float64 [..., budget], regret after 1, 2, … trials.
        trials: last trial that counts; 1 gives the regret after the first.

    Returns:
        float64 [...].

    Raises:
        UsageError: when the searches are shorter.
    """
    if not 1 <= trials <= regret.shape[-1]:
        raise UsageError(f"the area up to trial {trials} needs as many trials; searches have {regret.shape[-1]}")
    if trials == 1:
        return regret[..., 0]
    at = np.log(np.arange(1, trials + 1))
    return np.trapezoid(regret[..., :trials], at, axis=-1) / at[-1]


def areas_of(budget: int) -> tuple[int, ...]:
    """The areas of a board with this budget: 50 and 10 trials, or the whole budget where it is smaller."""
    return tuple(dict.fromkeys(min(trials, budget) for trials in AREAS))
