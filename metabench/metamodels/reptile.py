"""Weights that lie close to those of every source task.

Nichol, Achiam & Schulman, "On first-order meta-learning algorithms", arXiv:1803.02999, Alg. 2: descend on a task, then
move towards where that led. The move is handed to Adam as a gradient, as they suggest below Alg. 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metabench.metamodels.parts.inner import InnerLoop, descend, likelihood, repeated

if TYPE_CHECKING:
    import torch


class Reptile(InnerLoop):
    """Perceptrons of ``layers`` hidden layers, ``width`` wide, that descend the target's trials (:class:`InnerLoop`).

    Every inner step sees other configurations of the source task, without which it would learn the tasks' average.
    """

    name = "reptile"
    requires = ("torch",)
    version = "1"
    grid: ClassVar[dict[str, tuple]] = {"inner_rate": (0.01, 0.05), "adapt": (5, 10), "epochs": (100, 300)}
    fit_settings: ClassVar[tuple[str, ...] | None] = (
        "inner_rate",
        "inner",
        "epochs",
        "layers",
        "width",
        "rate",
        "random_state",
        "device",
    )

    def __init__(
        self,
        layers: int = 2,
        width: int = 64,
        epochs: int = 300,
        rate: float = 1e-3,
        inner: int = 5,
        inner_rate: float = 0.05,
        adapt: int = 10,
        random_state: int = 0,
        device: str = "cpu",
    ):
        super().__init__(layers, width, epochs, rate, inner, inner_rate, adapt, random_state, device)

    def outer(self, network: torch.nn.Module, x: torch.Tensor, seen: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        tasks, size = len(x) // self.members, -(-x.shape[1] // self.inner)
        batches = list(zip(x.split(size, dim=1), truth.split(size, dim=1), strict=True))
        return pull(network, descend(repeated(network, tasks), batches, likelihood, self.inner_rate))


def pull(network: torch.nn.Module, adapted: list[torch.Tensor]) -> torch.Tensor:
    """A scalar whose gradient is weights − mean of the ``adapted`` ones [members · tasks, ...]."""
    import torch

    total = torch.zeros(())
    for p, a in zip(network.parameters(), adapted, strict=True):
        goal = a.detach().unflatten(0, (len(p), -1)).mean(1)
        total = total + 0.5 * ((p - goal) ** 2).sum()
    return total
