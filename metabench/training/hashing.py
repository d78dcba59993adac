"""Counter-based randomness: every random number of a run is a hash of (seed, stream, step, index).

Nothing depends on where a run stands in a batch, on which backend trains it or on any generator's state. The mixing
function is the 32-bit finaliser "lowbias32" (Wellons, 2018), public domain constants.
"""

from __future__ import annotations

import numpy as np

#: streams; layer l of weights is WEIGHTS + l, dropout after hidden layer l is DROPOUT + l
ORDER, NOISE_A, NOISE_B, AUGMENT, WEIGHTS, DROPOUT = 1, 2, 3, 4, 16, 64
#: of a policy: actions (two for normal numbers), where an episode starts
ACTION_A, ACTION_B, EPISODE = 5, 6, 7
#: of few-shot episodes: their classes, their rows
CLASSES, SHOWN = 12, 13
#: of generators: latent numbers while training and where they are judged; shares of real and made rows
LATENT_A, LATENT_B, JUDGED_A, JUDGED_B, MIXED = 8, 9, 10, 11, 14
#: of a transfer: rows of what is learned first, and of what is tuned on
FROM_SOURCE, FROM_TARGET = 1024, 1025
#: of a decoder: where it is told the true token
FORCED = 15
GOLDEN = 0x9E3779B1


def mix(x):
    """The mixing function on uint32 arrays (wraps silently)."""
    x = np.asarray(x, dtype=np.uint32)
    with np.errstate(over="ignore"):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))


def start(seed, stream):
    """uint32 of a (seed, stream): add a step and mix, and it is that step's :func:`key`."""
    with np.errstate(over="ignore"):
        k = mix(np.asarray(seed, dtype=np.uint32) + np.uint32(0x9E3779B9))
        return mix(k + np.asarray(stream, dtype=np.uint32))


def key(seed, stream, step):
    """uint32 key of a (seed, stream, step); any argument may be an array."""
    with np.errstate(over="ignore"):
        return mix(start(seed, stream) + np.asarray(step, dtype=np.uint32))


def bits(k, index):
    """uint32 hash number ``index`` (array) of key ``k``."""
    with np.errstate(over="ignore"):
        return mix(np.asarray(k, dtype=np.uint32) + np.asarray(index, dtype=np.uint32) * np.uint32(GOLDEN))


def uniform(k, index):
    """float32 in [0, 1): the upper 24 bits of :func:`bits`, exact in float32."""
    return (bits(k, index) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def normal(key_a, key_b, index):
    """float32 with mean 0 and variance 1: a sum of four uniform 16-bit numbers (Irwin–Hall; |z| < 3.47)."""
    a, b = bits(key_a, index), bits(key_b, index)
    low = np.uint32(0xFFFF)
    total = (a & low) + (a >> np.uint32(16)) + (b & low) + (b >> np.uint32(16))
    return (total.astype(np.float32) - np.float32(131070.0)) * np.float32(3.0**0.5 / 65536.0)


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Order of the n training rows in an epoch: int64 [n], a stable sort by hashed keys."""
    return np.argsort(bits(key(seed, ORDER, epoch), np.arange(n)), kind="stable")
