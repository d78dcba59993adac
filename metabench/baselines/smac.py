"""Sequential model-based algorithm configuration by SMAC3 (Lindauer et al., JMLR 2022): its facade for hyperparameters.

A random forest, expected improvement on log-scaled costs, and interleaved random configurations (Hutter, Hoos &
Leyton-Brown, LION 2011).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from metabench.baselines.parts.peers import Peer
from metabench.search.base import History
from metabench.space import Choice, Float, Int, Ordinal, Parameter, Space


class SMAC(Peer):
    """The facade's defaults but for two: the forest is fitted anew after every trial (``retrain_after`` is 8 by
    default), and expected improvement is maximised over the untried candidates, which is exact, instead of by local
    search over the space. Conditions are ConfigSpace's own. A diverged trial is told as crashed.

    It begins with the facade's Sobol design, ten points per hyperparameter but at most a quarter of the budget; trials
    of a given start count towards it.
    """

    name = "smac"
    version = "1"
    requires = ("smac",)

    def open(self, given: int) -> None:
        from ConfigSpace import Configuration
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario

        space = _config_space(self.problem.space, self.seed)
        rows = self.problem.candidates[list(self.problem.space)].astype(object)
        rows = cast("list[dict[str, Any]]", rows.to_dict("records"))
        self._configs = [Configuration(space, values=_theirs(self.problem.space, row)) for row in rows]
        self._position = {config: i for i, config in enumerate(self._configs)}
        self._pool = _maximiser(space, self._configs, self.seed)
        self._run = 0  # SMAC's name for the one run of a configuration, its own choice from the first suggestion on
        with tempfile.TemporaryDirectory() as folder:  # the facade writes its scenario down
            scenario = Scenario(
                space, output_directory=Path(folder), deterministic=True, n_trials=self.problem.budget, seed=self.seed
            )
            model = Facade.get_model(scenario)
            # neither changes a tree: threads cost far more than ten small ones, and room is made for a million leaves
            model._rf_opts |= {"n_jobs": 1, "max_leaf_nodes": len(rows)}
            size = len(Facade.get_initial_design(scenario).select_configurations())
            self._facade = Facade(
                scenario,
                model=model,
                acquisition_maximizer=self._pool,
                initial_design=Facade.get_initial_design(scenario, n_configs=max(size - given, 0)),
                config_selector=Facade.get_config_selector(scenario, retrain_after=1),
                logging_level=False,
            )

    def observe(self, candidate: int, utility: float, diverged: bool) -> None:
        from smac.runhistory import StatusType, TrialInfo, TrialValue

        status = StatusType.CRASHED if diverged else StatusType.SUCCESS
        trial = TrialInfo(self._configs[candidate], seed=self._run)
        self._facade.tell(trial, TrialValue(cost=-utility, status=status), save=False)

    def suggest(self, history: History) -> np.ndarray | int:
        self._pool.untried = history.untried(len(self._configs))
        trial = self._facade.ask()
        self._run = trial.seed
        position = self._position.get(trial.config)
        if position is None or position in history:
            return _point(self.problem.space, dict(trial.config))
        return position


def _maximiser(space, configs: list, seed: int):
    """SMAC's interface to maximisers of the acquisition function, over the untried candidates."""
    from smac.acquisition.maximizer import AbstractAcquisitionMaximizer

    class Pool(AbstractAcquisitionMaximizer):
        untried: np.ndarray

        def _maximize(self, previous_configs, n_points):
            return self._sort_by_acquisition_value([configs[i] for i in self.untried])

    return Pool(space, challengers=len(configs), seed=seed)


# ---------------------------------------------------------------------------------------------- the space
def _config_space(space: Space, seed: int):
    """The space in ConfigSpace's terms: real numbers in [0, 1] on their declared scale, all else natively."""
    import ConfigSpace as cs

    theirs = cs.ConfigurationSpace(seed=seed)
    for name, p in space.items():
        theirs.add(_hyperparameter(name, p))
    for name, p in space.items():
        if p.when is not None and not p.when.on_task:
            theirs.add(cs.InCondition(theirs[name], theirs[p.when.parent], list(p.when.values)))
    return theirs


def _hyperparameter(name: str, p: Parameter):
    import ConfigSpace as cs

    if isinstance(p, Choice):
        return cs.CategoricalHyperparameter(name, list(p.options))
    if isinstance(p, Ordinal):
        return cs.OrdinalHyperparameter(name, list(p.options))
    if isinstance(p, Int):
        return cs.UniformIntegerHyperparameter(name, int(p.low), int(p.high), log=p.log)
    return cs.UniformFloatHyperparameter(name, 0.0, 1.0)


def _theirs(space: Space, row: dict[str, Any]) -> dict[str, Any]:
    """A row of the pool in ConfigSpace's terms, inactive hyperparameters left out."""
    real = {n: isinstance(p, Float) and not isinstance(p, Int) for n, p in space.items()}
    return {n: float(space[n].to_unit([v])[0]) if real[n] else v for n, v in row.items() if not pd.isna(v)}


def _point(space: Space, config: dict[str, Any]) -> np.ndarray:
    """ConfigSpace's configuration in the unit cube; inactive hyperparameters lie in the middle, where nothing sees them."""
    point = np.full(len(space), 0.5)
    for i, (name, p) in enumerate(space.items()):
        if name in config:
            real = isinstance(p, Float) and not isinstance(p, Int)
            point[i] = config[name] if real else p.to_unit([config[name]])[0]
    return point
