"""The contract of searchers: proposals are new, reproducible and free of side effects, whatever is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from metabench.errors import UsageError
from metabench.metatrain import MetaTrain
from metabench.search.base import History, Problem, Searcher, Surrogate
from metabench.search.continuous import Suggests, Trials, from_text, to_text
from metabench.search.fidelity import FidelitySearcher
from metabench.testing.contract.fidelity import check_fidelity
from metabench.testing.contract.requirement import POOL, ContractError, require
from metabench.testing.planted import PlantedFamily, synthetic_source

#: trials of a search
TRIALS = 12
#: a long search: trials already made, of a pool
LONG, LONG_POOL = 300, 320


def search(
    searcher: Searcher, problem: Problem, value: Callable[[int], float], trials: int, seed: int = 0
) -> list[int]:
    """Proposals of one search; every proposal is checked."""
    run, history = searcher.start(problem, seed), History()
    for _ in range(trials):
        proposal = run.ask(history)
        require(
            isinstance(proposal, int | np.integer), f"{searcher.name}: ask returned {proposal!r}, not a pool position"
        )
        require(0 <= proposal < len(problem.candidates), f"{searcher.name}: proposed {proposal} outside the pool")
        require(proposal not in history, f"{searcher.name}: proposed {proposal} twice")
        history.add(int(proposal), value(int(proposal)))
    return history.candidates


def check_searcher(searcher: Searcher | type[Searcher], source: MetaTrain | None = None) -> None:
    """Check a searcher (an instance or its class), fitted on ``source`` (default: a planted family).

    Proposals are pool positions, never repeated, the same for the same seed; searches do not disturb one another;
    histories may be empty, diverged, all equal, affinely rescaled, minimised, handed over after hundreds of trials, or as
    long as the pool. The same of a :class:`~metabench.search.fidelity.FidelitySearcher`, whose proposals are advances. Where
    it names points itself (:class:`~metabench.search.continuous.Suggests`), they are of the space, never repeated, and the
    same for the same seed.

    Raises ContractError with one line at the first violation.
    """
    searcher = searcher() if isinstance(searcher, type) else searcher
    require(isinstance(searcher, Searcher), f"{searcher!r} is no metabench.search.base.Searcher")
    source = source or synthetic_source(8, POOL, seed=1)
    family = PlantedFamily(seed=1)
    problem = planted_problem(source, family, 100)
    scores = family.scores(100, problem.candidates)[:, 0]
    fitted = searcher.fit(source)
    require(fitted is searcher, f"{searcher.name}: fit must return self")
    if isinstance(searcher, FidelitySearcher):
        check_fidelity(searcher, problem, scores)
        return
    if isinstance(searcher, Suggests):
        _check_suggestions(searcher, problem, family)
        if type(searcher).ask is Searcher.ask:  # for live boards alone
            return

    def plain(c: int) -> float:
        return float(scores[c])

    first = search(searcher, problem, plain, TRIALS)
    require(first == search(searcher, problem, plain, TRIALS), f"{searcher.name}: one seed gave two searches")
    one, two = searcher.start(problem, 0), searcher.start(problem, 5)
    a, b = History(), History()
    for _ in range(4):  # two searches side by side
        for run, history in ((one, a), (two, b)):
            c = int(run.ask(history))
            history.add(c, plain(c))
    require(a.candidates == first[:4], f"{searcher.name}: a search changed because another one ran beside it")
    search(searcher, replace(problem, budget=POOL), plain, POOL)
    search(searcher, problem, lambda c: float("nan"), 6)
    search(searcher, problem, lambda c: float("nan") if c % 2 else plain(c), TRIALS)
    search(searcher, problem, lambda c: 0.5, TRIALS)
    search(searcher, problem, lambda c: 1e6 * plain(c) - 3e6, 6)
    minimised = replace(problem, task=replace(problem.task, direction="min"))
    search(searcher, minimised, lambda c: -plain(c), 6)
    _ask_late(searcher, problem, family)
    if isinstance(searcher, Surrogate) and type(searcher).predict is not Surrogate.predict:
        prediction = searcher.start(problem, 0).predict(History(), np.arange(POOL))
        shape = (prediction.mean.shape, prediction.std.shape)
        require(shape == ((POOL,), (POOL,)), f"{searcher.name}: predict returned shapes {shape} for {POOL} candidates")
        finite = np.isfinite(prediction.mean).all() and (prediction.std >= 0).all()
        require(bool(finite), f"{searcher.name}: predict returned something that is not finite, or a negative std")


def _check_suggestions(searcher: Searcher, problem: Problem, family: PlantedFamily) -> None:
    """Searches whose trials are made to order: every suggestion is checked; some diverge, or all do."""

    def search(seed: int, value: Callable[[float], float]) -> list[str]:
        run, texts, trials = searcher.start(problem, seed), [], Trials(problem.space.table([]))
        assert isinstance(run, Suggests)
        for _ in range(TRIALS):
            try:
                text = to_text(problem.space, run.suggest_config(trials))
            except UsageError as error:
                raise ContractError(f"{searcher.name}: suggested what is not of the space: {error}") from None
            require(text not in texts, f"{searcher.name}: suggested {text} twice")
            texts.append(text)
            configs = problem.space.table([from_text(problem.space, t) for t in texts])
            trials = Trials(configs, [*trials.scores, value(float(family.scores(100, configs)[-1, 0]))])
        return texts

    first = search(0, lambda score: score)
    require(first == search(0, lambda score: score), f"{searcher.name}: one seed gave two lists of suggestions")
    search(1, lambda score: float("nan"))
    search(2, lambda score: 0.5)


def _ask_late(searcher: Searcher, problem: Problem, family: PlantedFamily) -> None:
    """A proposal after LONG trials that others made, some of which diverged."""
    pool = problem.space.sample(LONG_POOL, seed=7)
    scores = family.scores(100, pool)[:, 0]
    tried = np.random.default_rng(7).permutation(LONG_POOL)[:LONG]
    history = History(tried.tolist(), scores[tried].tolist())
    proposal = searcher.start(replace(problem, candidates=pool, budget=LONG_POOL), 0).ask(history)
    fresh = 0 <= proposal < LONG_POOL and proposal not in history
    require(fresh, f"{searcher.name}: proposed {proposal} after {LONG} trials, which is not an untried candidate")


def planted_problem(source: MetaTrain, family: PlantedFamily, task: int) -> Problem:
    return Problem(source.space, family.info(task), source.configs.reset_index(drop=True), POOL)
