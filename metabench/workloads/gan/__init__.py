"""A generative adversarial network of small images (Goodfellow et al., 2014; Arjovsky et al., 2017)."""

from __future__ import annotations

import itertools
from typing import Any

from metabench.space import Choice, Float, Ordinal, Space, when
from metabench.workloads.base import COMMON, Workload
from metabench.workloads.gan.shape import sizes


class Gan(Workload):
    """A generator makes images of ``latent`` normal numbers, a critic tells them from real ones; both have ``depth`` hidden
    layers of ``width`` leaky rectified units of slope ``leak``.

    A step is ``critic_steps`` updates of the critic, each on a batch of its own, then one of the generator, whose learning
    rate is ``ratio`` times the critic's. ``loss``: Wasserstein's, or the logistic one that does not saturate. The
    ``gradient`` penalty is ``penalty_weight`` times the mean of (‖∇ critic‖ - 1)² between real and generated images
    (Gulrajani et al., 2017). An epoch has as many steps as the training rows have batches. Weights are uniform with
    standard deviation ``1 / sqrt(fan_in)``, biases zero.

    Losses and scores are the kernel distance MMD² of :mod:`metabench.tasks.kernels`, unbiased, between images made of
    fixed latent numbers and the part's rows: 0 is no difference.
    """

    name = "gan"
    space = COMMON | Space(
        optimizer=Choice("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "lion", default="adam"),
        learning_rate=Float(1e-4, 1.0, log=True, default=1e-2),
        beta1=Float(0.0, 0.99, default=0.5, when=when("optimizer", "adam", "adamw", "lion")),
        batch_size=Ordinal(16, 32, 64, 128, default=64),
        ratio=Float(0.1, 10.0, log=True, default=0.5),
        critic_steps=Ordinal(1, 2, 4, default=4),
        loss=Choice("wasserstein", "logistic", default="wasserstein"),
        penalty=Choice("none", "gradient", default="gradient"),
        penalty_weight=Float(0.1, 100.0, log=True, default=10.0, when=when("penalty", "gradient")),
        latent=Ordinal(4, 8, 16, 32, default=16),
        width=Ordinal(64, 128, default=64),
        depth=Ordinal(1, 2, default=1),
        leak=Float(0.0, 0.5, default=0.2),
    )
    modalities = ("image",)
    view = "reconstruction"
    metric = "mmd"
    rows = (1024, 512)
    epochs = 26

    def build(self, arrays, config: dict[str, Any], seed: int):
        from metabench.workloads.gan.network import Network

        return Network(arrays, config, seed)

    def cohort_class(self) -> type:
        from metabench.workloads.gan.cohort import Group

        return Group

    def learners(self, arrays, configs, seeds, data, epochs: int):
        from metabench.workloads.gan.cohort import Adversaries

        return Adversaries(arrays, configs, seeds, data, epochs)

    def alone(self, arrays, config: dict[str, Any], seed: int, data, epochs: int):
        from metabench.workloads.gan.network import Alone

        return Alone(self, arrays, config, seed, data, epochs)

    def params(self, arrays, config: dict[str, Any]) -> int:
        return sum(a * b + b for units in sizes(arrays, config) for a, b in itertools.pairwise(units))

    def flops(self, arrays, config: dict[str, Any], epochs: int) -> int:
        generator, critic = sizes(arrays, config)
        makes, tells = (sum(a * b for a, b in itertools.pairwise(units)) for units in (generator, critic))
        # real and made rows forward and back, but not to the inputs; the slope between them, and back through both
        update = 2 * makes + 12 * tells - 4 * critic[0] * critic[1] + 8 * tells * (config["penalty"] == "gradient")
        step = int(config["critic_steps"]) * update + 6 * makes - 2 * generator[0] * generator[1] + 4 * tells
        n = len(arrays.x_train)
        batch = min(int(config["batch_size"]), n)
        return step * (n // batch) * batch * epochs

    def work(self, arrays, config: dict[str, Any], checkpoints) -> dict[str, float]:
        out = super().work(arrays, config, checkpoints)
        updates = out["steps"] * int(config["critic_steps"])
        return out | {"critic updates": updates, "judged": float(len(checkpoints) * arrays.n_features)}

    def references(self, arrays) -> dict[str, float]:
        """Kernel distances to the test rows: of training rows (the floor: no difference but chance), of as many draws from
        a Gaussian with the training rows' mean and covariance, and with their variances alone."""
        import numpy as np

        from metabench.tasks import kernels

        rng, n = np.random.default_rng(0), 256
        train, test = arrays.x_train.astype(np.float64), kernels.compared(arrays.x_test.astype(np.float64))
        mean, cov = train.mean(0), np.cov(train.T, bias=True)
        draws = {
            "training rows": rng.permutation(train)[:n],
            "Gaussian, full covariance": rng.multivariate_normal(mean, cov, n, method="eigh"),
            "Gaussian, independent inputs": rng.normal(mean, np.sqrt(np.diag(cov)), (n, len(mean))),
        }
        return {name: float(kernels.distance(made, test)) for name, made in draws.items()}
