"""Deep kernel learned over tasks: an encoder under a Matérn kernel, adapted to the target in a few steps.

Wistuba & Grabocka, "Few-shot Bayesian optimization with deep kernel surrogates", ICLR 2021 (FSBO): encoder and kernel
maximise the marginal likelihood of the source tasks under random label ranges, Alg. 1, then that of the target's trials.
Its prior mean is constant; here it is the mean of the source tasks, and increasing warps join the random ranges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metabench.metamodels.parts.deep_process import DeepProcess
from metabench.metamodels.parts.neural import perceptron

if TYPE_CHECKING:
    import torch


class DeepKernel(DeepProcess):
    """k(x, x') = v Matérn-5/2(‖φ(x) − φ(x')‖/ℓ), φ a perceptron of ``layers`` layers, ``width`` wide (none: the identity).

    All of it is adapted to the target (:class:`DeepProcess`).
    """

    name = "deep_kernel"
    requires = ("torch",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"epochs": (100, 300), "layers": (2, 4), "adapt": (0, 10)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("epochs", "layers", "width", "rate", "random_state", "device")

    def __init__(
        self,
        layers: int = 4,
        width: int = 32,
        epochs: int = 300,
        rate: float = 1e-3,
        adapt: int = 10,
        adapt_rate: float = 3e-4,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(layers, width, epochs, rate, adapt, adapt_rate, random_state, device)

    def network(self, columns: int) -> torch.nn.Module:
        import torch

        network = torch.nn.Module()
        network.encoder = perceptron([columns] + [self.width] * self.layers)
        # standardised inputs lie some √(2 columns) apart, what an untrained perceptron makes of them about one
        size = 0.5 * np.log(columns) if self.layers == 0 else 0.0
        network.log_length = torch.nn.Parameter(torch.tensor(size, dtype=torch.float32))
        network.log_variance = torch.nn.Parameter(torch.tensor(np.log(0.5), dtype=torch.float32))
        network.log_noise = torch.nn.Parameter(torch.tensor(np.log(0.2), dtype=torch.float32))
        return network

    def covariance(self, network: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        import torch

        a, b = a / network.log_length.exp(), b / network.log_length.exp()
        squared = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :] - 2.0 * a @ b.mT
        # the root has no slope at 0; the kernel's is 0 there
        s = torch.sqrt(5.0 * squared.clamp_min(0.0) + 1e-12)
        return network.log_variance.exp() * (1.0 + s + s * s / 3.0) * torch.exp(-s)
