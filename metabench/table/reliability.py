"""How far a task's scores can be told from noise, and which tasks a board may use.

Notation: larger is better; V[c, k] is the validation score of configuration c with table seed k. A *replicate* is the mean
over half of a task's seeds. With V[c, k] = μ_c + β_k + ε[c, k], the *reliability* of a mean of m seeds is

    ρ_m = σ²_μ / (σ²_μ + σ²_ε / m),

the squared correlation of such means with the expected scores (Spearman-Brown for means of m parallel measurements). The seed's
own effect β, how hard its split is, is the same for all configurations and drops out. Both variances are those among the
better half of the configurations: searches end there, and a few failing configurations would make any task look reliable.
Which half is the better one is decided by other seeds than those that the variances are estimated from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metabench.direction import sign as sign_of

#: configurations whose scores decide on admission: the first of the Sobol part
SET_APART = 64
#: a task needs as many seeds as give a replicate this reliability, an even number within these bounds
TARGET, FEWEST, MOST = 0.8, 2, 10
#: a task is admitted from this reliability of a replicate on, and if its span is so many standard errors
ADMITTED, SPAN = 0.5, 3.0


@dataclass(frozen=True)
class Reliability:
    """What the scores of one task say about its noise."""

    #: variance of the expected scores among the better configurations, and of one run around them
    signal: float
    noise: float
    #: expected score of the best configuration, chosen on other seeds, less that of the median one
    span: float
    #: seeds of the table on the task
    seeds: int

    def of(self, seeds: float) -> float:
        """Reliability of a mean over so many seeds, in [0, 1]."""
        total = self.signal + self.noise / seeds
        return self.signal / total if total > 0 else 0.0

    @property
    def replicate(self) -> float:
        """Reliability of a replicate: the mean over half of the seeds."""
        return self.of(max(self.seeds // 2, 1))

    @property
    def standard_error(self) -> float:
        """Standard error of a replicate of one configuration."""
        return float(np.sqrt(self.noise / max(self.seeds // 2, 1)))

    @property
    def admitted(self) -> bool:
        """Whether a board may average over the task."""
        return self.replicate >= ADMITTED and self.span >= SPAN * self.standard_error

    @property
    def needed(self) -> int:
        """Seeds that the task needs: the least even number from FEWEST to MOST for which a replicate has a reliability of
        TARGET, MOST where none has."""
        return next((n for n in range(FEWEST, MOST, 2) if self.of(n / 2) >= TARGET), MOST)


def reliability(scores: np.ndarray, direction: str = "max", seeds: int | None = None) -> Reliability:
    """Estimate the reliability of one task.

    Args:
        scores: validation scores, float64 [configurations, seeds], NaN where a run diverged; at least two seeds, all of
            them run on all configurations.
        direction: max or min, which way the score improves.
        seeds: seeds that the table has on the task; those of ``scores`` by default.

    Returns:
        a Reliability; its variances are means over both ways to split the seeds in halves of even and odd position.

    Raises:
        ValueError: fewer than two seeds or four configurations.
    """
    y = np.asarray(scores, dtype=float) * sign_of(direction)
    if y.ndim != 2 or y.shape[1] < 2 or y.shape[0] < 4:
        raise ValueError(f"scores have shape {y.shape}; at least 4 configurations and 2 seeds are needed")
    y = _bounded(y)
    parts = [_part(y, slice(0, None, 2), slice(1, None, 2)), _part(y, slice(1, None, 2), slice(0, None, 2))]
    signal, noise, span = np.mean(parts, axis=0)
    return Reliability(float(max(signal, 0.0)), float(noise), float(span), y.shape[1] if seeds is None else seeds)


def _bounded(y: np.ndarray) -> np.ndarray:
    """Scores less the median of their seed, and no lower than their lower quartile, a diverged run's included: how bad a bad
    run is does not count."""
    finite = np.isfinite(y)
    y = y - [np.median(column[ok]) if ok.any() else 0.0 for column, ok in zip(y.T, finite.T, strict=True)]
    floor = np.quantile(y[finite], 0.25) if finite.any() else 0.0
    return np.where(finite, np.maximum(y, floor), floor)


def _part(y: np.ndarray, choosing: slice, scoring: slice) -> tuple[float, float, float]:
    """Variances and span; the better half and the best are chosen on some seeds. The noise is that of the better half on all
    seeds where too few are left to score."""
    means = y[:, choosing].mean(axis=1)
    order = np.argsort(-means, kind="stable")
    better = order[: len(y) // 2]
    held = y[:, scoring].mean(axis=1)
    if y[:, scoring].shape[1] > 1:
        signal, noise = components(y[better][:, scoring])
    else:  # two or three seeds: the covariance of the halves is the signal, as the noise of both is independent
        _, noise = components(y[better])
        signal = float(np.cov(means[better], held[better])[0, 1])
    return signal, noise, float(held[order[0]] - np.median(held))


def components(y: np.ndarray) -> tuple[float, float]:
    """Variance of the configurations' expected scores (may be negative) and of a run around them, from float64
    [configurations, seeds ≥ 2]: a two-way analysis of variance without interaction (Searle et al., 1992, §4)."""
    n, k = y.shape
    centred = y - y.mean(axis=0)
    means = centred.mean(axis=1)
    noise = float(((centred - means[:, None]) ** 2).sum() / ((n - 1) * (k - 1)))
    return float(means.var(ddof=1) - noise / k), noise


def of_table(
    table, workload: str, task_ids: Sequence[str] | None = None, series: str = "valid_score"
) -> dict[str, Reliability]:
    """Reliability of the tasks of a table in a series of scores, from the configurations that are set apart (the first
    SET_APART of the Sobol part): task → Reliability.

    A task counts with the seeds that all of those configurations were run with; one with a single seed is left out.
    """
    frame = table.tasks[table.tasks["workload"] == workload].set_index("task_id")
    ids = list(frame.index) if task_ids is None else list(task_ids)
    apart = (table.origins(workload) == "sobol").to_numpy().nonzero()[0][:SET_APART]
    valid, ran = table.final(workload, ids, series)[:, apart], table.ran(workload, ids)[:, apart]
    out = {}
    for task_id, scores, made in zip(ids, valid, ran, strict=True):
        kept = made.any(axis=1)
        seeds = np.flatnonzero(made[kept].all(axis=0)) if kept.any() else []
        if len(seeds) >= 2 and kept.sum() >= 4:
            out[task_id] = reliability(scores[kept][:, seeds], frame.loc[task_id, "direction"])
    return out


__all__ = ["Reliability", "components", "of_table", "reliability"]
