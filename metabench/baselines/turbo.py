"""Trust-region Bayesian optimisation, TuRBO-1 (Eriksson et al., NeurIPS 2019), on BoTorch's Gaussian process.

Thompson sampling inside a box around the best trial, which grows with successes and shrinks with failures. BoTorch has
the model and its posterior; it leaves the rules of the box to its user, and these are the paper's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from metabench.baselines.botorch import BoTorch, Model
from metabench.baselines.parts.common import utilities
from metabench.baselines.parts.peers import silence
from metabench.search.base import History, Searcher

#: sides of the box: at first, at least, at most; successes in a row that double it
_START, _LEAST, _MOST, _SUCCESSES = 0.8, 0.5**7, 1.6, 3


class TuRBO(Searcher):
    """The box has its sides in proportion to the length scales. ``points`` of it, a Sobol sequence, stand for it; the
    untried candidates nearest to them, under the length scales, compete by a draw from the posterior.

    The first ``design`` trials are random unless the search was given a start. As many failures in a row as there are
    hyperparameters halve the box; when it gets too small, the search begins anew without what it has seen.
    """

    name = "turbo"
    version = "1"
    requires = ("botorch",)
    built_on = (BoTorch,)

    def __init__(self, design: int = 5, points: int = 1024):
        self.design = design
        self.points = points

    def begin(self) -> None:
        self._given: int | None = None
        self._restart(0)

    def _restart(self, trials: int) -> None:
        self._model, self._first, self._seen = Model(self.seed), trials, trials
        self._side, self._successes, self._failures = _START, 0, 0

    def ask(self, history: History) -> int:
        if self._given is None:
            self._given = self._seen = len(history)
        self._adapt(utilities(self.problem, history))
        untried = history.untried(len(self.problem.candidates))
        new = len(history) - self._first
        if new < (2 if self._given and self._first == 0 else self.design):
            self._seen = len(history) + 1  # the next trial says nothing of the box
            return int(self.rng.choice(untried))
        with silence():
            return int(untried[self._thompson(history, untried)])

    def _adapt(self, utility: np.ndarray) -> None:
        """Successes and failures among the trials that were made since the last proposal from the box."""
        for t in range(self._seen, len(utility)):
            best = utility[self._first : t].max()
            success = utility[t] > best + 1e-3 * abs(best)
            self._successes, self._failures = (self._successes + 1, 0) if success else (0, self._failures + 1)
            if self._successes == _SUCCESSES:
                self._side, self._successes = min(2.0 * self._side, _MOST), 0
            elif self._failures == max(4, len(self.problem.space)):
                self._side, self._failures = self._side / 2.0, 0
        self._seen = len(utility)
        if self._side < _LEAST:
            self._restart(len(utility))

    def _thompson(self, history: History, untried: np.ndarray) -> int:
        """Which of the untried ones is best in a draw from the posterior over those that stand for the box?"""
        import torch

        pool = torch.as_tensor(self.problem.encoded, dtype=torch.float64)
        tried, y = history.candidates[self._first :], utilities(self.problem, history)[self._first :]
        model: Any = self._model.fit(pool[tried], y)
        scales = model.covar_module.lengthscale.detach().squeeze(0)
        sides = self._side * scales / scales.log().mean().exp()
        points = torch.quasirandom.SobolEngine(pool.shape[1], scramble=True, seed=int(self.rng.integers(2**31)))
        middle = pool[tried[int(np.argmax(y))]]
        low, high = (middle - sides / 2).clamp(0, 1), (middle + sides / 2).clamp(0, 1)
        box = low + (high - low) * points.draw(self.points, dtype=torch.float64)
        near = torch.cdist(box / scales, pool[untried] / scales).argmin(1).unique().numpy()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng.integers(2**31)))
            draw = model.posterior(pool[untried[near]]).rsample()
        return int(near[draw.argmax()])
