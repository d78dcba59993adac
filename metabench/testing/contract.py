"""The public contract of plug-ins: what every searcher, meta-model and workload must stand, checked on small problems.

``metabench check my_pkg:MyModel`` runs it; the project's own tests run it on every built-in.
"""

from __future__ import annotations

import copy
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metabench import registry
from metabench.errors import MetabenchError, UsageError
from metabench.metatrain import MetaTrain
from metabench.search import fidelity
from metabench.search.base import History, Problem, Searcher, Surrogate
from metabench.search.continuous import Suggests, Trials, from_text, to_text
from metabench.search.fidelity import Curves, FidelityProblem, FidelitySearcher
from metabench.space import Float, Space
from metabench.tasks.sample import sample
from metabench.testing.planted import PlantedFamily, synthetic_source
from metabench.workloads.base import Workload

POOL, TRIALS = 40, 12
#: a long search: trials already made, of a pool
LONG, LONG_POOL = 300, 320
#: where curves are seen, in epochs
CHECKPOINTS = (1, 2, 3, 5, 8, 12, 18, 26, 36, 50)


class ContractError(MetabenchError):
    """A plug-in breaks the contract; the message says where."""


def _require_stored(model) -> None:
    """What :meth:`MetaModel.save` needs: every attribute that it stores is named and is there."""
    fitted = sorted(n for n in vars(model) if n.endswith("_") and not n.startswith("_") and n != "source_")
    named = [*getattr(model, "arrays", ()), *getattr(model, "facts", ())]
    how = 'arrays = ("weights_",) names fitted numpy arrays, facts = ("names_",) fitted JSON values; save and load store these'
    for name in named:
        _require(hasattr(model, name), f"{model.name}: `arrays` or `facts` names {name}, which fit did not set; {how}")
    own = {c for c in type(model).__mro__ if "save" in vars(c)}
    if not any(c.__name__ == "MetaModel" for c in own) or len(own) > 1:
        return  # it saves in its own way
    _require(
        hasattr(model, "source_"),
        f"{model.name}: fit must set source_ = SourceSpace.fit(source, targets); save stores it",
    )
    lost = [n for n in fitted if n not in named]
    if not named and lost:
        raise ContractError(f"{model.name}: fit set {', '.join(lost)}, but save would lose it; {how}")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ContractError(what)


def search(
    searcher: Searcher, problem: Problem, value: Callable[[int], float], trials: int, seed: int = 0
) -> list[int]:
    """Proposals of one search; every proposal is checked."""
    run, history = searcher.start(problem, seed), History()
    for _ in range(trials):
        proposal = run.ask(history)
        _require(
            isinstance(proposal, int | np.integer), f"{searcher.name}: ask returned {proposal!r}, not a pool position"
        )
        _require(0 <= proposal < len(problem.candidates), f"{searcher.name}: proposed {proposal} outside the pool")
        _require(proposal not in history, f"{searcher.name}: proposed {proposal} twice")
        history.add(int(proposal), value(int(proposal)))
    return history.candidates


def check(plugin: Any) -> None:
    """Check a plug-in of any kind: a class or an instance of it, a built-in's name, or ``my_pkg:MyModel``.

    Workloads are tried on a made-up task of their view. Raises UsageError for an unknown name, MetabenchError for a
    plug-in that lacks a package, ContractError with one line at the first violation, which an exception in the plug-in's
    code is too.
    """
    thing = _named(plugin) if isinstance(plugin, str) else plugin
    cls = thing if isinstance(thing, type) else type(thing)
    name = getattr(thing, "name", cls.__name__)
    if lacking := registry.lacks(thing):
        raise MetabenchError(f"{name} {lacking}")
    try:
        if issubclass(cls, Searcher):
            learns = cls.fit is not Searcher.fit
            (check_metamodel if learns else check_searcher)(thing)
        elif issubclass(cls, Workload):
            check_workload(thing, sample(cls.view))
        else:
            raise UsageError(f"{plugin!r} is neither a Searcher nor a Workload")
    except MetabenchError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plug-in may raise anything
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(at.filename).name}, line {at.lineno}"
        raise ContractError(f"{name}: raised {type(error).__name__}: {error} ({place})") from error


