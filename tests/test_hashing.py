"""The hashed streams are what they claim: known numbers, the right moments, and no stream leaks into another."""

import numpy as np
import pytest

from metabench.training import hashing

N = 200_000


def lowbias32(x: int) -> int:
    """The published function, written out on Python's integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


def lowbias32_inverse(x: np.ndarray) -> np.ndarray:
    """The published inverse of it, with its own constants."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x43021123)
    x = x ^ (x >> np.uint32(15)) ^ (x >> np.uint32(30))
    x = x * np.uint32(0x1D69E2A5)
    return x ^ (x >> np.uint32(16))


def test_mix_is_the_published_function():
    x = np.array([0, 1, 2, 3, 0x7FFFFFFF, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF], dtype=np.uint32)
    assert hashing.mix(x).tolist() == [lowbias32(int(v)) for v in x]
    assert hashing.mix(0) == 0


def test_mix_loses_nothing():
    x = np.random.default_rng(0).integers(0, 2**32, N, dtype=np.uint32)
    assert np.array_equal(lowbias32_inverse(hashing.mix(x)), x)


def test_one_flipped_bit_flips_half_of_the_others():
    x = np.random.default_rng(1).integers(0, 2**32, 4000, dtype=np.uint32)
    for bit in range(32):
        flipped = np.bitwise_count(hashing.mix(x) ^ hashing.mix(x ^ np.uint32(1 << bit)))
        assert abs(flipped.mean() - 16) < 0.6


def test_keys_and_bits_keep_their_values():
    """Stored runs are trained again from these numbers: a change here is a change of NUMERICS_VERSION."""
    k = lowbias32((lowbias32((lowbias32(7 + 0x9E3779B9) + 16) & 0xFFFFFFFF) + 5) & 0xFFFFFFFF)
    assert hashing.key(7, 16, 5) == k
    assert hashing.bits(k, 9) == lowbias32((k + 9 * 0x9E3779B1) & 0xFFFFFFFF)
    k = int(hashing.key(0, hashing.ORDER, 1))
    by_hash = sorted(range(8), key=lambda i: lowbias32((k + i * 0x9E3779B1) & 0xFFFFFFFF))
    assert hashing.permutation(0, 1, 8).tolist() == by_hash == [1, 4, 3, 7, 0, 6, 5, 2]


def test_keys_broadcast():
    seeds, steps = np.arange(3)[:, None], np.arange(4)[None, :]
    keys = hashing.key(seeds, 2, steps)
    assert keys.shape == (3, 4)
    assert keys.dtype == np.uint32
    assert all(keys[i, j] == hashing.key(i, 2, j) for i in range(3) for j in range(4))
    assert len(np.unique(keys)) == 12


def test_uniform_is_uniform():
    u = hashing.uniform(hashing.key(0, 2, 0), np.arange(N))
    assert u.dtype == np.float32
    assert u.min() >= 0 and u.max() < 1
    counts = np.bincount((u * 64).astype(int), minlength=64)
    expected = N / 64
    assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square, 63 degrees of freedom, p ~ 2e-4
    assert u.mean() == pytest.approx(1 / 2, abs=4 * (1 / 12 / N) ** 0.5)
    assert u.var() == pytest.approx(1 / 12, rel=0.01)


def test_uniform_stays_under_one_for_the_largest_hash():
    """float32(2**32 - 1) / 2**32 would round to 1; 24 bits do not."""
    largest = (np.uint32(0xFFFFFFFF) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    assert largest < 1


def test_normal_has_the_moments_of_a_sum_of_four():
    a, b = hashing.key(0, hashing.NOISE_A, 0), hashing.key(0, hashing.NOISE_B, 0)
    z = hashing.normal(a, b, np.arange(N)).astype(np.float64)
    assert hashing.normal(a, b, np.arange(2)).dtype == np.float32
    assert z.mean() == pytest.approx(0, abs=4 / N**0.5)
    assert z.var() == pytest.approx(1, rel=0.01)
    assert (z**3).mean() == pytest.approx(0, abs=0.03)
    assert (z**4).mean() == pytest.approx(2.7, abs=0.05)  # Irwin-Hall of four: excess kurtosis -6/5/4
    assert np.abs(z).max() < 2 * 3**0.5 + 1e-3


@pytest.mark.parametrize("n", [1, 2, 17, 4096])
def test_permutation_is_one(n):
    order = hashing.permutation(3, 1, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_permutations_visit_every_place_equally():
    places = np.stack([hashing.permutation(s, e, 8) for s in range(40) for e in range(50)])
    share = (places == 0).mean(axis=0)
    assert np.abs(share - 1 / 8).max() < 4 * (1 / 8 * 7 / 8 / 2000) ** 0.5


def test_permutations_differ_between_seeds_and_epochs():
    orders = {tuple(hashing.permutation(s, e, 50)) for s in range(5) for e in range(5)}
    assert len(orders) == 25


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": hashing.DROPOUT}, {"step": 1}])
def test_streams_are_independent(change):
    base = {"seed": 0, "stream": hashing.WEIGHTS, "step": 0}
    one = hashing.uniform(hashing.key(**base), np.arange(N))
    other = hashing.uniform(hashing.key(**(base | change)), np.arange(N))
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / N**0.5
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 4 / N**0.5


def test_streams_have_room_for_every_layer():
    """Weights of layer l take WEIGHTS + l, dropout DROPOUT + l: neither may reach another stream."""
    taken = [hashing.ORDER, hashing.NOISE_A, hashing.NOISE_B, hashing.WEIGHTS, hashing.DROPOUT]
    assert len(set(taken)) == 5
    assert hashing.DROPOUT - hashing.WEIGHTS >= 16
    assert max(taken[:3]) < hashing.WEIGHTS
