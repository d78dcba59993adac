"""Copula Thompson sampling by Syne Tune: Salinas, Shen & Perrone, "A quantile-based approach for hyperparameter transfer
learning", ICML 2020."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from metabench.baselines.parts.synetune import METRIC, SyneTune


class SyneTuneCTS(SyneTune):
    """Boosted trees learn normal scores from all source tasks; a trial is the best of 100,000 random configurations in a
    draw from their predictions. It learns nothing from the search's own trials.
    """

    name = "synetune_cts"
    version = "1"
    twin = "random"

    def prepare(self, space: dict[str, Any], evaluations: dict[str, Any]) -> Any:
        from syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher import (
            QuantileBasedSurrogateSearcher,
        )

        return QuantileBasedSurrogateSearcher(space, evaluations, random_seed=0)

    def scheduler(self, shared: Any):
        from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

        searcher = copy.copy(
            shared
        )  # the model and what it says of the configurations stay, the draws are the search's
        searcher.random_state = np.random.RandomState(self.seed)
        return SingleObjectiveScheduler(shared.config_space, METRIC, searcher=searcher, random_seed=self.seed)