def _named(spec: str) -> Any:
    if ":" in spec:
        return registry.from_spec(spec)
    kinds = ("baselines", "metamodels", "workloads")
    for kind in kinds:
        if spec in registry.names(kind):
            return registry.load(kind, spec)
    raise registry.suggest(spec, [name for kind in kinds for name in registry.names(kind)], "plug-in")


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
    _require(isinstance(searcher, Searcher), f"{searcher!r} is no metabench.search.base.Searcher")
    source = source or synthetic_source(8, POOL, seed=1)
    family = PlantedFamily(seed=1)
    problem = _problem(source, family, 100)
    scores = family.scores(100, problem.candidates)[:, 0]
    fitted = searcher.fit(source)
    _require(fitted is searcher, f"{searcher.name}: fit must return self")
    if isinstance(searcher, FidelitySearcher):
        _check_fidelity(searcher, problem, scores)
        return
    if isinstance(searcher, Suggests):
        _check_suggestions(searcher, problem, family)
        if type(searcher).ask is Searcher.ask:  # for live boards alone
            return

    def plain(c: int) -> float:
        return float(scores[c])

    first = search(searcher, problem, plain, TRIALS)
    _require(first == search(searcher, problem, plain, TRIALS), f"{searcher.name}: one seed gave two searches")
    one, two = searcher.start(problem, 0), searcher.start(problem, 5)
    a, b = History(), History()
    for _ in range(4):  # two searches side by side
        for run, history in ((one, a), (two, b)):
            c = int(run.ask(history))
            history.add(c, plain(c))
    _require(a.candidates == first[:4], f"{searcher.name}: a search changed because another one ran beside it")
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
        _require(shape == ((POOL,), (POOL,)), f"{searcher.name}: predict returned shapes {shape} for {POOL} candidates")
        finite = np.isfinite(prediction.mean).all() and (prediction.std >= 0).all()
        _require(bool(finite), f"{searcher.name}: predict returned something that is not finite, or a negative std")


def _check_suggestions(searcher: Searcher, problem: Problem, family: PlantedFamily) -> None:
    """Searches whose trials are made to order: every suggestion is checked; some diverge, or all do."""

    def search(seed: int, value: Callable[[float], float]) -> list[str]:
        run, texts, trials = searcher.start(problem, seed), [], Trials(problem.space.table([]))
        for _ in range(TRIALS):
            try:
                text = to_text(problem.space, run.suggest_config(trials))
            except UsageError as error:
                raise ContractError(f"{searcher.name}: suggested what is not of the space: {error}") from None
            _require(text not in texts, f"{searcher.name}: suggested {text} twice")
            texts.append(text)
            configs = problem.space.table([from_text(problem.space, t) for t in texts])
            trials = Trials(configs, [*trials.scores, value(float(family.scores(100, configs)[-1, 0]))])
        return texts

    first = search(0, lambda score: score)
    _require(first == search(0, lambda score: score), f"{searcher.name}: one seed gave two lists of suggestions")
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
    _require(fresh, f"{searcher.name}: proposed {proposal} after {LONG} trials, which is not an untried candidate")


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


def _check_fidelity(searcher: FidelitySearcher, trials: Problem, scores: np.ndarray) -> None:
    """What :func:`check_searcher` asks, of searches that train in parts."""
    facts = trials.space, trials.task, trials.candidates

    def plain(c: int) -> float:
        return float(scores[c])

    problem = FidelityProblem(*facts, 4, CHECKPOINTS)
    first = train(searcher, problem, plain)
    _require(first == train(searcher, problem, plain), f"{searcher.name}: one seed gave two searches")
    one, two = searcher.start(problem, 0), searcher.start(problem, 5)
    a, b = Curves(CHECKPOINTS), Curves(CHECKPOINTS)
    for _ in range(4):  # two searches side by side
        for run, history in ((one, a), (two, b)):
            candidate, epochs = run.ask(history.copy())
            reached = [e for e in CHECKPOINTS if history.epochs(candidate) < e <= epochs]
            history.add(candidate, [plain(candidate) - (0.5 + 0.1 * (candidate % 7)) / e for e in reached])
    _require(a.advances == first[:4], f"{searcher.name}: a search changed because another one ran beside it")
    everything = Curves(CHECKPOINTS)
    train(searcher, FidelityProblem(*facts, POOL, CHECKPOINTS), plain, everything)
    rest = len(everything.unfinished(POOL))
    _require(rest == 0, f"{searcher.name}: with epochs for all it left {rest} of {POOL} candidates unfinished")
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


def check_metamodel(searcher: Searcher | type[Searcher]) -> None:
    """Check a meta-model: all of :func:`check_searcher`, and sources that are one task, incomplete or without task
    features; pools and spaces other than the source's; :meth:`save` and :meth:`load` where there are any.

    Two fits on one source propose the same. Raises ContractError with one line at the first violation.
    """
    searcher = searcher() if isinstance(searcher, type) else searcher
    source = synthetic_source(8, POOL, seed=1)
    check_searcher(searcher, source)
    family = PlantedFamily(seed=1)
    problem = _problem(source, family, 100)
    scores = family.scores(100, problem.candidates)[:, 0]

    def trial(model: Searcher, where: Problem = problem, n: int = 6) -> list:
        def value(c: int) -> float:
            return float(scores[c % len(scores)])

        if isinstance(model, FidelitySearcher):
            return train(model, FidelityProblem(where.space, where.task, where.candidates, 2, CHECKPOINTS), value)
        return search(model, where, value, n)

    _require(
        trial(copy.deepcopy(searcher).fit(source)) == trial(searcher), f"{searcher.name}: two fits propose differently"
    )
    blank = replace(problem, task=replace(problem.task, features={}))
    trial(searcher, blank)
    trial(copy.deepcopy(searcher).fit(source.select([0])))
    holes = source.scores.copy()
    holes[np.random.default_rng(0).random(holes.shape[:2]) < 0.3] = np.nan
    observed = ~np.isnan(holes).all(axis=2)
    trial(copy.deepcopy(searcher).fit(replace(source, scores=holes, observed=observed)))
    bare = [replace(t, features={}) for t in source.tasks]
    trial(copy.deepcopy(searcher).fit(replace(source, tasks=bare)))
    with warnings.catch_warnings():  # a changed space is told in one line
        warnings.simplefilter("ignore")
        other = source.space.sample(POOL, seed=99)
        trial(searcher, replace(problem, candidates=other))
        trial(searcher, _changed(problem))
    if hasattr(searcher, "save"):
        _require_stored(searcher)
        with tempfile.TemporaryDirectory() as folder:
            searcher.save(folder)
            again = type(searcher).load(folder)
            _require(trial(again) == trial(searcher), f"{searcher.name}: a saved and loaded model proposes otherwise")


