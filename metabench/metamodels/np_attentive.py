"""Attentive neural process: every configuration attends to the trials that are like it, a latent says what task it is.

Kim, Mnih, Schwarz, Garnelo, Eslami, Rosenbaum, Vinyals & Teh, "Attentive neural processes", ICLR 2019: self-attention
over the context, cross-attention from a point to it (Sec. 3), and a latent path that is trained by the lower bound of
Eq. 3. Without a latent it is the conditional one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.in_context import InContext, gaussian
from metabench.metamodels.parts.neural import gaussian_loss

if TYPE_CHECKING:
    import torch

#: draws of the latent that a prediction is the mixture of, and the seed of these draws
_DRAWS, _SEED = 8, 0x414E50


class NPAttentive(InContext):
    """ANP on differences from the source tasks' mean, of width ``width`` with ``heads`` attention heads.

    ``layers`` of self-attention are over the context on either path; ``latent`` is how many numbers stand for the task
    (0: none).
    """

    name = "np_attentive"
    requires = ("torch",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"latent": (0, 16), "layers": (1, 2), "rate": (5e-4, 1e-3)}

    def __init__(
        self,
        layers: int = 1,
        width: int = 64,
        heads: int = 4,
        latent: int = 16,
        epochs: int = 300,
        rate: float = 1e-3,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(epochs, rate, random_state, device)
        if min(layers, latent) < 0 or heads < 1 or width < heads or width % heads:
            raise UsageError("np_attentive: needs layers >= 0, latent >= 0 and a width that is a multiple of heads")
        self.layers = layers
        self.width = width
        self.heads = heads
        self.latent = latent

    def network(self, columns: int) -> torch.nn.Module:
        from metabench.metamodels.parts.attention import AttentiveProcess

        return AttentiveProcess(columns, self.width, self.layers, self.heads, self.latent)

    def loss(
        self,
        network: Any,
        rng: np.random.Generator,
        x: torch.Tensor,
        y: torch.Tensor,
        new: torch.Tensor,
        truth: torch.Tensor,
    ) -> torch.Tensor:
        """The bound: −E log p(truth | z, context) + KL(q(z | context, truth) ‖ q(z | context)), z drawn once a task."""
        import torch

        path = network.path(x, y, new)
        if self.latent == 0:
            return gaussian_loss(*gaussian(network.decode(path, new, None)), truth)
        prior = network.about(x, y)
        mean, std = posterior = network.about(torch.cat([x, new], dim=1), torch.cat([y, truth], dim=1))
        z = mean + std * torch.as_tensor(rng.standard_normal(mean.shape), dtype=mean.dtype, device=mean.device)
        bound = gaussian_loss(*gaussian(network.decode(path, new, z)), truth)
        return bound + divergence(posterior, prior).mean() / new.shape[1]

    def moments(
        self, network: Any, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        path = network.path(x, y, new)
        if self.latent == 0:
            mean, std = gaussian(network.decode(path, new, None))
            return mean, std**2
        centre, scale = network.about(x, y)
        half = np.random.default_rng(_SEED).standard_normal((_DRAWS // 2, 1, self.latent))
        z = centre + scale * torch.as_tensor(np.concatenate([half, -half]), dtype=centre.dtype, device=centre.device)
        mean, std = gaussian(network.decode(path.expand(_DRAWS, *path.shape), new.expand(_DRAWS, *new.shape), z))
        return mean.mean(0), (std**2).mean(0) + mean.var(0, correction=0)


def divergence(a: tuple[torch.Tensor, torch.Tensor], b: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """KL(N(a) ‖ N(b)) of diagonal Gaussians (mean, std), each [..., latent], in nats: [...]."""
    import torch

    ratio = (a[1] / b[1]) ** 2
    return 0.5 * (ratio + ((a[0] - b[0]) / b[1]) ** 2 - 1.0 - torch.log(ratio)).sum(-1)
