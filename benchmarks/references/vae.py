"""Gaussians, in nats per input: of full covariance, and factor analysis with as many factors as the default has latent
numbers. Variances are no smaller than the decoder's may be."""

import numpy as np
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from metabench.tasks.metrics import FLOOR
from metabench.workloads.vae import Vae

TASKS = ("digits", "mnist_10k", "fashion_mnist_900", "breast_cancer", "cpu_act", "optdigits", "pendigits", "letter")


def scores(arrays) -> dict[str, float]:
    train, test = (x.astype(np.float64) for x in (arrays.x_train, arrays.x_test))
    values, axes = np.linalg.eigh(np.cov(train.T, bias=True))
    full = (axes * np.maximum(values, FLOOR)) @ axes.T
    size = int(Vae.space.default()["latent"])
    factors = FactorAnalysis(min(size, arrays.n_features), random_state=0).fit(train)
    few = factors.components_.T @ factors.components_ + np.diag(np.maximum(factors.noise_variance_, FLOOR))
    return {
        name: -multivariate_normal(train.mean(0), cov).logpdf(test).mean() / arrays.n_features
        for name, cov in (("Gaussian, full covariance", full), (f"factor analysis, {size} factors", few))
    }
