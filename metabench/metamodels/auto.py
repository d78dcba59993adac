"""A good default: averages two models by how well they fit the trials so far, with a guard against negative transfer.

Bayesian model averaging (Hoeting, Madigan, Raftery & Volinsky, "Bayesian model averaging: a tutorial", Statistical Science,
1999) over what was learned from the source and a process that was told nothing, the guard against negative transfer:
where the trials speak for the latter (a Bayes factor: Kass & Raftery, "Bayes factors", JASA 1995) the search goes on
without the source. Proposals maximise expected improvement (Jones, Schonlau & Welch, 1998) of regret.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from scipy import special

from metabench.baselines.gp import GP
from metabench.errors import UsageError
from metabench.metamodels.empirical_gp import EmpiricalGP
from metabench.metamodels.parts.common import MetaModel, check_source, utilities
from metabench.metamodels.parts.gp import PoolGP
from metabench.metamodels.parts.matern import distances, matern
from metabench.metamodels.portfolio import Portfolio, regrets
from metabench.metamodels.task_gp import TaskGP
from metabench.search.base import History, MetaTrain, Prediction, expected_improvement

#: what predicts, as likely as one another before a trial is made
PREDICTORS: dict[str, type[EmpiricalGP]] = {c.name: c for c in (TaskGP, EmpiricalGP)}
#: quantiles of a task's scores at which their regret is kept, and the least that a normal score more is worth of it: there
#: is something to choose between even where all or nothing has been found
_QUANTILES, _LEAST = (np.arange(32) + 0.5) / 32, 0.01


class Auto(MetaModel):
    """Averages ``task_gp`` and ``empirical_gp`` and falls back to ``gp`` where transfer hurts.

    The first ``opening`` trials are those of a portfolio. Then each predictor is weighed by the likelihood that it gives to
    the trials. A Matérn process with a constant mean takes part and starts ``doubt`` behind in log odds. Once it weighs more
    than the others together, ``gp`` proposes. Improvement is measured in the regret that normal scores had on the source
    tasks, so that a lucky trial counts no more than what it scored.

    The experiments behind these choices are recorded in docs/notes/auto.md.
    """

    name = "auto"
    version = "1"
    twin = "gp"
    built_on = (GP, EmpiricalGP, Portfolio, TaskGP)
    arrays = ("regrets_",)
    grid: ClassVar[dict[str, tuple]] = {"opening": (0, 1, 3), "doubt": (1.0, 3.0, 10.0)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("opening",)

    def __init__(self, opening: int = 0, doubt: float = 3.0):
        if opening < 0 or doubt < 0:
            raise UsageError("auto: opening and doubt must not be negative")
        self.opening = opening
        self.doubt = doubt

    # ---------------------------------------------------------------- learning
    def fit(self, source: MetaTrain) -> Auto:
        check_source(source, self.name)
        whole = _joined(source)
        kinds: dict[str, type[MetaModel]] = self._kinds()
        self.members_ = {name: kind().fit(whole) for name, kind in kinds.items()}
        self.regrets_ = typical_regrets(whole)
        self.source_ = self.members_[TaskGP.name].source_
        return self

    def _kinds(self) -> dict[str, type[MetaModel]]:
        return {**PREDICTORS, **({Portfolio.name: Portfolio} if self.opening else {})}

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the model and, in folders of their own, its members."""
        for name, member in self.members_.items():
            member.save(Path(folder) / name)
        return super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> Self:
        model = super().load(folder)
        model.members_ = {name: kind.load(Path(folder) / name) for name, kind in model._kinds().items()}
        return model

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        run = {}
        for i, (name, member) in enumerate(self.members_.items()):
            with warnings.catch_warnings():
                if i:  # what there is to tell of a space that changed, the first has told
                    warnings.simplefilter("ignore")
                run[name] = member.start(self.problem, self.seed)
        x = self.source_.pool_coordinates(self.problem)
        noise = run[TaskGP.name].noise
        plain = PoolGP(lambda i: matern(distances(x[i : i + 1], x)[0]), np.ones(len(x)), noise)
        self._parts = [(run[n]._gp, run[n]._mean, run[n].noise) for n in PREDICTORS]
        self._parts.append((plain, np.zeros(len(x)), noise))
        self._opener, self._twin = run.get(Portfolio.name), GP().start(self.problem, self.seed)

    def weights(self, history: History) -> np.ndarray:
        """Posterior probabilities of the predictors and, last, of the process that knows nothing, float64 [predictors + 1]."""
        tried, y = utilities(self.problem, history)
        log = np.append(np.full(len(PREDICTORS), -np.log(len(PREDICTORS))), -self.doubt)
        if len(y) > 1:
            for i, (gp, mean, _) in enumerate(self._parts):
                gp.observe(tried)
                log[i] += gp.evidence(mean, y)
        return special.softmax(log)

    def _posterior(self, history: History) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """Of normal scores as they would be observed: mean and variance [pool] of the average, the best trial's, and the
        weights. What the averaged disagree on is part of the variance (Hoeting et al., 1999, Eq. 4)."""
        tried, y = utilities(self.problem, history)
        weights = self.weights(history)
        means, variances, best = [], [], []
        for gp, prior, noise in self._parts:
            gp.observe(tried)
            mean, variance, a, b = gp.posterior(prior, y)
            means.append(mean)
            variances.append(variance + noise)
            best.append((y.max() - a) / b if len(y) else -np.inf)
        mean = weights @ means
        variance = weights @ (np.array(variances) + (means - mean) ** 2)
        return mean, variance, float(weights @ best), weights

    def predict(self, history: History, candidates: np.ndarray) -> Prediction:
        """Mean and standard deviation of the normal score on the target, float64 [candidates]."""
        mean, variance, _, _ = self._posterior(history)
        return Prediction(mean[candidates], np.sqrt(variance[candidates]))

    def ask(self, history: History) -> int:
        if len(history) < self.opening and self._opener is not None:
            return self._opener.ask(history)
        mean, variance, best, weights = self._posterior(history)
        if weights[-1] > 0.5 and len(history):
            return self._twin.ask(history)
        untried = history.untried(len(mean))
        prediction = Prediction(mean[untried], np.sqrt(variance[untried]))
        return int(untried[np.argmax(regret_improvement(prediction, best, self.regrets_))])


