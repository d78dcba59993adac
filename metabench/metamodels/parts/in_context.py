"""Surrogates that read a target's trials as a context: learning has made them a posterior, searching fits nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metabench.metamodels.parts.episodes import Episodes, Tasks
from metabench.metamodels.parts.neural import Neural
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: most trials in a training context, and points predicted after it
CONTEXT, HIDDEN = 50, 50
#: least standard deviation of a prediction, in normal scores
FLOOR = 0.05


class InContext(Neural):
    """A network that maps (trials, other configurations) to predictions, trained on source tasks as if they were searched.

    A training step shows 0 to 50 trials of some tasks, their scores warped and rescaled at random, and minimises the
    −log likelihood of others' normal scores (:meth:`loss`). Searching is a forward pass (:meth:`moments`).
    """

    tasks = 16

    def loss(
        self,
        network: torch.nn.Module,
        rng: np.random.Generator,
        x: torch.Tensor,
        y: torch.Tensor,
        new: torch.Tensor,
        truth: torch.Tensor,
    ) -> torch.Tensor:
        """−log likelihood a point, a scalar: ``truth`` [tasks, m] at ``new`` [tasks, m, columns], given ``y`` [tasks, n] at
        ``x`` [tasks, n, columns]."""
        raise NotImplementedError

    def moments(
        self, network: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance [tasks, m] of what is predicted at ``new``, given ``y`` at ``x``."""
        raise NotImplementedError

    def episodes(self, tasks: Tasks, rng: np.random.Generator, shown: int, hidden: int) -> Episodes:
        """What a training step is made of."""
        return tasks.draw(rng, self.tasks, shown, hidden)

    def fit(self, source: MetaTrain) -> InContext:
        tasks, held = self.prepare(source)

        def step(draw, network: torch.nn.Module, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            shown = int(rng.integers(min(CONTEXT, len(tasks.x) - 1) + 1))
            episodes = draw(tasks, rng, shown, min(HIDDEN, len(tasks.x)))
            x, y, truth = (self.tensor(a) for a in (episodes.x, episodes.seen, episodes.truth))
            return self.loss(network, rng, x[:, :shown], y, x[:, shown:], truth[:, shown:])

        def judge(*args) -> torch.Tensor:
            return step(lambda tasks, *rest: tasks.draw(rest[0], self.tasks, *rest[1:]), *args)

        self.learn(tasks, held, lambda *args: step(self.episodes, *args), judge)
        return self

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._network = self.fitted_network()

    def context(self, history: History) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What a network is asked: x and y of the trials, x of the pool; float32 [1, …]."""
        import torch

        tried, seen = self.shown(history)
        x = torch.as_tensor(self._x)[None]
        return x[:, tried], torch.as_tensor(seen, dtype=torch.float32)[None], x

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        import torch

        with torch.no_grad():
            mean, variance = (t[0].double().numpy() for t in self.moments(self._network, *self.context(history)))
        return self._mean + mean, variance


def gaussian(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [...] from a network's outputs [..., 2]."""
    from torch.nn.functional import softplus

    return raw[..., 0], FLOOR + (1.0 - FLOOR) * softplus(raw[..., 1])
