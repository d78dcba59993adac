"""Whether a table's pool holds what people would reach without it: its best configuration against the workload's default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metabench import direction


@dataclass(frozen=True)
class AgainstDefault:
    """One task: the pool's best by validation less the default, on test rows of other seeds, larger is better."""

    task_id: str
    gain: float
    standard_error: float
    #: seeds of each half
    seeds: int

    @property
    def at_least(self) -> bool:
        """Whether the best is no worse than the default, within two standard errors."""
        return self.gain >= -2.0 * self.standard_error


def against_default(table, workload: str, task_ids: Sequence[str] | None = None) -> list[AgainstDefault]:
    """Compare the pool's best configuration with the default on every task that has runs of it.

    The best configuration is chosen by the mean validation score over every other seed and scored on the test rows of the
    remaining seeds, and the other way round; the default is scored on the same seeds. The standard error is that of the
    mean difference over all seeds.

    Args:
        table: a table whose configurations include the default.
        workload: the workload.
        task_ids: tasks; by default all with at least two seeds of the default.

    Returns:
        a comparison per task; empty where the table has no default configuration.
    """
    origins = table.origins(workload)
    if not (origins == "default").any():
        return []
    default = int(np.flatnonzero(origins == "default")[0])
    frame = table.tasks[table.tasks["workload"] == workload].set_index("task_id")
    ids = list(frame.index) if task_ids is None else list(task_ids)
    ran = table.ran(workload, ids)
    valid, test = (table.final(workload, ids, series) for series in ("valid_score", "test_score"))
    out = []
    for task_id, made, v, t in zip(ids, ran, valid, test, strict=True):
        seeds = np.flatnonzero(made[default])
        pool = np.flatnonzero(made[:, seeds].all(axis=1)) if len(seeds) >= 2 else []
        if len(pool) < 2:
            continue
        sign = direction.sign(frame.loc[task_id, "direction"])
        v, t = sign * v[np.ix_(pool, seeds)], sign * t[np.ix_(pool, seeds)]
        v = np.where(np.isfinite(v), v, -np.inf)
        mine = t[int(np.flatnonzero(np.equal(pool, default))[0])]
        even = np.arange(len(seeds)) % 2 == 0
        gaps = np.concatenate([_gap(v[:, a], t[:, ~a], mine[~a]) for a in (even, ~even)])
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps) < 2:
            continue
        error = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
        out.append(AgainstDefault(task_id, float(gaps.mean()), error, len(seeds) // 2))
    return out


def _gap(v: np.ndarray, t: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Test score of the configuration with the best mean validation score less that of the default, by seed. A default that
    diverged counts as the worst finite score."""
    floor = np.nanmin(np.where(np.isfinite(t), t, np.nan)) if np.isfinite(t).any() else 0.0
    return t[np.argmax(v.mean(axis=1))] - np.where(np.isfinite(default), default, floor)


__all__ = ["AgainstDefault", "against_default"]
