// Matrix products on register tiles. Sums run in index order through fused multiply-adds, whatever the tile.
#pragma once
#include "simd.h"

// acc[r][c] += sum over k of a[r * across + k * along] * w[k * ldw + 16 c], k ascending.
template <int R, int C>
inline void tile(const float* a, size_t across, size_t along, const float* w, size_t ldw, int K, V (&acc)[R][C]) {
  const float* half = a + R / 2 * across;  // two bases: eight rows from one need more index registers than there are
  for (int k = 0; k < K; k++, a += along, half += along, w += ldw) {
    V b[C];
    for (int c = 0; c < C; c++) b[c] = load(w + 16 * c);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      V x = splat((r < R / 2 ? a : half)[r % (R / 2) * across]);
      for (int c = 0; c < C; c++) acc[r][c] = fma(x, b[c], acc[r][c]);
    }
  }
}

template <int C, class Out>
__attribute__((noinline)) void strip(const float* a, size_t across, size_t along, const float* w, size_t ldw, int K,
                                     const float* bias, int row, int column, const Out& out) {
  V acc[MR][C];
  for (int c = 0; c < C; c++) {
    V start = bias ? load(bias + column + 16 * c) : splat(0.f);
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) acc[r][c] = start;
  }
  tile<MR, C>(a + row * across, across, along, w + column, ldw, K, acc);
  alignas(64) float kept[MR * C * 16];
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 3
    for (int c = 0; c < C; c++) store(kept + 16 * (r * C + c), acc[r][c]);
  for (int r = 0; r < MR; r++)
    for (int c = 0; c < C; c++) out(row + r, column + 16 * c, load(kept + 16 * (r * C + c)));
}

// out(row, column, vector) for all of [rows, cols] = bias + A w, where A[r, k] = a[r * across + k * along]; rows in steps
// of MR, cols in steps of 16.
template <class Out>
void product(const float* a, size_t across, size_t along, int rows, int K, const float* w, size_t ldw,
             const float* bias, int cols, const Out& out) {
  for (int r = 0; r < rows; r += MR) {
    for (int j = 0; j < cols;) {
      const int left = (cols - j) / 16, c = left < NV ? left : (left == NV + 1 && NV > 1 ? 2 : int(NV));
      if (c == 1) strip<1>(a, across, along, w, ldw, K, bias, r, j, out);
      else if (c == 2) strip<2>(a, across, along, w, ldw, K, bias, r, j, out);
      else strip<3>(a, across, along, w, ldw, K, bias, r, j, out);
      j += 16 * c;
    }
  }
}

// sum(column, vector): the sums over the rows of z [rows, cols], rows ascending.
template <class Out>
void column_sums(const float* z, int rows, int cols, const Out& out) {
  for (int j = 0; j < cols;) {
    V s[4];
    const int c = cols - j < 64 ? (cols - j) / 16 : 4;
    for (V& x : s) x = splat(0.f);
    if (c == 4) {
      for (int r = 0; r < rows; r++)
        for (int i = 0; i < 4; i++) s[i] = s[i] + load(z + (size_t)r * cols + j + 16 * i);
    } else {
      for (int i = 0; i < c; i++)
        for (int r = 0; r < rows; r++) s[i] = s[i] + load(z + (size_t)r * cols + j + 16 * i);
    }
    for (int i = 0; i < c; i++) out(j + 16 * i, s[i]);
    j += 16 * c;
  }
}

// t[j, i] = w[i, j] for i < rows and j < cols, both rounded up to 16.
inline void transpose(const float* w, size_t ldw, int rows, int cols, float* t, size_t ldt) {
  for (int i = 0; i < rows; i += 16)
    for (int j = 0; j < cols; j += 16) transpose16(w + i * ldw + j, ldw, t + j * ldt + i, ldt);
}
