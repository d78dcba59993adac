"""Zero-shot transfer by Syne Tune: Wistuba, Schilling & Schmidt-Thieme, "Sequential model-free hyperparameter tuning",
ICDM 2015."""

from __future__ import annotations

import copy
import itertools
from typing import Any
from unittest import mock

import numpy as np

from metabench.baselines.parts.synetune import METRIC, SyneTune
from metabench.search.base import History


class SyneTuneZeroShot(SyneTune):
    """Walks down a greedy list of the source's configurations that together rank best; at random when it ends.

    Where tasks lack configurations Syne Tune draws new ones and predicts them on every task; 0.16 draws others for each
    task and compares their ranks as if they were the same, so here all tasks get the first task's. ``suggest`` of 0.16's
    ZeroShotTransfer is its parent's random search; the list comes from its ``get_config``. Of its suggestions those that
    were tried are passed over.
    """

    name = "synetune_zeroshot"
    version = "1"
    twin = "random"

    def prepare(self, space: dict[str, Any], evaluations: dict[str, Any]) -> Any:
        from syne_tune.optimizer.schedulers.transfer_learning.zero_shot import ZeroShotTransfer

        first, *others = (task.hyperparameters for task in evaluations.values())
        if all(first.equals(other) for other in others):
            return ZeroShotTransfer(space, METRIC, evaluations, random_seed=0)
        generator = np.random.RandomState(0)
        draws = [{n: d.sample(random_state=generator) for n, d in space.items()} for _ in range(_draws(space))]
        again = itertools.cycle(draws)
        with mock.patch.object(ZeroShotTransfer, "_sample_random_config", lambda *_: next(again)):
            return ZeroShotTransfer(space, METRIC, evaluations, use_surrogates=True, random_seed=0)

    def scheduler(self, shared: Any):
        return copy.deepcopy(shared)  # it strikes off what it has suggested

    def suggest(self, history: History) -> int:
        while (config := self._scheduler.base_scheduler.get_config()) is not None:
            if (candidate := self.candidate(config, History())) not in history:
                return candidate
        return int(self.rng.choice(history.untried(len(self.problem.candidates))))


def _draws(space: dict[str, Any]) -> int:
    """How many configurations Syne Tune draws for a task."""
    return 10_000 if len(space) >= 6 else 5 ** len(space)
