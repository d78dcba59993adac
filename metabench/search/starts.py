"""Where the first trials of a search come from: the same for every method, so that methods are compared on equal terms.

``own``: the method chooses from the first trial on. ``random5``: five random configurations, shared by all methods for
one task and seed. ``portfolio3``: the first three of the greedy portfolio fitted on the meta-training tasks. ``given5``:
the five that an imported table prescribes for the task and seed (:mod:`metabench.table.starts`).
"""

from __future__ import annotations

import hashlib

import numpy as np

#: start → trials that it gives
STARTS = {"own": 0, "random5": 5, "portfolio3": 3, "given5": 5}
#: those of a board that does not say
USUAL = ("own", "random5", "portfolio3")


def random_start(task_id: str, seed: int, n_candidates: int, size: int = STARTS["random5"]) -> list[int]:
    """Distinct random pool positions that depend on the task and the seed alone."""
    digest = hashlib.sha256(f"random{size}/{task_id}/{seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return rng.permutation(n_candidates)[:size].tolist()
