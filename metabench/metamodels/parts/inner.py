"""Surrogates that learn a target by a few steps of gradient descent, from weights that were learned over tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels.parts.episodes import Tasks
from metabench.metamodels.parts.neural import Neural
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: fewest and most trials that a training step shows of a task, and points that are predicted after it
SHOWN, HIDDEN = (1, 30), 30
#: least standard deviation of a prediction, in normal scores; keeps steps on the likelihood bounded
FLOOR = 0.3


class InnerLoop(Neural):
    """Perceptrons that predict mean and standard deviation of a configuration's normal score, ``members`` of them.

    They differ in their first weights and in the tasks they saw; a prediction is their mixture. On the target each
    descends the Gaussian −log likelihood of the trials, ``adapt`` steps at ``inner_rate``. A subclass says what an outer
    step is (:meth:`outer`) after ``inner`` such steps on a source task.
    """

    tasks = 8
    members = 4

    def __init__(
        self,
        layers: int,
        width: int,
        epochs: int,
        rate: float,
        inner: int,
        inner_rate: float,
        adapt: int,
        random_state: int,
        device: str,
    ):
        super().__init__(epochs, rate, random_state, device)
        if min(layers, width, inner) < 1 or adapt < 0 or inner_rate <= 0:
            raise UsageError(f"{self.name}: layers, width, inner and inner_rate must be positive, adapt not negative")
        self.layers = layers
        self.width = width
        self.inner = inner
        self.inner_rate = inner_rate
        self.adapt = adapt

    def outer(self, network: torch.nn.Module, x: torch.Tensor, seen: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """What an outer step minimises, a scalar: ``x`` [members · tasks, n + m, columns], ``seen`` [.., n] what trials at
        the first n show, ``truth`` [.., n + m]."""
        raise NotImplementedError

    def network(self, columns: int) -> torch.nn.Module:
        return stack(self.members, [columns] + [self.width] * self.layers + [2])

    def fit(self, source: MetaTrain) -> InnerLoop:
        tasks, held = self.prepare(source)

        def draw(tasks: Tasks, rng: np.random.Generator) -> list[torch.Tensor]:
            shown = int(rng.integers(SHOWN[0], min(SHOWN[1], len(tasks.x)) + 1))
            episodes = tasks.draw(rng, self.members * self.tasks, shown, min(HIDDEN, len(tasks.x)))
            return [self.tensor(a) for a in (episodes.x, episodes.seen, episodes.truth)]

        def loss(network: torch.nn.Module, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            return self.outer(network, *draw(tasks, rng))

        self.learn(tasks, held, loss, lambda *args: self.after(args[0], *draw(*args[1:])))
        return self

    def after(self, network: torch.nn.Module, x: torch.Tensor, seen: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """The loss on ``truth`` once the network has adapted to what was ``seen``, a scalar; its gradient is taken at the
        adapted weights."""
        start, n = repeated(network, len(x) // self.members), seen.shape[1]
        adapted = descend(start, [(x[:, :n], seen)] * self.inner, likelihood, self.inner_rate)
        return likelihood(forward(adapted, x), truth) / len(x)

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._network = self.fitted_network()

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        import torch

        tried, seen = self.shown(history)
        x = torch.as_tensor(self._x).expand(self.members, -1, -1)
        weights = list(self._network.parameters())
        if len(tried):
            y = torch.as_tensor(seen, dtype=torch.float32).expand(self.members, -1)
            weights = descend(weights, [(x[:, tried], y)] * self.adapt, likelihood, self.inner_rate)
        with torch.no_grad():
            mean, std = (t.double().numpy() for t in moments(forward(weights, x)))
        return self._mean + mean.mean(0), (std**2).mean(0) + mean.var(0)


def stack(members: int, widths: Sequence[int]) -> torch.nn.Module:
    """``members`` perceptrons side by side: weights [members, in, out] and biases [members, 1, out], layer by layer.

    First weights as PyTorch's linear layers have them, uniform within 1/√in.
    """
    import torch

    network = torch.nn.ParameterList()
    for a, b in pairwise(widths):
        for shape in ((members, a, b), (members, 1, b)):
            network.append((2.0 * torch.rand(shape) - 1.0) / np.sqrt(a))
    return network


def repeated(network: torch.nn.Module, tasks: int) -> list[torch.Tensor]:
    """The members' weights, each for that many tasks: [members · tasks, ...]."""
    return [p.repeat_interleave(tasks, dim=0) for p in network.parameters()]


def forward(weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Outputs [k, n, out] of k perceptrons with rectifiers, each on its own ``x`` [k, n, in]."""
    for i in range(0, len(weights), 2):
        x = (x.relu() if i else x) @ weights[i] + weights[i + 1]
    return x


def moments(out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [k, n] from outputs [k, n, 2]."""
    from torch.nn.functional import softplus

    return out[..., 0], FLOOR + (1.0 - FLOOR) * softplus(out[..., 1])


def likelihood(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """−log N(y; mean, std²) a point, up to a constant, summed over the k perceptrons."""
    import torch

    mean, std = moments(out)
    return (0.5 * ((y - mean) / std) ** 2 + torch.log(std)).mean(-1).sum()


def descend(
    weights: Sequence[torch.Tensor],
    batches: Sequence[tuple[torch.Tensor, torch.Tensor]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rate: float,
) -> list[torch.Tensor]:
    """Weights after a step of gradient descent on each of the batches (x, y).

    The steps count as constants: a gradient with respect to what comes out reaches ``weights`` as it is.
    """
    import torch

    weights = list(weights)
    for x, y in batches:
        slopes = torch.autograd.grad(loss(forward(weights, x), y), weights)
        weights = [w - rate * s for w, s in zip(weights, slopes, strict=True)]
    return weights
