"""Attention over sets of trials. Only networks import this, when they are made: it imports torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from metabench.metamodels.parts.neural import perceptron


class Attention(nn.Module):
    """Scaled dot-product attention with ``heads`` heads (Vaswani et al., 2017, Sec. 3.2), all of one width.

    Queries come from [..., m, width], keys and values from sets [..., n, width]; gives [..., m, width].
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        def split(t: torch.Tensor) -> torch.Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

        found = scaled_dot_product_attention(
            split(self.query(queries)), split(self.key(keys)), split(self.value(values))
        )
        return self.out(found.transpose(-3, -2).flatten(-2))


class Block(nn.Module):
    """Attention of all tokens to the first ``context`` of them, then a perceptron; both after a layer normalisation."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.rest = Attention(width, heads), perceptron([width, 2 * width, width])

    def forward(self, h: torch.Tensor, context: int) -> torch.Tensor:
        normal = self.before(h)
        h = h + self.attention(normal, normal[..., :context, :], normal[..., :context, :])
        return h + self.rest(self.between(h))


class Transformer(nn.Module):
    """(context x [tasks, n, columns], its y [tasks, n], other x [tasks, m, columns]) → [tasks, m, outputs].

    All tokens attend to the context alone: its order does not count, other points do not see one another, n may be 0.
    """

    def __init__(self, columns: int, width: int, layers: int, heads: int, outputs: int):
        super().__init__()
        # a token of its own to attend to, for when there is no context
        self.nothing = nn.Parameter(torch.zeros(width))
        self.embed = perceptron([columns + 2, width, width, width])
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        # beside x: y, and whether it is known
        known = torch.cat([x, y[..., None], torch.ones_like(y)[..., None]], dim=-1)
        unknown = torch.cat([new, new.new_zeros(*new.shape[:-1], 2)], dim=-1)
        tokens = self.embed(torch.cat([known, unknown], dim=1))
        h = torch.cat([self.nothing.expand(len(x), 1, -1), tokens], dim=1)
        context = 1 + x.shape[1]
        for block in self.blocks:
            h = block(h, context)
        return self.head(h[:, context:])


class AttentiveProcess(nn.Module):
    """The parts of an attentive neural process: a deterministic path with attention, a latent path, a decoder.

    Both read pairs (x, y) and one token that stands for nothing, so a context may be empty; their order does not count.
    """

    def __init__(self, columns: int, width: int, layers: int, heads: int, latent: int):
        super().__init__()
        self.pairs = _Pairs(columns, width, layers, heads)
        self.places = perceptron([columns, width, width])
        self.nowhere = nn.Parameter(torch.zeros(width))
        self.cross = Attention(width, heads)
        if latent:
            self.task = _Pairs(columns, width, layers, heads)
            self.latent = perceptron([width, width, 2 * latent])
        self.decoder = perceptron([columns + width + latent, width, width, width, 2])

    def path(self, x: torch.Tensor, y: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """What the context says at each other point, [tasks, m, width]: x of these are queries, x of the context keys."""
        keys = torch.cat([self.nowhere.expand(len(x), 1, -1), self.places(x)], dim=1)
        return self.cross(self.places(new), keys, self.pairs(x, y))

    def about(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the latent given pairs, [tasks, latent] each."""
        mean, raw = self.latent(self.task(x, y).mean(1)).chunk(2, dim=-1)
        return mean, 0.1 + 0.9 * torch.sigmoid(raw)

    def decode(self, path: torch.Tensor, new: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        """Outputs [..., m, 2] at ``new`` [..., m, columns] from their ``path`` [..., m, width] and z [..., latent]."""
        parts = [new, path]
        if z is not None:
            parts.append(z[..., None, :].expand(*path.shape[:-1], -1))
        return self.decoder(torch.cat(parts, dim=-1))


class _Pairs(nn.Module):
    """Pairs (x [tasks, n, columns], y [tasks, n]) → [tasks, 1 + n, width], by self-attention; the first is for nothing."""

    def __init__(self, columns: int, width: int, layers: int, heads: int):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(width))
        self.embed = perceptron([columns + 1, width, width])
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(torch.cat([x, y[..., None]], dim=-1))
        h = torch.cat([self.nothing.expand(len(x), 1, -1), tokens], dim=1)
        for block in self.blocks:
            h = block(h, h.shape[1])
        return h
