"""The search loop: propose, look the score up, tell; until the budget is spent."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from metabench.errors import MetabenchError
from metabench.search.base import History, Problem, Searcher


@dataclass(frozen=True)
class Searched:
    """One search: what was tried, in order, the raw scores, and the method's own seconds before each proposal (0 for trials
    that were given to it)."""

    tried: list[int]
    scores: list[float]
    overhead: list[float]


def search(
    searcher: Searcher,
    problem: Problem,
    seed: int,
    score: Callable[[int], float],
    given: Sequence[int] = (),
    trials: int | None = None,
) -> Searched:
    """Let a fitted searcher search.

    Args:
        searcher: it is started anew.
        problem: the search to be done.
        seed: search seed.
        score: position in the pool → raw score.
        given: positions that were tried before its first proposal; they count as trials.
        trials: trials in all; None: the problem's budget.

    Returns:
        The search.

    Raises:
        MetabenchError: A proposal is no position of the pool, or was tried before.
    """
    trials = problem.budget if trials is None else trials
    tried = list(given[:trials])
    scores = [score(candidate) for candidate in tried]
    overhead = [0.0] * len(tried)
    began = time.perf_counter()
    started = searcher.start(problem, seed)
    while len(tried) < trials:
        # a fresh history every time: what a method does to it does not reach the record
        proposal = started.ask(History(list(tried), list(scores)))
        overhead.append(time.perf_counter() - began)
        tried.append(checked(proposal, tried, len(problem.candidates)))
        scores.append(score(tried[-1]))
        began = time.perf_counter()
    return Searched(tried, scores, overhead)


def checked(proposal: Any, tried: Sequence[int], n_candidates: int) -> int:
    """A proposal as int. Raises MetabenchError when it is no position of the pool or was tried before."""
    trial = len(tried) + 1
    try:
        candidate = operator.index(proposal)
    except TypeError:
        raise MetabenchError(f"trial {trial}: proposed {proposal!r}, which is no pool position") from None
    if not 0 <= candidate < n_candidates:
        raise MetabenchError(f"trial {trial}: proposed {candidate}, outside the pool 0 … {n_candidates - 1}")
    if candidate in tried:
        raise MetabenchError(f"trial {trial}: proposed {candidate} again (first at trial {tried.index(candidate) + 1})")
    return candidate
