"""Building blocks of networks over a run axis, forward and backward by hand, feature-major: [R, features, B].

Every block works in place or into given buffers, on the stretches of runs that share a setting. The hashed masks and
noise are the numbers of :mod:`metabench.training.hashing`, whatever the padded width.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from metabench.training import hashing
from metabench.training.runaxis import Keys, mix_, multiples, signed

_aten = torch.ops.aten


def activate(name: str, z: torch.Tensor, out: torch.Tensor) -> None:
    """``out`` = activation of z. Leaves in ``z`` what :func:`deactivate_` needs (for tanh its value)."""
    if name == "relu":
        torch.clamp_min(z, 0, out=out)
    elif name == "tanh":
        out.copy_(z.tanh_())
    elif name == "gelu":
        _aten.gelu.out(z, approximate="tanh", out=out)
    elif name == "silu":
        _aten.silu.out(z, out=out)
    else:
        raise ValueError(f"no activation called {name!r}")


def deactivate_(name: str, d: torch.Tensor, z: torch.Tensor) -> None:
    """Turn the gradient of the activation's value into that of its argument, in place."""
    if name == "relu":
        _aten.threshold_backward.grad_input(d, z, 0, grad_input=d)
    elif name == "tanh":
        _aten.tanh_backward.grad_input(d, z, grad_input=d)
    elif name == "gelu":
        _aten.gelu_backward.grad_input(d, z, approximate="tanh", grad_input=d)
    else:
        _aten.silu_backward.grad_input(d, z, grad_input=d)


class LayerNorm:
    """Layer normalisation over the features of a stretch of runs, each over its own width ``widths`` [R] of the padded.

    ``gamma``, ``beta`` and their gradients are views [R, features]; padded features have gamma = beta = 0.
    """

    def __init__(self, widths: torch.Tensor, gamma, beta, d_gamma, d_beta):
        self.inverse = (1.0 / widths.to(gamma.dtype))[:, None, None]
        real = torch.arange(gamma.shape[1], device=gamma.device) < widths[:, None]
        self.real = None if bool(real.all()) else real.to(gamma.dtype)[:, :, None]
        self.gamma, self.beta = gamma[:, :, None], beta[:, :, None]
        self.d_gamma, self.d_beta = d_gamma, d_beta

    def forward(self, z: torch.Tensor, normal: torch.Tensor) -> None:
        """Normalise z [R, features, B] in place; ``normal`` receives it before gamma and beta."""
        z.sub_(z.sum(1, keepdim=True).mul_(self.inverse))
        if self.real is not None:
            z.mul_(self.real)
        torch.mul(z, z, out=normal)
        self.rstd = normal.sum(1, keepdim=True).mul_(self.inverse).add_(1e-5).rsqrt_()
        torch.mul(z, self.rstd, out=normal)
        torch.mul(normal, self.gamma, out=z).add_(self.beta)

    def backward(self, d: torch.Tensor, normal: torch.Tensor, scratch: torch.Tensor) -> None:
        """Gradient of the output → gradient of the input, in place; fills the gradients of gamma and beta."""
        torch.sum(torch.mul(d, normal, out=scratch), 2, out=self.d_gamma)
        torch.sum(d, 2, out=self.d_beta)
        d.mul_(self.gamma)
        slope = torch.mul(d, normal, out=scratch).sum(1, keepdim=True).mul_(self.inverse)
        d.sub_(d.sum(1, keepdim=True).mul_(self.inverse))
        d.sub_(torch.mul(normal, slope, out=scratch)).mul_(self.rstd)
        if self.real is not None:
            d.mul_(self.real)


