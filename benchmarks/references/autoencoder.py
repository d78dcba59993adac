"""Principal components, as many as the default configuration has latent numbers."""

import numpy as np
from sklearn.decomposition import PCA

from metabench.workloads.autoencoder import Autoencoder

TASKS = ("digits", "mnist_10k", "fashion_mnist_900", "breast_cancer", "cpu_act", "optdigits", "soybean", "letter")


def scores(arrays) -> dict[str, float]:
    found = {}
    for size in (4, int(Autoencoder.space.default()["latent"])):
        pca = PCA(min(size, arrays.n_features), svd_solver="full").fit(arrays.x_train.astype(np.float64))
        residual = pca.inverse_transform(pca.transform(arrays.x_test)) - arrays.x_test
        found[f"PCA, {size} components"] = float(np.sqrt((residual**2).mean()))
    return found
