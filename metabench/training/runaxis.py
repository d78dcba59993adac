"""Helpers of code over a run axis: hashed numbers on torch tensors, stretches of equal settings."""

from __future__ import annotations

import itertools

from metabench.training import hashing


def torch_bits(keys, index):
    """:func:`metabench.training.hashing.bits` on int64 tensors (values below 2³²), on any device."""
    mask = 0xFFFFFFFF
    x = (keys + index * hashing.GOLDEN) & mask
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & mask
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & mask
    return x ^ (x >> 16)


def segments(names: list[str]) -> list[tuple[str, slice]]:
    """Contiguous stretches of equal names."""
    edges = [0, *[i for i in range(1, len(names)) if names[i] != names[i - 1]], len(names)]
    return [(names[a], slice(a, b)) for a, b in itertools.pairwise(edges)]