def check_workload(workload, arrays, n: int = 6) -> None:
    """Check a workload on a task's arrays: runs together and by an ordinary loop have the same curves in float64, finite
    for most configurations of its space; in float32 a run's curve is the same, to the last bit, alone and in company.

    Raises ContractError with one line at the first violation.
    """
    import torch

    from metabench.training import run_cohort

    workload = workload() if isinstance(workload, type) else workload
    workload.space.validate(workload.space.default())
    configs = workload.space.sample(n, seed=0)
    configs["learning_rate"] = np.minimum(configs["learning_rate"], 1e-3)
    curves = [
        run_cohort(workload, arrays, configs, np.arange(n), (1, 2), backend=b, dtype=torch.float64)
        for b in ("sequential", "batched")
    ]
    for name in ("train_loss", "valid_loss", "test_loss", "valid_score"):
        slow, fast = (getattr(c, name) for c in curves)
        _require(np.isfinite(slow).any(), f"{workload.name}: no configuration gives a finite {name}")
        gap = np.nanmax(np.abs(slow - fast) / np.maximum(np.abs(slow), 1e-3))
        _require(gap < 1e-5, f"{workload.name}: {name} of cohort and plain network differ by {gap:.1e}")
    _twins(workload, arrays, configs)
    _alone_and_together(workload, arrays, configs)
    config = configs.iloc[0].to_dict()
    network = workload.build(arrays, config, 0)
    true = sum(p.numel() for p in network.parameters())
    said = workload.params(arrays, config)
    _require(true == said, f"{workload.name}: params says {said}, the network has {true}")


def _twins(workload, arrays, configs: pd.DataFrame) -> None:
    """An epoch of each run, to 1e-8 of what an ordinary loop makes of it."""
    import torch

    from metabench.training.data import Data

    data = Data.of(arrays, "cpu", torch.float64)
    for i, config in enumerate(configs.to_dict("records")):
        plain = workload.alone(arrays, config, i, data, 2)
        plain.epoch(0)
        with torch.no_grad():
            runs = workload.learners(arrays, configs.iloc[[i]], np.array([i]), data, 2)
            runs.begin(0)
            for step in range(runs.steps):
                runs.advance(step)
            found = runs.evaluate()
        for part, (loss, _) in plain.evaluate().items():
            gap = abs(found[part][0].item() - loss) / max(abs(loss), 1e-3)
            _require(
                gap < 1e-8, f"{workload.name}: {part} loss of cohort and plain network differ by {gap:.1e} in float64"
            )


def _alone_and_together(workload, arrays, configs: pd.DataFrame) -> None:
    from metabench.training import run_cohort

    same = configs.iloc[[0, 0, 1, 0]].reset_index(drop=True)  # the seeds make runs of one shape company
    seeds = np.array([3, 0, 0, 5])
    together = run_cohort(workload, arrays, same, seeds, (1, 2), backend="batched")
    alone = run_cohort(workload, arrays, same.iloc[[1]], seeds[[1]], (1, 2), backend="batched")
    for name in ("train_loss", "valid_loss", "valid_score"):
        equal = np.array_equal(getattr(together, name)[1], getattr(alone, name)[0], equal_nan=True)
        _require(equal, f"{workload.name}: {name} of a run depends on the runs it is trained with")


def _problem(source: MetaTrain, family: PlantedFamily, task: int) -> Problem:
    return Problem(source.space, family.info(task), source.configs.reset_index(drop=True), POOL)


def _changed(problem: Problem) -> Problem:
    """The problem in a space that lost its last hyperparameter, gained one and moved a range."""
    kept = dict(list(problem.space.items())[:-1])
    rate = kept["learning_rate"]
    kept["learning_rate"] = Float(rate.low / 10, rate.high, log=rate.log)
    space = Space({**kept, "clip": Float(0.1, 10.0, log=True)})
    candidates = space.sample(len(problem.candidates), seed=3)
    return replace(problem, space=space, candidates=pd.DataFrame(candidates))