class Dropout:
    """Masks [R, features, B] of 0 or 1 / (1 - p) of a layer: element (j, s) is hash number ``s * width + j`` of its
    run. ``p``, ``seeds`` and true ``widths`` are arrays [R]."""

    def __init__(self, p, seeds, widths, stream: int, features: int, batch: int, dtype, device):
        p = np.asarray(p)
        self.active, self.dtype = bool((p > 0).any()), dtype
        if not self.active:
            return
        # an unsigned comparison by a signed one: flip the highest bit of both sides
        limit = np.array([math.floor(q * 2**24) << 8 for q in p], dtype=np.uint32) ^ np.uint32(1 << 31)
        self.limit = signed(limit).to(device)[:, None, None]
        scale = torch.as_tensor(1.0 / (1.0 - p), dtype=dtype, device=device)[:, None, None]
        # 0 or 1 times the bit pattern of a float32 is the bit pattern of 0 or of that float32
        self.scale = scale.view(torch.int32) if dtype == torch.float32 else scale
        self.keys = Keys(seeds, stream, (len(p), 1, 1), device)
        self.feature = multiples(np.arange(features))[None, :, None].to(device)
        self.row = multiples(np.outer(widths, np.arange(batch)))[:, None, :].to(device)
        self.bits, self.scratch = (
            torch.empty(len(p), features, batch, dtype=torch.int32, device=device) for _ in range(2)
        )

    def mask(self, step: int | torch.Tensor) -> torch.Tensor:
        """The masks of a training step; they last until the next call."""
        torch.add(self.row + self.keys.at(step), self.feature, out=self.bits)
        mix_(self.bits, self.scratch)
        self.bits.bitwise_xor_(-(2**31)).ge_(self.limit)
        if self.dtype == torch.float32:
            return self.bits.mul_(self.scale).view(torch.float32)
        return self.bits.to(self.dtype) * self.scale


def dropped(h: torch.Tensor, p: float, seed: int, stream: int, step: int | torch.Tensor) -> torch.Tensor:
    """What :class:`Dropout` does to the activations h [B, ...] of one run alone: element i is dropped where hash number i
    of the stream says so, the others grow by 1 / (1 - p)."""
    limit = math.floor(p * 2**24)
    if not limit:
        return h
    bits = hashing.bits(hashing.key(seed, stream, step), np.arange(h.numel(), dtype=np.uint32)) >> np.uint32(8)
    keep = torch.as_tensor(bits >= limit, device=h.device).reshape(h.shape)
    return h * keep / (1.0 - p)


class InputNoise:
    """Noise for inputs [R, B, D]: element (s, k) is hash number ``s * D + k`` of its run, times the run's ``scale``."""

    def __init__(self, scale, seeds, batch: int, features: int, dtype, device):
        runs = len(scale)
        self.active = bool((np.asarray(scale) > 0).any())
        self.scale = torch.as_tensor(scale, dtype=dtype, device=device)[:, None, None]
        self.index = multiples(np.arange(batch * features)).to(device)
        self.keys = [Keys(seeds, stream, (runs, 1), device) for stream in (hashing.NOISE_A, hashing.NOISE_B)]
        shape = (runs, batch * features)
        self.a, self.b, self.scratch = (torch.empty(shape, dtype=torch.int32, device=device) for _ in range(3))
        self.z = torch.empty(runs, batch, features, dtype=torch.float32, device=device)
        self.flat_z = self.z.view(shape)

    def add_(self, x: torch.Tensor, step: int | torch.Tensor) -> None:
        """Add the noise of a training step to x [R, B, D]."""
        for keys, total in zip(self.keys, (self.a, self.b), strict=True):
            torch.add(self.index, keys.at(step), out=total)
            mix_(total, self.scratch)
            # both 16-bit halves summed
            torch.bitwise_right_shift(total, 16, out=self.scratch)
            total.bitwise_and_(0xFFFF).add_(self.scratch.bitwise_and_(0xFFFF))
        self.flat_z.copy_(self.a.add_(self.b).sub_(131070))
        self.z.mul_(float(np.float32(3.0**0.5 / 65536.0)))
        x.addcmul_(self.z.to(x.dtype), self.scale)
