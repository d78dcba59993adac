// Counter-based randomness, the numbers of metabench/training/hashing.py.
#pragma once
#include "simd.h"

#include <utility>

enum Stream { ORDER = 1, NOISE_A = 2, NOISE_B = 3, AUGMENT = 4, WEIGHTS = 16, DROPOUT = 64 };
const uint32_t GOLDEN = 0x9E3779B1u;

inline uint32_t key(uint32_t seed, uint32_t stream, uint32_t step) {
  return mix(mix(mix(seed + 0x9e3779b9u) + stream) + step);
}

// Multiples of GOLDEN: what sixteen neighbouring indices add to a key.
alignas(64) static const uint32_t LANES[16] = {
    0, GOLDEN, 2 * GOLDEN, 3 * GOLDEN, 4 * GOLDEN, 5 * GOLDEN, 6 * GOLDEN, 7 * GOLDEN, 8 * GOLDEN, 9 * GOLDEN,
    10 * GOLDEN, 11 * GOLDEN, 12 * GOLDEN, 13 * GOLDEN, 14 * GOLDEN, 15 * GOLDEN};

// Hashes number `index` … `index` + 15 of a key.
inline U hashes(uint32_t key, uint32_t index) { return mix(usplat(key + index * GOLDEN) + uload(LANES)); }

// Rows 0..n-1 in ascending order of their hashed keys, ties in order of the rows: a radix sort by bytes. The four
// arrays hold n numbers each (hashes up to the next multiple of 16); the order is left in `order`.
inline void permutation(uint32_t k, int n, uint32_t* order, uint32_t* hash, uint32_t* other, uint32_t* other_hash) {
  uint32_t start[4][256] = {};
  for (int i = 0; i < n; i += 16) ustore(hash + i, hashes(k, i));
  for (int i = 0; i < n; i++)
    for (int pass = 0; pass < 4; pass++) start[pass][hash[i] >> 8 * pass & 255]++;
  for (int i = 0; i < n; i++) order[i] = i;
  for (int pass = 0; pass < 4; pass++) {
    uint32_t* to = start[pass];
    for (uint32_t b = 0, sum = 0; b < 256; b++) {
      const uint32_t count = to[b];
      to[b] = sum;
      sum += count;
    }
    for (int i = 0; i < n; i++) {
      const uint32_t at = to[hash[i] >> 8 * pass & 255]++;
      other[at] = order[i];
      other_hash[at] = hash[i];
    }
    std::swap(order, other);
    std::swap(hash, other_hash);
  }
}
