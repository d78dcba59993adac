"""Transformer neural process: the target's trials go in as a context, predictions come out, nothing is fitted.

Nguyen & Grover, "Transformer neural processes: uncertainty-aware meta learning via sequence modeling", ICML 2022, the
diagonal variant (TNP-D): points without their targets attend to the context alone, and each is predicted by a Gaussian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metabench.errors import UsageError
from metabench.metamodels._episodes import Tasks
from metabench.metamodels._neural import Neural, gaussian_loss, perceptron
from metabench.search.base import History, MetaTrain

if TYPE_CHECKING:
    import torch

#: most trials in a training context, and points predicted after it
CONTEXT, HIDDEN = 50, 50
#: least standard deviation of a prediction, in normal scores
FLOOR = 0.05


class NPTransformer(Neural):
    """TNP-D on differences from the source tasks' mean: ``layers`` of width ``width`` with ``heads`` attention heads.

    A training step shows 0 to 50 trials of some tasks, their scores warped and rescaled at random, and minimises the
    Gaussian −log likelihood of others' normal scores. Searching is a forward pass; it maximises expected improvement.
    """

    name = "np_transformer"
    tasks = 16
    grid: ClassVar[dict[str, tuple]] = {"epochs": (200, 500), "layers": (4, 6), "rate": (5e-4, 1e-3)}

    def __init__(
        self, layers: int = 4, width: int = 64, heads: int = 4, epochs: int = 500, rate: float = 1e-3,
        random_state: int = 0, device: str = "cpu",
    ):  # fmt: skip
        super().__init__(epochs, rate, random_state, device)
        if min(layers, heads) < 1 or width < heads or width % heads:
            raise UsageError("np_transformer: needs layers >= 1 and a width that is a multiple of heads")
        self.layers = layers
        self.width = width
        self.heads = heads

    def network(self, columns: int) -> torch.nn.Module:
        return transformer(columns, self.width, self.layers, self.heads)

    def fit(self, source: MetaTrain) -> NPTransformer:
        tasks, held = self.prepare(source)

        def loss(network: torch.nn.Module, tasks: Tasks, rng: np.random.Generator) -> torch.Tensor:
            shown = int(rng.integers(min(CONTEXT, len(tasks.x) - 1) + 1))
            episodes = tasks.draw(rng, self.tasks, shown, min(HIDDEN, len(tasks.x)))
            x, seen = self.tensor(episodes.x), self.tensor(episodes.seen)
            mean, std = network(x[:, :shown], seen, x[:, shown:])
            return gaussian_loss(mean, std, self.tensor(episodes.truth[:, shown:]))

        self.learn(tasks, held, loss)
        return self

    # ---------------------------------------------------------------- searching
    def begin(self) -> None:
        super().begin()
        self._network = self.fitted_network()

    def posterior(self, history: History) -> tuple[np.ndarray, np.ndarray]:
        import torch

        tried, seen = self.seen(history)
        x = torch.as_tensor(self._x)[None]
        with torch.no_grad():
            mean, std = self._network(x[:, tried], torch.as_tensor(seen, dtype=torch.float32)[None], x)
        return self._mean + mean[0].numpy().astype(float), std[0].numpy().astype(float) ** 2


def transformer(columns: int, width: int, layers: int, heads: int) -> torch.nn.Module:
    """The network: (context x [tasks, n, columns], its y [tasks, n], other x [tasks, m, columns]) → mean and standard
    deviation of y there, [tasks, m] each. The order of the context does not count, and n may be 0."""
    import torch
    from torch import nn
    from torch.nn.functional import scaled_dot_product_attention, softplus

    class Block(nn.Module):
        """Attention to the first tokens, which are the context, then a perceptron; both after a layer normalisation."""

        def __init__(self):
            super().__init__()
            self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
            self.query, self.both, self.out = (
                nn.Linear(width, width),
                nn.Linear(width, 2 * width),
                nn.Linear(width, width),
            )
            self.rest = perceptron([width, 2 * width, width])

        def forward(self, h: torch.Tensor, context: int) -> torch.Tensor:
            def split(t: torch.Tensor) -> torch.Tensor:
                return t.unflatten(-1, (heads, -1)).transpose(1, 2)

            normal = self.before(h)
            key, value = self.both(normal[:, :context]).chunk(2, dim=-1)
            seen = scaled_dot_product_attention(split(self.query(normal)), split(key), split(value))
            h = h + self.out(seen.transpose(1, 2).flatten(2))
            return h + self.rest(self.between(h))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            # a token of its own to attend to, for when there is no context
            self.nothing = nn.Parameter(torch.zeros(width))
            self.embed = perceptron([columns + 2, width, width, width])
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

        def forward(self, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            # beside x: y, and whether it is known
            known = torch.cat([x, y[..., None], torch.ones_like(y)[..., None]], dim=-1)
            unknown = torch.cat([new, new.new_zeros(*new.shape[:-1], 2)], dim=-1)
            tokens = self.embed(torch.cat([known, unknown], dim=1))
            h = torch.cat([self.nothing.expand(len(x), 1, width), tokens], dim=1)
            context = 1 + x.shape[1]
            for block in self.blocks:
                h = block(h, context)
            mean, raw = self.head(h[:, context:]).unbind(-1)
            return mean, FLOOR + (1.0 - FLOOR) * softplus(raw)

    return Transformer()
