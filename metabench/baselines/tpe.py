"""Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) by Optuna's own TPESampler.

The space is given to Optuna explicitly, so no trial is sampled independently of the model. Optuna suggests a point of
the space, which is tried where trials are made to order. Elsewhere the untried candidate nearest to it is, and Optuna
is told that candidate's own hyperparameters with its score (not those it suggested). Inactive hyperparameters are
left out of what is told. A diverged run is told as the worst score so far. Trials of a given start are told, too.
"""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from metabench.baselines.parts.common import distances, nearest_untried, utilities
from metabench.search.base import History, Searcher
from metabench.search.continuous import Trials
from metabench.space import Choice, Float, Int, Ordinal, Parameter


class TPE(Searcher):
    """Optuna's defaults (univariate, 10 random trials first, 24 candidates for expected improvement)."""

    name = "tpe"
    version = "1"
    requires = ("optuna",)

    def begin(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=int(self.rng.integers(2**31)))
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._space: dict[str, Any] = {name: _distribution(p) for name, p in self.problem.space.items()}
        self._told = 0

    def ask(self, history: History) -> int:
        point = self.suggest_config(Trials(self.problem.candidates.iloc[history.candidates], history.scores))
        return nearest_untried(distances(self.problem, self.problem.space.table([point]))[0], history)

    def suggest_config(self, trials: Trials) -> dict[str, Any]:
        import optuna

        self._tell(trials)
        trial = self._study.ask(self._space)
        self._study.tell(
            trial, state=optuna.trial.TrialState.FAIL
        )  # what is tried is its neighbour, told when its score is known
        return self._complete(trial.params)

    def _complete(self, params: dict[str, Any]) -> dict[str, Any]:
        """What Optuna suggests as a configuration, without the inactive hyperparameters."""
        config: dict[str, Any] = {}
        for name, p in self.problem.space.items():
            if p.when is None or p.when.on_task or config.get(p.when.parent) in p.when.values:
                config[name] = 1.0 - params[name] if _reversed(p) else params[name]
        return config

    def _tell(self, trials: Trials) -> None:
        from optuna.trial import create_trial

        scores = utilities(self.problem, trials)
        table = trials.configs[list(self._space)].iloc[self._told :].astype(object)
        new = cast("list[dict[str, Any]]", table.to_dict("records"))
        for i, row in enumerate(new, self._told):
            params = {n: self._theirs(n, v) for n, v in row.items() if not pd.isna(v)}
            space = {n: self._space[n] for n in params}
            self._study.add_trial(create_trial(params=params, distributions=space, value=float(scores[i])))
        self._told = len(trials)

    def _theirs(self, name: str, value: Any) -> Any:
        """A hyperparameter's value on Optuna's scale; rounding must not push it over the end of its range."""
        p, range_ = self.problem.space[name], self._space[name]
        if not isinstance(p, Float):
            return value
        return min(max(1.0 - value if _reversed(p) else value, range_.low), range_.high)


def _reversed(p: Parameter) -> bool:
    return isinstance(p, Float) and p.reverse


def _distribution(p: Parameter):
    """A hyperparameter for Optuna; a reverse scale becomes the log scale of 1 − x."""
    from optuna import distributions as d

    if isinstance(p, Choice | Ordinal):
        return d.CategoricalDistribution(p.options)
    if isinstance(p, Int):
        return d.IntDistribution(int(p.low), int(p.high), log=p.log)
    if p.reverse:
        return d.FloatDistribution(1.0 - p.high, 1.0 - p.low, log=True)
    return d.FloatDistribution(p.low, p.high, log=p.log)
