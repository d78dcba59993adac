"""Weights from which a few steps on a task's trials predict the rest of it.

Finn, Abbeel & Levine, "Model-agnostic meta-learning for fast adaptation of deep networks", ICML 2017, Alg. 2 with the
first-order gradient of Sec. 5.2: that of the loss after the inner steps, taken at the adapted weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metabench.metamodels.parts.inner import InnerLoop

if TYPE_CHECKING:
    import torch


class MAML(InnerLoop):
    """Perceptrons of ``layers`` hidden layers, ``width`` wide, that descend the target's trials (:class:`InnerLoop`).

    Inner steps see some trials of a source task, the outer one is judged by other configurations of it, too.
    """

    name = "maml"
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
        return self.after(network, x, seen, truth)
