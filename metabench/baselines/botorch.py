"""Bayesian optimisation by BoTorch (Balandat et al., NeurIPS 2020): SingleTaskGP and LogEI, on its own package.

Log expected improvement after Ament et al., NeurIPS 2023, maximised over the untried candidates.
"""

from __future__ import annotations

import warnings

import numpy as np

from metabench.baselines.common import refit_due, utilities
from metabench.search.base import History, Searcher


class BoTorch(Searcher):
    """BoTorch's defaults on ``Space.encode`` in float64: RBF, a length scale per column with a dimension-scaled prior
    (Hvarfner et al., ICML 2024). Targets are standardised; a diverged run counts as the worst finite score.

    The first ``design`` trials are random unless the search was given a start. Hyperparameters are fitted anew on a
    schedule (:func:`~metabench.baselines.common.refit_due`), in between they stay.
    """

    name = "botorch"
    requires = ("botorch",)

    def __init__(self, design: int = 5):
        self.design = design

    def begin(self) -> None:
        self._state, self._fitted_at, self._given = None, 0, None

    def ask(self, history: History) -> int:
        if self._given is None:
            self._given = len(history)
        untried = history.untried(len(self.problem.candidates))
        if len(history) < (self.design if self._given == 0 else 2):
            return int(self.rng.choice(untried))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside its packages, advice on input scaling and jitter
            import torch
            from botorch.acquisition import LogExpectedImprovement

            model, best = self._model(history)
            points = torch.as_tensor(self.problem.encoded[untried], dtype=torch.float64)
            with torch.no_grad():
                values = LogExpectedImprovement(model, best_f=best)(points[:, None]).numpy()
        return int(untried[np.argmax(values)])

    def _model(self, history: History):
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        y = utilities(self.problem, history)
        y = (y - y.mean()) / (y.std() or 1.0)
        x = torch.as_tensor(self.problem.encoded[history.candidates], dtype=torch.float64)
        model = SingleTaskGP(x, torch.as_tensor(y)[:, None], outcome_transform=None)
        if self._state is not None:
            model.load_state_dict(self._state)
        if refit_due(len(history), self._fitted_at):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)  # a failed fit starts again from sampled hyperparameters
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            self._state, self._fitted_at = model.state_dict(), len(history)
        return model.eval(), float(y.max())
