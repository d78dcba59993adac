"""BOHB by Syne Tune (Falkner, Klein & Hutter, ICML 2018): kernel densities of good and bad configurations propose,
successive halving stops."""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.baselines.parts.peers import Generators, coordinate, nearest, silence
from metabench.baselines.parts.synetune import METRIC, carry, domains, records
from metabench.search.fidelity import Advance, Curves, FidelitySearcher
from metabench.space import Choice

#: what Syne Tune calls the epochs that a trial has seen
EPOCH = "epoch"


class BOHB(FidelitySearcher):
    """Syne Tune's ``BOHB`` with its defaults: asynchronous successive halving in place of Hyperband's brackets, in the
    form that stops a configuration unless it is among the best third of a rung, and densities over the last score of
    each; a third of the proposals are random.

    Its space is the unit cube, as that of Syne Tune's transfer schedulers here: an inactive hyperparameter has its
    default, the middle where it has none. The untried candidate nearest to a suggestion is trained, checkpoint by
    checkpoint for as long as the scheduler says, and the scheduler is told of that candidate. A diverged run is told as
    the worst score so far. When the pool has no new candidate, those that were stopped go on, the longest trained first.
    """

    name = "bohb"
    version = "1"
    requires = ("syne_tune",)

    def begin(self) -> None:
        self._generators = Generators(self.seed)
        self._scheduler: Any = None
        self._trials: dict[int, Any] = {}
        #: candidate → checkpoints that the scheduler knows of
        self._told: dict[int, int] = {}
        self._read = 0
        self._going: int | None = None
        self._worst = -np.inf

    def ask(self, history: Curves) -> Advance:
        with self._generators.own(), silence():
            if self._scheduler is None:
                self._scheduler = self._open()
            for candidate, _ in history.advances[self._read :]:
                self._tell(candidate, history)
            self._read = len(history)
            if self._going is None or history.finished(self._going):
                self._going = self._next(history)
        stands = history.epochs(self._going)
        return Advance(self._going, next(c for c in self.problem.checkpoints if c > stands))

    def _open(self):
        from syne_tune.optimizer.baselines import BOHB

        grid = self.problem.checkpoints
        return BOHB(domains(self.problem.space), METRIC, EPOCH, grid[-1], random_seed=self.seed, grace_period=grid[0])

    def _next(self, history: Curves) -> int:
        """Another candidate to train: the one nearest to a suggestion, or where all were tried one that was stopped."""
        n = len(self.problem.candidates)
        if not len(history.untried(n)):
            return max(history.unfinished(n).tolist(), key=history.epochs)
        space = self.problem.space
        config = self._scheduler.suggest().config
        point = [
            coordinate(p, p.options.index(config[k])) if isinstance(p, Choice) else config[k] for k, p in space.items()
        ]
        return nearest(self.problem, np.array(point, dtype=float), history)

    def _tell(self, candidate: int, history: Curves) -> None:
        """Tell the scheduler of the checkpoints of a candidate that it does not know; it decides whether that goes on."""
        trial = self._trials.get(candidate) or self._enter(candidate)
        curve = history.scores[candidate]
        for i in range(self._told.get(candidate, 0), len(curve)):
            cost = -self.problem.sign * curve[i]
            if np.isfinite(cost):
                self._worst = max(self._worst, cost)
            elif np.isfinite(self._worst):
                cost = self._worst
            else:
                break  # nothing to compare with
            decision = self._scheduler.on_trial_result(trial, {METRIC: cost, EPOCH: self.problem.checkpoints[i]})
            self._going = candidate if decision == "CONTINUE" else None
        self._told[candidate] = len(curve)

    def _enter(self, candidate: int):
        from datetime import datetime

        from syne_tune.backend.trial_status import Trial

        row = self.problem.candidates.iloc[[candidate]]
        (config,) = records(self.problem.space, carry(row, self.problem.space))
        self._trials[candidate] = Trial(trial_id=len(self._trials), config=config, creation_time=datetime.now())
        self._scheduler.on_trial_add(self._trials[candidate])
        return self._trials[candidate]