# ---------------------------------------------------------------------------------------------- regret of normal scores
def typical_regrets(source: MetaTrain) -> np.ndarray:
    """Regret at the quantiles of a task's scores, mean over the source tasks, float64 [32], from 1 (worst) to 0 (best)."""
    rows = (np.sort(row[~np.isnan(row)])[::-1] for row in regrets(source))
    return np.mean([np.interp(_QUANTILES, (np.arange(len(r)) + 0.5) / len(r), r) for r in rows if len(r)], axis=0)


def regret_improvement(prediction: Prediction, best: float, regret: np.ndarray) -> np.ndarray:
    """E[max(0, r(best) − r(f))] of a normal score f, float64 [candidates], for regrets r at :data:`_QUANTILES`.

    r is linear between the quantiles, so that this is the integral of −r'(z) P(f > z) from ``best`` on: a sum of ordinary
    expected improvements, one for each piece. A ``best`` of −∞ gives expected regret, up to a constant.
    """
    knots = special.ndtri(_QUANTILES)
    slope = np.maximum(-np.diff(regret) / np.diff(knots), _LEAST)
    slope = np.concatenate([[_LEAST], slope, slope[-1:]])
    lowest = float(np.min(prediction.mean - 8.0 * prediction.std))
    begins = np.maximum(np.append(min(lowest, knots[0]), knots), best)
    above = np.stack([expected_improvement(prediction, z) for z in begins])
    return slope @ (above - np.vstack([above[1:], np.zeros_like(above[:1])]))


def _joined(source: MetaTrain) -> MetaTrain:
    """All tasks of a source, those of meta-validation among them."""
    if source.valid is None or not len(source.valid.tasks):
        return source
    return MetaTrain.union([replace(source, valid=None), replace(source.valid, valid=None)])
