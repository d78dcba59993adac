"""Bayesian optimisation by BoTorch (Balandat et al., NeurIPS 2020): its Gaussian process and noisy expected improvement.

Log noisy expected improvement (Ament et al., NeurIPS 2023), maximised over the untried candidates.
"""

from __future__ import annotations

import numpy as np

from metabench.baselines.parts.common import refit_due, utilities
from metabench.baselines.parts.peers import silence
from metabench.search.base import History, Searcher


class BoTorch(Searcher):
    """BoTorch's SingleTaskGP (:class:`Model`) and qLogNEI over ``samples`` draws, one trial at a time.

    The first ``design`` trials are random unless the search was given a start.
    """

    name = "botorch"
    version = "1"
    requires = ("botorch",)

    def __init__(self, design: int = 5, samples: int = 128):
        self.design = design
        self.samples = samples

    def begin(self) -> None:
        self._model, self._given = Model(self.seed), None

    def ask(self, history: History) -> int:
        if self._given is None:
            self._given = len(history)
        untried = history.untried(len(self.problem.candidates))
        if len(history) < (self.design if self._given == 0 else 2):
            return int(self.rng.choice(untried))
        with silence():
            import torch
            from botorch.acquisition import qLogNoisyExpectedImprovement
            from botorch.sampling import SobolQMCNormalSampler

            pool = torch.as_tensor(self.problem.encoded, dtype=torch.float64)
            tried = pool[history.candidates]
            model = self._model.fit(tried, utilities(self.problem, history))
            sampler = SobolQMCNormalSampler(torch.Size([self.samples]), seed=self.seed)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                values = qLogNoisyExpectedImprovement(model, tried, sampler)(pool[untried][:, None])
        return int(untried[np.argmax(values.numpy())])


class Model:
    """BoTorch's default Gaussian process on ``Space.encode`` in float64: RBF, a length scale per column with a prior that
    grows with the dimension (Hvarfner et al., ICML 2024), noise. Targets are standardised; a diverged run counts as the
    worst finite score.

    Hyperparameters are fitted anew on a schedule (:func:`~metabench.baselines.parts.common.refit_due`) from the last optimum,
    in at most ``steps`` steps of L-BFGS-B; in between they stay.
    """

    def __init__(self, seed: int, steps: int = 50):
        self.seed, self.steps = seed, steps
        self._state, self._fitted_at = None, 0

    def fit(self, x, utility: np.ndarray):
        """The model given the trials x, a float64 tensor [trials, columns], ready to predict."""
        import torch
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        y = torch.as_tensor((utility - utility.mean()) / (utility.std() or 1.0))
        model = SingleTaskGP(x, y[:, None], outcome_transform=None)
        if self._state is not None:
            model.load_state_dict(self._state)
        if refit_due(len(x), self._fitted_at):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)  # a failed fit starts again from sampled hyperparameters
                likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
                fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": self.steps}})
            self._state, self._fitted_at = model.state_dict(), len(x)
        return model.eval()
