"""The contract of meta-models: everything of a searcher, with holes, unknown features, changed spaces, and storage."""

from __future__ import annotations

import copy
import tempfile
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd

from metabench.search.base import Problem, Searcher, Stored
from metabench.search.fidelity import FidelityProblem, FidelitySearcher
from metabench.space import Float, Space
from metabench.testing.contract.fidelity import CHECKPOINTS, train
from metabench.testing.contract.requirement import POOL, ContractError, require
from metabench.testing.contract.searcher import check_searcher, planted_problem, search
from metabench.testing.planted import PlantedFamily, synthetic_source


def check_metamodel(searcher: Searcher | type[Searcher]) -> None:
    """Check a meta-model: all of :func:`check_searcher`, and sources that are one task, incomplete or without task
    features; pools and spaces other than the source's; :meth:`save` and :meth:`load` where there are any.

    Two fits on one source propose the same. Raises ContractError with one line at the first violation.
    """
    searcher = searcher() if isinstance(searcher, type) else searcher
    source = synthetic_source(8, POOL, seed=1)
    check_searcher(searcher, source)
    family = PlantedFamily(seed=1)
    problem = planted_problem(source, family, 100)
    scores = family.scores(100, problem.candidates)[:, 0]

    def trial(model: Searcher, where: Problem = problem, n: int = 6) -> list:
        def value(c: int) -> float:
            return float(scores[c % len(scores)])

        if isinstance(model, FidelitySearcher):
            return train(model, FidelityProblem(where.space, where.task, where.candidates, 2, CHECKPOINTS), value)
        return search(model, where, value, n)

    require(
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
        if not isinstance(searcher, Stored):
            raise ContractError(f"{searcher.name}: it has `save` and no `load`; a stored model must be loadable")
        _require_stored(searcher)
        with tempfile.TemporaryDirectory() as folder:
            searcher.save(folder)
            again = type(searcher).load(folder)
            require(trial(again) == trial(searcher), f"{searcher.name}: a saved and loaded model proposes otherwise")


def _require_stored(model) -> None:
    """What :meth:`MetaModel.save` needs: every attribute that it stores is named and is there."""
    fitted = sorted(n for n in vars(model) if n.endswith("_") and not n.startswith("_") and n != "source_")
    named = [*getattr(model, "arrays", ()), *getattr(model, "facts", ())]
    how = 'arrays = ("weights_",) names fitted numpy arrays, facts = ("names_",) fitted JSON values; save and load store these'
    for name in named:
        require(hasattr(model, name), f"{model.name}: `arrays` or `facts` names {name}, which fit did not set; {how}")
    own = {c for c in type(model).__mro__ if "save" in vars(c)}
    if not any(c.__name__ == "MetaModel" for c in own) or len(own) > 1:
        return  # it saves in its own way
    require(
        hasattr(model, "source_"),
        f"{model.name}: fit must set source_ = SourceSpace.fit(source, targets); save stores it",
    )
    lost = [n for n in fitted if n not in named]
    if not named and lost:
        raise ContractError(f"{model.name}: fit set {', '.join(lost)}, but save would lose it; {how}")


def _changed(problem: Problem) -> Problem:
    """The problem in a space that lost its last hyperparameter, gained one and moved a range."""
    kept = dict(list(problem.space.items())[:-1])
    rate = kept["learning_rate"]
    assert isinstance(rate, Float)
    kept["learning_rate"] = Float(rate.low / 10, rate.high, log=rate.log)
    space = Space({**kept, "clip": Float(0.1, 10.0, log=True)})
    candidates = space.sample(len(problem.candidates), seed=3)
    return replace(problem, space=space, candidates=pd.DataFrame(candidates))
