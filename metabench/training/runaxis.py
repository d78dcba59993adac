"""What code over a run axis shares: hashed numbers on torch tensors, data order, stretches of equal settings."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from metabench.training import hashing

T = TypeVar("T", bound=Hashable)


def segments(names: Sequence[T]) -> list[tuple[T, slice]]:
    """Contiguous stretches of equal names."""
    edges = [0, *[i for i in range(1, len(names)) if names[i] != names[i - 1]], len(names)]
    return [(names[a], slice(a, b)) for a, b in itertools.pairwise(edges)] if len(names) else []


def column(configs: pd.DataFrame, name: str, default: float = 0.0) -> np.ndarray:
    """A numeric hyperparameter of R configurations, float64 [R]; ``default`` where it is missing."""
    if name not in configs:
        return np.full(len(configs), default)
    return np.array([default if pd.isna(v) else float(v) for v in configs[name]])


def orders(seeds: np.ndarray, epoch: int, n: int) -> np.ndarray:
    """:func:`metabench.training.hashing.permutation` of every run, int64 [R, n]: one sort of (hash, row) pairs."""
    unique, place = np.unique(seeds, return_inverse=True)
    index = np.arange(n, dtype=np.uint32)
    hashed = hashing.bits(hashing.key(unique, hashing.ORDER, epoch)[:, None], index)
    pairs = (hashed.astype(np.uint64) << np.uint64(32)) | index
    pairs.sort(axis=1)
    return (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)[place]


def signed(values) -> torch.Tensor:
    """uint32 numbers as the int32 tensor of the same bits (torch computes on no unsigned words)."""
    return torch.from_numpy(np.array(values, dtype=np.uint32).view(np.int32))


def multiples(index) -> torch.Tensor:
    """The part of a hash that depends on the index alone, int32: add a key to it, then :func:`mix_`."""
    with np.errstate(over="ignore"):
        return signed(np.asarray(index, dtype=np.uint32) * np.uint32(hashing.GOLDEN))


class Steps:
    """Numbers that change from step to step, a tensor [T, ...]."""

    def __init__(self, table: torch.Tensor):
        self.table, self.rows = table, table.unbind(0)

    def at(self, step: int | torch.Tensor) -> torch.Tensor:
        """The numbers [...] of a step. In a captured graph the step is itself a number on the device, int64 [1]."""
        return self.rows[step] if isinstance(step, int) else self.table.index_select(0, step)[0]


class Keys:
    """Keys of R runs for one stream, step after step, hashed for many steps at a time."""

    AHEAD = 512

    def __init__(self, seeds: np.ndarray, stream: int, shape: tuple[int, ...], device):
        self.seeds, self.stream, self.shape, self.device = np.asarray(seeds), stream, shape, device
        self.first, self.keys = -self.AHEAD, ()
        # the hash of seed and stream; of the step too where that is known on the device alone
        self.start = signed(hashing.start(self.seeds, stream)).to(device)

    def at(self, step: int | torch.Tensor) -> torch.Tensor:
        """Keys of a step, int32 [R, ...] of the given shape; ``step`` as in :class:`Steps`."""
        if not isinstance(step, int):
            keys = self.start + step.to(torch.int32)
            mix_(keys, torch.empty_like(keys))
            return keys.view(self.shape)
        if not 0 <= step - self.first < self.AHEAD:
            self.first = step
            steps = np.arange(step, step + self.AHEAD)[:, None]
            keys = signed(hashing.key(self.seeds, self.stream, steps)).to(self.device)
            self.keys = keys.view(self.AHEAD, *self.shape).unbind(0)
        return self.keys[step - self.first]


def hashed(keys: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """:func:`metabench.training.hashing.bits` of keys and an index (as :func:`multiples` gives it), int32, broadcast."""
    x = keys + index
    mix_(x, torch.empty_like(x))
    return x


def below(keys: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """A hashed number from 0 to n - 1, int64: the bits modulo n."""
    return (hashed(keys, index).long() & 0xFFFFFFFF) % n


def uniform(keys: torch.Tensor, index: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """:func:`metabench.training.hashing.uniform` of keys and an index."""
    return (hashed(keys, index).bitwise_right_shift(8) & 0xFFFFFF).to(dtype) * 2.0**-24


def normal(a: torch.Tensor, b: torch.Tensor, index: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """:func:`metabench.training.hashing.normal` of two keys and an index."""
    halves = [h.bitwise_right_shift(s) & 0xFFFF for h in (hashed(a, index), hashed(b, index)) for s in (0, 16)]
    total = sum(halves[1:], halves[0]) - 131070
    return (total.to(torch.float32) * float(np.float32(3.0**0.5 / 65536.0))).to(dtype)


def mix_(x: torch.Tensor, scratch: torch.Tensor) -> None:
    """:func:`metabench.training.hashing.mix` in place on a contiguous int32 tensor; ``scratch`` is like it."""
    if x.device.type == "cpu":
        # numpy shifts unsigned words, which saves three of thirteen passes
        a, b = x.numpy().view(np.uint32), scratch.numpy().view(np.uint32)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
            np.right_shift(a, np.uint32(shift), out=b)
            np.bitwise_xor(a, b, out=a)
            if factor is not None:
                np.multiply(a, np.uint32(factor), out=a)
        return
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, None)):
        torch.bitwise_right_shift(x, shift, out=scratch)
        x.bitwise_xor_(scratch.bitwise_and_((1 << (32 - shift)) - 1))
        if factor is not None:
            x.mul_(factor)
