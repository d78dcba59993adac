"""A variational autoencoder of rows of numbers (Kingma & Welling, 2014; with a weight β: Higgins et al., 2017)."""

from __future__ import annotations

import itertools
from typing import Any, cast

from metabench.space import Choice, Float, Ordinal, Space
from metabench.workloads.autoencoder import Autoencoder
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.vae.shape import sizes


class Vae(Workload):
    """A dense encoder gives the means and log-variances of ``latent`` Gaussians, a dense decoder the mean of the inputs;
    both have ``depth`` hidden layers of ``width`` units. The likelihood is Gaussian: input d has variance FLOOR + exp(s_d),
    FLOOR = 0.01 in squares of standard deviations, with s learned and 0 at first.

    Trained on -log p(x|z) + β KL(q(z|x) || N(0, I)), β rising linearly to ``beta`` over the share ``anneal`` of the steps,
    one z a row from a hashed stream. Losses and scores are the same at β = 1 in nats per input, z drawn once more: a bound
    of the negative log-likelihood. Weights are uniform with standard deviation ``1 / sqrt(fan_in)``, biases zero.
    """

    name = "vae"
    space = COMMON | Space(
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        batch_size=Ordinal(16, 32, 64, 128, 256, default=16),
        latent=Ordinal(2, 4, 8, 16, default=8),
        width=Ordinal(32, 64, 128, default=64),
        depth=Ordinal(1, 2, default=1),
        activation=Choice("relu", "tanh", "gelu", "silu", default="silu"),
        beta=Float(0.03, 10.0, log=True, default=1.0),
        anneal=Float(0.0, 0.5, default=0.1),
    )
    modalities = Autoencoder.modalities
    view = "reconstruction"
    metric = "nats"
    rows = Autoencoder.rows
    epochs = 36

    @classmethod
    def accepts(cls, listing) -> bool:
        return Autoencoder.accepts(listing)

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.vae.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.vae.cohort import VaeCohort

        return VaeCohort

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.vae.cohort import Variational

        return Variational(arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.vae.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def params(self, arrays, config: dict[str, Any]) -> int:
        layers = (pair for units in sizes(arrays, config) for pair in itertools.pairwise(units))
        return sum(a * b + b for a, b in layers) + arrays.n_features

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        encoder, decoder = sizes(arrays, config)
        n = len(arrays.x_train)
        batch = min(int(config["batch_size"]), n)
        products = sum(a * b for units in (encoder, decoder) for a, b in itertools.pairwise(units))
        return (6 * products - 2 * encoder[0] * encoder[1]) * (n // batch) * batch * epochs

    def references(self, arrays) -> dict[str, float]:
        """Gaussians, in nats per input: of full covariance, and factor analysis with as many factors as the default
        configuration has latent numbers; variances are no smaller than the decoder's may be."""
        import numpy as np
        from scipy.stats import multivariate_normal
        from sklearn.decomposition import FactorAnalysis

        from metabench.tasks.metrics import FLOOR

        train, test = (x.astype(np.float64) for x in (arrays.x_train, arrays.x_test))
        values, axes = np.linalg.eigh(np.cov(train.T, bias=True))
        full = (axes * np.maximum(values, FLOOR)) @ axes.T
        size = int(self.space.default()["latent"])
        factors = FactorAnalysis(min(size, arrays.n_features), random_state=0).fit(train)
        few = factors.components_.T @ factors.components_ + np.diag(np.maximum(factors.noise_variance_, FLOOR))
        return {
            name: float(-multivariate_normal(train.mean(0), cast(Any, cov)).logpdf(test).mean() / arrays.n_features)
            for name, cov in (("Gaussian, full covariance", full), (f"factor analysis, {size} factors", few))
        }
