"""The contract of searchers that train configurations in parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metabench.errors import MetabenchError
from metabench.search import fidelity
from metabench.search.base import Problem
from metabench.search.fidelity import Curves, FidelityProblem, FidelitySearcher
from metabench.testing.contract.requirement import POOL, ContractError, require

#: where curves are seen, in epochs
CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)


def train(
    searcher: FidelitySearcher, problem: FidelityProblem, final: Callable[[int], float], history: Curves | None = None
) -> list[fidelity.Advance]:
    """Advances of one search to the end of its budget; curves rise towards ``final`` scores, every proposal is checked."""
    run, history = searcher.start(problem, 0), Curves(problem.checkpoints) if history is None else history
    n, grid = len(problem.candidates), problem.checkpoints
    while len(history.unfinished(n)):
        try:
            asked = fidelity.checked(run.ask(history.copy()), history, n)
        except MetabenchError as error:
            raise ContractError(f"{searcher.name}: {error}") from None
        if (advance := fidelity.affordable(asked, history, problem.epochs)) is None:
            break
        begin, end = history.epochs(advance.candidate), advance.epochs
        scores = [
            final(advance.candidate) - (0.5 + 0.1 * (advance.candidate % 7)) / e for e in grid if begin < e <= end
        ]
        diverged = next((i + 1 for i, score in enumerate(scores) if np.isnan(score)), len(scores))
        history.add(advance.candidate, scores[:diverged])
        if advance != asked:
            break
    return history.advances


def check_fidelity(searcher: FidelitySearcher, trials: Problem, scores: np.ndarray) -> None:
    """What :func:`check_searcher` asks, of searches that train in parts."""
    facts = trials.space, trials.task, trials.candidates

    def plain(c: int) -> float:
        return float(scores[c])

    problem = FidelityProblem(*facts, 4, CHECKPOINTS)
    first = train(searcher, problem, plain)
    require(first == train(searcher, problem, plain), f"{searcher.name}: one seed gave two searches")
    one, two = searcher.start(problem, 0), searcher.start(problem, 5)
    a, b = Curves(CHECKPOINTS), Curves(CHECKPOINTS)
    for _ in range(4):  # two searches side by side
        for run, history in ((one, a), (two, b)):
            candidate, epochs = run.ask(history.copy())
            reached = [e for e in CHECKPOINTS if history.epochs(candidate) < e <= epochs]
            history.add(candidate, [plain(candidate) - (0.5 + 0.1 * (candidate % 7)) / e for e in reached])
    require(a.advances == first[:4], f"{searcher.name}: a search changed because another one ran beside it")
    everything = Curves(CHECKPOINTS)
    train(searcher, FidelityProblem(*facts, POOL, CHECKPOINTS), plain, everything)
    rest = len(everything.unfinished(POOL))
    require(rest == 0, f"{searcher.name}: with epochs for all it left {rest} of {POOL} candidates unfinished")
    train(searcher, problem, lambda c: float("nan"))
    train(searcher, problem, lambda c: float("nan") if c % 2 else plain(c))
    train(searcher, problem, lambda c: 0.5)
    train(searcher, problem, lambda c: 1e6 * plain(c) - 3e6)
    train(searcher, replace(problem, task=replace(problem.task, direction="min")), lambda c: -plain(c))
    train(searcher, FidelityProblem(*facts, 4, (7,)), plain)
    train(searcher, FidelityProblem(*facts, 4, (1, 100)), plain)
    others = Curves(CHECKPOINTS)
    for c in range(0, POOL, 2):  # after advances that others made
        others.add(c, [plain(c) - 1 / e for e in CHECKPOINTS[: 1 + c % len(CHECKPOINTS)]])
    train(searcher, FidelityProblem(*facts, POOL, CHECKPOINTS), plain, others)
