"""Networks over a leading run axis: what a workload gives for :class:`metabench.training.learners.Supervised`.

:class:`Cohort` is the contract; :class:`Differentiated` meets it for any network written in torch operations, autograd
finding the gradients. A hand-written backward (the MLP's) is worth it where the calls cost more than the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.data import Data


class Cohort:
    """R networks of a workload. The constructor takes ``(arrays, configs, seeds, data, batch)``."""

    #: runs that advance together: enough to hide the cost of a call, few enough to stay in a core's cache
    chunk: ClassVar[Mapping[str, int]] = {"cpu": 32, "cuda": 4096}
    #: rows predicted at a time
    block_rows: int = 256
    #: parameters and gradients, [R, P]
    flat: torch.Tensor
    grad: torch.Tensor
    #: [R], the leading columns of ``flat`` that a run uses; None: all
    used: np.ndarray | None = None

    @staticmethod
    def group(arrays, config: dict[str, Any]) -> tuple:
        """Runs may share a cohort when they agree on this and on the batch size. It must depend on the run alone."""
        raise NotImplementedError

    @staticmethod
    def order(config: dict[str, Any]) -> tuple:
        """How a cohort likes its runs sorted; runs of one optimizer should be neighbours."""
        return (config["optimizer"],)

    def forward(self, rows: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
        """Outputs [R, C, n] of training rows [R, B] at a training step (n = B, or B times the targets of a row); keeps
        what :meth:`backward` needs."""
        raise NotImplementedError

    def backward(self, d_out: torch.Tensor) -> None:
        """Fill ``grad`` from the gradient of the outputs, [R, C, n]."""
        raise NotImplementedError

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [R, C, n] of rows x, at most ``block_rows``, that all runs share."""
        raise NotImplementedError


@dataclass(frozen=True)
class Weight:
    """A parameter's shape without the run axis, and the standard deviation of its uniform initial values: a number, one
    for each run [R], or None for zeros. ``start`` is added to it (1 for the scales of a norm)."""

    shape: tuple[int, ...]
    std: float | np.ndarray | None = None
    start: float = 0.0
    #: each run's own shape where they are padded to ``shape``; its values fill the leading corner, the rest is 0
    own: Sequence[tuple[int, ...]] | None = None


def initial(seed: int, index: int, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Values of parameter number ``index`` of a network, float64: uniform with mean 0, the same on every backend."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.uint32)
    u = hashing.uniform(hashing.key(seed, hashing.WEIGHTS + index, 0), numbers).astype(np.float64)
    return (np.float32(std * np.sqrt(3.0)) * (2.0 * u - 1.0)).reshape(shape)


if TYPE_CHECKING:

    class Leaf(torch.Tensor):
        """A parameter: its ``grad`` is a view into the gradients of all, never None."""

        grad: torch.Tensor  # pyright: ignore[reportIncompatibleVariableOverride]  # narrower than a tensor's


class Parameters:
    """Named parameters of R networks of one shape, leaves of autograd that lie side by side in ``flat`` [R, P], their
    gradients in ``grad``. Parameter i of a run is initialised from stream ``WEIGHTS + i``."""

    def __init__(self, weights: Mapping[str, Weight], seeds: np.ndarray, dtype: torch.dtype, device: torch.device):
        runs = len(seeds)
        sizes = [int(np.prod(w.shape)) for w in weights.values()]
        # every block starts at a whole vector
        ends = np.cumsum([-(-size // 32) * 32 for size in sizes])
        self.flat = torch.zeros(runs, -(-int(ends[-1]) // 64) * 64, dtype=dtype, device=device)
        self.grad = torch.zeros_like(self.flat)
        self.named: dict[str, Leaf] = {}
        self.places: dict[str, slice] = {}
        for i, ((name, weight), size, end) in enumerate(zip(weights.items(), sizes, ends, strict=True)):
            low = int(end) - -(-size // 32) * 32
            here = self.flat[:, low : low + size]
            if weight.std is not None:
                stds = np.broadcast_to(np.asarray(weight.std, dtype=np.float64), runs)
                owns, values = weight.own or [weight.shape] * runs, np.zeros((runs, *weight.shape))
                for r, (seed, std, own) in enumerate(zip(seeds, stds, owns, strict=True)):
                    values[(r, *map(slice, own))] = initial(int(seed), i, own, float(std))
                here.copy_(torch.as_tensor(values.reshape(runs, size), dtype=dtype))
            here.add_(weight.start)
            leaf = here.view(runs, *weight.shape).detach().requires_grad_()
            self.places[name] = slice(low, low + size)
            leaf.grad = self.grad[:, low : low + size].view(runs, *weight.shape)
            self.named[name] = cast("Leaf", leaf)

    def __getitem__(self, name: str) -> Leaf:
        """[R, ...]; its ``grad`` is a view into the gradients."""
        return self.named[name]

    def columns(self, name: str) -> slice:
        """Where it lies in ``flat``."""
        return self.places[name]

    def backward(self, outputs: torch.Tensor, d_outputs: torch.Tensor) -> None:
        """Fill ``grad`` from the gradient of outputs that were computed from the parameters, by autograd."""
        found = torch.autograd.grad(outputs, list(self.named.values()), d_outputs, allow_unused=True)
        for leaf, gradient in zip(self.named.values(), found, strict=True):
            leaf.grad.zero_() if gradient is None else leaf.grad.copy_(gradient)


class Differentiated(Cohort):
    """R networks of one shape, written forward only. A subclass gives ``weights`` and ``outputs``."""

    def __init__(self, arrays, configs, seeds, data: Data, batch: int):
        self.arrays, self.configs, self.seeds, self.batch = arrays, configs.to_dict("records"), np.asarray(seeds), batch
        self.runs, self.x, self.dtype, self.device = len(configs), data["train"][0], data.dtype, data.device
        self.w = Parameters(self.weights(), self.seeds, self.dtype, self.device)
        self.flat, self.grad = self.w.flat, self.w.grad

    def weights(self) -> dict[str, Weight]:
        """The parameters of a run, by name, in an order that is part of the numerics."""
        raise NotImplementedError

    def outputs(self, x: torch.Tensor, step: int | torch.Tensor | None) -> torch.Tensor:
        """Outputs [R, C, n] of inputs [R, B, ...]; ``step`` is None where the networks are evaluated."""
        raise NotImplementedError

    def column(self, name: str) -> np.ndarray:
        """A numeric hyperparameter of every run, float64 [R]; 0 where it is missing."""
        values = [row.get(name) for row in self.configs]
        return np.array([0.0 if v is None or v != v else float(v) for v in values])

    def forward(self, rows: torch.Tensor, step: int | torch.Tensor) -> torch.Tensor:
        x = self.x.index_select(0, rows.view(-1)).view(*rows.shape, *self.x.shape[1:])
        with torch.enable_grad():
            self.kept = self.outputs(x, step)
        return self.kept.detach()

    def backward(self, d_out: torch.Tensor) -> None:
        self.w.backward(self.kept, d_out)

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.outputs(x.expand(self.runs, *x.shape), None)


__all__ = ["Cohort", "Differentiated", "Parameters", "Weight", "initial"]
