"""What to use when there is no time to choose: a start, the best predictor for the trials seen, and a guard.

Which Gaussian process predicts after how many trials is settled by held-out tasks. The guard against negative transfer
is a Bayes factor (Kass & Raftery, "Bayes factors", JASA 1995) between what was learned from the source and a process
that was told nothing: where the trials speak for the latter the search goes on without transfer.
"""

from __future__ import annotations

import os
import warnings
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy import stats

from metabench.baselines.gp import GP
from metabench.errors import MetabenchError, UsageError
from metabench.metamodels._gp import PoolGP
from metabench.metamodels._matern import distances, matern
from metabench.metamodels.common import MetaModel, check_source, utilities
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.portfolio import Portfolio
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History, MetaTrain, Prediction, Problem

#: what may predict; the first does unless another is clearly better
PREDICTORS: dict[str, type[EmpiricalGP]] = {c.name: c for c in (TaskGP, EmpiricalGP)}
#: numbers of trials from which on a predictor is chosen anew, and random histories of a held-out task for each
LENGTHS, DRAWS = (0, 1, 3, 6, 12, 25), 8
#: share of the source's families that judge when there are no meta-validation tasks
_HELD = 0.25


class Auto(MetaModel):
    """The first ``opening`` trials are a portfolio's; then the predictor chosen for that many trials proposes.

    Predictors are judged on the meta-validation tasks (a quarter of the families where there are none) by the
    log-likelihood of the scores that a history does not show: ``task_gp`` is used unless ``empirical_gp`` is better by more
    than a standard error. Then they learn from all tasks, those that judged included. Where the trials are less likely
    under the predictor than under a Matérn process with a constant mean, by more than ``doubt`` in log likelihood, the
    proposal is that of ``gp``.
    """

    name = "auto"
    twin = "gp"
    facts = ("chosen_",)
    grid: ClassVar[dict[str, tuple]] = {"opening": (0, 1, 3), "doubt": (1.0, 3.0, 10.0)}

    def __init__(self, opening: int = 0, doubt: float = 3.0):
        if opening < 0 or doubt < 0:
            raise UsageError("auto: opening and doubt must not be negative")
        self.opening = opening
        self.doubt = doubt

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> Auto:
        check_source(source, self.name)
        shown, held = _parted(source)
        self.chosen_ = [next(iter(PREDICTORS))] * len(LENGTHS)
        if held is not None:
            self.chosen_ = _clearly_best({n: _judged(cls().fit(shown), held) for n, cls in PREDICTORS.items()})
        whole = _joined(source)
        self.members_: dict[str, MetaModel] = {n: PREDICTORS[n]().fit(whole) for n in dict.fromkeys(self.chosen_)}
        if self.opening:
            self.members_[Portfolio.name] = Portfolio().fit(whole)
        self.source_ = next(iter(self.members_.values())).source_
        return self

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the model and, in folders of their own, its members."""
        for name, member in self.members_.items():
            member.save(Path(folder) / name)
        return super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        model = super().load(folder)
        kinds = PREDICTORS | {Portfolio.name: Portfolio}
        if len(model.chosen_) != len(LENGTHS) or not set(model.chosen_) <= set(PREDICTORS):
            raise MetabenchError(f"{folder}: the saved auto is malformed (its predictors are {model.chosen_})")
        names = [*dict.fromkeys(model.chosen_), *[Portfolio.name] * bool(model.opening)]
        model.members_ = {n: kinds[n].load(Path(folder) / n) for n in names}
        return model

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._run = {}
        for i, (name, member) in enumerate(self.members_.items()):
            with warnings.catch_warnings():
                if i:  # what there is to tell of a space that changed, the first has told
                    warnings.simplefilter("ignore")
                self._run[name] = member.start(self.problem, self.seed)
        x = self.source_.pool_coordinates(self.problem)
        noise = self._run[self.chosen_[0]].noise
        self._plain = PoolGP(lambda i: matern(distances(x[i : i + 1], x)[0]), np.ones(len(x)), noise)
        self._twin = GP().start(self.problem, self.seed)

    def predictor(self, history: History) -> EmpiricalGP:
        """The predictor for so many trials, begun on this problem."""
        return self._run[self.chosen_[bisect_right(LENGTHS, len(history)) - 1]]

    def disagreement(self, history: History) -> float:
        """By how much the log likelihood of the trials is higher without the source than with it."""
        if len(history) < 2:
            return 0.0
        tried, y = utilities(self.problem, history)
        predictor = self.predictor(history)
        predictor._gp.observe(tried)
        self._plain.observe(tried)
        without = evidence(self._plain, tried, np.zeros(len(predictor._mean)), y)
        return without - evidence(predictor._gp, tried, predictor._mean, y)

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        return self.predictor(history).predict(history, candidates)

    def ask(self, history: History) -> int:
        if len(history) < self.opening:
            return self._run[Portfolio.name].ask(history)
        doubted = self.disagreement(history) > self.doubt
        return self._twin.ask(history) if doubted else self.predictor(history).ask(history)


def evidence(gp: PoolGP, tried: np.ndarray, mean: np.ndarray, y: np.ndarray) -> float:
    """log p(y) of the trials that ``gp`` has observed, at the affine map of its posterior (Rasmussen & Williams, 2006,
    Eq. 2.30), up to a constant that depends on their number alone."""
    _, _, a, b = gp.posterior(mean, y)
    n = len(y)
    white = gp.whiten(np.column_stack([(y - a) / b - mean[tried], np.eye(n)]))
    return float(np.log(np.diag(white[:, 1:])).sum() - n * np.log(b) - 0.5 * white[:, 0] @ white[:, 0])


# ---------------------------------------------------------------------------------------------- judging predictors
def _parted(source: MetaTrain) -> tuple[MetaTrain, MetaTrain | None]:
    """The tasks to learn from, and those that judge: meta-validation, or a quarter of the families; None with one."""
    if source.valid is not None and len(source.valid.tasks):
        return source, source.valid
    family = np.unique([t.family for t in source.tasks], return_inverse=True)[1]
    n = family.max() + 1
    held = np.random.default_rng([n, 0xA07]).permutation(n)[family] < max(1, int(_HELD * n))
    if n < 2 or not source.seen[~held].any():
        return source, None
    return source.select(np.flatnonzero(~held)), source.select(np.flatnonzero(held))


def _joined(source: MetaTrain) -> MetaTrain:
    """All tasks of a source, those of meta-validation among them."""
    if source.valid is None or not len(source.valid.tasks):
        return source
    return MetaTrain.union([replace(source, valid=None), replace(source.valid, valid=None)])


def _judged(model: EmpiricalGP, held: MetaTrain) -> np.ndarray:
    """Mean log p of what random histories do not show of each task, float64 [LENGTHS, tasks]; NaN where there is nothing."""
    out = np.full((len(LENGTHS), len(held.tasks)), np.nan)
    for t, task in enumerate(held.tasks):
        ran, z, scores = np.flatnonzero(held.seen[t]), held.normal_scores[t], held.scores[t, :, 0]
        problem = Problem(held.space, task, held.configs, len(held.configs))
        lengths = [n for n in LENGTHS if n < len(ran)]
        said = np.empty((len(lengths), DRAWS))
        for d in range(DRAWS):
            search, order = model.start(problem, d), np.random.default_rng([t, d, 0xA07]).permutation(ran)
            for i, n in enumerate(lengths):
                history = History(order[:n].tolist(), scores[order[:n]].tolist())
                p = search.predict(history, order[n:])
                density = stats.norm.logpdf(z[order[n:]], p.mean, np.sqrt(p.std**2 + model.noise))
                said[i, d] = density.mean()
        out[: len(lengths), t] = said.mean(1)
    return out


def _clearly_best(said: dict[str, np.ndarray]) -> list[str]:
    """For each of LENGTHS the first predictor, or the one that is better than it by the most standard errors over tasks,
    if by more than one, from what they :func:`_judged`."""
    (first, reference), *others = said.items()
    chosen, margin = [first] * len(LENGTHS), np.ones(len(LENGTHS))
    for name, values in others:
        for i, gain in enumerate(values - reference):
            gain = gain[~np.isnan(gain)]
            error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
            if np.isfinite(error) and gain.mean() > margin[i] * error:
                chosen[i], margin[i] = name, gain.mean() / max(error, 1e-12)
    return chosen
