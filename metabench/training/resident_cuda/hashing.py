"""Counter-based randomness inside a kernel: the numbers of :mod:`metabench.training.hashing`."""

import triton
import triton.language as tl

from metabench.training import hashing

ORDER, NOISE_A, NOISE_B, WEIGHTS, DROPOUT = (
    tl.constexpr(stream)
    for stream in (hashing.ORDER, hashing.NOISE_A, hashing.NOISE_B, hashing.WEIGHTS, hashing.DROPOUT)
)
GOLDEN = tl.constexpr(hashing.GOLDEN)
UNIT = tl.constexpr(float(3.0**0.5 / 65536.0))


@triton.jit
def mix(x):
    """The mixing function on uint32."""
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def key(seed, stream, step):
    """uint32 key of a (seed, stream, step)."""
    k = mix(seed + 0x9E3779B9)
    k = mix(k + tl.cast(stream, tl.uint32))
    return mix(k + tl.cast(step, tl.uint32))


@triton.jit
def bits(k, index):
    """uint32 hash number ``index`` (int32) of key ``k``."""
    return mix(k + index.to(tl.uint32) * GOLDEN)


@triton.jit
def uniform(k, index):
    """float32 in [0, 1)."""
    return (bits(k, index) >> 8).to(tl.float32) * 5.9604644775390625e-08  # 2⁻²⁴


@triton.jit
def normal(key_a, key_b, index):
    """float32 with mean 0 and variance 1: a sum of four uniform 16-bit numbers."""
    a = bits(key_a, index)
    b = bits(key_b, index)
    total = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16)
    return (total.to(tl.int32) - 131070).to(tl.float32) * UNIT
