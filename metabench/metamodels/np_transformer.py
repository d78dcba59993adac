"""Transformer neural process: the target's trials go in as a context, predictions come out, nothing is fitted.

Nguyen & Grover, "Transformer neural processes: uncertainty-aware meta learning via sequence modeling", ICML 2022, the
diagonal variant (TNP-D): points without their targets attend to the context alone, and each is predicted by a Gaussian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.in_context import InContext, gaussian
from metabench.metamodels.parts.neural import gaussian_loss

if TYPE_CHECKING:
    import torch


class NPTransformer(InContext):
    """TNP-D on differences from the source tasks' mean: ``layers`` of width ``width`` with ``heads`` attention heads."""

    name = "np_transformer"
    requires = ("torch",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"epochs": (200, 500), "layers": (4, 6), "rate": (5e-4, 1e-3)}

    def __init__(
        self,
        layers: int = 4,
        width: int = 64,
        heads: int = 4,
        epochs: int = 500,
        rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(epochs, rate, random_state, device)
        if min(layers, heads) < 1 or width < heads or width % heads:
            raise UsageError("np_transformer: needs layers >= 1 and a width that is a multiple of heads")
        self.layers = layers
        self.width = width
        self.heads = heads

    def network(self, columns: int) -> torch.nn.Module:
        from metabench.metamodels.parts.attention import Transformer

        return Transformer(columns, self.width, self.layers, self.heads, outputs=2)

    def loss(
        self,
        network: torch.nn.Module,
        rng: np.random.Generator,
        x: torch.Tensor,
        y: torch.Tensor,
        new: torch.Tensor,
        truth: torch.Tensor,
    ) -> torch.Tensor:
        return gaussian_loss(*gaussian(network(x, y, new)), truth)

    def moments(
        self, network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = gaussian(network(x, y, new))
        return mean, std**2
