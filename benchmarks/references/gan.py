"""Kernel distances to the test rows: of training rows (the floor: no difference but chance), of as many draws from a
Gaussian with the training rows' mean and covariance, and with their variances alone."""

import numpy as np

from metabench.tasks import kernels

TASKS = ("digits", "mnist_10k", "fashion_mnist_900", "notmnist_10k", "pneumonia_mnist", "omniglot_small1")
DRAWS = 256


def scores(arrays) -> dict[str, float]:
    rng = np.random.default_rng(0)
    train, test = arrays.x_train.astype(np.float64), kernels.compared(arrays.x_test.astype(np.float64))
    mean, cov = train.mean(0), np.cov(train.T, bias=True)
    draws = {
        "training rows": rng.permutation(train)[:DRAWS],
        "Gaussian, full covariance": rng.multivariate_normal(mean, cov, DRAWS, method="eigh"),
        "Gaussian, independent inputs": rng.normal(mean, np.sqrt(np.diag(cov)), (DRAWS, len(mean))),
    }
    return {name: float(kernels.distance(made, test)) for name, made in draws.items()}
