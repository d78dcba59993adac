"""Scores of searches whose trials were made to order: their values stand in the traces, the table is the measure.

Valid regret is that of replayed searches (:mod:`metabench.scores.regret`): 0 is the best stored configuration of the task
with the seed that the search trained with (its own modulo the table's number of them), 1 the median one. A search that
may try any point of the space can do better than all that is stored; its regret is then below 0, clipped at −1 as test
regret is.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from metabench.errors import MetabenchError, UsageError
from metabench.scores.regret import Reference, Regrets
from metabench.search.continuous import from_text, to_text
from metabench.space import Space

STATUSES = ("ok", "diverged")


def outcomes(traces: pa.Table, space: Space, budget: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Validation scores, test scores (NaN where diverged) and overhead of traces (schema LIVE), float64 [cells, trials].

    Raises MetabenchError naming the first cell that is no search: of another length than the budget, with something
    that is no configuration of the space or one that is tried twice, or with a score where the status says there is none.
    """
    parts = [np.empty((len(traces), budget)) for _ in range(3)]
    for i, row in enumerate(traces.to_pylist()):
        where = f"traces: method {row['method']}, task {row['task_id']}, seed {row['seed']}"
        for name in ("configs", "status", "valid_score", "test_score", "seconds", "overhead"):
            if row[name] is None or len(row[name]) != budget or any(v is None for v in row[name]):
                n = len(row[name] or ())
                raise MetabenchError(f"{where}: {name} has {n} values, the budget is {budget}")
        try:
            texts = [to_text(space, from_text(space, text)) for text in row["configs"]]
        except UsageError as error:
            raise MetabenchError(f"{where}: {error}") from None
        if len(set(texts)) < budget:
            raise MetabenchError(f"{where}: a configuration is tried twice")
        for part, name in zip(parts, ("valid_score", "test_score", "overhead"), strict=True):
            part[i] = row[name]
        if strange := [s for s in row["status"] if s not in STATUSES]:
            raise MetabenchError(f"{where}: status {strange[0]!r} is none of {', '.join(STATUSES)}")
        ok = np.array([s == "ok" for s in row["status"]])
        if (np.isfinite(parts[0][i]) != ok).any() or (np.isfinite(parts[1][i]) != ok).any():
            raise MetabenchError(f"{where}: a trial has a score exactly if its status is ok")
    return parts[0], parts[1], parts[2]


def regrets(reference: Reference, valid: np.ndarray, test: np.ndarray, seeds: np.ndarray) -> Regrets:
    """Regrets of searches by what they observed, ``valid`` and ``test`` [groups, tasks, seeds, trials], larger is better
    and NaN where diverged."""
    seen = np.where(np.isfinite(valid), valid, -np.inf)
    incumbent = np.maximum.accumulate(seen, axis=-1)
    first = np.ones(seen.shape, dtype=bool)
    first[..., 1:] = seen[..., 1:] > incumbent[..., :-1]
    chosen = np.maximum.accumulate(np.where(first, np.arange(seen.shape[-1]), 0), axis=-1)
    return reference.regrets_by(incumbent, np.take_along_axis(test, chosen, axis=-1), seeds)
