"""A box around the source tasks' optima by Syne Tune: Perrone et al., "Learning search spaces for Bayesian optimization",
NeurIPS 2019."""

from __future__ import annotations

from typing import Any

from metabench.baselines.parts.synetune import METRIC, SyneTune
from metabench.errors import UsageError


class SyneTuneBox(SyneTune):
    """Searches the smallest box that holds the best configuration of every source task, ``inside`` it by conformalised
    quantile regression (``CQR``; Salinas et al., ICML 2023) or at random (``RandomSearch``).

    Trials with an option that no optimum has lie outside the space that is searched, and are not told.
    """

    name = "synetune_box"
    version = "1"
    twin = "random"

    def __init__(self, inside: str = "CQR"):
        if inside not in ("CQR", "RandomSearch"):
            raise UsageError(f"synetune_box: inside is {inside!r}; known: CQR, RandomSearch")
        self.inside = inside

    def prepare(self, space: dict[str, Any], evaluations: dict[str, Any]) -> Any:
        return space, evaluations

    def scheduler(self, shared: Any):
        from syne_tune.optimizer import baselines
        from syne_tune.optimizer.schedulers.transfer_learning.bounding_box import BoundingBox

        def inside(space: dict, metric: str, do_minimize: bool, seed: int) -> Any:
            if self.inside == "CQR":
                return baselines.CQR(space, metric, do_minimize, random_seed=seed)
            return baselines.RandomSearch(space, [metric], do_minimize, random_seed=seed)

        return BoundingBox(inside, shared[0], METRIC, shared[1], random_seed=self.seed)

    def knows(self, config: dict[str, Any]) -> bool:
        from syne_tune.config_space import Categorical

        space = self._scheduler.base_scheduler.scheduler.config_space
        return all(config[n] in domain.categories for n, domain in space.items() if isinstance(domain, Categorical))
