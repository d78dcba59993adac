"""An encoder pretrained on all source tasks and frozen, under a Bayesian linear head for the target.

Perrone, Jenatton, Seeger & Archambeau, "Scalable hyperparameter transfer learning", NeurIPS 2018 (ABLR): one encoder
for all tasks and a Bayesian linear regression on it for each, encoder and variances by the evidence, Eq. 4. There the
target is learned together with the source tasks; here it comes afterwards, and finds the encoder frozen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.deep_process import DeepProcess
from metabench.metamodels.parts.neural import perceptron

if TYPE_CHECKING:
    import torch


class FrozenTransfer(DeepProcess):
    """f = m + wᵀφ(x), w ~ N(0, I/α), noise of variance 1/β; the posterior of w given the trials is in closed form.

    φ is a perceptron of ``layers`` layers, ``width`` wide, with a hyperbolic tangent at its end. ``transfer`` says what
    the target may change: nothing but w (``frozen``), α and β too (``head``), or φ as well (``full``), the latter two by
    ``adapt`` steps on the evidence.
    """

    name = "frozen_transfer"
    requires = ("torch",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"transfer": ("frozen", "head", "full"), "epochs": (100, 300)}
    fit_settings: ClassVar[tuple[str, ...] | None] = ("epochs", "layers", "width", "rate", "random_state", "device")

    def __init__(
        self,
        transfer: str = "frozen",
        layers: int = 3,
        width: int = 64,
        epochs: int = 300,
        rate: float = 1e-3,
        adapt: int = 10,
        adapt_rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(layers, width, epochs, rate, adapt, adapt_rate, random_state, device)
        if transfer not in ("frozen", "head", "full"):
            raise UsageError(f"frozen_transfer: unknown transfer {transfer!r}; known: frozen, head, full")
        self.transfer = transfer

    def network(self, columns: int) -> torch.nn.Module:
        import torch

        network = torch.nn.Module()
        network.encoder = torch.nn.Sequential(perceptron([columns] + [self.width] * self.layers), torch.nn.Tanh())
        # features of variance ½ explain half the variance of a normal score, noise a fifth
        features = self.width if self.layers else columns
        network.log_precision = torch.nn.Parameter(torch.tensor(np.log(features), dtype=torch.float32))
        network.log_noise = torch.nn.Parameter(torch.tensor(np.log(0.2), dtype=torch.float32))
        return network

    def covariance(self, network: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b.mT / network.log_precision.exp()

    def adaptable(self, network: Any) -> Iterable[torch.nn.Parameter]:
        head = [network.log_precision, network.log_noise]
        return {"frozen": [], "head": head, "full": network.parameters()}[self.transfer]
